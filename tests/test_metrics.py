"""All measures of a photo at once: names and order, the composite, refusals, special values."""

import math

import cv2
import numpy as np
import pytest

from hifill.evaluation import l1, psnr, seam, sharpness, ssim
from hifill.evaluation.metrics import DIRECTIONS, composite, measure


@pytest.fixture
def case(textured_photo, disc):
    """A photo, a hole, and a fill that changes the rest of the picture too."""
    picture = textured_photo(210, 190)
    return picture, disc(210, 190), cv2.GaussianBlur(picture, (0, 0), 2)


def test_every_value_is_that_of_its_function(case):
    picture, hole, result = case
    pasted = np.where(hole[..., None], result, picture)
    measured = {name: value for name, value in measure(*case).items() if "lpips" not in name}
    assert measured == {
        "l1_grey_levels": l1.l1_grey_levels(picture, pasted),
        "l1_percent_of_255": l1.l1_percent_of_255(picture, pasted),
        "l1_relative_percent": l1.l1_relative_percent(picture, pasted),
        "l1_percent_of_sum": l1.l1_percent_of_sum(picture, pasted),
        "hole_l1_grey_levels": l1.hole_l1_grey_levels(picture, hole, pasted),
        "psnr_db": psnr.psnr_db(picture, pasted),
        "hole_psnr_db": psnr.hole_psnr_db(picture, hole, pasted),
        "ssim": ssim.ssim(picture, pasted),
        "ms_ssim": ssim.ms_ssim(picture, pasted),
        "sharpness_ratio": sharpness.sharpness_ratio(picture, hole, pasted),
        "sharpness_of_photo": sharpness.sharpness_of_photo(picture, hole, pasted),
        "seam_ratio": seam.seam_ratio(picture, hole, pasted),
    }
    assert list(measure(*case)) == list(DIRECTIONS)
    assert all(type(value) is float for value in measure(*case).values())


def test_directions(case):
    """The photo itself is at least as good as its blurred copy by every measure."""
    picture, hole, result = case
    best, blurred = measure(picture, hole, picture), measure(picture, hole, result)
    for name, direction in DIRECTIONS.items():
        better = {
            "higher": best[name] > blurred[name],
            "lower": best[name] < blurred[name],
            "one": abs(best[name] - 1) < abs(blurred[name] - 1),
        }
        if not name.startswith("lpips"):  # which needs weights
            assert better[direction], name


def test_a_perfect_fill(case):
    values = measure(case[0], case[1], case[0])
    assert all(value == 0 for name, value in values.items() if "l1" in name)
    assert values["psnr_db"] == values["hole_psnr_db"] == math.inf
    assert values["ssim"] == values["ms_ssim"] == values["sharpness_of_photo"] == 1


def test_what_lies_outside_the_hole_does_not_count(case, textured_photo):
    picture, hole, result = case
    elsewhere = np.where(hole[..., None], result, textured_photo(210, 190, seed=1))
    assert measure(picture, hole, elsewhere) == measure(*case)
    pasted = composite(*case)
    assert np.array_equal(pasted[~hole], picture[~hole])
    assert np.array_equal(pasted[hole], result[hole])


def test_views_and_read_only_arrays(case):
    """Arrays as they come from files: BGR turned round, cropped, not writable."""
    picture, hole, result = (np.pad(a, [(3, 2), (5, 1)] + [(0, 0)] * (a.ndim - 2)) for a in case)
    views = [picture[3:-2, 5:-1, ::-1][..., ::-1], hole[3:-2, 5:-1], result[3:-2, 5:-1]]
    for view in views:
        view.flags.writeable = False
    assert measure(*views) == measure(*case)


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, lambda a: a / 255, r"photo is float64 \[210, 190, 3\], not uint8 \[H, W, 3\]"),
        (2, lambda a: a.astype(np.uint16), r"result is uint16"),
        (2, lambda a: a[..., 0], r"result is uint8 \[210, 190\]"),
        (2, lambda a: a[1:], r"sizes differ: .*hole \[210, 190\], result \[209, 190, 3\]"),
        (1, lambda a: a[:, 1:], r"sizes differ: .*hole \[210, 189\]"),
        (1, lambda a: a[..., None], r"hole is bool \[210, 190, 1\], not bool \[H, W\]"),
        (1, lambda a: a * np.uint8(255), r"hole is uint8"),
        (1, lambda a: a & False, r"the hole is empty"),
    ],
)
def test_refusals(index, change, message, case):
    arrays = list(case)
    arrays[index] = change(arrays[index])
    with pytest.raises(ValueError, match=message) as caught:
        measure(*arrays)
    assert "\n" not in str(caught.value)


def test_tiny_photos():
    """One pixel has an error, and nothing that needs neighbours."""
    photo = np.full((1, 1, 3), 100, np.uint8)
    values = measure(photo, np.ones((1, 1), bool), photo + 10)
    assert values["hole_l1_grey_levels"] == values["l1_grey_levels"] == 10
    assert {name for name, value in values.items() if math.isnan(value)} == {
        "ssim",
        "ms_ssim",
        "sharpness_ratio",
        "sharpness_of_photo",
        "seam_ratio",
        "lpips_alex",
        "lpips_vgg",
    }
