"""The cells of a photo that the attention relates, and the sums that residual aggregation needs.

A photo of any size is covered by size/16 x size/16 cells of equal size, patch_height x patch_width
pixels, at least 16 x 16. Beyond the photo's border they hold its mirror image. Everything here
works on some rows at a time, so that photos need not fit in memory as floats, or at all, and on
operations that have kernels for GPUs.

A "geometry" is int32 [4]: height and width of the photo, then of a cell.
"""

import numpy as np
import tensorflow as tf

CELL = 16  # low-resolution pixels along one side of a cell
_AVERAGED_BYTES = 4 * 2**20  # float32 pixels averaged at once, which stay in the processor's cache
FILLED_BYTES = 16 * 2**20  # float32 pixels filled, or copied from, at once


def geometry_of(height, width, grid):
    """(height, width, patch_height, patch_width), of numbers or of int32 scalars.

    The cells are the smallest that cover the photo, a grid x grid of them.
    """
    larger = tf.maximum if tf.is_tensor(height) else max
    return height, width, larger(CELL, -(-height // grid)), larger(CELL, -(-width // grid))


def rows_at_once(geometry, cells):
    """How many rows of so many cells to fill at once."""
    patch_width = geometry[3]
    larger = tf.maximum if tf.is_tensor(patch_width) else max
    return larger(1, FILLED_BYTES // (12 * patch_width) // larger(1, cells))


def mirror(position, length):
    """Where on a line of `length` positions beyond its end are found: integers -> integers."""
    position = position % (2 * length)
    least = tf.minimum if tf.is_tensor(position) else np.minimum
    return least(position, 2 * length - 1 - position)


def sixteenths(low, pixels, patch):
    """How much of each pixel lies in each low-resolution pixel, which is patch/16 pixels long.

    Args:
        low, pixels: integers [L] and [P], their places along a line.
        patch: int.

    Returns:
        Integers [L, P], sixteenths of pixels, which add up to `patch` in each row. Sums of 8-bit
        values weighted with them are exact in float32, whatever their order.
    """
    least, most = (tf.minimum, tf.maximum) if tf.is_tensor(low) else (np.minimum, np.maximum)
    low = low[:, None]
    overlap = least((low + 1) * patch, CELL * (pixels + 1)) - most(low * patch, CELL * pixels)
    return most(overlap, 0)


def sum_strip(image, hole, strip, geometry):
    """Sums the rows of the photo under one row of cells.

    Args:
        image: [H, W, 3], any dtype; what lies in holes, NaN even, has no influence.
        hole: bool [H, W, 1].
        strip: int32 scalar, which row of cells.
        geometry: see above.

    Returns:
        (pixels, holes): float32 [16, 3 W] and [16, W]: for each row of the low-resolution picture
        the sums of known pixels above each other and the number of holes, both in sixteenths.
    """
    height, width, patch_height, _ = geometry
    step = _AVERAGED_BYTES // (12 * width) * CELL // patch_height
    step = tf.clip_by_value(step, 1, CELL)  # rows of the low-resolution picture
    count = -(-CELL // step)
    pixels, holes = (tf.TensorArray(tf.float32, count, infer_shape=False) for _ in range(2))
    for i in tf.range(count):
        tf.autograph.experimental.set_loop_options(parallel_iterations=1)
        low = strip * CELL + tf.range(i * step, tf.minimum((i + 1) * step, CELL))
        padded = tf.range(low[0] * patch_height // CELL, -(-(low[-1] + 1) * patch_height // CELL))
        rows = mirror(padded, height)
        first, last = tf.reduce_min(rows), tf.reduce_max(rows) + 1
        weights = tf.cast(sixteenths(low, padded, patch_height), tf.float32)
        weights = tf.math.unsorted_segment_sum(tf.transpose(weights), rows - first, last - first)
        part, part_hole = tf.cast(image[first:last], tf.float32), hole[first:last]
        hole_sums = tf.zeros([tf.size(low), width])
        if tf.reduce_any(part_hole):
            # Not a product, which would let a NaN through; and a selection of pixels, not of
            # values, which is slower.
            flat, flat_hole = tf.reshape(part, [-1, 3]), tf.reshape(part_hole, [-1])
            flat = tf.raw_ops.Select(condition=flat_hole, x=tf.zeros_like(flat), y=flat)
            part = tf.reshape(flat, tf.shape(part))
            part_hole = tf.cast(tf.reshape(part_hole, [-1, width]), tf.float32)
            hole_sums = tf.matmul(weights, part_hole, transpose_a=True)
        part = tf.matmul(weights, tf.reshape(part, [-1, 3 * width]), transpose_a=True)
        pixels, holes = pixels.write(i, part), holes.write(i, hole_sums)
    return pixels.concat(), holes.concat()


def average_columns(pixels, holes, geometry, grid):
    """Sums columns too: [n, 3 W] and [n, W] from `sum_strip` -> means, float32 [n, S, 4].

    That is, known pixels times their share of the low-resolution pixel, and the share of holes.
    """
    _, width, patch_height, patch_width = geometry
    line = tf.range(patch_width)
    weights = tf.cast(sixteenths(line[:CELL], line, patch_width), tf.float32)
    columns = mirror(tf.range(grid * patch_width), width)

    def average(sums, channels):
        if width < grid * patch_width:
            sums = tf.gather(tf.reshape(sums, [-1, width, channels]), columns, axis=1)
        # The same for each of interleaved channels.
        interleaved = tf.transpose(weights)[:, None, :, None] * tf.eye(channels)[:, None]
        interleaved = tf.reshape(interleaved, [patch_width * channels, CELL * channels])
        sums = tf.matmul(tf.reshape(sums, [-1, patch_width * channels]), interleaved)
        return tf.reshape(sums, [-1, grid * CELL, channels])

    sums = tf.concat([average(pixels, 3), average(holes, 1)], axis=-1)
    return sums / (tf.cast(patch_height, tf.float32) * tf.cast(patch_width, tf.float32))


def normalized(low):
    """What `average_columns` gives, [S, S, 4] -> picture [S, S, 3] and mask [S, S, 1].

    The picture is 0 where nothing is known; the mask is float32, 1 where any pixel is a hole.
    """
    known = 1 - low[..., 3:]
    # Less than the smallest share that one known pixel can have, more than rounding.
    picture = tf.where(known > 1e-5, low[..., :3] / tf.maximum(known, 1e-5), 0.0)
    return picture, tf.cast(low[..., 3:] > 0, tf.float32)


def upsampling(start, stop, patch):
    """[stop - start, 18]: bilinear weights of a cell's 16 pixels and one on either side.

    For the pixels start..stop-1 of the `patch` that the cell has.
    """
    pixel = tf.cast(tf.range(start, stop), tf.float32)
    centre = (pixel + 0.5) * CELL / tf.cast(patch, tf.float32)
    distance = tf.abs(centre[:, None] + 0.5 - tf.range(float(CELL + 2)))
    return tf.maximum(1 - distance, 0.0)


def with_rim(low):
    """[S, S, C] -> [N, 18, 18, C]: every cell with the pixels around it, the border repeated."""
    low = tf.pad(low, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    side = CELL + 2
    starts = tf.range(0, tf.shape(low)[0] - 2, CELL)
    indices = starts[:, None] + tf.range(side)
    low = tf.gather(tf.gather(low, indices), indices, axis=2)  # [grid, 18, grid, 18, C]
    return tf.reshape(tf.transpose(low, [0, 2, 1, 3, 4]), [-1, side, side, low.shape[-1]])


def aggregate_rows(attention, context, base, rows, patch_height, white, is_integer):
    """Equation 4 for some rows of every cell with a hole: up(refined) + attention @ residual.

    Args:
        attention: float32 [Q, K].
        context: [K, n, patch_width, 3], any dtype: those rows of the cells that are copied from.
        base: float32 [Q, 18, patch_width * 3], see `HighResolutionInpainter._plan`.
        rows: int32 [2], the first row of the cells, and one past the last.
        patch_height: int32 scalar.
        white: the greatest value.
        is_integer: whether to round.

    Returns:
        float32 [Q, n, patch_width, 3] in 0..white.
    """
    shape = tf.shape(context)
    context = tf.reshape(tf.cast(context, tf.float32), [shape[0], -1])
    detail = tf.matmul(attention, context)
    detail = tf.reshape(detail, [-1, shape[1], 3 * shape[2]])  # [Q, n, 3 patch_width]
    filled = detail + tf.matmul(upsampling(rows[0], rows[1], patch_height), base)
    filled = tf.clip_by_value(filled, 0.0, white)
    filled = tf.round(filled) if is_integer else filled
    return tf.reshape(filled, [-1, shape[1], shape[2], 3])
