"""Mean absolute error, in the five conventions that papers on inpainting use without saying which.

All take uint8 [H, W, 3] and are exact: the sum of absolute differences is a sum of integers. Of a
composited result, whose pixels outside the hole are the photo's, those over the whole image shrink
with the hole; `hole_l1_grey_levels` does not. Lower is better; 0 if and only if nothing differs.
"""

import cv2


def l1_grey_levels(photo, result):
    """mean |photo - result| over all pixels and channels, in grey levels: 0 to 255.

    Source: the mean absolute error of, for instance, Wang and Bovik 2009, "Mean squared error: love
    it or leave it?". Divided by 255 (or 127.5) it is the figure of pictures scaled to [0, 1] (or
    [-1, 1]).
    """
    return cv2.norm(photo, result, cv2.NORM_L1) / photo.size


def l1_percent_of_255(photo, result):
    """100 * mean |photo - result| / 255 over all pixels and channels: 0 to 100 percent.

    Source: the "l1 (%)" of Liu et al. 2018, "Image inpainting for irregular holes using partial
    convolutions", and the "mean l1 loss" of Yu et al. 2018, "Generative image inpainting with
    contextual attention", are read this way; neither defines it.
    """
    return l1_grey_levels(photo, result) / 2.55


def l1_relative_percent(photo, result):
    """100 * sum |photo - result| / sum photo: 0 percent upwards, without a limit.

    The error relative to the photo's own brightness: dark photos weigh more. NaN for a black photo.

    Source: the relative l1 norm of numerical mathematics, ||photo - result||_1 / ||photo||_1.
    """
    return _percent(cv2.norm(photo, result, cv2.NORM_L1), cv2.norm(photo, cv2.NORM_L1))


def l1_percent_of_sum(photo, result):
    """100 * sum |photo - result| / sum (photo + result): 0 to 100 percent, NaN if both are black.

    About half of `l1_relative_percent`. The only one of these that a bright fill improves.

    Source: `compare_mae` in scripts/metrics.py of EdgeConnect (Nazeri et al. 2019), repeated by the
    code of many later papers; there of grey pictures and as a fraction, here of RGB in percent.
    """
    both = cv2.norm(photo, cv2.NORM_L1) + cv2.norm(result, cv2.NORM_L1)
    return _percent(cv2.norm(photo, result, cv2.NORM_L1), both)


def hole_l1_grey_levels(photo, hole, result):
    """mean |photo - result| over the channels of the hole's pixels, in grey levels: 0 to 255.

    Pixels outside the hole, bool [H, W], have no influence. NaN for an empty hole.

    Source: the "hole" term of Liu et al. 2018, equation 1, normalised by the hole's area.
    """
    mask = hole.view("uint8")
    area = cv2.countNonZero(mask)
    if area == 0:
        return float("nan")
    return cv2.norm(photo, result, cv2.NORM_L1, mask) / (area * photo.shape[-1])


def _percent(part, whole):
    return 100 * part / whole if whole else float("nan")
