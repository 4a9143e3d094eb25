"""Contextual attention: scores computed once, transferred many times (HiFill paper, section 3.2).

Everything is reshape, pad, matmul and add, so that it runs and exports wherever TensorFlow does.
"""

import keras
import tensorflow as tf


def extract_patches(x, size, stride, padding):
    """Overlapping patches of a feature map, zero padded.

    Args:
        x: tensor [B, H, W, C], H and W multiples of `stride`.
        size: height and width of a patch.
        stride: distance between patches; there are H/stride x W/stride of them.
        padding: (before, after), zeros on each side of both axes.

    Returns:
        Tensor [B, H/stride, W/stride, size * size, C]; the fourth axis runs over the patch's rows.
    """
    _, height, width, _ = keras.ops.shape(x)
    x = tf.pad(x, [[0, 0], padding, padding, [0, 0]])
    offsets = [(dy, dx) for dy in range(size) for dx in range(size)]
    return tf.stack(
        [x[:, dy : dy + height : stride, dx : dx + width : stride] for dy, dx in offsets], axis=3
    )


def overlap_add(patches, size, stride, padding):
    """Puts patches back where `extract_patches` took them, summing where they overlap.

    Args:
        patches: tensor [B, h, w, size * size, C], with stride <= size <= 2 * stride.
        size, stride, padding: as given to `extract_patches`.

    Returns:
        Tensor [B, h * stride, w * stride, C]: sums, not means.
    """
    batch, rows, columns, _, channels = keras.ops.shape(patches)
    grow = [0, 2 * stride - size]
    # No more than four axes wherever that will do: LiteRT's pad and slice know no more than five.
    patches = tf.reshape(patches, [batch * rows * columns, size, size, channels])
    patches = tf.pad(patches, [[0, 0], grow, grow, [0, 0]])

    def shifted(a, b):
        # A patch of two strides is 2x2 cells: cell (a, b) lands a rows and b columns further on.
        cells = patches[:, a * stride : (a + 1) * stride, b * stride : (b + 1) * stride]
        cells = tf.reshape(cells, [batch, rows, columns, stride * stride * channels])
        return tf.pad(cells, [[0, 0], [a, 1 - a], [b, 1 - b], [0, 0]])

    summed = tf.add_n([shifted(a, b) for a in (0, 1) for b in (0, 1)])
    summed = tf.reshape(summed, [batch, rows + 1, columns + 1, stride, stride, channels])
    before = padding[0]
    return join_cells(summed)[
        :, before : before + rows * stride, before : before + columns * stride
    ]


def split_cells(x, height, width):
    """[B, H, W, C] -> [B, H/height, W/width, height, width, C]: tiles without overlap."""
    batch, full_height, full_width, channels = keras.ops.shape(x)
    rows, columns = full_height // height, full_width // width
    x = tf.reshape(x, [batch, rows, height, columns, width, channels])
    return tf.transpose(x, [0, 1, 3, 2, 4, 5])


def join_cells(cells):
    """[B, h, w, height, width, C] -> [B, h * height, w * width, C], undoing `split_cells`."""
    batch, rows, columns, height, width, channels = keras.ops.shape(cells)
    cells = tf.transpose(cells, [0, 1, 3, 2, 4, 5])
    return tf.reshape(cells, [batch, rows * height, columns * width, channels])


def usable_cells(mask):
    """The cells of 16x16 pixels that neither hold nor touch a hole.

    Args:
        mask: tensor [B, H, W, 1], 1 = hole, H and W multiples of 16.

    Returns:
        Tensor [B, H/16, W/16, 1] of the same dtype, 1 = usable as a source.
    """
    holes = tf.nn.max_pool2d(mask, 16, 16, "SAME")
    return 1 - tf.nn.max_pool2d(holes, 3, 1, "SAME")


def fuse_scores(scores, rows, columns):
    """Adds the scores of neighbouring pairs, so that neighbours prefer neighbours.

    y'[q, k] = y[q-1, k-1] + y[q, k] + y[q+1, k+1] over flattened indices, first in row-major and
    then in column-major order. As in the original these are sums, and they wrap at row ends.

    Args:
        scores: tensor [B, rows * columns, rows * columns].
        rows, columns: the grid behind both axes.

    Returns:
        Tensor like `scores`.
    """

    def add_diagonal(y):
        padded = tf.pad(y, [[0, 0], [1, 1], [1, 1]])
        return padded[:, :-2, :-2] + y + padded[:, 2:, 2:]

    def swap_order(y, inner, outer):
        y = tf.reshape(y, [-1, outer, inner, outer, inner])
        return tf.reshape(tf.transpose(y, [0, 2, 1, 4, 3]), [-1, inner * outer, inner * outer])

    scores = swap_order(add_diagonal(scores), columns, rows)
    return swap_order(add_diagonal(scores), rows, columns)


def transfer_patches(values, attention):
    """Attention transfer as the paper words it (equation 3): every patch a weighted sum of patches.

    Patches are two cells wide and one cell apart, and overlaps are summed. `AttentionTransfer`
    gives the same result with a quarter of the multiplications.

    Args:
        values: tensor [B, H, W, C].
        attention: tensor [B, h, w, h * w], h and w divide H and W with an even quotient.

    Returns:
        Tensor [B, H, W, C].
    """
    _, height, _, channels = keras.ops.shape(values)
    batch, rows, columns, keys = keras.ops.shape(attention)
    stride = height // rows
    padding = (stride // 2, stride // 2)
    patches = extract_patches(values, 2 * stride, stride, padding)
    patches = tf.reshape(patches, [batch, keys, 4 * stride * stride * channels])
    patches = tf.matmul(tf.reshape(attention, [batch, keys, keys]), patches)
    patches = tf.reshape(patches, [batch, rows, columns, 4 * stride * stride, channels])
    return overlap_add(patches, 2 * stride, stride, padding)


def overlap_attention(attention):
    """Attention between cells, equal to attention between patches of 2x2 overlapping cells.

    Cell c belongs to the four patches c - (a, b), a and b in {0, 1}, and each of them takes it from
    the same place of its source patch. So the four contributions share one matrix:
    A'[c, d] = sum over a, b of A[c - (a, b), d - (a, b)].

    Args:
        attention: tensor [B, h, w, h * w].

    Returns:
        Tensor [B, (h+1)(w+1), (h+1)(w+1)].
    """
    batch, rows, columns, _ = keras.ops.shape(attention)
    a = tf.reshape(attention, [batch, rows, columns, rows, columns])
    a = sum(tf.pad(a, [[0, 0], [i, 1 - i], [0, 0], [i, 1 - i], [0, 0]]) for i in (0, 1))
    a = sum(tf.pad(a, [[0, 0], [0, 0], [i, 1 - i], [0, 0], [i, 1 - i]]) for i in (0, 1))
    cells = (rows + 1) * (columns + 1)
    return tf.reshape(a, [batch, cells, cells])


def _with_next(attention, axis):
    """Adds to each pair of cells the pair one row (axis 1) or one column (axis 2) before it.

    Args:
        attention: tensor [B, h, w, h, w].
    """
    shift = [[0, 0]] * 5
    shift[axis] = shift[axis + 2] = [1, 0]
    first = [slice(None)] * 5
    first[axis] = first[axis + 2] = slice(None, -1)
    return attention + tf.pad(attention[tuple(first)], shift)


@keras.saving.register_keras_serializable("hifill")
class ContextualAttention(keras.layers.Layer):
    """Attention computing module: which cells to copy from, for every cell (equations 1 and 2).

    Call with `[features, mask]`: features [B, H/8, W/8, C] and mask [B or 1, H, W, 1], 1 = hole, H
    and W multiples of 64. The result is float32 [B, H/16, W/16, (H/16)(W/16)]: the last axis runs
    over source cells in raster order, and is 0 for cells that hold or touch a hole. Rows sum to at
    most 1: those cells keep a logit of 0 in the softmax, as in the original. Of the two patches
    compared only the source is normalised, also as in the original (the paper's equation 1
    normalises both). Scores and softmax are float32 under every dtype policy.

    Args:
        softmax_scale: what the fused scores are multiplied by.
    """

    def __init__(self, softmax_scale=10.0, **kwargs):
        super().__init__(**kwargs)
        self.softmax_scale = softmax_scale

    def call(self, inputs):
        features, mask = inputs
        features = tf.cast(features, tf.float32)[:, ::2, ::2]
        batch, rows, columns, channels = keras.ops.shape(features)
        cells = rows * columns
        patches = extract_patches(features, 3, 1, (1, 1))
        queries = tf.reshape(patches, [batch, cells, 9 * channels])
        squares = tf.reduce_sum(tf.square(queries), axis=-1, keepdims=True)
        # The same as dividing by max(norm, 1e-8), with a finite gradient where the norm is 0.
        keys = queries * tf.math.rsqrt(tf.maximum(squares, 1e-16))
        scores = fuse_scores(tf.matmul(queries, keys, transpose_b=True), rows, columns)
        usable = tf.reshape(usable_cells(tf.cast(mask, tf.float32)), [-1, 1, cells])
        attention = tf.nn.softmax(scores * usable * self.softmax_scale) * usable
        return tf.reshape(attention, [batch, rows, columns, cells])

    def compute_output_shape(self, input_shapes):
        batch, height, width, _ = input_shapes[0]
        if height is None or width is None:
            return (batch, None, None, None)
        return (batch, height // 2, width // 2, (height // 2) * (width // 2))

    def get_config(self):
        return {**super().get_config(), "softmax_scale": self.softmax_scale}


@keras.saving.register_keras_serializable("hifill")
class AttentionTransfer(keras.layers.Layer):
    """Attention transfer module: rebuilds a feature map from its own cells (equation 3).

    Call with `[values, attention]`: values [B, H, W, C], and either

    - attention [B, h, w, h * w] from `ContextualAttention` with H = 2h: patches 3x3, stride 2; or
    - attention [B, (h+1)(w+1), (h+1)(w+1)] from `overlap_attention`, with `cell_size` given:
      patches of two cells, one apart, `transfer_patches` with a quarter of its multiplications.

    The result is [B, H, W, C], overlaps summed. It replaces the map everywhere, hole or not.

    Args:
        cell_size: H / h, or None for the first form.
    """

    def __init__(self, cell_size=None, **kwargs):
        super().__init__(**kwargs)
        self.cell_size = cell_size

    def call(self, inputs):
        values, attention = inputs
        if self.cell_size is None:
            return self._transfer_small_patches(values, attention)
        size = self.cell_size
        _, height, width, channels = keras.ops.shape(values)
        batch, cells, _ = keras.ops.shape(attention)
        half = [size // 2, size // 2]
        values = tf.pad(values, [[0, 0], half, half, [0, 0]])
        values = split_cells(values, size, size)
        values = tf.reshape(values, [batch, cells, size * size * channels])
        values = tf.matmul(attention, values)
        rows, columns = height // size + 1, width // size + 1
        values = tf.reshape(values, [batch, rows, columns, size, size, channels])
        values = join_cells(values)
        return values[:, half[0] : half[0] + height, half[0] : half[0] + width]

    def _transfer_small_patches(self, values, attention):
        # A cell is 2x2 pixels, and a patch a cell, the row below it, and the column beside it. So
        # a cell's four pixels are in four, two, two patches and one.
        batch, rows, columns, cells = keras.ops.shape(attention)
        channels = values.shape[-1]
        own = tf.reshape(attention, [batch, rows, columns, rows, columns])
        above, beside = _with_next(own, 1), _with_next(own, 2)
        matrices = tf.stack([_with_next(above, 2), above, beside, own], axis=1)
        matrices = tf.reshape(matrices, [batch, 4, cells, cells])
        values = tf.reshape(values, [batch, rows, 2, columns, 2, channels])
        values = tf.transpose(values, [0, 2, 4, 1, 3, 5])
        values = tf.reshape(values, [batch, 4, cells, channels])
        values = tf.reshape(tf.matmul(matrices, values), [batch, 2, 2, rows, columns, channels])
        values = tf.transpose(values, [0, 3, 1, 4, 2, 5])
        return tf.reshape(values, [batch, 2 * rows, 2 * columns, channels])

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return {**super().get_config(), "cell_size": self.cell_size}
