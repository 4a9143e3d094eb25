"""Weights and pictures made by formulas, so that their results can be written down as figures."""

import dataclasses
import fcntl
import os
import pathlib
import sys
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

import hifill
from hifill import convert, exporting
from hifill.weights import save_weights

# On a GPU, TensorFloat-32 would round more than the tests allow.
tf.config.experimental.enable_tensor_float_32_execution(False)

# Recordings of the original network; large, and not part of the repository.
REFERENCE = pathlib.Path(
    os.environ.get("HIFILL_REFERENCE") or pathlib.Path(__file__).parents[2] / "shared" / "reference"
)
# A kernel's standard deviation is gain / fan-in ** 0.5. These gains keep the results within
# [-1, 1], the attention between uniform and one-hot, and rounding errors from growing.
GAIN = 2.4
RELATIVE_GAINS = {"re_dil_d16": 0.02, "re_att_64": 4.0, "re_de_toRGB": 0.05, "discriminator": 0.6}


def _seeded_array(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    relative = next((gain for part, gain in RELATIVE_GAINS.items() if part in name), 1.0)
    if len(shape) == 1:
        return (0.05 * relative * random).astype(np.float32)
    return (GAIN * relative / np.prod(shape[:-1]) ** 0.5 * random).astype(np.float32)


def train_command(config):
    """The command line of train.py for a `TrainingConfig`."""
    given = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    script = pathlib.Path(__file__).resolve().parents[1] / "train.py"
    return [sys.executable, str(script), *(f"--{name}={value}" for name, value in given.items())]


@pytest.fixture(scope="session")
def seed_weights():
    """Returns a function that gives a model weights depending on the authors' names alone."""

    def seed(model):
        variables = convert.tensorflow1_variables(model)
        convert.load_variables(
            model, {name: _seeded_array(name, array.shape) for name, array in variables.items()}
        )
        return model

    return seed


@pytest.fixture(scope="session")
def picture():
    """Returns a function: (batch, height, width) -> smooth RGB pictures in [-1, 1], float32."""

    def draw(batch, height, width):
        y, x = np.mgrid[:height, :width] / 64
        planes = [
            np.sin(2.1 * x + 3.3 * y * (channel + 1) + i + channel)
            + 0.5 * np.cos(9 * x - 5 * y + 2 * channel + i)
            + 0.25 * np.sin((31 + 3 * channel) * x * y)
            for i in range(batch)
            for channel in range(3)
        ]
        planes = np.reshape(planes, (batch, 3, height, width)) / 1.75
        return planes.transpose(0, 2, 3, 1).astype(np.float32)

    return draw


@pytest.fixture(scope="session")
def hole():
    """Returns a function: (height, width) -> one mask [1, height, width, 1] with a rectangle."""

    def draw(height, width):
        mask = np.zeros((1, height, width, 1), np.float32)
        mask[:, height // 8 : height // 4 + 5, width // 6 : width // 3] = 1
        return mask

    return draw


@pytest.fixture(scope="session")
def generator(seed_weights):
    """The released architecture with seeded weights. Not to be changed by a test."""
    return seed_weights(hifill.Generator())


def _exported(generator, tmp_path_factory, name, **options):
    """The folder that an export of `generator` is in; one worker makes it for all."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / name
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            weights = base / f"{name}.weights.h5"
            save_weights(generator, weights, iteration=1234)
            exporting.export(folder, weights, size=128, **options)
    return folder


@pytest.fixture(scope="session")
def export_folder(generator, tmp_path_factory):
    """What `export.py` writes, at a small size: hifill/1/ and hifill.pb, of `generator`.

    The generator's pictures are 128 pixels wide; photos over 2 megapixels are refused.
    """
    return _exported(generator, tmp_path_factory, "export", max_pixels=2_000_000)


@pytest.fixture(scope="session")
def runtimes_folder(generator, tmp_path_factory):
    """The same generator as hifill_float32.tflite, _float16, _int8, and hifill.onnx."""
    formats = ["litert", "onnx"]
    return _exported(generator, tmp_path_factory, "runtimes", formats=formats)


@pytest.fixture(scope="session")
def saved_model(export_folder):
    """The SavedModel of `export_folder`. Loading it, and each function's first call, take long."""
    return tf.saved_model.load(str(export_folder / "hifill" / "1"))


@pytest.fixture(scope="session")
def textured_photo():
    """Returns a function: (height, width, seed=0) -> uint8 [H, W, 3], a textured picture."""

    def draw(height, width, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.uniform(60, 180, (height // 24 + 2, width // 24 + 2, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        grain = cv2.GaussianBlur(rng.normal(0, 20, (height, width, 3)), (0, 0), 0.8)
        return np.clip(picture + grain, 20, 220).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def disc():
    """Returns a function: (height, width) -> bool [H, W], True in a disc in the middle."""

    def draw(height, width):
        y, x = np.mgrid[:height, :width]
        radius = min(height, width) / 4
        return (y - height / 2) ** 2 + (x - width / 2) ** 2 < radius**2

    return draw


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Returns a function: (entry, name, *arguments) -> (exit code, stdout, stderr); same process.

    entry: a function that reads sys.argv and exits, as those of our commands.
    """

    def run(entry, name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            entry()
        out, error = capsys.readouterr()
        return exit_.value.code or 0, out, error

    return run
