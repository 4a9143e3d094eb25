"""What the authors' script does with a photo: `HighResolutionInpainter(fidelity="original")`."""

import tensorflow as tf

from hifill.attention import join_cells, split_cells
from hifill.cells import CELL


def fill_original(image, mask, generate, size, multiple, white):
    """Fills one photo.

    Args:
        image: uint8, uint16 or float32 [H, W, 3].
        mask: float32 [H, W, 1], 1 in the hole.
        generate: function of the low-resolution picture [S, S, 3] in 0..white, its mask [S, S, 1],
            and white, to the refined picture [S, S, 3] and the attention [N, N].
        size, multiple: S, and the side of the square in multiples of it.
        white: the greatest value of a pixel.

    Returns:
        Tensor of the image's shape and dtype.
    """
    dtype = image.dtype
    shape = tf.shape(image)[:2]
    small_size = [size, size]
    large_size = [size * multiple] * 2
    image = tf.cast(image, tf.float32)
    large = tf.image.resize(image, large_size)
    small = tf.reduce_mean(split_cells(large[None], multiple, multiple), [3, 4])[0]
    large_mask, small_mask = (
        # TensorFlow 1's and OpenCV's nearest neighbour: corners, not centres, are scaled.
        tf.raw_ops.ResizeNearestNeighbor(images=mask[None], size=size)[0]
        for size in (large_size, small_size)
    )
    refined, attention = generate(small, small_mask, white)
    residual = (large - tf.image.resize(small, large_size)) * (1 - large_mask)
    patch = CELL * multiple
    grid = size // CELL
    residual = tf.reshape(split_cells(residual[None], patch, patch), [grid * grid, -1])
    residual = tf.matmul(attention, residual)
    residual = join_cells(tf.reshape(residual, [1, grid, grid, patch, patch, 3]))[0]
    result = tf.clip_by_value(tf.image.resize(refined, large_size) + residual, 0.0, white)
    weight = tf.image.resize(blurred(small_mask), shape)
    result = tf.image.resize(result, shape) * weight + image * (1 - weight)
    return tf.cast(result, dtype)


def blurred(mask):
    """A 7x7 Gaussian blur of sigma 1, zero padded: [S, S, 1] -> [S, S, 1]."""
    kernel = tf.exp(-0.5 * tf.square(tf.range(-3.0, 4.0)))
    kernel /= tf.reduce_sum(kernel)
    kernel = kernel[:, None] * kernel[None]
    return tf.nn.conv2d(mask[None], kernel[..., None, None], 1, "SAME")[0]
