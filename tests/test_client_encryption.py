"""hifill-client over TLS: what stands before the server decrypts."""

import os
import socket
import ssl
import subprocess
import sys
import threading

import numpy as np
import pytest
import trustme
from PIL import Image
from serving.relay import relay

from hifill.client import RemoteInpainter

pytest_plugins = ["serving.stand_ins"]


@pytest.fixture
def proxy(server, tmp_path):
    """https://HOST:PORT that leads to `server`, and the file of the authority behind it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost").configure_cert(encryption)
    with socket.create_server(("localhost", 0)) as listening:
        arguments = listening, server, encryption
        threading.Thread(target=relay, args=arguments, daemon=True).start()
        yield f"https://localhost:{listening.getsockname()[1]}", tmp_path / "authority.pem"


def test_encrypted(proxy, server, protocol, tmp_path):
    url, authority = proxy
    photo = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
    hole = np.zeros((60, 80), np.uint8)
    hole[20:40, 30:50] = 255
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    command = [sys.executable, "-c", "from hifill.client import run; run()"]
    command += [tmp_path / "photo.png", f"--mask={tmp_path / 'mask.png'}", "--retries=1"]
    command += [f"--output={tmp_path / 'filled.png'}", f"--server={url}", f"--protocol={protocol}"]

    def run(**environment):
        environment = os.environ | environment
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    unknown = run()
    assert unknown.returncode == 1 and "certificate verify failed" in unknown.stderr
    assert "tries" not in unknown.stderr and not (tmp_path / "filled.png").exists()

    known = run(REQUESTS_CA_BUNDLE=str(authority), GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(authority))
    assert known.returncode == 0, known.stderr
    filled = np.asarray(Image.open(tmp_path / "filled.png"))
    np.testing.assert_array_equal(filled, RemoteInpainter(server, protocol)(photo, hole))


def test_grpc_takes_no_other_url():
    for server in ("http://localhost:8500", "https://localhost:8500/models"):
        with pytest.raises(ValueError, match="for gRPC give HOST:PORT, or https://HOST:PORT"):
            RemoteInpainter(server, "grpc")
