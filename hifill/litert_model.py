"""The generator as a LiteRT (TensorFlow Lite) model, from built-in operators alone."""

import tempfile

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from hifill.generator_function import generator_function

WEIGHTS = ("float32", "float16", "int8")


def litert_model(generator, size=512, weights="float32"):
    """Converts a generator.

    The model has one signature, `generator`, with the inputs and outputs of `generator_function`.

    Args:
        generator: a `hifill.Generator` with the dtype policy float32.
        size: height and width of the picture, a multiple of 64.
        weights: "float32"; "float16", half the file; or "int8", about a quarter, with one scale
            for each output channel. With int8 the interpreter also rounds what enters a
            convolution to 8 bits, with a scale of its own each time (dynamic-range quantisation).

    Returns:
        The content of a `.tflite` file, bytes.

    Raises:
        ValueError: for unknown weights, or if size is no multiple of 64.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"unknown weights {weights!r}, choose one of {', '.join(WEIGHTS)}")
    function = generator_function(generator, size)
    traced = function.get_concrete_function()
    # The converter does not follow Keras' variables: left to itself it writes a model without
    # weights, and says nothing.
    frozen = convert_variables_to_constants_v2(traced)

    @tf.function(input_signature=function.input_signature)
    def constant_function(image, mask):
        return tf.nest.pack_sequence_as(traced.structured_outputs, frozen(image, mask))

    with tempfile.TemporaryDirectory() as folder:
        # Only by way of a SavedModel can the signature be named.
        tf.saved_model.save(tf.Module(), folder, signatures={"generator": constant_function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["generator"])
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()
