"""The seam ratio: by hand, against its definition pixel by pixel, and what makes it grow."""

import cv2
import numpy as np
import pytest

from hifill.evaluation.seam import seam_ratio


def test_by_hand():
    """A ramp of 2 grey levels per pixel; the hole's right half is 10 brighter than it should be."""
    photo = np.repeat(np.broadcast_to(2 * np.arange(20), (20, 20))[..., None], 3, 2)
    photo = photo.astype(np.uint8)
    hole = np.zeros((20, 20), bool)
    hole[:, 5:] = True
    result = photo + np.uint8(10) * hole[..., None]
    assert seam_ratio(photo, hole, photo) == 1
    assert seam_ratio(photo, hole, result) == 6  # a step of 12 instead of 2
    # On the other side of the rim the ramp falls into the hole: |2 - 12| = 10.
    assert seam_ratio(photo, ~hole, photo + np.uint8(12) * ~hole[..., None]) == 5


def test_straight_from_the_definition(textured_photo):
    picture, result = textured_photo(40, 50), textured_photo(40, 50, seed=1)
    hole = np.zeros((40, 50), bool)
    hole[:12, 10:20] = True
    hole[25:27, 30:47] = True  # too close to the border on the right for the steps outside
    hole[35, 5:15] = True  # one pixel high: only its ends count
    across, own, count = 0.0, 0.0, 0
    for i in range(40):
        for j in range(50):
            for di, dj in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                line = [(i + k * di, j + k * dj) for k in range(4)]
                if not all(0 <= a < 40 and 0 <= b < 50 for a, b in line):
                    continue
                if [hole[p] for p in line] == [False, False, True, True]:
                    photo4 = [picture[p].astype(float) for p in line]
                    across += np.abs(result[line[1]].astype(float) - result[line[2]]).mean()
                    own += np.abs(photo4[0] - photo4[1]).mean() / 2
                    own += np.abs(photo4[2] - photo4[3]).mean() / 2
                    count += 1
    assert count > 40
    assert seam_ratio(picture, hole, result) == pytest.approx(across / own, rel=1e-12)


def test_no_change_is_invisible_and_an_offset_is_not(textured_photo, disc):
    picture, hole = textured_photo(400, 350), disc(400, 350)
    values = [
        seam_ratio(picture, hole, picture + np.uint8(offset) * hole[..., None])
        for offset in (0, 2, 5, 10, 20, 35)
    ]
    assert values[0] == pytest.approx(1, abs=0.05)
    assert np.all(np.diff(values) > 0.01) and values[-1] > 4
    darker = seam_ratio(picture, hole, picture - np.uint8(20) * hole[..., None])
    assert darker == pytest.approx(values[4], rel=0.1)


def test_unrelated_and_blurred_fills(textured_photo, disc):
    """Lines that do not meet are a seam; a fill that is noisy inside does not hide it."""
    picture, hole = textured_photo(300, 300), disc(300, 300)[..., None]
    unrelated = np.where(hole, textured_photo(300, 300, seed=1), picture)
    assert seam_ratio(picture, hole[..., 0], unrelated) > 2
    core = cv2.erode(hole.astype(np.uint8), np.ones((5, 5), np.uint8))[..., None] > 0
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    assert seam_ratio(picture, hole[..., 0], np.where(core, noise, unrelated)) == seam_ratio(
        picture, hole[..., 0], unrelated
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (3, 3), (50, 3), (50, 50)])
def test_undefined(shape, textured_photo):
    """Whole pictures, pictures without room, one pixel; and flat surroundings."""
    picture = textured_photo(*shape)
    everything = np.ones(shape, bool)
    assert np.isnan(seam_ratio(picture, everything, picture))
    assert np.isnan(seam_ratio(picture, ~everything, picture))
    one = ~everything
    one[shape[0] // 2, shape[1] // 2] = True
    assert np.isnan(seam_ratio(picture, one, picture))
    half = everything.copy()
    half[:, : shape[1] // 2] = False
    assert np.isnan(seam_ratio(picture * 0 + 9, half, picture))
