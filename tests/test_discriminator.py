"""The critic: its size, its files and its checks."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import hifill
from hifill.discriminator import SpectralConv2D


@pytest.mark.parametrize(("kernel_size", "parameters"), [(5, 5_961_601), (3, 2_157_441)])
def test_parameters_at_512(kernel_size, parameters):
    critic = hifill.Discriminator(kernel_size)
    assert critic.count_params() == parameters
    assert len(critic.trainable_variables) == 14


def test_paper_kernel_is_the_default():
    assert hifill.Discriminator().count_params() == 2_157_441


def test_scores_follow_the_formula(seed_weights, picture):
    critic = seed_weights(hifill.Discriminator(3, (64, 128)))
    x = tf.constant(picture(2, 64, 128))
    scores = critic(x)
    assert scores.shape == (2, 1)
    for i in range(1, 7):
        layer = getattr(critic, f"conv{i}")
        x = tf.nn.conv2d(x, layer.kernel, 2, "SAME") + layer.bias
        x = tf.maximum(x, 0.2 * x)
    assert x.shape == (2, 1, 2, 256)
    expected = tf.reshape(x, (2, 512)) @ critic.linear.kernel + critic.linear.bias
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(scores) > 0.01


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_keras_file_brings_back_the_critic(policy, picture, tmp_path):
    critic = hifill.Discriminator(5, (64, 128), name="renamed", dtype=policy)
    critic.save(tmp_path / "critic.keras")
    loaded = keras.saving.load_model(tmp_path / "critic.keras")
    assert loaded.get_config() == critic.get_config()
    assert loaded.image_size == (64, 128)
    x = picture(1, 64, 128)
    np.testing.assert_array_equal(loaded(x), critic(x))
    assert loaded(x).dtype == tf.float32


def test_xla_agrees(seed_weights, picture):
    critic = seed_weights(hifill.Discriminator(5, (64, 64)))
    x = picture(2, 64, 64)
    compiled = tf.function(critic, jit_compile=True)
    np.testing.assert_allclose(compiled(x), critic(x), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_scores_are_float32(policy, seed_weights, picture):
    x = picture(2, 64, 64)
    mixed = seed_weights(hifill.Discriminator(3, (64, 64), dtype=policy))
    assert mixed.conv3.compute_dtype == policy.removeprefix("mixed_")
    scores = mixed(x)
    assert scores.dtype == tf.float32
    exact = seed_weights(hifill.Discriminator(3, (64, 64)))(x)
    np.testing.assert_allclose(scores, exact, atol=0.05)


@pytest.mark.parametrize("image_size", [(500, 512), (512, 32), (0, 64), (-64, 64)])
def test_sizes_that_are_no_multiple_of_64_are_refused(image_size):
    with pytest.raises(ValueError, match=f"{image_size[0]}, {image_size[1]}.*multiples of 64"):
        hifill.Discriminator(image_size=image_size)


def test_pictures_of_another_size_are_refused(picture):
    critic = hifill.Discriminator(image_size=(64, 64))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        critic(picture(1, 64, 96))


@pytest.fixture(scope="module")
def spectral_critic():
    """Returns a function: dtype policy -> an SN-PatchGAN for 64 pixels, always the same weights."""

    def build(dtype="float32"):
        critic = hifill.Discriminator(
            3, (64, 64), spectral_normalisation=True, head="patch", dtype=dtype
        )
        rng = np.random.default_rng(0)
        for variable in critic.trainable_variables:
            variable.assign(0.05 * rng.standard_normal(variable.shape))
        return critic

    return build


def _singular_vectors(critic):
    return [getattr(critic, f"conv{i}").singular_vector.numpy() for i in range(1, 7)]


def test_patch_head_scores_with_the_sixth_convolution(picture):
    critic = hifill.Discriminator(3, (64, 128), head="patch")
    x = tf.constant(picture(2, 64, 128))
    scores = critic(x)
    assert scores.shape == (2, 1, 2, 256)
    assert not hasattr(critic, "linear")
    for i in range(1, 7):
        layer = getattr(critic, f"conv{i}")
        x = tf.nn.conv2d(x, layer.kernel, 2, "SAME") + layer.bias
        if i < 6:
            x = tf.maximum(x, 0.2 * x)
    np.testing.assert_allclose(scores, x, atol=1e-5)
    assert np.min(scores) < 0
    assert critic(picture(1, 128, 128)).shape == (1, 2, 2, 256)


def test_unknown_head_is_refused():
    with pytest.raises(ValueError, match="unknown head 'flat', choose one of dense, patch"):
        hifill.Discriminator(head="flat")


@pytest.mark.parametrize(("head", "count"), [("dense", 6), ("patch", 5)])
@pytest.mark.parametrize("spectral_normalisation", [False, True])
def test_features_are_the_activations_that_led_to_the_scores(
    head, count, spectral_normalisation, picture
):
    critic = hifill.Discriminator(3, (64, 64), spectral_normalisation, head)
    x = tf.constant(picture(2, 64, 64))
    features, scores = critic.features(x)
    np.testing.assert_array_equal(scores, critic(x))
    assert [f.shape[1:] for f in features] == [
        (32, 32, 64),
        (16, 16, 128),
        (8, 8, 256),
        (4, 4, 256),
        (2, 2, 256),
        (1, 1, 256),
    ][:count]
    for i, feature in enumerate(features, start=1):
        x = getattr(critic, f"conv{i}")(x)
        x = tf.maximum(x, 0.2 * x)
        np.testing.assert_allclose(feature, x, atol=1e-5)
    if head == "patch":
        np.testing.assert_allclose(scores, critic.conv6(x), atol=1e-5)


def test_keras_file_keeps_head_and_singular_vectors(spectral_critic, picture, tmp_path):
    critic = spectral_critic()
    x = picture(1, 64, 64)
    critic(x, training=True)
    critic.save(tmp_path / "critic.keras")
    loaded = keras.saving.load_model(tmp_path / "critic.keras")
    assert loaded.get_config() == critic.get_config()
    assert (loaded.spectral_normalisation, loaded.head) == (True, "patch")
    np.testing.assert_array_equal(loaded(x), critic(x))


def test_files_from_before_the_head_could_be_chosen(picture):
    config = hifill.Discriminator(3, (64, 64)).get_config()
    del config["spectral_normalisation"], config["head"]
    assert hifill.Discriminator.from_config(config)(picture(1, 64, 64)).shape == (1, 1)


def test_singular_vectors_move_in_training_calls_alone(spectral_critic, picture):
    critic = spectral_critic()
    x = picture(2, 64, 64)
    before = _singular_vectors(critic)
    critic(x)
    critic.features(x)
    for u, first in zip(_singular_vectors(critic), before, strict=True):
        np.testing.assert_array_equal(u, first)
    critic(x, training=True)
    after = _singular_vectors(critic)
    for i, (u, first) in enumerate(zip(after, before, strict=True), start=1):
        matrix = np.reshape(getattr(critic, f"conv{i}").kernel, (-1, len(u)))
        expected = matrix.T @ (matrix @ first)
        np.testing.assert_allclose(u, expected / np.linalg.norm(expected), atol=1e-5)
    critic.features(x, training=True)
    assert all(np.ptp(u - v) > 0 for u, v in zip(_singular_vectors(critic), after, strict=True))


def test_kernels_are_divided_by_their_largest_singular_value(spectral_critic, picture):
    critic = spectral_critic()
    x = tf.constant(picture(2, 64, 64))
    train = tf.function(lambda: critic(x, training=True))
    for _ in range(100):
        train()
    scores = critic(x)
    for i in range(1, 7):
        layer = getattr(critic, f"conv{i}")
        kernel = layer.kernel.numpy()
        sigma = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        x = tf.nn.conv2d(x, kernel / sigma, 2, "SAME") + layer.bias
        if i < 6:
            x = tf.maximum(x, 0.2 * x)
    np.testing.assert_allclose(scores, x, atol=0.01 * np.abs(x).max())


@pytest.mark.parametrize("training", [False, True])
def test_gradient_flows_through_the_singular_value(training):
    rng = np.random.default_rng(0)
    layer = SpectralConv2D(4, 3, dtype="float64")
    layer.build((None, None, None, 2))
    kernel, direction = rng.standard_normal((2, 3, 3, 2, 4))
    x, weights = rng.standard_normal((2, 6, 6, 2)), rng.standard_normal((2, 3, 3, 4))
    layer.kernel.assign(kernel)
    for _ in range(300):
        layer(x, training=True)

    def loss(kernel):
        sigma = np.linalg.svd(kernel.reshape(-1, 4), compute_uv=False)[0]
        return np.sum(weights * tf.nn.conv2d(x, kernel / sigma, 2, "SAME"))

    with tf.GradientTape() as tape:
        result = tf.reduce_sum(weights * layer(x, training=training))
    slope = np.sum(tape.gradient(result, layer.kernel.value) * direction)
    assert float(result) == pytest.approx(loss(kernel), rel=1e-9)
    rise = loss(kernel + 1e-5 * direction) - loss(kernel - 1e-5 * direction)
    assert abs(slope) > 0.1
    assert slope == pytest.approx(rise / 2e-5, rel=1e-6)


def test_kernel_of_zeros_gives_finite_scores_and_gradients():
    layer = SpectralConv2D(4, 3, kernel_initializer="zeros")
    x = np.ones((1, 4, 4, 2), np.float32)
    with tf.GradientTape() as tape:
        result = tf.reduce_sum(layer(x, training=True))
    assert np.all(np.isfinite(tape.gradient(result, layer.kernel.value)))
    assert np.all(np.isfinite(layer.singular_vector))


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_singular_values_are_float32_in_half_precision(policy, spectral_critic, picture):
    critic, exact = spectral_critic(policy), spectral_critic()
    x = picture(2, 64, 64)
    for _ in range(3):
        scores, expected = critic(x, training=True), exact(x, training=True)
    assert scores.dtype == tf.float32
    assert critic.conv2(tf.zeros([1, 8, 8, 64])).dtype == policy.removeprefix("mixed_")
    assert all(u.dtype == np.float32 for u in _singular_vectors(critic))
    np.testing.assert_allclose(scores, expected, atol=0.03 * np.abs(expected).max())


def test_spectral_critic_trains_under_xla(spectral_critic, picture):
    x = tf.constant(picture(2, 64, 64))
    results = []
    for jit_compile in (False, True):
        critic = spectral_critic()

        @tf.function(jit_compile=jit_compile)
        def step(critic):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(critic(x, training=True)))
            return [loss, *tape.gradient(loss, [v.value for v in critic.trainable_variables])]

        step(critic)
        results.append([*step(critic), *_singular_vectors(critic)])
    for compiled, expected in zip(*results[::-1], strict=True):
        np.testing.assert_allclose(compiled, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_replicas_agree_on_the_singular_vectors():
    # In a process of its own, since devices can be split at its start alone.
    script = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hifill.discriminator import SpectralConv2D

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = SpectralConv2D(4, 3)
    layer.build((None, None, None, 2))
matrix = layer.kernel.numpy().reshape(-1, 4)
u = np.full(4, 0.5)


def replica():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.reduce_sum(layer(tf.random.normal([1 + number, 8, 8, 2]), training=True))


for jit_compile in (False, True):
    part = tf.function(replica, jit_compile=jit_compile)
    step = tf.function(lambda: strategy.run(lambda: part()))
    for _ in range(2):
        step()
        u = matrix.T @ (matrix @ u)
        u /= np.linalg.norm(u)
    for own in layer.singular_vector.value.values:
        np.testing.assert_allclose(own, u, atol=1e-5)
np.testing.assert_array_equal(layer.singular_vector.numpy(), own)
"""
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        cwd=pathlib.Path(hifill.__file__).parents[1],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
