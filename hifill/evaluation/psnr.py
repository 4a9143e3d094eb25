"""Peak signal-to-noise ratio: squared error on a logarithmic scale."""

import math

import cv2


def psnr_db(photo, result):
    """10 log10(255^2 / mean (photo - result)^2) over all pixels and channels, in decibels.

    0 upwards; infinite for equal pictures, which a mean over photos must leave out or report. One
    mean over the three channels, not the mean of three PSNRs. Of a composited result, the value
    rises as the hole shrinks. Higher is better.

    Source: Huynh-Thu and Ghanbari 2008, "Scope of validity of PSNR in image/video quality
    assessment"; tf.image.psnr and scikit-image compute the same.

    Args:
        photo, result: uint8 [H, W, 3].
    """
    return _decibels(cv2.norm(photo, result, cv2.NORM_L2SQR), photo.size)


def hole_psnr_db(photo, hole, result):
    """`psnr_db` of the hole's pixels alone, which does not depend on the photo's size.

    A composited result has psnr_db = hole_psnr_db + 10 log10(pixels / pixels in the hole). NaN for
    an empty hole.

    Args:
        photo, result: uint8 [H, W, 3].
        hole: bool [H, W].
    """
    mask = hole.view("uint8")
    count = cv2.countNonZero(mask) * photo.shape[-1]
    if count == 0:
        return math.nan
    return _decibels(cv2.norm(photo, result, cv2.NORM_L2SQR, mask), count)


def _decibels(squared_error, count):
    if squared_error == 0:
        return math.inf
    return 10 * math.log10(255**2 * count / squared_error)
