"""Weight files: ours and Keras' are the same, and a file that does not fit changes nothing."""

import json

import h5py
import numpy as np
import pytest

import hifill
from hifill.weights import SHIPPED, load_generator, load_weights, save_weights


def _assert_same_weights(generator, expected, **tolerance):
    for variable, array in zip(generator.weights, expected, strict=True):
        np.testing.assert_allclose(variable, array, err_msg=variable.path, **tolerance)


def _refused(generator, path):
    """The message, after checking that it is one line, names the file and that nothing changed."""
    before = generator.get_weights()
    with pytest.raises(ValueError) as caught:
        load_weights(generator, path)
    _assert_same_weights(generator, before, rtol=0)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.fixture(scope="module")
def saved(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "generator.weights.h5"
    save_weights(generator, path)
    return path


@pytest.fixture(scope="module")
def fresh():
    """A generator to load into; its weights are of no account before and after."""
    return hifill.Generator()


@pytest.mark.parametrize("architecture", ["released", "paper"])
def test_float32_weights_come_back_exactly(architecture, tmp_path):
    source, target = hifill.Generator(architecture), hifill.Generator(architecture)
    save_weights(source, tmp_path / "source.weights.h5")
    load_weights(target, tmp_path / "source.weights.h5")
    _assert_same_weights(target, source.get_weights(), rtol=0)


def test_float16_weights_are_half_as_large_and_nearly_the_same(generator, fresh, saved, tmp_path):
    path = tmp_path / "half.weights.h5"
    save_weights(generator, str(path), dtype="float16")
    load_weights(fresh, str(path))
    _assert_same_weights(fresh, generator.get_weights(), rtol=1e-3, atol=1e-6)
    assert all(variable.dtype == "float32" for variable in fresh.weights)
    # Each variable also has a header, of about 1 KB in both files.
    assert saved.stat().st_size - path.stat().st_size == pytest.approx(2 * 2_722_791, rel=0.01)


def test_folder_of_a_training_run_is_loaded(generator, fresh, saved):
    load_weights(fresh, saved.parent)
    _assert_same_weights(fresh, generator.get_weights(), rtol=0)


def test_keras_reads_our_file(generator, saved):
    target = hifill.Generator()
    target.load_weights(saved)
    _assert_same_weights(target, generator.get_weights(), rtol=0)


@pytest.mark.parametrize("architecture", ["released", "paper"])
def test_keras_file_is_read(architecture, tmp_path):
    source, target = hifill.Generator(architecture), hifill.Generator(architecture)
    source.save_weights(tmp_path / "keras.weights.h5")
    load_weights(target, tmp_path / "keras.weights.h5")
    _assert_same_weights(target, source.get_weights(), rtol=0)


def test_gates_with_three_kernels_come_back(tmp_path):
    gates = {"coarse_gate": "depthwise_separable", "refine_gate": "none"}
    source, target = hifill.Generator(**gates), hifill.Generator(**gates)
    save_weights(source, tmp_path / "ours.weights.h5")
    load_weights(target, tmp_path / "ours.weights.h5")
    _assert_same_weights(target, source.get_weights(), rtol=0)


def test_saving_replaces_the_file_and_leaves_nothing_beside(generator, saved, tmp_path):
    path = tmp_path / "generator.weights.h5"
    path.write_text("an older file")
    save_weights(generator, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["generator.weights.h5"]
    assert path.stat().st_size == saved.stat().st_size


def test_failed_saving_keeps_the_old_file(generator, tmp_path):
    path = tmp_path / "generator.weights.h5"
    path.write_text("an older file")
    with pytest.raises((TypeError, ValueError)):
        save_weights(generator, path, dtype="float17")
    assert path.read_text() == "an older file"
    assert [entry.name for entry in tmp_path.iterdir()] == ["generator.weights.h5"]


def test_weights_of_another_architecture_are_refused(saved):
    message = _refused(hifill.Generator("paper"), saved)
    assert "coarse_network/c_en_conv4_64/vars/0 is missing" in message


def test_other_shapes_are_refused_with_both(saved):
    message = _refused(hifill.Generator(refine_gate="full"), saved)
    assert "refine_network/re_en_down_256/vars/2 has shape (1, 1, 4, 32)" in message
    assert "the network (3, 3, 4, 32)" in message
    assert message.endswith("more")  # a dozen layers do not fit, three are named


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file_is_refused(share, fresh, saved, tmp_path):
    path = tmp_path / "short.weights.h5"
    path.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    assert "truncated" in _refused(fresh, path)


@pytest.mark.parametrize("content", [b"", b"not an HDF5 file" * 1000])
def test_other_files_are_refused(content, fresh, tmp_path):
    path = tmp_path / "other.weights.h5"
    path.write_bytes(content)
    assert "not a weights file" in _refused(fresh, path)


def test_damaged_file_is_refused(fresh, saved, tmp_path):
    intact = saved.read_bytes()
    path = tmp_path / "damaged.weights.h5"
    for tree in (b"TREE", b"SNOD", b"HEAP"):
        path.write_bytes(intact.replace(tree, b"ruin"))
        _refused(fresh, path)


def test_hdf5_file_of_something_else_is_refused(fresh, tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
    assert "missing" in _refused(fresh, path)


def test_missing_file_is_refused(fresh, tmp_path):
    assert "no such weights file" in _refused(fresh, tmp_path / "nowhere.weights.h5")
    assert "no such weights file" in _refused(fresh, tmp_path / "generator.weights.h5")


@pytest.mark.skipif(not SHIPPED.exists(), reason="this checkout has no shipped weights")
def test_shipped_weights_are_loaded_by_default(picture, hole):
    generator = hifill.Generator()
    before = generator.get_weights()
    load_weights(generator)
    for array, initial in zip(generator.get_weights(), before, strict=True):
        assert np.all(np.isfinite(array)) and not np.array_equal(array, initial)
    mask = hole(64, 64)
    for result in generator([picture(1, 64, 64) * (1 - mask), mask]):
        assert np.all(np.isfinite(result))


def test_the_best_weights_of_a_run_know_its_architecture(tmp_path):
    generator = hifill.Generator("paper", refine_gate="full")
    save_weights(generator, tmp_path / "best.weights.h5")
    config = {"architecture": "paper", "refine_gate": "full", "coarse_gate": "single_channel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_generator(str(tmp_path / "best.weights.h5"))
    assert (loaded.architecture, loaded.refine_gate) == ("paper", "full")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="does not fit"):
        load_generator(tmp_path / "best.weights.h5")
