"""The generator as an ONNX model, in the standard operator set alone."""

from hifill.generator_function import generator_function

OPSET = 18  # the newest that tf2onnx writes


def load_converter():
    """The module `tf2onnx.convert`; ValueError if it is not installed."""
    try:
        import tf2onnx
    except ImportError as error:
        raise ValueError("ONNX needs tf2onnx: pip install tf2onnx") from error
    return tf2onnx.convert


def onnx_model(generator, size=512):
    """Converts a generator. Needs tf2onnx.

    The model has the inputs and outputs of `generator_function`, channels last.

    Args:
        generator: a `hifill.Generator` with the dtype policy float32.
        size: height and width of the picture, a multiple of 64.

    Returns:
        The content of an `.onnx` file, bytes.

    Raises:
        ValueError: if tf2onnx is not installed, or size is no multiple of 64.
    """
    converter = load_converter()
    function = generator_function(generator, size)
    model, _ = converter.from_function(
        function, input_signature=function.input_signature, opset=OPSET
    )
    # tf2onnx also declares ai.onnx.ml, used or not.
    used = {node.domain for node in model.graph.node}
    for operator_set in [each for each in model.opset_import if each.domain not in used]:
        model.opset_import.remove(operator_set)
    return model.SerializeToString()
