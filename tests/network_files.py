"""Files of networks with seeded weights: a small Inception, and LPIPS."""

import numpy as np
import tensorflow as tf

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


def write_inception(path, seed=0, convolutions=2, features=16, classes=5, side=24, skip=()):
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


ALEX = [(11, 64), (5, 192), (3, 384), (3, 256), (3, 256)]
VGG = [(3, n) for n in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)]
LINEAR = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def seeded_lpips(network):
    rng = np.random.default_rng(0)
    arrays, channels = {}, 3
    for i, (side, filters) in enumerate({"alex": ALEX, "vgg": VGG}[network]):
        kernel = rng.standard_normal((side, side, channels, filters))
        kernel *= (2 / (channels * side * side)) ** 0.5
        arrays[f"kernel{i}"] = kernel.astype(np.float32)
        arrays[f"bias{i}"] = (rng.standard_normal(filters) * 0.1).astype(np.float32)
        channels = filters
    for i, count in enumerate(LINEAR[network]):
        arrays[f"linear{i}"] = np.arange(1, count + 1, dtype=np.float32) / count
    return arrays
