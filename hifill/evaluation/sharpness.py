"""How sharp the fill is: gradients inside the hole against those of the photo.

A network that averages over what might have been there fills a hole with a blur, which L1 and PSNR
reward; a ratio of gradients shows it.
"""

import cv2
import numpy as np

_MIN_PIXELS = 16
_MIN_GRADIENT = 0.1  # grey levels per pixel; less is a flat area, of which nothing is a multiple
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def sharpness_ratio(photo, hole, result):
    """Mean gradient inside the hole over that in a ring around it; 1 is best.

        mean of |grad Y(result)| in the hole / mean of |grad Y(photo)| in the ring

    0 upwards: below 1 the fill is smoother than its surroundings (blur), above 1 it is rougher
    (noise). The photo itself seldom has exactly 1, because what lies in the hole is something else
    than its surroundings: `sharpness_ratio(photo, hole, photo)` is the value to compare with.

    Y is the luminance 0.299 R + 0.587 G + 0.114 B, and its gradient ((Y[i, j+1] - Y[i, j-1]) / 2,
    (Y[i+1, j] - Y[i-1, j]) / 2). A pixel counts if it and the four that its gradient needs lie
    inside the picture and on the same side of the hole's rim, so that the seam has no influence.
    The ring is what lies within 1/32 of the picture's shorter side of the hole (at least 8 pixels).

    Source: a definition of this package; the gradient's mean is the classic measure of focus, for
    instance in Pertuz, Puig and Garcia 2013, "Analysis of focus measure operators".

    Args:
        photo, result: uint8 [H, W, 3], RGB.
        hole: bool [H, W].

    Returns:
        Float; NaN if fewer than 16 pixels count in the hole or in the ring (strokes thinner than
        three pixels, a hole that is the whole picture), or if the ring's mean is below 0.1 grey
        levels per pixel.
    """
    ring = max(8, min(hole.shape) // 32)
    crop = _surroundings(hole, ring)
    if crop is None:
        return float("nan")
    hole = hole[crop].view(np.uint8)
    # A square of this side is what ring dilations by 3x3 pixels reach.
    near = cv2.dilate(hole, np.ones((2 * ring + 1, 1), np.uint8))
    near = cv2.dilate(near, np.ones((1, 2 * ring + 1), np.uint8))
    outside = near & cv2.erode(1 - hole, _CROSS)
    return _ratio(
        _mean_gradient(result[crop], cv2.erode(hole, _CROSS)), _mean_gradient(photo[crop], outside)
    )


def sharpness_of_photo(photo, hole, result):
    """Mean gradient inside the hole over that of the photo's own content there; 1 is best.

    As `sharpness_ratio`, except that the denominator is the photo's gradient at the same pixels,
    which makes it exactly 1 for the photo itself; and that it is NaN by the hole alone.
    """
    crop = _surroundings(hole, 1)
    if crop is None:
        return float("nan")
    inside = cv2.erode(hole[crop].view(np.uint8), _CROSS)
    return _ratio(_mean_gradient(result[crop], inside), _mean_gradient(photo[crop], inside))


def _surroundings(hole, margin):
    """Slices of the hole's bounding box and `margin` pixels around it; None without a hole."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    if len(rows) == 0:
        return None
    # One pixel more is what the gradient at the outermost pixels needs.
    margin += 1
    return tuple(
        slice(max(0, found[0] - margin), found[-1] + 1 + margin) for found in (rows, columns)
    )


def _mean_gradient(picture, region):
    """Of the luminance at the region's pixels off the picture's border; NaN if they are few."""
    region = region[1:-1, 1:-1] > 0
    if np.count_nonzero(region) < _MIN_PIXELS:
        return np.nan
    # As float: OpenCV rounds the luminance of uint8 pictures, of which a smooth sky has little.
    luminance = cv2.transform(picture.astype(np.float32), np.float32([[0.299, 0.587, 0.114]]))
    vertical = (luminance[2:, 1:-1] - luminance[:-2, 1:-1]) / 2
    horizontal = (luminance[1:-1, 2:] - luminance[1:-1, :-2]) / 2
    # Not cv2.magnitude and cv2.mean, whose last digits differ from run to run.
    length = np.sqrt(vertical * vertical + horizontal * horizontal)
    return float(length[region].mean(dtype=np.float64))


def _ratio(numerator, denominator):
    return numerator / denominator if denominator >= _MIN_GRADIENT else float("nan")
