"""The authors' checkpoints are found, read, turned to RGB and loaded, or refused in one line."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import hifill
from hifill import convert


def _write_checkpoint(prefix, variables):
    """What the authors' training wrote: TensorFlow 1's Saver, with a step counter beside."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in variables.items():
            tf.compat.v1.get_variable(name, initializer=array)
        tf.compat.v1.get_variable("global_step", initializer=np.int64(300_000))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False)


@pytest.fixture(scope="module")
def critic(seed_weights):
    return seed_weights(hifill.Discriminator(3, (64, 64)))


@pytest.fixture(scope="module")
def checkpoint(generator, critic, tmp_path_factory):
    """A folder with one checkpoint, "0", of a generator and its critic."""
    folder = tmp_path_factory.mktemp("authors")
    variables = {
        **convert.tensorflow1_variables(generator),
        **convert.tensorflow1_variables(critic),
    }
    _write_checkpoint(folder / "0", variables)
    return folder


def _copy_without_the_checkpoint_file(checkpoint, folder):
    for path in checkpoint.glob("0.*"):
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize("name", ["", "0", "0.index"])
def test_checkpoint_is_found_and_loaded(name, checkpoint, generator, critic):
    variables = convert.read_checkpoint(checkpoint / name)
    assert len(variables) == 192 + 14 + 1
    assert variables["global_step"] == 300_000
    assert variables["generator/c_de_up_128/c_de_up_128_conv_gate/w"].shape == (3, 3, 64, 1)
    loaded = hifill.Generator()
    convert.load_variables(loaded, variables)
    for array, expected in zip(loaded.get_weights(), generator.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)
    loaded = hifill.Discriminator(3, (64, 64))
    convert.load_variables(loaded, variables)
    for array, expected in zip(loaded.get_weights(), critic.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_frozen_graph_is_read_and_loaded(generator, tmp_path):
    """As TensorFlow 1 freezes: each variable becomes a constant of its name."""
    arrays = convert.tensorflow1_variables(generator)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(name, initializer=array, use_resource=False)
            for name, array in arrays.items()
        ]
        tf.add_n([tf.reduce_sum(variable) for variable in variables], name="inpainted")
        session.run(tf.compat.v1.global_variables_initializer())
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["inpainted"]
        )
    path = tmp_path / "hifill.pb"
    path.write_bytes(frozen.SerializeToString())
    loaded = hifill.Generator()
    convert.load_variables(loaded, convert.read_checkpoint(path))
    for array, expected in zip(loaded.get_weights(), generator.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)

    path.write_bytes(path.read_bytes()[:-1000])
    for unreadable in (path, tmp_path / "none.pb"):
        with pytest.raises(ValueError, match=r"not a readable frozen graph: ."):
            convert.read_checkpoint(unreadable)


def test_folder_without_a_checkpoint_file_is_read(checkpoint, tmp_path):
    folder = _copy_without_the_checkpoint_file(checkpoint, tmp_path)
    assert len(convert.read_checkpoint(str(folder))) == 207


def test_checkpoint_file_with_paths_of_another_machine_is_overlooked(checkpoint, tmp_path):
    folder = _copy_without_the_checkpoint_file(checkpoint, tmp_path)
    (folder / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model_logs/0"\n')
    assert len(convert.read_checkpoint(folder)) == 207


def test_newest_of_several_checkpoints_is_read(tmp_path):
    for step in (0, 5000):
        _write_checkpoint(tmp_path / str(step), {"marker": np.float32(step)})
    assert convert.read_checkpoint(tmp_path)["marker"] == 5000
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(ValueError, match=r"2 checkpoints .* name the \.index file"):
        convert.read_checkpoint(tmp_path)
    assert convert.read_checkpoint(tmp_path / "0.index")["marker"] == 0


def test_names_are_the_authors(generator, critic):
    names = set(convert.tensorflow1_variables(generator))
    assert len(names) == 192
    assert {
        "generator/c_en_down_128_feat/w",
        "generator/c_en_down_128_gate/biases",
        "generator/c_de_toRGB/c_de_toRGB_conv_feat/biases",
        "generator/re_dil_d16/w",
        "generator/re_dil_d16/biases",
        "generator/re_dil_d16/pw",
        "generator/re_dil_d16/ds_biases",
        "generator/re_de_toRGB__256/re_de_toRGB__256_conv/pw",
    } <= names
    assert set(convert.tensorflow1_variables(critic)) == {
        *(f"discriminator/conv{i}/{kind}" for i in range(1, 7) for kind in ("w", "biases")),
        "discriminator/linear/kernel",
        "discriminator/linear/bias",
    }


def test_rgb_results_are_the_bgr_results_of_the_authors_weights(generator, picture, hole):
    variables = convert.tensorflow1_variables(generator)
    bgr = hifill.Generator()
    bgr.set_weights(generator.get_weights())
    coarse, refine = bgr.coarse_network, bgr.refine_network
    coarse_rgb = "c_de_toRGB/c_de_toRGB_conv"
    refine_rgb = "re_de_toRGB__256/re_de_toRGB__256_conv"
    # The only variables that touch colours, as they stand in the authors' files.
    for variable, name in (
        (coarse.c_en_down_128.kernel, "c_en_down_128_feat/w"),
        (coarse.c_en_down_128.gate_kernel, "c_en_down_128_gate/w"),
        (coarse.c_de_toRGB.kernel, f"{coarse_rgb}_feat/w"),
        (coarse.c_de_toRGB.bias, f"{coarse_rgb}_feat/biases"),
        (refine.re_en_down_256.kernel, "re_en_down_256/w"),
        (refine.re_en_down_256.gate_kernel, "re_en_down_256/pw"),
        (refine.re_de_toRGB__256.kernel, f"{refine_rgb}/w"),
        (refine.re_de_toRGB__256.bias, f"{refine_rgb}/biases"),
        (refine.re_de_toRGB__256.gate_kernel, f"{refine_rgb}/pw"),
        (refine.re_de_toRGB__256.gate_bias, f"{refine_rgb}/ds_biases"),
    ):
        before = np.array(variable)
        variable.assign(variables[f"generator/{name}"])
        assert not np.array_equal(variable, before), name
    mask = hole(64, 128)
    image = picture(1, 64, 128) * (1 - mask)
    coarse, refined, attention = generator([image, mask])
    flipped = bgr([image[..., ::-1], mask])
    np.testing.assert_allclose(flipped[0][..., ::-1], coarse, atol=1e-5)
    np.testing.assert_allclose(flipped[1][..., ::-1], refined, atol=1e-5)
    np.testing.assert_allclose(flipped[2], attention, atol=1e-5)


def test_critic_is_turned_to_rgb(critic, picture):
    bgr = hifill.Discriminator(3, (64, 64))
    bgr.set_weights(critic.get_weights())
    bgr.conv1.kernel.assign(convert.tensorflow1_variables(critic)["discriminator/conv1/w"])
    image = picture(2, 64, 64)
    np.testing.assert_allclose(bgr(image[..., ::-1]), critic(image), atol=1e-5)
    assert np.abs(bgr(image) - critic(image)).max() > 1e-3


@pytest.mark.parametrize("architecture", ["released", "paper"])
def test_export_and_import_are_inverse(architecture):
    source, target = hifill.Generator(architecture), hifill.Generator(architecture)
    convert.load_variables(target, convert.tensorflow1_variables(source))
    for array, expected in zip(target.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_half_precision_arrays_are_loaded(generator):
    half = {
        name: array.astype(np.float16)
        for name, array in convert.tensorflow1_variables(generator).items()
    }
    loaded = hifill.Generator()
    convert.load_variables(loaded, half)
    for array, expected in zip(loaded.get_weights(), generator.get_weights(), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-6)


def test_misfits_are_all_named_and_change_nothing():
    generator = hifill.Generator()
    before = generator.get_weights()
    variables = {
        name: array + 1 for name, array in convert.tensorflow1_variables(generator).items()
    }
    del variables["generator/c_dil_d7_gate/w"]
    variables["generator/re_en_down_256/w"] = np.zeros((5, 5, 4, 32), np.float32)
    with pytest.raises(ValueError) as caught:
        convert.load_variables(generator, variables)
    message = str(caught.value)
    assert "generator/c_dil_d7_gate/w is missing" in message
    assert "generator/re_en_down_256/w has shape (5, 5, 4, 32), the model (3, 3, 4, 32)" in message
    assert "\n" not in message
    for array, expected in zip(generator.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_critic_of_another_size_is_refused(critic):
    variables = convert.tensorflow1_variables(critic)
    with pytest.raises(ValueError, match=r"linear/kernel has shape \(256, 1\), .* \(1024, 1\)"):
        convert.load_variables(hifill.Discriminator(3, (128, 128)), variables)


def test_other_gates_than_the_authors_are_refused(generator):
    variables = convert.tensorflow1_variables(generator)
    with pytest.raises(ValueError, match=r"single_channel and pointwise gates, .* full and none"):
        convert.load_variables(hifill.Generator(coarse_gate="full", refine_gate="none"), variables)


@pytest.mark.parametrize(
    "fault", ["no data", "short data", "short index", "no index at all", "empty", "missing"]
)
def test_unreadable_checkpoint_is_named_in_one_line(fault, checkpoint, tmp_path):
    folder = tmp_path / "authors"
    if fault != "missing":
        folder.mkdir()
    if fault not in ("empty", "missing"):
        _copy_without_the_checkpoint_file(checkpoint, folder)
    data, index = folder / "0.data-00000-of-00001", folder / "0.index"
    if fault == "no data":
        data.unlink()
    elif fault == "short data":
        data.write_bytes(data.read_bytes()[:100_000])
    elif fault == "short index":
        index.write_bytes(index.read_bytes()[:1000])
    elif fault == "no index at all":
        index.write_text("not a checkpoint")
    with pytest.raises(ValueError) as caught:
        convert.read_checkpoint(folder)
    message = str(caught.value)
    assert message.startswith("0 checkpoints" if fault == "empty" else "not a readable TensorFlow")
    assert "\n" not in message


def test_missing_prefix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not a readable TensorFlow checkpoint: .*12345"):
        convert.read_checkpoint(tmp_path / "12345")
