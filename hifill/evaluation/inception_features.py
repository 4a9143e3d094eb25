"""Features and classes of pictures by the Inception network of 2015, from a file the user gives."""

import hashlib
import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

_INPUT, _POOL, _LOGITS = "ExpandDims", "pool_3", "softmax/logits/MatMul"
# What the graph of 2015 has: the resized picture's side, convolutions, features, classes.
_ORIGINAL = (299, 94, 2048, 1008)


class InceptionFeatures:
    """Runs `classify_image_graph_def.pb`, of `inception-2015-12-05.tgz`, as published scores do.

    Values 0 to 255 of pictures of any size enter after the graph's own JPEG decoder; the graph
    itself resizes them to 299x299 pixels (TensorFlow 1's bilinear, which skips pixels of larger
    pictures). FID takes the 2048 values of `pool_3`; the Inception Score takes the softmax of their
    product with the last layer's weights, without its bias, as the code of Salimans et al. 2016
    does (so `softmax` itself, with the bias, is not used).

    Args:
        path: a frozen graph with the nodes ExpandDims, ResizeBilinear, pool_3 and
            softmax/logits/MatMul.

    Attributes:
        original: whether the graph is taken for that of 2015: its pictures are resized to 299x299,
            and it has 94 convolutions, 2048 features and 1008 classes. That a graph of this
            structure holds other weights cannot be seen; hence `sha256`.
        sha256: of the file, in hexadecimal. To be stated with every score.
        channels: how many features a picture has.

    Raises:
        ValueError: one line, if the file is missing or is no such graph.
    """

    def __init__(self, path):
        path = pathlib.Path(path)
        definition = tf.compat.v1.GraphDef()
        try:
            data = path.read_bytes()
            definition.ParseFromString(data)
        except OSError as error:
            raise ValueError(
                f"{path}: cannot be read ({error.strerror}); FID and Inception Score need "
                "classify_image_graph_def.pb of inception-2015-12-05.tgz"
            ) from error
        except DecodeError as error:
            raise ValueError(f"{path}: not a frozen graph, or truncated") from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        names = {node.name for node in definition.node}
        missing = [n for n in (_INPUT, "ResizeBilinear", _POOL, _LOGITS) if n not in names]
        if missing:
            raise ValueError(f"{path}: a graph without {', '.join(missing)}; is it Inception's?")
        structure = {}

        def run(pictures):
            resized, pool, logits = tf.import_graph_def(
                _with_plain_batch_norm(definition),
                input_map={f"{_INPUT}:0": pictures},
                return_elements=["ResizeBilinear:0", f"{_POOL}:0", _LOGITS],
                name="",
            )
            weights = logits.inputs[1]
            structure["side"], structure["weights"] = resized.shape[1], weights.shape
            features = tf.reshape(pool, [-1, weights.shape[0]])
            return features, tf.nn.softmax(tf.matmul(features, weights))

        try:
            self._function = tf.compat.v1.wrap_function(
                run, [tf.TensorSpec([None, None, None, 3], tf.float32)]
            )
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise ValueError(f"{path}: a graph that cannot be used as Inception's") from error
        convolutions = sum(node.op == "Conv2D" for node in definition.node)
        self.original = (structure["side"], convolutions, *structure["weights"]) == _ORIGINAL
        self.channels = structure["weights"][0]

    def __call__(self, pictures):
        """Features and probabilities of a batch.

        Args:
            pictures: uint8 [N, H, W, 3], RGB.

        Returns:
            (features [N, channels], probabilities [N, classes]), float32.
        """
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
            given = f"{pictures.dtype} {list(pictures.shape)}"
            raise ValueError(f"pictures are {given}, not uint8 [N, H, W, 3]")
        return tuple(t.numpy() for t in self._function(tf.cast(pictures, tf.float32)))

    def score_name(self, score):
        """The name under which a score of these features may be reported.

        "fid" stays "fid" with the graph of 2015; of any other it becomes, for example,
        "fid_like_9f86d081", with the first digits of the file's SHA-256.
        """
        return score if self.original else f"{score}_like_{self.sha256[:8]}"


def _with_plain_batch_norm(definition):
    """The graph without an operation that TensorFlow no longer runs, and without fixed shapes."""
    new = tf.compat.v1.GraphDef()
    new.versions.CopyFrom(definition.versions)
    for node in definition.node:
        if node.op == "BatchNormWithGlobalNormalization":
            new.node.extend(_batch_norm(node))
        else:
            new.node.add().CopyFrom(node)
            # Of the batch of one picture that the graph was made for.
            new.node[-1].attr.pop("_output_shapes", None)
    return new


def _batch_norm(node):
    """The nodes of (x - mean) / sqrt(variance + epsilon) * gamma + beta, the last named as `node`.

    Without gamma, if the node says so.
    """
    x, mean, variance, beta, gamma = node.input[:5]
    float32 = tf.float32.as_datatype_enum
    graph = tf.compat.v1.GraphDef()

    def add(suffix, op, *inputs):
        new = graph.node.add(name=node.name + suffix, op=op, input=inputs)
        new.attr["T"].type = float32
        return new.name

    epsilon = graph.node.add(name=f"{node.name}/epsilon", op="Const")
    epsilon.attr["dtype"].type = float32
    value = tf.make_tensor_proto(node.attr["variance_epsilon"].f, tf.float32)
    epsilon.attr["value"].tensor.CopyFrom(value)
    factor = add("/rsqrt", "Rsqrt", add("/sum", "AddV2", variance, epsilon.name))
    if node.attr["scale_after_normalization"].b:
        factor = add("/scale", "Mul", factor, gamma)
    add("", "AddV2", add("/scaled", "Mul", add("/centred", "Sub", x, mean), factor), beta)
    return graph.node
