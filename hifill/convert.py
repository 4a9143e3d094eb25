"""Imports the authors' TensorFlow 1 weights: their names, their BGR channels."""

import logging
import pathlib

import numpy as np

from hifill import command_line

USAGE = """
hifill-convert CHECKPOINT OUT.weights.h5

Turns weights of the authors' code, a TensorFlow 1 checkpoint (a folder, or its .index file) or the
graph frozen from one (.pb), into weights for hifill.load_weights and hifill-inpaint --weights.
"""
# TensorFlow is imported where it is used, so that the command can silence its start-up remarks.

_FLIP = [2, 1, 0]
_FLIP_WITH_MASK = [2, 1, 0, 3]


def read_checkpoint(path):
    """Reads a TensorFlow 1 checkpoint, or a graph that was frozen from one.

    Args:
        path: a checkpoint's prefix (".../0" for "0.index" and "0.data-..."), its index file, a
            folder that holds one (the newest by its `checkpoint` file, else the only one), or a
            frozen graph (`.pb`) whose constants have the names of the variables they were.

    Returns:
        Dict from variable name to NumPy array, optimizer slots included.

    Raises:
        ValueError: one line saying what is missing or cannot be read.
    """
    import tensorflow as tf

    if str(path).endswith(".pb"):
        return _constants(path)
    prefix = _checkpoint_prefix(str(path))
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(f"not a readable TensorFlow checkpoint: {first_line}") from error


def _constants(path):
    """Dict from name to array of the constants in a frozen graph."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(pathlib.Path(path).read_bytes())
    except (OSError, DecodeError) as error:
        raise ValueError(f"not a readable frozen graph: {error}") from error
    nodes = (node for node in definition.node if node.op == "Const")
    return {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in nodes}


def _checkpoint_prefix(path):
    import tensorflow as tf

    if path.endswith(".index"):
        return path.removesuffix(".index")
    if not tf.io.gfile.isdir(path):
        return path
    prefix = tf.train.latest_checkpoint(path)
    if prefix:
        return prefix
    found = sorted(tf.io.gfile.glob(f"{path}/*.index"))
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} checkpoints and no `checkpoint` file to choose one; name the .index file"
        )
    return found[0].removesuffix(".index")


def load_variables(model, variables):
    """Loads the authors' variables into a model, turned from BGR to RGB.

    Args:
        model: a `Generator` with its default gates, or a `Discriminator`.
        variables: dict from TensorFlow 1 variable name to array, as `read_checkpoint` returns. What
            the model does not have is ignored.

    Raises:
        ValueError: if a variable is missing or has another shape: all of them, with both shapes.
            The model is then unchanged.
    """
    loaded = []
    faults = []
    for name, variable, flip_input, flip_output in _entries(model):
        if name not in variables:
            faults.append(f"{name} is missing")
            continue
        array = np.asarray(variables[name], np.float32)
        if array.shape != tuple(variable.shape):
            faults.append(f"{name} has shape {array.shape}, the model {tuple(variable.shape)}")
            continue
        loaded.append((variable, _flipped(array, flip_input, flip_output)))
    if faults:
        raise ValueError("weights do not fit: " + "; ".join(faults))
    for variable, array in loaded:
        variable.assign(array)


def _flipped(array, flip_input, flip_output):
    """Swaps BGR and RGB, either way, in a variable whose inputs or outputs are colours."""
    if flip_input:
        array = array[:, :, _FLIP_WITH_MASK[: array.shape[2]]]
    if flip_output and array.shape[-1] == 3:
        array = array[..., _FLIP]
    return array


def _scope(row):
    return f"generator/{row.name}/{row.name}_conv" if row.up else f"generator/{row.name}"


def _entries(model):
    """Yields (TensorFlow 1 name, variable, whether inputs and outputs are BGR)."""
    from hifill.discriminator import Discriminator
    from hifill.generator import COARSE, REFINE

    if isinstance(model, Discriminator):
        if model.spectral_normalisation or model.head != "dense":
            raise ValueError("the authors' critic is dense and not spectrally normalised")
        for i in range(1, 7):
            layer = getattr(model, f"conv{i}")
            yield f"discriminator/conv{i}/w", layer.kernel, i == 1, False
            yield f"discriminator/conv{i}/biases", layer.bias, False, False
        yield "discriminator/linear/kernel", model.linear.kernel, False, False
        yield "discriminator/linear/bias", model.linear.bias, False, False
        return
    if (model.coarse_gate, model.refine_gate) != ("single_channel", "pointwise"):
        raise ValueError(
            "the authors' weights have single_channel and pointwise gates, "
            f"the generator {model.coarse_gate} and {model.refine_gate}"
        )
    coarse, refine = COARSE[model.architecture], REFINE[model.architecture]
    for i, row in enumerate(coarse):
        layer = getattr(model.coarse_network, row.name)
        scope = _scope(row)
        flips = (i == 0, row is coarse[-1])
        yield f"{scope}_feat/w", layer.kernel, *flips
        yield f"{scope}_feat/biases", layer.bias, False, flips[1]
        yield f"{scope}_gate/w", layer.gate_kernel, *flips
        yield f"{scope}_gate/biases", layer.gate_bias, False, False
    for branch, rows in refine.items():
        for i, row in enumerate(rows):
            layer = getattr(model.refine_network, row.name)
            scope = _scope(row)
            flips = (branch == "encoder_256" and i == 0, branch == "decoder_512")
            yield f"{scope}/w", layer.kernel, *flips
            yield f"{scope}/biases", layer.bias, False, flips[1]
            yield f"{scope}/pw", layer.gate_kernel, *flips
            yield f"{scope}/ds_biases", layer.gate_bias, False, flips[1]


def tensorflow1_variables(model):
    """The inverse of `load_variables`: a model's weights under the authors' names, in BGR.

    Args:
        model: as for `load_variables`.

    Returns:
        Dict from TensorFlow 1 variable name to float32 array.
    """
    return {
        name: _flipped(np.asarray(variable), *flips) for name, variable, *flips in _entries(model)
    }


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    from absl import app

    from hifill.generator import Generator
    from hifill.weights import save_weights

    if len(arguments) != 2:
        raise app.UsageError(f"expected a checkpoint and an output file, got {len(arguments)}")
    checkpoint, output = arguments
    if not output.endswith(".weights.h5"):
        raise app.UsageError(f"{output}: the output's name must end in .weights.h5")
    generator = Generator()
    try:
        load_variables(generator, read_checkpoint(checkpoint))
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    save_weights(generator, output)
    logging.getLogger(__name__).info("wrote %s", output)


def run():
    """Entry point of `hifill-convert`."""
    from absl import flags

    command_line.run(main, flags.FlagValues(), USAGE)
