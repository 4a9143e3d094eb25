"""Keeps two processes out of one folder."""

import contextlib

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock(file, message):
    """Takes the lock of an open file, or of a folder's descriptor, until it is closed.

    Where the system or the file system has no such locks, nothing is locked.

    Raises:
        ValueError: with this message, if another process holds it.
    """
    if fcntl is None:
        return
    # Some network file systems know no locks either: an error of another kind.
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(message) from error
