"""The conventions of L1 on pictures small enough to add up by hand."""

import numpy as np
import pytest

from hifill.evaluation import l1

# 2 x 2 pixels. The second row differs by 10, 0, 20 and by 30, 60, 0: 120 of 12 values.
PHOTO = np.uint8([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [0, 200, 250]]])  # sum 900
RESULT = np.uint8([[[10, 20, 30], [40, 50, 60]], [[60, 80, 110], [30, 140, 250]]])  # sum 880
HOLE = np.array([[False, False], [False, True]])


def test_by_hand():
    assert PHOTO.sum(dtype=int) == 900 and RESULT.sum(dtype=int) == 880
    assert l1.l1_grey_levels(PHOTO, RESULT) == 10
    assert l1.l1_percent_of_255(PHOTO, RESULT) == pytest.approx(10 / 255 * 100, rel=1e-12)
    assert l1.l1_relative_percent(PHOTO, RESULT) == pytest.approx(120 / 900 * 100, rel=1e-12)
    assert l1.l1_percent_of_sum(PHOTO, RESULT) == pytest.approx(120 / 1780 * 100, rel=1e-12)
    assert l1.hole_l1_grey_levels(PHOTO, HOLE, RESULT) == 30  # (30 + 60 + 0) / 3


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (331, 257)])
def test_equal_to_numpy(shape):
    rng = np.random.default_rng(0)
    photo, result = rng.integers(0, 256, (2, *shape, 3), np.uint8)
    hole = rng.uniform(size=shape) < 0.5
    hole[0, 0] = True
    error = np.abs(photo.astype(np.int64) - result)
    assert l1.l1_grey_levels(photo, result) == pytest.approx(error.mean(), rel=1e-14)
    assert l1.hole_l1_grey_levels(photo, hole, result) == pytest.approx(error[hole].mean(), 1e-14)
    assert l1.l1_relative_percent(photo, result) == pytest.approx(
        100 * error.sum() / photo.sum(dtype=np.int64), rel=1e-14
    )


def test_black_and_white():
    """255 grey levels are 100 percent; a black photo leaves nothing to be relative to."""
    black, white = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    assert l1.l1_grey_levels(black, white) == 255
    assert l1.l1_percent_of_255(black, white) == pytest.approx(100, rel=1e-14)
    assert l1.l1_percent_of_sum(black, white) == 100
    assert l1.l1_relative_percent(white, black) == 100
    assert np.isnan(l1.l1_relative_percent(black, white))
    assert np.isnan(l1.l1_percent_of_sum(black, black))
    assert np.isnan(l1.hole_l1_grey_levels(black, np.zeros((9, 9), bool), white))


def test_which_conventions_depend_on_the_holes_size():
    """One fill of one quality, in a small and a large hole."""
    photo = np.full((40, 40, 3), 100, np.uint8)
    values = []
    for side in (10, 20):
        hole = np.zeros((40, 40), bool)
        hole[:side, :side] = True
        result = np.where(hole[..., None], np.uint8(112), photo)
        values.append(
            (l1.l1_grey_levels(photo, result), l1.hole_l1_grey_levels(photo, hole, result))
        )
    assert values == [(12 / 16, 12), (12 / 4, 12)]
