"""Structural similarity, on one scale and on five.

Both are computed in float64, tile by tile, with windows that lie wholly inside the picture. A
window in which the pictures do not differ has a similarity of exactly 1, so that of a composited
result only the surroundings of the hole cost time.
"""

import cv2
import numpy as np

_WINDOW = 11
_KERNEL = cv2.getGaussianKernel(_WINDOW, 1.5, cv2.CV_64F)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TILE = 256  # windows along a tile's side
_MIN_SIDE = (_WINDOW - 1) * 2 ** (len(_WEIGHTS) - 1) + 1  # 161


def ssim(photo, result):
    """Mean structural similarity, -1 to 1; higher is better and 1 means equal.

    The mean over all windows and over the channels R, G and B of

        (2 mx my + C1) (2 sxy + C2) / ((mx^2 + my^2 + C1) (sx^2 + sy^2 + C2))

    with means m, variances s^2 and covariance sxy in Gaussian windows of 11x11 pixels and sigma
    1.5, C1 = (0.01 * 255)^2 and C2 = (0.03 * 255)^2. No window reaches beyond the picture; the
    (co)variances are those of the population. Others use the luminance alone, 7x7 uniform windows
    (scikit-image's default) or windows beyond the border: their figures cannot be compared with
    these. tf.image.ssim, and scikit-image with gaussian_weights=True, sigma=1.5 and
    use_sample_covariance=False, are this variant.

    Source: Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error
    visibility to structural similarity", equation 13.

    Args:
        photo, result: uint8 [H, W, 3].

    Returns:
        Float; NaN if a side is shorter than 11 pixels, where there is no window.
    """
    if min(photo.shape[:2]) < _WINDOW:
        return float("nan")
    return float(_mean_similarities(photo, result)[0].mean())


def ms_ssim(photo, result):
    """Multi-scale structural similarity, 0 to 1; higher is better and 1 means equal.

    Of each channel, the product over five scales of cs^w, the last of which is `ssim` itself rather
    than its factor cs = (2 sxy + C2) / (sx^2 + sy^2 + C2); w = 0.0448, 0.2856, 0.3001, 0.2363,
    0.1333. Then the mean over R, G and B. From scale to scale, 2x2 pixels are averaged, an odd last
    row or column with its own copy. A negative mean counts as 0, since it has no such power.

    Source: Wang, Simoncelli and Bovik 2003, "Multi-scale structural similarity for image quality
    assessment", equation 7, for the luminance; by channel and with negative values cut, as
    tf.image.ssim_multiscale does.

    Args:
        photo, result: uint8 [H, W, 3].

    Returns:
        Float; NaN if a side is shorter than 161 pixels: the fifth scale would have no window, and
        fewer scales or smaller windows would be another measure.
    """
    if min(photo.shape[:2]) < _MIN_SIDE:
        return float("nan")
    product = np.ones(3)
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            photo, result = _halved(photo), _halved(result)
        last = scale == len(_WEIGHTS) - 1
        similarity, contrast = _mean_similarities(photo, result)
        product *= np.maximum(similarity if last else contrast, 0) ** weight
    return float(product.mean())


def _mean_similarities(x, y):
    """Means over windows of the similarity and of its contrast-structure factor: two [3]."""
    height, width = (side - _WINDOW + 1 for side in x.shape[:2])
    # Only the shortfall from 1 is added up, which is 0 in tiles that are equal.
    shortfall = np.zeros((2, 3))
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            # The last tiles are smaller by themselves: slices end where the picture does.
            reach = _TILE + _WINDOW - 1
            tile = np.s_[top : top + reach, left : left + reach]
            if not np.array_equal(x[tile], y[tile]):
                shortfall += _tile_shortfall(x[tile].astype(float), y[tile].astype(float))
    return 1 - shortfall / (height * width)


def _tile_shortfall(x, y):
    mean_x, mean_y = _window_means(x), _window_means(y)
    variances = _window_means(x * x + y * y) - (mean_x * mean_x + mean_y * mean_y)
    covariance = _window_means(x * y) - mean_x * mean_y
    contrast = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    return np.stack([(1 - luminance * contrast).sum((0, 1)), (1 - contrast).sum((0, 1))])


def _window_means(x):
    """Gaussian means: [h, w, 3] -> [h - 10, w - 10, 3]."""
    margin = _WINDOW // 2
    return cv2.sepFilter2D(x, cv2.CV_64F, _KERNEL, _KERNEL)[margin:-margin, margin:-margin]


def _halved(x):
    """Means of 2x2 pixels in float32, in which they are exact: 8 bits and 2 more per scale."""
    x = np.pad(x, [(0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)], "edge")
    total = x[::2, ::2].astype(np.float32)
    for rows, columns in ((0, 1), (1, 0), (1, 1)):
        total += x[rows::2, columns::2]
    return total / 4
