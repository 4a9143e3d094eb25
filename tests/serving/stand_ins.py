"""Fixtures: the stand-in for TensorFlow Serving, in a process of its own.

A test module takes them with `pytest_plugins = ["serving.stand_ins"]`; it starts once for all.
"""

import contextlib
import fcntl
import os
import pathlib
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def servers(export_folder):
    """Dict from "grpc" and "rest" to HOST:PORT; both serve `export_folder` as "hifill".

    One process serves all workers. They hold a named pipe open that is its standard input, so that
    it ends with the last of them, even if they are killed.
    """
    pipe, ports = export_folder.with_name("server.stdin"), export_folder.with_name("server.ports")
    with contextlib.suppress(FileExistsError):
        os.mkfifo(pipe)
    with open(pipe, "r+b", buffering=0) as held:
        with contextlib.suppress(BlockingIOError):  # raised where another worker starts the server
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _start(export_folder / "hifill", pipe, ports)
        fcntl.flock(held, fcntl.LOCK_SH)
        grpc, rest = ports.read_text().split()
        yield {"grpc": f"localhost:{grpc}", "rest": f"localhost:{rest}"}


def _start(base_path, pipe, ports):
    """Starts the server, and writes its ports to a file once it answers."""
    script = pathlib.Path(__file__).with_name("rest_server.py")
    with open(pipe, "rb") as stdin:
        process = subprocess.Popen(
            [sys.executable, str(script), str(base_path), "hifill"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    with process.stdout:
        ports.write_text(process.stdout.readline())


@pytest.fixture(params=["rest", "grpc"])
def protocol(request):
    return request.param


@pytest.fixture
def server(servers, protocol):
    """HOST:PORT of the server that speaks `protocol`."""
    return servers[protocol]
