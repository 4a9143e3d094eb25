"""SSIM against scikit-image, MS-SSIM against TensorFlow and against its formula in NumPy."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import structural_similarity

from hifill.evaluation.ssim import ms_ssim, ssim


def _scikit_ssim(photo, result):
    return structural_similarity(
        photo,
        result,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )


def _direct_ms_ssim(photo, result):
    """As the formulas are written, window by window, float64."""
    distance = np.arange(11) - 5
    kernel = np.exp(-(distance**2) / (2 * 1.5**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2

    def means(x):
        return np.einsum("hwcij,ij->hwc", sliding_window_view(x, (11, 11), (0, 1)), kernel)

    def halve(x):
        x = np.pad(x, [(0, len(x) % 2), (0, x.shape[1] % 2), (0, 0)], "symmetric")
        return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, 3).mean((1, 3))

    x, y = photo.astype(float), result.astype(float)
    value = 1.0
    for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        mx, my = means(x), means(y)
        sx, sy, sxy = means(x * x) - mx**2, means(y * y) - my**2, means(x * y) - mx * my
        factor = (2 * sxy + 58.5225) / (sx + sy + 58.5225)
        if scale == 4:
            factor *= (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
        value = value * factor.mean((0, 1)) ** weight
        x, y = halve(x), halve(y)
    return value.mean()


@pytest.fixture(scope="module", params=[(11, 11), (40, 61), (268, 530), (171, 1000)])
def pair(request, textured_photo):
    """A photo and its blurred copy; the tiles of the implementation are 256 windows wide."""
    picture = textured_photo(*request.param)
    return picture, cv2.GaussianBlur(picture, (0, 0), 1.5)


def test_ssim_equal_to_scikit_image(pair):
    assert ssim(*pair) == pytest.approx(_scikit_ssim(*pair), abs=1e-12)


def test_ssim_equal_to_tensorflow(pair):
    expected = tf.image.ssim(*pair, max_val=255)
    assert ssim(*pair) == pytest.approx(float(expected), abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(161, 161), (192, 256), (173, 199), (300, 267)])
def test_ms_ssim_equal_to_tensorflow_and_the_formula(size, textured_photo):
    picture = textured_photo(*size)
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    value = ms_ssim(picture, blurred)
    assert 0.5 < value < 0.99
    assert value == pytest.approx(_direct_ms_ssim(picture, blurred), abs=1e-12)
    # TensorFlow's is float32.
    expected = tf.image.ssim_multiscale(picture[None], blurred[None], 255)[0]
    assert value == pytest.approx(float(expected), abs=2e-5)


def test_a_composited_result(textured_photo, disc):
    """Only tiles with a difference are computed; the others count as the 1 that they are."""
    picture, hole = textured_photo(700, 610), disc(700, 610)
    hole[:, :300] = False
    result = np.where(hole[..., None], cv2.GaussianBlur(picture, (0, 0), 3), picture)
    assert ssim(picture, result) == pytest.approx(_scikit_ssim(picture, result), abs=1e-12)
    assert ms_ssim(picture, result) == pytest.approx(_direct_ms_ssim(picture, result), abs=1e-12)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_properties(measure, textured_photo):
    picture = textured_photo(200, 180)
    noise = np.random.default_rng(0).normal(size=picture.shape)
    results = [np.clip(picture + s * noise, 0, 255).astype(np.uint8) for s in (0, 3, 10, 30, 90)]
    values = [measure(picture, result) for result in results]
    assert values[0] == 1
    assert np.all(np.diff(values) < -1e-3)
    assert measure(results[2], picture) == pytest.approx(values[2], abs=1e-14)


def test_negative_similarity():
    """A negative has negative covariances: SSIM says so, MS-SSIM has no power of it."""
    stripes = np.zeros((192, 192, 3), np.uint8)
    stripes[:, ::2] = 255
    assert ssim(stripes, 255 - stripes) < -0.9
    assert ms_ssim(stripes, 255 - stripes) == 0


def test_too_small(textured_photo):
    assert np.isnan(ssim(textured_photo(10, 50), textured_photo(10, 50, 1)))
    assert np.isnan(ms_ssim(textured_photo(160, 400), textured_photo(160, 400, 1)))
    assert np.isnan(ms_ssim(textured_photo(400, 160), textured_photo(400, 160, 1)))
    assert ms_ssim(textured_photo(161, 161), textured_photo(161, 161, 1)) < 1
