"""Hands connections on to another port of this machine, in threads."""

import contextlib
import socket
import threading


def relay(listening, address, encryption=None):
    """Accepts connections for ever, and joins each with one to HOST:PORT.

    Args:
        listening: the socket to accept at.
        address: HOST:PORT to connect to.
        encryption: an `ssl.SSLContext` for the side that listens, or None. What is no TLS, or is
            broken off, is dropped.
    """
    host, port = address.split(":")
    while True:
        near = listening.accept()[0]
        if encryption:
            try:
                near = encryption.wrap_socket(near, server_side=True)
            except OSError:
                near.close()
                continue
        far = socket.create_connection((host, int(port)))
        for ends in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source, sink):
    with contextlib.suppress(OSError):
        while received := source.recv(2**16):
            sink.sendall(received)
