"""The critic: its size, its files and its checks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import hifill


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
