"""PSNR against scikit-image, by hand, and of the hole alone."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from hifill.evaluation.psnr import hole_psnr_db, psnr_db


@pytest.mark.parametrize("shape", [(1, 1), (8, 5), (200, 311)])
def test_equal_to_scikit_image(shape):
    rng = np.random.default_rng(0)
    photo, result = rng.integers(0, 256, (2, *shape, 3), np.uint8)
    expected = peak_signal_noise_ratio(photo, result, data_range=255)
    assert psnr_db(photo, result) == pytest.approx(expected, rel=1e-13)


def test_by_hand():
    """A squared error of 1 at every value is 20 log10(255) = 48.1308 dB; of 255^2, it is 0 dB."""
    photo = np.full((4, 6, 3), 100, np.uint8)
    assert psnr_db(photo, photo + 1) == pytest.approx(48.130803608679, abs=1e-11)
    assert psnr_db(photo * 0, photo * 0 + 255) == pytest.approx(0, abs=1e-12)
    # One value of 72 off by 6: a mean of 0.5, 3.0103 dB above that of 1.
    result = photo.copy()
    result[2, 3, 1] += 6
    assert psnr_db(photo, result) == pytest.approx(48.130803608679 + 3.010299956640, abs=1e-11)


def test_hole(textured_photo, disc):
    picture, hole = textured_photo(90, 70), disc(90, 70)
    noisy = textured_photo(90, 70, seed=1)
    result = np.where(hole[..., None], noisy, picture)
    value = hole_psnr_db(picture, hole, result)
    assert value == pytest.approx(
        peak_signal_noise_ratio(picture[hole], noisy[hole], data_range=255), rel=1e-13
    )
    # The rest of the picture has no influence, and adds the ratio of the areas to the other.
    assert hole_psnr_db(picture, hole, noisy) == value
    assert psnr_db(picture, result) == pytest.approx(
        value + 10 * math.log10(hole.size / hole.sum()), rel=1e-13
    )


def test_equal_pictures_and_empty_holes(textured_photo):
    picture = textured_photo(30, 30)
    assert psnr_db(picture, picture) == math.inf
    assert hole_psnr_db(picture, np.eye(30) > 0, picture) == math.inf
    assert math.isnan(hole_psnr_db(picture, np.zeros((30, 30), bool), picture))
