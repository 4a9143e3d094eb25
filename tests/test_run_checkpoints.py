"""Checkpoints that are cut off, foreign, or do not fit on the disk."""

import os
import pathlib
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

from hifill.run_checkpoints import RunCheckpoints


@pytest.fixture
def values():
    return tf.Variable(np.zeros(100_000, np.float32))


def saved(folder, values, numbers):
    checkpoints = RunCheckpoints(folder, values=values)
    for number in numbers:
        values.assign(tf.fill(values.shape, float(number)))
        checkpoints.save(number)
    return checkpoints


def names(checkpoints):
    return [pathlib.Path(path).name for path in checkpoints.paths()]


def test_the_newest_is_restored_and_the_oldest_deleted(tmp_path, values):
    checkpoints = saved(tmp_path, values, [5, 100, 1000, 2000])
    assert names(checkpoints) == ["ckpt-100", "ckpt-1000", "ckpt-2000"]
    values.assign(tf.zeros_like(values))
    assert RunCheckpoints(tmp_path, values=values).restore() == str(tmp_path / "ckpt-2000")
    assert (values.numpy() == 2000).all()


def test_an_empty_folder_gives_none(tmp_path, values):
    checkpoints = RunCheckpoints(tmp_path / "new", values=values)
    assert checkpoints.restore() is None and checkpoints.latest is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["data-00000-of-00001", "index", "missing data"])
def test_one_that_is_cut_off_is_skipped_for_the_one_before(tmp_path, values, caplog, part):
    saved(tmp_path, values, [1, 2])
    if part == "missing data":
        (tmp_path / "ckpt-2.data-00000-of-00001").unlink()
    else:
        path = tmp_path / f"ckpt-2.{part}"
        os.truncate(path, path.stat().st_size // 2)
    checkpoints = RunCheckpoints(tmp_path, values=values)
    assert checkpoints.restore() == str(tmp_path / "ckpt-1")
    assert (values.numpy() == 1).all()
    assert len(caplog.records) == 1 and "ckpt-2 is damaged" in caplog.text
    values.assign(tf.fill(values.shape, 7.0))
    checkpoints.save(2)
    assert RunCheckpoints(tmp_path, values=values).restore() == str(tmp_path / "ckpt-2")
    assert (values.numpy() == 7).all()


def test_tensorflow_s_own_list_may_be_lost(tmp_path, values):
    saved(tmp_path, values, [1, 2])
    (tmp_path / "checkpoint").write_text("model_checkpoint")
    assert RunCheckpoints(tmp_path, values=values).restore() == str(tmp_path / "ckpt-2")
    (tmp_path / "checkpoint").unlink()
    assert RunCheckpoints(tmp_path, values=values).restore() == str(tmp_path / "ckpt-2")


def test_if_none_is_whole_that_is_an_error(tmp_path, values):
    saved(tmp_path, values, [1, 2])
    for path in tmp_path.glob("*.data*"):
        os.truncate(path, 10)
    with pytest.raises(ValueError, match="none of its 2 checkpoints can be read"):
        RunCheckpoints(tmp_path, values=values).restore()


def test_another_run_s_are_refused(tmp_path, values):
    saved(tmp_path, values, [1])
    with pytest.raises(ValueError, match="none of its 1"):
        RunCheckpoints(tmp_path, values=tf.Variable(np.zeros(5, np.float32))).restore()
    with pytest.raises(ValueError, match="none of its 1"):
        RunCheckpoints(tmp_path, other=values).restore()


def test_what_does_not_fit_on_the_disk_leaves_the_last_one(tmp_path, values):
    checkpoints = saved(tmp_path, values, [1, 2])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        for number in (2, 3):
            with pytest.raises(
                ValueError, match=f"checkpoint {number} cannot be written"
            ) as caught:
                checkpoints.save(number)
            assert "ckpt-2" in str(caught.value) and "\n" not in str(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert names(checkpoints) == ["ckpt-1", "ckpt-2"]
    assert not list(tmp_path.glob("*temp*"))
    values.assign(tf.zeros_like(values))
    assert checkpoints.restore() == str(tmp_path / "ckpt-2")
    assert (values.numpy() == 2).all()
