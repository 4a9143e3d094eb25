"""Sharpness ratios: pictures with known gradients, blur and noise, holes of all kinds."""

import cv2
import numpy as np
import pytest

from hifill.evaluation.sharpness import sharpness_of_photo, sharpness_ratio


def _ramp(slope_outside, slope_inside, hole):
    """Grey values that rise from left to right by different amounts per pixel."""
    x = np.arange(hole.shape[1])
    ramps = [np.broadcast_to(slope * x, hole.shape) for slope in (slope_outside, slope_inside)]
    return np.repeat(np.where(hole, ramps[1], ramps[0])[..., None], 3, 2).astype(np.uint8)


def test_known_gradients(disc):
    """Slopes of 2 and 3 grey levels per pixel, whatever the step between them."""
    hole = disc(60, 80)
    photo, result = _ramp(2, 2, hole), _ramp(2, 3, hole)
    assert sharpness_ratio(photo, hole, result) == pytest.approx(1.5, rel=1e-6)
    assert sharpness_of_photo(photo, hole, result) == pytest.approx(1.5, rel=1e-6)
    assert sharpness_ratio(photo, hole, photo) == pytest.approx(1, rel=1e-6)


def test_luminance_and_direction(disc):
    """A gradient of (3, 4) has the length 5; green counts 0.587."""
    hole = disc(40, 40)
    y, x = np.mgrid[:40, :40]
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[..., 1] = x
    result = np.repeat((y * 3 + x * 4)[..., None] // 2, 3, 2).astype(np.uint8)
    value = sharpness_of_photo(photo, hole, result)
    assert value == pytest.approx(2.5 / 0.587, rel=0.05)  # the ramp is rounded to grey levels


def test_straight_from_the_definition(textured_photo):
    """Against loops over single pixels, with a hole at the border."""
    height, width, ring = 45, 60, 8
    picture, result = textured_photo(height, width), textured_photo(height, width, seed=1)
    hole = np.zeros((height, width), bool)
    hole[20:38, 40:] = True
    hole[5:10, 12:30] = True

    def mean(picture, wanted, hole):
        y = picture @ [0.299, 0.587, 0.114]
        found = []
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                cross = [hole[i, j], hole[i - 1, j], hole[i + 1, j], hole[i, j - 1], hole[i, j + 1]]
                near = hole[max(i - ring, 0) : i + ring + 1, max(j - ring, 0) : j + ring + 1].any()
                if all(c == wanted for c in cross) and near:
                    dy, dx = y[i + 1, j] - y[i - 1, j], y[i, j + 1] - y[i, j - 1]
                    found.append(np.hypot(dy, dx) / 2)
        return np.mean(found)

    inside = mean(result, True, hole)
    assert sharpness_ratio(picture, hole, result) == pytest.approx(
        inside / mean(picture, False, hole), rel=1e-3
    )
    assert sharpness_of_photo(picture, hole, result) == pytest.approx(
        inside / mean(picture, True, hole), rel=1e-3
    )


@pytest.mark.parametrize("measure", [sharpness_ratio, sharpness_of_photo])
def test_blur_and_noise(measure, textured_photo, disc):
    picture, hole = textured_photo(300, 260), disc(300, 260)
    blurred = [cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (4, 2, 1)]
    noise = np.random.default_rng(0).normal(size=picture.shape)
    noisy = [np.clip(picture + s * noise, 0, 255).astype(np.uint8) for s in (10, 20, 40)]
    values = [measure(picture, hole, result) for result in [*blurred, picture, *noisy]]
    assert np.all(np.diff(values) > 0.05)
    assert values[0] < 0.4 and values[3] == pytest.approx(1, abs=0.05) and values[-1] > 2


def test_content_that_does_not_count(textured_photo, disc):
    """Neither what the result has outside, nor what the photo has inside or far away."""
    picture, hole = textured_photo(320, 300), disc(320, 300)
    value = sharpness_ratio(picture, hole, picture)
    other = textured_photo(320, 300, seed=1)
    assert sharpness_ratio(picture, hole, np.where(hole[..., None], picture, other)) == value
    assert sharpness_ratio(np.where(hole[..., None], other, picture), hole, picture) == value
    far = picture.copy()
    far[:50] = other[:50]
    assert sharpness_ratio(far, hole, picture) == value


def test_the_rings_width(textured_photo):
    """1/32 of 640 is 20 pixels, and a pixel's gradient reads one more."""
    picture = textured_photo(640, 700)
    hole = np.zeros((640, 700), bool)
    hole[300:340, 310:370] = True
    value = sharpness_ratio(picture, hole, picture)
    for distance, same in ((21, False), (22, True)):
        changed = picture.copy()
        changed[: 300 - distance + 1] = 255 - changed[: 300 - distance + 1]
        changed[0 : 300 - distance + 1 : 2] = 0
        assert (sharpness_ratio(changed, hole, picture) == value) == same


@pytest.mark.parametrize("place", ["one pixel", "thin line", "everything", "none"])
def test_undefined(place, textured_photo):
    picture = textured_photo(50, 50)
    hole = np.zeros((50, 50), bool)
    hole[
        {"one pixel": np.s_[25, 25], "thin line": np.s_[:, 20:22], "none": np.s_[:0]}.get(place)
    ] = 1
    assert np.isnan(sharpness_ratio(picture, hole, picture))
    if place != "everything":
        assert np.isnan(sharpness_of_photo(picture, hole, picture))


def test_flat_surroundings(textured_photo, disc):
    hole = disc(50, 50)
    flat = np.full((50, 50, 3), 77, np.uint8)
    assert np.isnan(sharpness_ratio(flat, hole, textured_photo(50, 50)))
    assert sharpness_of_photo(textured_photo(50, 50), hole, flat) == 0
