"""Residual aggregation for NumPy arrays, in memory or mapped from files larger than it.

What `HighResolutionInpainter` does in one graph is done here chunk by chunk: only the pixels of one
chunk are ever copied to TensorFlow. 8-bit photos get the same results; the sums of 16 bits and of
floats are rounded in another order, which may change a result by its last bits.
"""

import cv2
import numpy as np
import tensorflow as tf

from hifill import cells, highres
from hifill.cells import CELL
from hifill.pixel_files import release

_SUMMED_BYTES = 16 * 2**20  # sums of rows handed to TensorFlow at once


class ArrayInpainter:
    """Fills holes of arrays in place: `fill(image, hole, out)`.

    Args:
        wrapper: a `HighResolutionInpainter`; not with fidelity "original", which needs whole
            photos.
    """

    def __init__(self, wrapper):
        self._wrapper = wrapper
        self._plan = {dtype: self._plan_function(dtype) for dtype in highres.WHITE}
        self._aggregate = {dtype: self._aggregate_function(dtype) for dtype in highres.WHITE}
        sums = tf.TensorSpec([None, None])
        self._average_columns = tf.function(
            lambda pixels, holes, geometry: cells.average_columns(
                pixels, holes, tf.unstack(geometry), wrapper.grid
            ),
            [sums, sums, tf.TensorSpec([4], tf.int32)],
        )

    def __call__(self, image, hole, out):
        """Fills the holes of one photo.

        Args:
            image: uint8, uint16 or float32 (0 to 1) array [H, W, 3], of which parts are read.
            hole: bool array [H, W], True somewhere.
                These may also be memory maps, or what `pixel_files` opens.
            out: array of the image's shape and dtype, or the image itself. What is filled is
                written to it, and nothing else.
        """
        dtype = tf.as_dtype(image.dtype)
        geometry = cells.geometry_of(*hole.shape, self._wrapper.grid)
        patch_height, patch_width = geometry[2:]
        low = self.average(image, hole, geometry)
        hole_cells, context_cells, attention, base = self._plan[dtype](low, patch_width)
        hole_cells, context_cells = hole_cells.numpy().tolist(), context_cells.numpy().tolist()
        step = cells.rows_at_once(geometry, max(len(hole_cells), len(context_cells)))
        for start in range(0, patch_height, step):
            rows = [start, min(start + step, patch_height)]
            context = self._read_cells(image, context_cells, rows, geometry)
            filled = self._aggregate[dtype](attention, context, base, rows, patch_height)
            self._paste_cells(out, hole, hole_cells, filled.numpy(), rows, geometry)
            for array in (image, hole, out):
                release(array)

    def _plan_function(self, dtype):
        # A function that is called by another is optimised otherwise, and rounds otherwise, than
        # one that is called by Python; in the wrapper's graph it is the former.
        plan = self._wrapper.plans[dtype]
        return tf.function(lambda *inputs: plan(*inputs), input_signature=plan.input_signature)

    def _aggregate_function(self, dtype):
        def aggregate(*inputs):
            white = float(highres.WHITE[dtype])
            filled = cells.aggregate_rows(*inputs, white, dtype.is_integer)
            return tf.cast(filled, dtype)

        signature = [
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None, None, None, 3], dtype),
            tf.TensorSpec([None, CELL + 2, None]),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
        return tf.function(aggregate, signature)

    def average(self, image, hole, geometry):
        """-> float32 [S, S, 4], see `cells.average_columns`."""
        grid, width = self._wrapper.grid, hole.shape[1]
        step = min(grid, max(1, _SUMMED_BYTES // (CELL * width * 16)))
        low = []
        for start in range(0, grid, step):
            strips = range(start, min(start + step, grid))
            pixels = np.empty([CELL * len(strips), 3 * width], np.float32)
            holes = np.empty([CELL * len(strips), width], np.float32)
            for i, strip in enumerate(strips):
                part = slice(CELL * i, CELL * (i + 1))
                _sum_strip(image, hole, strip, geometry, pixels[part], holes[part])
                release(image)
                release(hole)
            low.append(self._average_columns(pixels, holes, geometry))
        return tf.concat(low, axis=0)

    def _read_cells(self, image, chosen, rows, geometry):
        """Some rows of some cells: -> [K, n, patch_width, 3] of the image's dtype."""
        height, width, patch_height, patch_width = geometry
        read = np.empty([len(chosen), rows[1] - rows[0], patch_width, 3], image.dtype)
        for cell, pixels in zip(chosen, read, strict=True):
            row, column = divmod(cell, self._wrapper.grid)
            top, left = row * patch_height + rows[0], column * patch_width
            bottom, right = top + len(pixels), left + patch_width
            if bottom <= height and right <= width:
                pixels[:] = image[top:bottom, left:right]
            else:
                lines = cells.mirror(np.arange(top, bottom), height)
                pixels[:] = image[np.ix_(lines, cells.mirror(np.arange(left, right), width))]
        return read

    def _paste_cells(self, out, hole, hole_cells, filled, rows, geometry):
        height, _, patch_height, patch_width = geometry
        for cell, pixels in zip(hole_cells, filled, strict=True):
            row, column = divmod(cell, self._wrapper.grid)
            top, left = row * patch_height + rows[0], column * patch_width
            place = np.s_[top : min(top + len(pixels), height), left : left + patch_width]
            mask = np.ascontiguousarray(hole[place]).view(np.uint8)
            if mask.size:
                pixels = pixels[: mask.shape[0], : mask.shape[1]]
                part = np.asarray(out[place])
                cv2.copyTo(pixels, mask, part)
                out[place] = part  # which NumPy leaves out where it is a view


def _rows(image, rows, height):
    """Rows of an array, mirrored beyond its end: [n, ...]."""
    if rows[-1] < height:
        return image[rows[0] : rows[-1] + 1]
    return image[cells.mirror(rows, height)]


def _sum_strip(image, hole, strip, geometry, pixel_sums, hole_sums):
    """What `cells.sum_strip` does, by OpenCV's sums, which need no floating-point copy."""
    height, _, patch_height, _ = geometry
    low = strip * CELL + np.arange(CELL + 1)
    starts, stops = low[:-1] * patch_height // CELL, -(-low[1:] * patch_height // CELL)
    rows = np.arange(starts[0], stops[-1])
    weights = cells.sixteenths(low[:-1], rows, patch_height)
    pixels, holes = _rows(image, rows, height), _rows(hole, rows, height)
    holes = np.ascontiguousarray(holes).view(np.uint8)
    if holes.any():
        pixels = cv2.copyTo(np.ascontiguousarray(pixels), 1 - holes)  # zeros elsewhere
        sums = [(pixels.reshape(len(rows), -1), pixel_sums), (holes, hole_sums)]
    else:
        sums = [(pixels.reshape(len(rows), -1), pixel_sums)]
        hole_sums[:] = 0
    for values, result in sums:
        for i, (start, stop) in enumerate(zip(starts - rows[0], stops - rows[0], strict=True)):
            cv2.reduce(values[start:stop], 0, cv2.REDUCE_SUM, result[i : i + 1], cv2.CV_32F)
            result[i] *= CELL
            for row in {start, stop - 1}:  # which may lie in part below other rows
                if weights[i, row] < CELL:
                    result[i] -= np.float32(CELL - weights[i, row]) * values[row]
