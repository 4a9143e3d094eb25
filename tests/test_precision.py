"""The choice of a floating-point type, and what bfloat16 does to a fill."""

import numpy as np
import pytest
import tensorflow as tf

from hifill import Inpainter, precision


@pytest.fixture(autouse=True)
def forget():
    yield
    precision.fastest_dtype_policy.cache_clear()


@pytest.mark.parametrize(
    ("flags", "bfloat16_seconds", "policy"),
    [
        ({"avx2"}, 0.1, "float32"),
        ({"avx2", "amx_bf16"}, 0.1, "mixed_bfloat16"),
        ({"avx2", "avx512_bf16"}, 0.9, "float32"),
    ],
)
def test_bfloat16_where_it_is_fast(monkeypatch, flags, bfloat16_seconds, policy):
    seconds = {tf.float32: 1.0, tf.bfloat16: bfloat16_seconds}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "_cpu_flags", lambda: flags)
    monkeypatch.setattr(precision, "convolution_seconds", seconds.__getitem__)
    precision.fastest_dtype_policy.cache_clear()
    assert precision.fastest_dtype_policy() == policy


@pytest.mark.slow
def test_the_probe_runs_and_reads_this_machine():
    assert 0 < precision.convolution_seconds(tf.float32) < 10
    assert 0 < precision.convolution_seconds(tf.bfloat16) < 10
    assert precision.fastest_dtype_policy() in ("float32", "mixed_bfloat16")


def test_bfloat16_hardly_changes_a_fill(textured_photo):
    photo = textured_photo(300, 400)
    hole = np.zeros((300, 400), bool)
    hole[120:180, 150:260] = True
    exact, rounded = (
        Inpainter(dtype_policy=policy)(photo, hole) for policy in ("float32", "mixed_bfloat16")
    )
    np.testing.assert_array_equal(rounded[~hole], photo[~hole])
    difference = np.abs(rounded[hole].astype(int) - exact[hole])
    assert 0 < difference.mean() < 2


def test_files_have_a_type_of_their_own(export_folder):
    with pytest.raises(ValueError, match="dtype_policy"):
        Inpainter(export_folder / "hifill.pb", dtype_policy="mixed_bfloat16")
