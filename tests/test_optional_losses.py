"""Optional loss terms against their formulas in NumPy, and the networks behind them."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import hifill
from hifill import losses, optional_losses

VGG16_CONVOLUTIONS = [f"block{b}_conv{i}" for b in range(1, 6) for i in range(1, 3 + (b > 2))]


@pytest.fixture(scope="module")
def batch():
    """image, refined of random numbers, and a mask for each of the four pictures."""
    rng = np.random.default_rng(0)
    image, refined = rng.uniform(-1, 1, (2, 4, 16, 20, 3)).astype(np.float32)
    shares = np.reshape([0.02, 0.1, 0, 1], (4, 1, 1, 1))
    mask = (rng.uniform(size=(4, 16, 20, 1)) < shares).astype(np.float32)
    return image, refined, mask


@pytest.fixture(scope="module")
def tiny_extractor():
    """Two outputs of 5 and 7 channels, at half and a quarter of the size; random weights."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    half = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(image)
    quarter = keras.layers.Conv2D(7, 3, strides=2, padding="same")(half)
    return keras.Model(image, [half, quarter])


@pytest.fixture(scope="module")
def vgg16():
    """Keras' VGG16 without its dense layers, with biases that are not zero."""
    keras.utils.set_random_seed(0)
    network = keras.applications.VGG16(weights=None, include_top=False)
    for variable in network.weights:
        if len(variable.shape) == 1:
            variable.assign(np.linspace(-3, 3, variable.shape[0]))
    return network


def _total_variation(image, mask):
    """By pixel, as the formula is written."""
    image, mask = image.astype(np.float64), mask[..., 0]
    count, height, width, _ = image.shape
    total = 0.0
    for n in range(count):
        region = np.zeros((height, width), bool)
        for i, j in np.argwhere(mask[n % len(mask)]):
            region[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = True
        for i, j in np.argwhere(region):
            for k, m in ((i + 1, j), (i, j + 1)):
                if k < height and m < width and region[k, m]:
                    total += np.abs(image[n, k, m] - image[n, i, j]).sum()
    return total / image.size


def _gram(features):
    height, width, channels = features.shape[1:]
    return np.einsum("nijc,nijd->ncd", *[features.astype(np.float64)] * 2) / (
        height * width * channels
    )


def test_total_variation_follows_the_formula(batch):
    image, _, mask = batch
    for some in (mask, mask[:1], mask[1:2]):
        value = optional_losses.total_variation(image, some)
        assert float(value) == pytest.approx(_total_variation(image, some), rel=1e-5)


def test_total_variation_of_a_step_at_the_hole():
    image = np.zeros((1, 6, 6, 1), np.float32)
    image[:, 2:4, 2:4] = 1
    mask = image.copy()
    # Two pixels on each of four sides.
    assert float(optional_losses.total_variation(image, mask)) == pytest.approx(8 / 36)
    assert float(optional_losses.total_variation(image, 0 * mask)) == 0
    assert float(optional_losses.total_variation(0 * image + 0.5, mask)) == 0


def test_feature_matching_is_the_mean_over_layers():
    rng = np.random.default_rng(0)
    real = [rng.standard_normal((2, s, s, 8 // s)).astype(np.float32) for s in (4, 2, 1)]
    fake = [rng.standard_normal(r.shape).astype(np.float32) for r in real]
    expected = np.mean([np.abs(r - f).mean() for r, f in zip(real, fake, strict=True)])
    assert float(optional_losses.feature_matching(real, fake)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError):
        optional_losses.feature_matching(real, fake[:2])


def test_feature_matching_of_half_precision_features():
    real, fake = tf.zeros([1, 300, 300, 4], tf.float16), tf.ones([1, 300, 300, 4], tf.float16)
    value = optional_losses.feature_matching([real], [fake])
    assert value.dtype == tf.float32
    assert float(value) == 1


def test_hinge_losses():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0, 2, (2, 4, 2, 2, 8)).astype(np.float32)
    expected = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    assert float(optional_losses.hinge_critic(real, fake)) == pytest.approx(expected, rel=1e-5)
    assert float(optional_losses.hinge_critic(np.float32([1, 3]), np.float32([-1, -2]))) == 0


def test_gram_matrices():
    features = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(optional_losses.gram(features), _gram(features), atol=1e-6)
    half = optional_losses.gram(tf.ones([1, 300, 300, 2], tf.float16))
    np.testing.assert_allclose(half, np.full((1, 2, 2), 0.5))


def test_perceptual_and_style_follow_their_formulas(batch, tiny_extractor):
    image, refined, mask = batch
    inpainted = losses.composite(refined, image, mask)
    perceptual, style = optional_losses.perceptual_and_style(
        tiny_extractor, image, refined, inpainted
    )
    real, *fakes = (
        [layer.numpy() for layer in tiny_extractor(x)] for x in (image, refined, inpainted)
    )
    pairs = [pair for fake in fakes for pair in zip(real, fake, strict=True)]
    expected = sum(np.abs(r - f).mean() for r, f in pairs)
    assert float(perceptual) == pytest.approx(expected, rel=1e-5)
    expected = sum(np.abs(_gram(r) - _gram(f)).mean() for r, f in pairs)
    assert float(style) == pytest.approx(expected, rel=1e-4)


def test_photos_cost_nothing_and_get_no_gradient(batch, tiny_extractor):
    image, refined, _ = (tf.constant(x) for x in batch)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([image, refined])
        terms = optional_losses.perceptual_and_style(tiny_extractor, image, refined, refined)
    for term in terms:
        assert tape.gradient(term, image) is None
        assert np.abs(tape.gradient(term, refined)).max() > 0
    terms = optional_losses.perceptual_and_style(tiny_extractor, image, image, image)
    np.testing.assert_allclose(terms, 0, atol=1e-7)


def _all_terms(extractor, image, refined, mask):
    inpainted = losses.composite(refined, image, mask)
    real, fake = (
        optional_losses.features(extractor, image),
        optional_losses.features(extractor, inpainted),
    )
    return [
        optional_losses.total_variation(inpainted, mask),
        optional_losses.feature_matching(real, fake),
        optional_losses.hinge_critic(real[0], fake[0]),
        *optional_losses.perceptual_and_style(extractor, image, refined, inpainted),
    ]


@pytest.mark.parametrize("parts", [2, 4])
def test_mean_over_parts_is_that_of_the_batch(parts, batch, tiny_extractor):
    whole = _all_terms(tiny_extractor, *batch)
    split = zip(*(np.split(x, parts) for x in batch), strict=True)
    by_part = [_all_terms(tiny_extractor, *part) for part in split]
    assert np.all(np.std(by_part, axis=0) > 0)
    np.testing.assert_allclose(np.mean(by_part, axis=0), whole, rtol=1e-5)


def test_xla_agrees(batch, tiny_extractor):
    def terms_and_gradients(image, refined, mask):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(refined)
            terms = _all_terms(tiny_extractor, image, refined, mask)
        return terms, [tape.gradient(term, refined) for term in terms]

    inputs = [tf.constant(x) for x in batch]
    compiled = tf.function(terms_and_gradients, jit_compile=True)(*inputs)
    expected = terms_and_gradients(*inputs)
    np.testing.assert_allclose(compiled[0], expected[0], rtol=1e-5)
    for gradient, exact in zip(compiled[1], expected[1], strict=True):
        np.testing.assert_allclose(gradient, exact, atol=1e-4 * np.abs(exact).max())


def test_saved_model_is_loaded_frozen(tiny_extractor, picture, tmp_path):
    tiny_extractor.save(tmp_path / "tiny.keras")
    loaded = optional_losses.load_feature_extractor(str(tmp_path / "tiny.keras"))
    assert loaded.trainable_variables == []
    for size in (64, 50):
        x = picture(1, size, size)
        found = optional_losses.features(loaded, x)
        assert len(found) == 2
        for feature, expected in zip(found, tiny_extractor(x), strict=True):
            np.testing.assert_array_equal(feature, expected)


def test_one_output_in_half_precision_becomes_float32(picture, tmp_path):
    keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")]
    ).save(tmp_path / "half.keras")
    loaded = optional_losses.load_feature_extractor(tmp_path / "half.keras")
    (feature,) = optional_losses.features(loaded, picture(1, 64, 64).astype(np.float16))
    assert (feature.dtype, feature.shape) == (tf.float32, (1, 62, 62, 4))


def _distributed_weights(path, network, names=VGG16_CONVOLUTIONS, dense=True):
    """Writes weights in the layout in which Keras distributes them."""
    with h5py.File(path, "w") as file:
        for name in names:
            kernel, bias = network.get_layer(name).get_weights()
            file[f"{name}/{name}_W_1:0"] = kernel
            file[f"{name}/{name}_b_1:0"] = bias
            file.require_group(f"{name[:6]}_pool")
        if dense:
            file["fc1/fc1_W_1:0"] = np.zeros((8, 4), np.float32)
            file["fc1/fc1_b_1:0"] = np.zeros(4, np.float32)


@pytest.mark.parametrize("layout", ["distributed", "distributed_top", "weights", "whole"])
def test_vgg16_weights_give_its_features(layout, vgg16, picture, tmp_path):
    path = tmp_path / "vgg16.weights.h5"
    if layout == "weights":
        vgg16.save_weights(path)
    elif layout == "whole":
        path = tmp_path / "vgg16.h5"
        vgg16.save(path)
    else:
        _distributed_weights(path, vgg16, dense=layout == "distributed_top")
    extractor = optional_losses.load_feature_extractor(path)
    assert extractor.trainable_variables == []
    pools = [vgg16.get_layer(f"block{i}_pool").output for i in (1, 2, 3)]
    direct = keras.Model(vgg16.input, pools)
    image = picture(2, 64, 96)
    grey_levels = (image + 1) * 127.5
    expected = direct(keras.applications.vgg16.preprocess_input(grey_levels.copy()))
    found = optional_losses.features(extractor, image)
    assert [f.shape for f in found] == [(2, 32, 48, 64), (2, 16, 24, 128), (2, 8, 12, 256)]
    for feature, exact in zip(found, expected, strict=True):
        scale = np.abs(exact).max()
        assert scale > 1
        np.testing.assert_allclose(feature, exact, atol=1e-5 * scale)


def test_global_policy_leaves_vgg16_in_float32(vgg16, picture, tmp_path):
    path = tmp_path / "vgg16.h5"
    _distributed_weights(path, vgg16)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        extractor = optional_losses.load_feature_extractor(path)
    finally:
        keras.config.set_dtype_policy(policy)
    assert all(output.dtype == tf.float32 for output in extractor(picture(1, 64, 64)))
    assert {layer.compute_dtype for layer in extractor.layers if layer.weights} == {"float32"}


def _refusal(path):
    with pytest.raises(ValueError) as refused:
        optional_losses.load_feature_extractor(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["vgg16.h5", "vgg16.weights.h5", "model.keras"])
def test_missing_and_damaged_files(name, tmp_path):
    path = tmp_path / name
    assert "no such file" in _refusal(path)
    path.write_bytes(b"no weights")
    assert "not a " in _refusal(path)


def test_files_of_another_kind(tmp_path):
    assert ".h5" in _refusal(tmp_path / "vgg16.npz")


def test_weights_of_another_network(vgg16, tmp_path):
    path = tmp_path / "other.weights.h5"
    hifill.Discriminator(3, (64, 64)).save_weights(path)
    assert "6 convolutions" in _refusal(path)
    path = tmp_path / "part.h5"
    _distributed_weights(path, vgg16, VGG16_CONVOLUTIONS[:7])
    assert "7 convolutions that are not the 13 of VGG16" in _refusal(path)
    _distributed_weights(path, vgg16)
    with h5py.File(path, "a") as file:  # as in VGG19
        for name in ("block3_conv4", "block4_conv4", "block5_conv4"):
            file[f"{name}/kernel"] = np.zeros((3, 3, 256, 256), np.float32)
    assert "16 convolutions" in _refusal(path)


def test_weights_without_biases_and_not_finite_ones(vgg16, tmp_path):
    path = tmp_path / "vgg16.h5"
    _distributed_weights(path, vgg16)
    with h5py.File(path, "a") as file:
        file["block2_conv1/block2_conv1_b_1:0"][3] = np.nan
    assert "not finite" in _refusal(path)
    with h5py.File(path, "a") as file:
        del file["block2_conv1/block2_conv1_b_1:0"]
    assert "VGG16" in _refusal(path)


def test_models_that_cannot_compare_pictures(tmp_path):
    path = tmp_path / "model.keras"
    fixed, four_channels = keras.Input((96, 96, 3)), keras.Input((None, None, 4))
    image, other = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D
    models = [
        (fixed, convolution(2, 3)(fixed), "does not take a picture of [1, 128, 128, 3]"),
        (four_channels, convolution(2, 3)(four_channels), "does not take a picture"),
        ([image, other], convolution(2, 3)(image), "does not take a picture"),
        (image, keras.layers.GlobalAveragePooling2D()(image), "outputs of (1, 3), not feature"),
    ]
    for inputs, outputs, message in models:
        keras.Model(inputs, outputs).save(path)
        assert message in _refusal(path)


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((None, None, 3)), keras.layers.Lambda(lambda x: x)]).save(path)
    assert "not a Keras model that can be loaded" in _refusal(path)
