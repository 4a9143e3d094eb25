"""Keeps two processes out of one folder."""

import contextlib
import errno
import os

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


@contextlib.contextmanager
def locked_folder(folder, flag, message):
    """Makes a folder and holds its lock, which leaves no file in it.

    Raises:
        ValueError: with this message, if another process holds it; or if nothing can be written
            there, naming the flag to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        descriptor = fcntl and os.open(folder, os.O_RDONLY)  # Windows opens no folders
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot be written ({error.strerror}); choose another {flag}"
        ) from error
    try:
        lock(descriptor, message)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
