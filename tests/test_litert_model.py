"""LiteRT models are run by their own interpreter and compared with Keras."""

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from hifill.generator_function import generator_function
from hifill.litert_model import WEIGHTS, litert_model

SIZE = 128


@pytest.fixture(scope="module")
def models(runtimes_folder):
    return {
        weights: (runtimes_folder / f"hifill_{weights}.tflite").read_bytes() for weights in WEIGHTS
    }


@pytest.fixture(scope="module")
def inputs(picture, hole):
    mask = hole(SIZE, SIZE)
    return {"image": picture(1, SIZE, SIZE) * (1 - mask), "mask": mask}


@pytest.fixture(scope="module")
def differences(generator, models, inputs):
    """For each model and output, the absolute difference from Keras, pictures in grey levels."""
    expected = generator_function(generator, SIZE)(**inputs)
    scales = {"coarse": 127.5, "refined": 127.5, "attention": 1}
    found = {}
    for weights, model in models.items():
        outputs = litert.Interpreter(model_content=model).get_signature_runner("generator")(
            **inputs
        )
        found[weights] = {
            name: scale * np.abs(outputs[name] - expected[name].numpy())
            for name, scale in scales.items()
        }
    return found


@pytest.mark.parametrize("weights", WEIGHTS)
def test_one_signature_with_names_and_fixed_shapes(models, weights):
    interpreter = litert.Interpreter(model_content=models[weights])
    assert list(interpreter.get_signature_list()) == ["generator"]
    runner = interpreter.get_signature_runner("generator")

    def described(details):
        assert all(tensor["dtype"] is np.float32 for tensor in details.values())
        return {name: tuple(tensor["shape"]) for name, tensor in details.items()}

    assert described(runner.get_input_details()) == {
        "image": (1, SIZE, SIZE, 3),
        "mask": (1, SIZE, SIZE, 1),
    }
    assert described(runner.get_output_details()) == {
        "coarse": (1, SIZE, SIZE, 3),
        "refined": (1, SIZE, SIZE, 3),
        "attention": (1, SIZE // 16, SIZE // 16, (SIZE // 16) ** 2),
    }


@pytest.mark.parametrize("weights", WEIGHTS)
def test_only_built_in_operators(models, weights):
    operators = litert.Interpreter(model_content=models[weights])._get_ops_details()
    names = {operator["op_name"] for operator in operators}
    assert "CONV_2D" in names
    assert names <= set(vars(schema.BuiltinOperator)) - {"CUSTOM"}


def test_float32_is_keras(differences):
    # Measured: 3.0e-4 and 2.4e-4 grey levels, and 4.2e-7.
    assert differences["float32"]["coarse"].max() < 1e-3
    assert differences["float32"]["refined"].max() < 1e-3
    assert differences["float32"]["attention"].max() < 2e-6


def test_smaller_weights_cost_little(models, differences):
    assert len(models["float16"]) < 0.6 * len(models["float32"])
    assert len(models["int8"]) < 0.35 * len(models["float32"])
    # Measured: coarse 0.022 and 1.33 grey levels, refined 0.0062 and 0.45.
    assert differences["float16"]["coarse"].mean() < 0.03
    assert differences["float16"]["refined"].mean() < 0.01
    assert differences["int8"]["coarse"].mean() < 2
    assert differences["int8"]["refined"].mean() < 0.7


def test_conversion_prints_nothing(generator, capfd):
    litert_model(generator, 64)
    assert capfd.readouterr().out == ""


def test_errors(generator):
    with pytest.raises(ValueError, match="unknown weights 'int4', choose one of float32, float16"):
        litert_model(generator, SIZE, "int4")
    for size in (-64, 0, 100):
        with pytest.raises(ValueError, match=f"size must be a multiple of 64, got {size}"):
            litert_model(generator, size)
