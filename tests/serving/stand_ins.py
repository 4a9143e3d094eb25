"""Fixtures: the stand-ins for TensorFlow Serving, each in a process of its own.

A test module takes them with `pytest_plugins = ["serving.stand_ins"]`; they start once for all.
"""

import contextlib
import pathlib
import subprocess
import sys

import pytest


@contextlib.contextmanager
def _running(script, base_path):
    script = pathlib.Path(__file__).with_name(script)
    # The server also ends when its standard input does: even if this process is killed.
    command = [sys.executable, str(script), str(base_path), "hifill"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def servers(export_folder):
    """Dict from "grpc" and "rest" to HOST:PORT; both serve `export_folder` as "hifill"."""
    with contextlib.ExitStack() as stack:
        processes = {  # both at once: they take their time
            protocol: stack.enter_context(
                _running(f"{protocol}_server.py", export_folder / "hifill")
            )
            for protocol in ("grpc", "rest")
        }
        yield {
            protocol: f"localhost:{int(process.stdout.readline())}"
            for protocol, process in processes.items()
        }


@pytest.fixture(params=["rest", "grpc"])
def protocol(request):
    return request.param


@pytest.fixture
def server(servers, protocol):
    """HOST:PORT of the server that speaks `protocol`."""
    return servers[protocol]
