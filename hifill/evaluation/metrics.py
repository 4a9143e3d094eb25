"""All measures of one photo, under names that say unit and convention."""

import math

import numpy as np

from hifill.evaluation import l1, psnr, seam, sharpness, ssim

HIGHER, LOWER, ONE = "higher", "lower", "one"
ARROWS = {HIGHER: "↑", LOWER: "↓", ONE: "→ 1"}

# name -> what is better. The order of `measure` and of every table made from it.
DIRECTIONS = {
    "l1_grey_levels": LOWER,
    "l1_percent_of_255": LOWER,
    "l1_relative_percent": LOWER,
    "l1_percent_of_sum": LOWER,
    "hole_l1_grey_levels": LOWER,
    "psnr_db": HIGHER,
    "hole_psnr_db": HIGHER,
    "ssim": HIGHER,
    "ms_ssim": HIGHER,
    "sharpness_ratio": ONE,
    "sharpness_of_photo": ONE,
    "seam_ratio": ONE,
    "lpips_alex": LOWER,
    "lpips_vgg": LOWER,
}


def composite(photo, hole, result):
    """The photo with the hole's pixels taken from the result.

    Args:
        photo, result: uint8 [H, W, 3].
        hole: bool [H, W].

    Returns:
        A new uint8 [H, W, 3].

    Raises:
        ValueError: one line, if an array is of another shape or dtype, or the hole is empty.
    """
    for name, array in (("photo", photo), ("result", result)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not uint8 [H, W, 3]")
    if hole.dtype != bool or hole.ndim != 2:
        raise ValueError(f"hole is {hole.dtype} {list(hole.shape)}, not bool [H, W]")
    if not photo.shape == result.shape == (*hole.shape, 3):
        shapes = f"photo {list(photo.shape)}, hole {list(hole.shape)}, result {list(result.shape)}"
        raise ValueError(f"sizes differ: {shapes}; measure at the photo's own size")
    if not hole.any():
        raise ValueError("the hole is empty: nothing was filled, so there is nothing to measure")
    return np.where(hole[..., None], result, photo)


def measure(photo, hole, result, networks=None):
    """Measures one filled photo.

    What is measured is `composite(photo, hole, result)`: a method is not judged by what it does
    outside the hole.

    Args:
        photo: uint8 [H, W, 3] RGB, without a hole.
        hole: bool [H, W].
        result: uint8 [H, W, 3] RGB.
        networks: `networks.Networks`; what it does not measure is NaN.

    Returns:
        Dict of floats with the keys of `DIRECTIONS` in their order; each is defined in the function
        of its name. `psnr_db` and `hole_psnr_db` are infinite for a perfect fill; the others, but
        for L1 of a photo that is not black, are NaN where they are not defined.

    Raises:
        ValueError: as `composite`.
    """
    result = composite(photo, hole, result)
    values = (
        l1.l1_grey_levels(photo, result),
        l1.l1_percent_of_255(photo, result),
        l1.l1_relative_percent(photo, result),
        l1.l1_percent_of_sum(photo, result),
        l1.hole_l1_grey_levels(photo, hole, result),
        psnr.psnr_db(photo, result),
        psnr.hole_psnr_db(photo, hole, result),
        ssim.ssim(photo, result),
        ssim.ms_ssim(photo, result),
        sharpness.sharpness_ratio(photo, hole, result),
        sharpness.sharpness_of_photo(photo, hole, result),
        seam.seam_ratio(photo, hole, result),
    )
    measured = dict.fromkeys(DIRECTIONS, math.nan)
    measured |= zip(DIRECTIONS, values, strict=False)
    return measured | (networks.measure(photo, result) if networks else {})
