"""Residual aggregation with other resampling operators (HiFill paper, figure 3).

A restatement in NumPy and OpenCV of what `HighResolutionInpainter` does, for squares alone, in
which the operators that shrink and enlarge can be chosen. With "average" and "bilinear" it gives
the wrapper's result to within rounding.
"""

import cv2
import numpy as np

DOWN = ("nearest", "bilinear", "bicubic", "average")
UP = ("nearest", "bilinear", "bicubic")
_SIZE, _CELL = 512, 16
_FLAGS = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def operator_method(generator, down, up):
    """Makes a method for `runs.run`.

    Args:
        generator: a `hifill.Generator`.
        down: how the photo is shrunk to 512, one of `DOWN`. Holes are known pixels' neighbours:
            each is first given the average of the known pixels that shrink to the same one, so
            that no operator reads what is under a hole.
        up: how the small photo and the result are enlarged, one of `UP`.

    Returns:
        A function of a photo, uint8 [H, H, 3], and a hole, bool [H, H]; it raises ValueError if H
        is no multiple of 512.
    """

    def fill(photo, hole):
        height, width = hole.shape
        if height != width or height % _SIZE:
            raise ValueError(f"needs squares of a multiple of {_SIZE}, not {width} x {height}")
        multiple = height // _SIZE
        average, known = _block_average(photo, ~hole, multiple)
        mask = (known < 1).astype(np.float32)[..., None]
        spread = np.repeat(np.repeat(average, multiple, 0), multiple, 1)
        complete = np.where(hole[..., None], spread, photo).astype(np.float32)
        low = average
        if down != "average":
            low = cv2.resize(complete, (_SIZE, _SIZE), interpolation=_FLAGS[down])
        image = (low / 127.5 - 1) * (1 - mask)
        _, refined, attention = generator([image[None], mask[None]])
        refined = (refined[0].numpy() + 1) * 127.5

        def enlarge(picture):
            return cv2.resize(picture, (width, height), interpolation=_FLAGS[up])

        residual = _cells(complete - enlarge(low), _CELL * multiple)
        # Cells with or beside a hole have no weight in the attention.
        residual = attention.numpy().reshape(len(residual), -1) @ residual
        result = enlarge(refined) + _picture(residual, height)
        return np.clip(np.rint(result), 0, 255).astype(np.uint8)

    return fill


def _block_average(photo, known, multiple):
    """Float32 [512, 512, 3], averages of known pixels, 0 without any, and their share of each."""
    blocks = (_SIZE, multiple, _SIZE, multiple)
    share = known.reshape(blocks).mean((1, 3), dtype=np.float32)
    pixels = np.where(known[..., None], photo, 0).astype(np.float32)
    total = pixels.reshape(*blocks, 3).mean((1, 3))
    return total / np.maximum(share, 1e-9)[..., None], share


def _cells(picture, side):
    """[H, H, 3] -> [(H / side)^2, side * side * 3]."""
    count = len(picture) // side
    cells = picture.reshape(count, side, count, side, 3).transpose(0, 2, 1, 3, 4)
    return cells.reshape(count * count, -1)


def _picture(cells, height):
    """Undoes `_cells`."""
    count = round(len(cells) ** 0.5)
    side = height // count
    cells = cells.reshape(count, count, side, side, 3).transpose(0, 2, 1, 3, 4)
    return cells.reshape(height, height, 3)
