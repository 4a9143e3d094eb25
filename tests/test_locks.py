"""One process at a time in a folder."""

import os

import pytest

from hifill import locks


def test_a_folder_is_locked_and_left_empty(tmp_path):
    folder = tmp_path / "new" / "one"
    with (
        locks.locked_folder(folder, "--output", "busy"),
        pytest.raises(ValueError, match="busy"),
        locks.locked_folder(folder, "--output", "busy"),
    ):
        pass
    with locks.locked_folder(folder, "--output", "busy"):
        assert not list(folder.iterdir())


def test_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(ValueError, match=r"cannot be written \(.*\); choose another --output$"),
            locks.locked_folder(folder, "--output", "busy"),
        ):
            pass
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with (
        pytest.raises(ValueError, match=r"cannot be written \(Permission denied\)"),
        locks.locked_folder(tmp_path, "--output", "busy"),
    ):
        pass


def test_without_locks_no_folder_is_opened(tmp_path, monkeypatch):
    """Windows has no fcntl, and refuses to open a folder."""
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(os, "open", None)
    with locks.locked_folder(tmp_path / "new", "--output", "busy"):
        assert (tmp_path / "new").is_dir()
