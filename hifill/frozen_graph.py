"""The generator as one GraphDef with the node names of the authors' `hifill.pb`."""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.grappler import tf_optimizer

from hifill.original_procedure import blurred

_OUTPUTS = ("inpainted", "attention", "mask_processed")
# Those that leave no operations of their own, which other TensorFlows may not have.
_OPTIMIZERS = ("pruning", "function", "constfold", "dependency")
_SMALLEST_HALF = 256  # elements; below that a constant is no kernel


def frozen_graph(generator, size=512, dtype="float32"):
    """Freezes a generator.

    Nodes, all float32, S being `size`: `img` [1, S, S, 3], BGR 0 to 255, and `mask` [1, S, S, 1],
    1 = hole, go in; `inpainted` [1, S, S, 3], BGR 0 to 255, the refined picture before pasting,
    `attention` [1, S/16, S/16, (S/16)^2] and `mask_processed` [1, S, S, 1], the mask with a soft
    rim to paste with, come out. What `img` holds under the mask has no influence.

    Args:
        generator: a `hifill.Generator`.
        size: height and width, a multiple of 64.
        dtype: of the stored weights, "float32" or "float16" (half the file; the arithmetic is
            float32).

    Returns:
        A GraphDef of constants and stock operations, constants folded.
    """

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, size, size, 3], tf.float32, name="img"),
            tf.TensorSpec([1, size, size, 1], tf.float32, name="mask"),
        ]
    )
    def original_nodes(img, mask):
        masked = (img[..., ::-1] / 127.5 - 1) * (1 - mask)
        _, refined, attention = generator([masked, mask])
        results = (refined[..., ::-1] + 1) * 127.5, attention, blurred(mask[0])[None]
        return [tf.identity(x, name=name) for x, name in zip(results, _OUTPUTS, strict=True)]

    traced = original_nodes.get_concrete_function()
    frozen = convert_to_constants.convert_variables_to_constants_v2(traced)
    definition = _optimized(frozen.graph)
    return _with_half_weights(definition) if dtype == "float16" else definition


def _optimized(graph):
    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.extend(_OPTIMIZERS)
    options.meta_optimizer_iterations = 2
    saved = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    # Grappler keeps what leads to the nodes of this collection.
    saved.collection_def["train_op"].node_list.value.extend(_OUTPUTS)
    return tf_optimizer.OptimizeGraph(config, saved)


def _with_half_weights(definition):
    """Stores large float32 constants as float16, each followed by a cast."""
    halved = tf.compat.v1.GraphDef(versions=definition.versions, library=definition.library)
    for node in definition.node:
        is_float = node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum
        values = tf.make_ndarray(node.attr["value"].tensor) if is_float else np.empty(0)
        if values.size < _SMALLEST_HALF:
            halved.node.append(node)
            continue
        constant = halved.node.add(name=f"{node.name}/half", op="Const", device=node.device)
        constant.attr["dtype"].type = tf.float16.as_datatype_enum
        tensor = tf.make_tensor_proto(values.astype(np.float16))
        constant.attr["value"].tensor.CopyFrom(tensor)
        cast = halved.node.add(name=node.name, op="Cast", device=node.device, input=[constant.name])
        cast.attr["SrcT"].type = tf.float16.as_datatype_enum
        cast.attr["DstT"].type = tf.float32.as_datatype_enum
    return halved
