"""The generator at one fixed size, with names for its inputs and outputs, for the exporters."""

import tensorflow as tf


def generator_function(generator, size):
    """Wraps the generator so that nothing but its inputs' values is left open.

    Args:
        generator: a `hifill.Generator`.
        size: height and width of the picture, a multiple of 64.

    Returns:
        A `tf.function` with an input signature: image float32 [1, size, size, 3], RGB in [-1, 1]
        with holes set to 0, and mask float32 [1, size, size, 1], 1 = hole. It returns a dict of
        float32 tensors: coarse and refined [1, size, size, 3] in [-1, 1], and attention
        [1, size/16, size/16, (size/16)^2].

    Raises:
        ValueError: if size is no positive multiple of 64.
    """
    if size <= 0 or size % 64:
        raise ValueError(f"size must be a multiple of 64, got {size}")

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, size, size, 3], tf.float32, "image"),
            tf.TensorSpec([1, size, size, 1], tf.float32, "mask"),
        ]
    )
    def run(image, mask):
        coarse, refined, attention = generator([image, mask])
        return {"coarse": coarse, "refined": refined, "attention": attention}

    return run
