"""What the authors' inference script does around the network, in NumPy and OpenCV alone.

A restatement for comparison of results, time and memory: doubles throughout, a square of `multiple`
times 512 pixels, and one matrix product for each row of the attention map, as in the script.
"""

import cv2
import numpy as np

SIZE, GRID = 512, 32


def before_network(photo, hole, multiple):
    """Photo and hole at the size of the square and at the network's.

    Args:
        photo: uint8 [H, W, 3].
        hole: uint8 [H, W], 255 in the hole.
        multiple: the square's side in units of the network's.

    Returns:
        (large, large_known, small, small_hole): float64 [L, L, 3], [L, L, 1], [512, 512, 3], and
        [512, 512, 1], 1 in the hole; L = 512 * multiple.
    """
    photo = photo.astype(np.float64)
    known = 1 - hole.astype(np.float64) / 255
    side = SIZE * multiple
    large = cv2.resize(photo, (side, side), interpolation=cv2.INTER_LINEAR)
    large_known = cv2.resize(known, (side, side), interpolation=cv2.INTER_NEAREST)
    small = large.reshape(SIZE, multiple, SIZE, multiple, 3).mean(axis=(1, 3))
    small_known = cv2.resize(known, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    return large, large_known[..., None], small, 1 - small_known[..., None]


def after_network(photo, prepared, refined, attention):
    """Aggregates the residual and pastes the hole.

    Args:
        photo: uint8 [H, W, 3].
        prepared: what `before_network` returned.
        refined: float [512, 512, 3], 0 to 255.
        attention: float32 [32, 32, 1024].

    Returns:
        uint8 [H, W, 3].
    """
    large, large_known, small, small_hole = prepared
    side = large.shape[0]
    residual = large - cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    residual = _aggregate(residual * large_known, attention)
    result = cv2.resize(refined.astype(np.float64), (side, side), interpolation=cv2.INTER_LINEAR)
    result = np.clip(result + residual, 0, 255)
    size = photo.shape[1::-1]
    result = cv2.resize(result, size, interpolation=cv2.INTER_LINEAR)
    weight = cv2.GaussianBlur(small_hole, (7, 7), 1, borderType=cv2.BORDER_CONSTANT)
    weight = cv2.resize(weight, size, interpolation=cv2.INTER_LINEAR)[..., None]
    return (result * weight + photo.astype(np.float64) * (1 - weight)).astype(np.uint8)


def _aggregate(residual, attention):
    patch = residual.shape[0] // GRID
    cells = residual.reshape(GRID, patch, GRID, patch, 3).transpose(0, 2, 1, 3, 4)
    cells = cells.reshape(1, GRID * GRID, -1)
    cells = np.matmul(attention, cells)  # GRID products of [32, 1024] by [1024, patch^2 * 3]
    cells = cells.reshape(GRID, GRID, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    return cells.reshape(residual.shape)
