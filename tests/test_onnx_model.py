"""ONNX models are run by ONNX Runtime and compared with Keras."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from hifill.generator_function import generator_function
from hifill.onnx_model import OPSET, onnx_model

SIZE = 128


@pytest.fixture(scope="module")
def model(runtimes_folder):
    return (runtimes_folder / "hifill.onnx").read_bytes()


@pytest.fixture(scope="module")
def inputs(picture, hole):
    mask = hole(SIZE, SIZE)
    return {"image": picture(1, SIZE, SIZE) * (1 - mask), "mask": mask}


def open_session(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def test_names_and_fixed_shapes(model):
    session = open_session(model)

    def described(tensors):
        assert all(tensor.type == "tensor(float)" for tensor in tensors)
        return {tensor.name: tuple(tensor.shape) for tensor in tensors}

    assert described(session.get_inputs()) == {
        "image": (1, SIZE, SIZE, 3),
        "mask": (1, SIZE, SIZE, 1),
    }
    assert described(session.get_outputs()) == {
        "coarse": (1, SIZE, SIZE, 3),
        "refined": (1, SIZE, SIZE, 3),
        "attention": (1, SIZE // 16, SIZE // 16, (SIZE // 16) ** 2),
    }


def test_only_standard_operators(model):
    proto = onnx.load_from_string(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", OPSET)]
    assert {node.domain for node in proto.graph.node} == {""}
    assert not proto.functions


def test_is_keras(generator, model, inputs):
    session = open_session(model)
    names = [tensor.name for tensor in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    expected = generator_function(generator, SIZE)(**inputs)
    # Measured: 2.1e-4 and 1.6e-4 grey levels, and 4.2e-7.
    for name, scale, bound in (
        ("coarse", 127.5, 1e-3),
        ("refined", 127.5, 1e-3),
        ("attention", 1, 2e-6),
    ):
        assert scale * np.abs(outputs[name] - expected[name].numpy()).max() < bound


def test_errors(generator, monkeypatch):
    with pytest.raises(ValueError, match="size must be a multiple of 64, got 100"):
        onnx_model(generator, 100)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ValueError, match=r"pip install tf2onnx$"):
        onnx_model(generator, SIZE)
