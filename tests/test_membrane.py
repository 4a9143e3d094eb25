"""The membrane against what is known of Laplace's equation, and what it does for a fill."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from hifill import HighResolutionInpainter
from hifill.membrane import membrane


def scattered(height, width, seed=0):
    """Values [1, H, W, 2], and where they are known [1, H, W, 1]: outside of two discs."""
    random = np.random.default_rng(seed)
    known = np.ones((height, width), np.float32)
    cv2.circle(known, (width // 2, height // 3), height // 5, 0, -1)
    cv2.circle(known, (0, height - 1), height // 4, 0, -1)
    values = random.uniform(-50, 200, (1, height, width, 2)).astype(np.float32)
    return values, known[None, ..., None]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (37, 51)])
def test_known_values_stay_and_bound_the_others(height, width):
    values, known = scattered(height, width)
    surface = membrane(values, known).numpy()
    inside = known[..., 0] > 0
    np.testing.assert_allclose(surface[inside], values[inside], rtol=1e-5, atol=1e-4)
    for channel in range(2):
        least, most = values[inside][:, channel].min(), values[inside][:, channel].max()
        assert least - 1e-3 <= surface[..., channel].min()
        assert surface[..., channel].max() <= most + 1e-3
    other = membrane(np.where(inside[..., None], values, 9999), known).numpy()
    np.testing.assert_array_equal(other, surface)


def test_near_the_solution_of_laplaces_equation():
    """Of smooth values, such as differences in colour are; solved by relaxation until it stands."""
    y, x = np.mgrid[:64, :64] / 64.0
    values = np.stack([80 * x + 30 * y, 60 * np.sin(3 * x) * y], axis=-1).astype(np.float32)
    _, known = scattered(64, 64)
    known = known[0]
    solved = values * known
    for _ in range(20_000):
        padded = np.pad(solved, ((1, 1), (1, 1), (0, 0)), "edge")
        mean = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        solved = np.where(known > 0, values, mean / 4)
    surface = membrane(values[None], known[None]).numpy()[0]
    error = np.abs(surface - solved)[known[..., 0] == 0]
    assert error.max() < 5 and error.mean() < 1  # of values that span 110 and 60


def test_constants_and_nothing_known():
    known = scattered(64, 64)[1]
    surface = membrane(np.full((1, 64, 64, 3), 7.5, np.float32), known).numpy()
    np.testing.assert_allclose(surface, 7.5, rtol=1e-5)
    nothing = membrane(np.full((1, 64, 64, 3), 7.5, np.float32), 0 * known).numpy()
    np.testing.assert_array_equal(nothing, 0)


def test_gradients_reach_the_known_values():
    values, known = scattered(64, 64)
    values = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        inside = tf.reduce_sum(membrane(values, known) * (1 - known))
    gradient = tape.gradient(inside, values).numpy()
    assert (
        np.isfinite(gradient).all()
        and not gradient[np.broadcast_to(known == 0, gradient.shape)].any()
    )
    # All that lies inside is a mean of what is known.
    assert gradient.sum() == pytest.approx(2 * (1 - known).sum(), rel=1e-3)


@pytest.mark.slow
def test_a_generator_that_is_off_in_colour_leaves_no_seam():
    """One that knows all but adds 40 grey levels, more towards the right."""
    y, x = np.mgrid[:200, :300]
    photo = np.stack([60 + x / 4, 120 + y / 4, 90 + (x + y) / 8], axis=-1).astype(np.uint8)
    hole = np.zeros((200, 300), bool)
    hole[60:140, 90:210] = True
    small = cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)
    offset = np.linspace(20, 60, 128, dtype=np.float32)[None, :, None]
    drawn = tf.constant((small + offset) / 127.5 - 1)[None]

    def generator(inputs):
        return drawn, drawn, tf.zeros([1, 8, 8, 64])

    errors = {}
    for fidelity in ("plain", "improved"):
        result = HighResolutionInpainter(generator, fidelity, size=128)(photo, hole).numpy()
        errors[fidelity] = np.abs(result.astype(int) - photo)[hole]
        np.testing.assert_array_equal(result[~hole], photo[~hole])
    assert errors["plain"].mean() > 35
    assert errors["improved"].mean() < 1.5 and errors["improved"].max() <= 6
