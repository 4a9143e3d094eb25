"""hifill-demo, run as a command."""

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys


@contextlib.contextmanager
def demo(folder, *flags):
    """Runs the command; gives the page's address. Its temporary files go to a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = "from hifill.demo import run; run()"
    command = [sys.executable, "-c", script, f"--port={port}", *map(str, flags)]
    with subprocess.Popen(
        ["env", f"TMPDIR={folder}", *command], stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert f"http://127.0.0.1:{port}/" in running.stdout.readline()
            yield f"http://127.0.0.1:{port}/"
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
    assert not [*pathlib.Path(folder).glob("hifill-demo-*")]
