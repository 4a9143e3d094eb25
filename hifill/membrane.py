"""A smooth surface through known pixels: the colours that a fill has to meet at the hole's rim.

Not part of HiFill. The generator draws the hole's surroundings too, and what it gets wrong there it
gets wrong beside it in the hole: adding `membrane(photo - drawn, known)` to what it drew removes
the offset in colour that would show as a seam. This is the membrane of seamless cloning (Pérez,
Gangnet and Blake 2003, "Poisson image editing"; Farbman et al. 2009, "Coordinates for instant image
cloning"), found by the pull and push of Gortler et al. 1996, "The Lumigraph", section 3.4.
"""

import tensorflow as tf

_SMOOTHINGS = 4  # steps of relaxation on each level, without which its pixels would show


def meet_rim(drawn, photo, hole, trained=True):
    """A drawn picture, moved so that inside the hole it meets the photo's colours at the rim.

    Args:
        drawn, photo: float32 [B, H, W, C]; the photo's content of the hole has no influence.
        hole: float32 [B or 1, H, W, 1], 1 in the hole.
        trained: see `membrane`.

    Returns:
        [B, H, W, C]: the photo outside the hole; inside, `drawn` plus `membrane` of its error.
    """
    return drawn + membrane(photo - drawn, 1 - hole, trained)


def membrane(values, known, trained=True):
    """Extends values smoothly to where they are not known.

    Args:
        values: float32 [B, H, W, C]; anything finite where not known.
        known: float32 [B, H, W, 1], 1 where known, 0 elsewhere.
        trained: whether gradients are asked for; they are fast, but leave traces in a SavedModel
            of which TensorFlow warns whoever loads it.

    Returns:
        [B, H, W, C]: `values` where known; elsewhere about the solution of Laplace's equation,
        between the least and the greatest value known, and 0 if nothing is known.
    """
    neighbours_mean = _trained_mean if trained else _neighbours_mean
    levels = []
    values, weight = values * known, known  # a pixel's value times how well it is known
    while values.shape[1] % 2 == 0 == values.shape[2] % 2 and min(values.shape[1:3]) > 2:
        levels.append((values, weight))
        values, total = (4 * tf.nn.avg_pool2d(t, 2, 2, "VALID") for t in (values, weight))
        weight = tf.minimum(total, 1.0)
        values *= weight / tf.maximum(total, 1e-6)
    mean, total = (tf.reduce_sum(t, [1, 2], keepdims=True) for t in (values, weight))
    surface = values + (1 - weight) * mean / tf.maximum(total, 1e-6)
    for values, weight in reversed(levels):
        surface = tf.image.resize(surface, values.shape[1:3])
        for _ in range(_SMOOTHINGS):
            surface = values + (1 - weight) * neighbours_mean(surface)
    return surface


def _neighbours_mean(x):
    """The mean of the four neighbours, the border repeated."""
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    middle, above, below = slice(1, -1), slice(None, -2), slice(2, None)
    return 0.25 * (
        padded[:, above, middle]
        + padded[:, below, middle]
        + padded[:, middle, above]
        + padded[:, middle, below]
    )


@tf.custom_gradient
def _trained_mean(x):
    # A symmetric operator is its own adjoint, and far faster than the gradients of slices.
    return _neighbours_mean(x), _trained_mean
