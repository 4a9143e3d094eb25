"""Nothing but files is read and written on the CPU where there is a GPU.

Whether an operation can run on a GPU is known to any TensorFlow that was built for one.
"""

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from hifill import HighResolutionInpainter

pytestmark = pytest.mark.skipif(
    not tf.sysconfig.get_build_info()["is_cuda_build"],
    reason="this TensorFlow was built for CPUs, and does not know what GPUs can do",
)


def cpu_only(graph_def):
    """What of a graph, its functions included, has no kernel for GPUs: {(operation, type)}."""
    functions = {function.signature.name for function in graph_def.library.function}
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    return {
        (node.op, *(tf.as_dtype(a.type).name for a in node.attr.values() if a.type))
        for node in nodes
        if node.op not in functions and not has_gpu_kernel(node)
    }


def has_gpu_kernel(node):
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(
            node.attr[constraint.name].type in constraint.allowed_values.list.type
            for constraint in kernel.constraint
        )
        for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
    )


@pytest.mark.parametrize(
    ("dtype", "fidelity"),
    [
        ("uint8", "improved"),
        ("uint16", "improved"),
        ("float32", "improved"),
        ("uint8", "original"),
        ("float32", "plain"),
    ],
)
def test_the_wrapper_stays_on_the_gpu(generator, fidelity, dtype):
    wrapper = HighResolutionInpainter(generator, fidelity, size=128)
    graph = wrapper._functions[f"{dtype}_3"].get_concrete_function().graph.as_graph_def()
    assert len(graph.library.function) > 1
    assert cpu_only(graph) == set()


def test_a_gather_of_bytes_would_be_found():
    function = tf.function(lambda x: tf.gather(x, [0]))
    graph = function.get_concrete_function(tf.TensorSpec([None], tf.uint8)).graph.as_graph_def()
    assert {name for name, *_ in cpu_only(graph)} == {"GatherV2"}


def test_only_strings_leave_the_gpu(saved_model):
    graph = saved_model.signatures["serving_default"].graph.as_graph_def()
    # Files are parsed byte by byte, decoded, and turned upright before they go to the device.
    of_files = {"DecodeImage", "DecodePng", "DecodeJpeg", "DecodeRaw", "EncodePng", "Substr"}
    of_files |= {"ExtractJpegShape", "GatherV2", "ReverseV2"}
    left = {
        (name, *types)
        for name, *types in cpu_only(graph)
        if name not in of_files and "string" not in types and "String" not in name
    }
    assert left == set()
