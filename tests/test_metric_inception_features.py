"""Inception's features from stand-ins: graphs of the same nodes, small and of the real size."""

import numpy as np
import pytest
import tensorflow as tf

from hifill.evaluation.inception_features import InceptionFeatures

_FLOAT = tf.float32.as_datatype_enum


class _Graph:
    """A frozen graph written node by node, as TensorFlow did in 2015."""

    def __init__(self):
        self.definition = tf.compat.v1.GraphDef()
        self.definition.versions.producer = 8  # the last with BatchNormWithGlobalNormalization

    def const(self, name, value, dtype=tf.float32):
        node = self.definition.node.add(name=name, op="Const")
        node.attr["dtype"].type = dtype.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype))
        return name

    def add(self, name, op, *inputs, **attributes):
        node = self.definition.node.add(name=name, op=op, input=inputs)
        node.attr["T"].type = _FLOAT
        for key, value in attributes.items():
            if isinstance(value, list):
                node.attr[key].list.i.extend(value)
            elif isinstance(value, bytes):
                node.attr[key].s = value
            elif isinstance(value, bool):
                node.attr[key].b = value
            else:
                node.attr[key].f = value
        return name


def _write_graph(path, seed=0, convolutions=2, features=16, classes=5, side=24, skip=()):
    """The preamble of the real graph, 1x1 convolutions with batch norm, pooling, a last layer."""
    rng = np.random.default_rng(seed)
    graph = _Graph()
    node = graph.definition.node.add(name="ExpandDims", op="Placeholder")
    node.attr["dtype"].type = _FLOAT
    for length in (1, -1, -1, 3):
        node.attr["shape"].shape.dim.add(size=length)
    size = graph.const("ResizeBilinear/size", [side, side], tf.int32)
    x = graph.add("ResizeBilinear", "ResizeBilinear", "ExpandDims", size)
    x = graph.add("Sub", "Sub", x, graph.const("Sub/y", 128.0))
    x = graph.add("Mul", "Mul", x, graph.const("Mul/y", 1 / 128))
    channels, layers = 3, []
    for i in range(convolutions):
        filters = features if i == convolutions - 1 else 3
        kernel = rng.standard_normal((1, 1, channels, filters)) * 0.7
        mean, beta = rng.standard_normal((2, filters)) * 0.1
        variance, gamma = rng.uniform(0.5, 2, (2, filters))
        layers.append((kernel[0, 0], mean, variance, beta, gamma))
        kernel = graph.const(f"conv{i}/params", kernel)
        x = graph.add(f"conv{i}/Conv2D", "Conv2D", x, kernel, strides=[1] * 4, padding=b"SAME")
        moments = [
            graph.const(f"conv{i}/{name}", value)
            for name, value in zip("mvbg", (mean, variance, beta, gamma), strict=True)
        ]
        x = graph.add(
            f"conv{i}/batchnorm",
            "BatchNormWithGlobalNormalization",
            x,
            *moments,
            variance_epsilon=0.001,
            scale_after_normalization=i > 0,
        )
        x = graph.add(f"conv{i}", "Relu", x)
        channels = filters
    x = graph.add(
        "pool_3", "AvgPool", x, ksize=[1, side, side, 1], strides=[1] * 4, padding=b"VALID"
    )
    graph.definition.node[-1].attr["_output_shapes"].list.shape.add().dim.add(size=1)
    shape = graph.const("pool_3/_reshape/shape", [1, features], tf.int32)
    x = graph.add("pool_3/_reshape", "Reshape", x, shape)
    weights = rng.standard_normal((features, classes))
    graph.add("softmax/logits/MatMul", "MatMul", x, graph.const("softmax/weights", weights))
    kept = [node for node in graph.definition.node if node.name not in skip]
    del graph.definition.node[:]
    graph.definition.node.extend(kept)
    path.write_bytes(graph.definition.SerializeToString())
    return layers, weights


@pytest.fixture
def graph(tmp_path):
    return tmp_path / "graph.pb"


def test_against_numpy(graph):
    """Pictures of the graph's own size, so that nothing is resized; several at once."""
    layers, weights = _write_graph(graph)
    pictures = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 3), np.uint8)
    x = (pictures.astype(float) - 128) / 128
    for i, (kernel, mean, variance, beta, gamma) in enumerate(layers):
        factor = (gamma if i > 0 else 1) / np.sqrt(variance + 0.001)
        x = np.maximum((x @ kernel - mean) * factor + beta, 0)
    expected = x.mean((1, 2))
    logits = np.exp(expected @ weights)
    inception = InceptionFeatures(graph)
    assert inception.channels == 16
    features, probabilities = inception(pictures)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probabilities, logits / logits.sum(1, keepdims=True), rtol=1e-4)


def test_pictures_of_any_size(graph):
    """They are resized as TensorFlow 1 did: an even multiple of the size is every n-th pixel."""
    _write_graph(graph)
    inception = InceptionFeatures(graph)
    picture = np.random.default_rng(1).integers(0, 256, (1, 48, 72, 3), np.uint8)
    expected = inception(np.ascontiguousarray(picture[:, ::2, ::3]))
    for value, reference in zip(inception(picture), expected, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-6)


def test_only_the_graph_of_2015_gives_fid(graph):
    """The real one's sizes; with a single one changed, a score gets another name."""
    real = {"convolutions": 94, "features": 2048, "classes": 1008, "side": 299}
    _write_graph(graph, **real)
    inception = InceptionFeatures(graph)
    assert inception.original and inception.channels == 2048
    assert inception.score_name("fid") == "fid"
    for name, value in real.items():
        _write_graph(graph, **(real | {name: value - 1}))
        other = InceptionFeatures(graph)
        assert not other.original, name
        assert other.score_name("fid") == f"fid_like_{other.sha256[:8]}"
    assert len(other.sha256) == 64 and other.sha256 != inception.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .No such file.*need classify_image_graph_def.pb"),
        (b"\xff\xd8 something else", "not a frozen graph, or truncated"),
        (b"", "a graph without ExpandDims, ResizeBilinear, pool_3, softmax/logits/MatMul"),
        (("pool_3",), "a graph without pool_3; is it Inception's"),
        (("softmax/weights",), "a graph that cannot be used as Inception's"),
    ],
)
def test_other_files(content, message, graph):
    if isinstance(content, bytes):
        graph.write_bytes(content)
    elif content:
        _write_graph(graph, skip=content)
    with pytest.raises(ValueError, match=message) as caught:
        InceptionFeatures(graph)
    assert str(graph) in str(caught.value) and "\n" not in str(caught.value)


def test_pictures_are_uint8(graph):
    _write_graph(graph)
    with pytest.raises(ValueError, match=r"float32 \[1, 24, 24, 3\], not uint8"):
        InceptionFeatures(graph)(np.zeros((1, 24, 24, 3), np.float32))
