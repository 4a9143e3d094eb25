"""Weight files: `.weights.h5` in Keras' layout, any float type on disk; and the shipped ones."""

import contextlib
import hashlib
import json
import os
import pathlib

import h5py
import numpy as np

SHIPPED = pathlib.Path(__file__).parent / "hifill.weights.h5"
_ITERATION = "iteration"


def load_weights(model, path=None):
    """Loads weights into a network, all or nothing.

    Args:
        model: a `Generator`, or a `Discriminator` with a file of its own.
        path: a `.weights.h5` file as `Generator.save_weights` or `save_weights` writes it, a
            training run's folder, or None for the weights shipped with the package.

    Raises:
        ValueError: one line saying which variable does not fit, with both shapes, or that the file
            is missing or no weights file. The network is then unchanged.
    """
    path = weights_file(path)
    if not path.exists():
        raise ValueError(f"{path}: no such weights file")
    loaded, missing, misshapen = [], [], []
    try:
        with h5py.File(path, "r") as file:
            for name, keras_name, variable in _entries(model):
                found = file.get(name, file.get(keras_name))
                if not isinstance(found, h5py.Dataset):
                    missing.append(f"{name} is missing")
                elif found.shape != tuple(variable.shape):
                    misshapen.append(
                        f"{name} has shape {found.shape}, the network {tuple(variable.shape)}"
                    )
                else:
                    loaded.append((variable, found[...].astype(np.float32)))
    except (OSError, RuntimeError) as error:
        hint = "" if path.suffix == ".h5" else "; hifill-convert makes one of TensorFlow 1's files"
        raise ValueError(f"{path}: not a weights file (HDF5), or truncated{hint}") from error
    faults = misshapen + missing
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(f"{path}: does not fit: {'; '.join(faults[:3])}{more}")
    if not all(np.isfinite(array).all() for _, array in loaded):
        raise ValueError(f"{path}: holds values that are not finite; use an earlier checkpoint's")
    for variable, array in loaded:
        variable.assign(array)


def load_generator(path=None, dtype_policy=None):
    """A generator with weights; those in a training run's folder with the run's architecture.

    Args:
        path: as for `load_weights`.
        dtype_policy: name of a Keras dtype policy; None is Keras' own setting, float32.

    Returns:
        A `Generator`.

    Raises:
        ValueError: as `load_weights`.
    """
    from hifill.generator import Generator

    settings = {}
    if path is not None:
        path = pathlib.Path(path)
        config = (path if path.is_dir() else path.parent) / "config.json"
        with contextlib.suppress(OSError, ValueError):
            saved = json.loads(config.read_text())
            names = ("architecture", "coarse_gate", "refine_gate")
            settings = {name: saved[name] for name in names if name in saved}
    generator = Generator(**settings, dtype=dtype_policy)
    load_weights(generator, path)
    return generator


def training_step(path=None):
    """How many iterations the weights of a file have seen, None if unknown; as `load_weights`."""
    path = weights_file(path)
    with contextlib.suppress(OSError), h5py.File(path, "r") as file:
        if _ITERATION in file.attrs:
            return int(file.attrs[_ITERATION])
    return None


def fingerprint(model):
    """SHA-256 of a network's weights, names and float32 values: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, _, variable in sorted(_entries(model), key=lambda entry: entry[0]):
        digest.update(name.encode())
        digest.update(np.asarray(variable.value).astype("<f4").tobytes())
    return digest.hexdigest()


def save_weights(model, path, dtype="float32", iteration=None):
    """Writes a network's weights; `Generator.load_weights` reads a generator's too.

    Args:
        model: a `Generator` or a `Discriminator`.
        path: the file, replaced at once when the new one is complete.
        dtype: "float32" or "float16" on disk.
        iteration: of the training that they come from, written along; None if unknown.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(temporary, "w") as file:
            if iteration is not None:
                file.attrs[_ITERATION] = iteration
            for name, _, variable in _entries(model):
                file[name] = np.asarray(variable.value).astype(dtype)
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error}); choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def weights_file(path):
    """The file that `load_weights` reads for a file, a training run's folder or None."""
    path = SHIPPED if path is None else pathlib.Path(path)
    return path / "generator.weights.h5" if path.is_dir() else path


def _entries(model):
    """Yields (name in our files, name in those that Keras writes, variable)."""
    from hifill.discriminator import Discriminator

    if isinstance(model, Discriminator):
        for layer in model.layers:
            for i, variable in enumerate(layer.weights):
                name = f"discriminator/{layer.name}/vars/{i}"
                yield name, name, variable
        return
    for network in (model.coarse_network, model.refine_network):
        layers = [layer for layer in network.layers if layer.weights]
        for i, layer in enumerate(layers):
            # Keras names a layer by the first attribute, alphabetically, that holds it: here by
            # `layers` where our own name comes later.
            keras_layer = f"layers/{network.name}/layers/gated_conv2d" + (f"_{i}" if i else "")
            for j, variable in enumerate(layer.weights):
                ours = f"{network.name}/{layer.name}/vars/{j}"
                yield ours, f"{keras_layer}/vars/{j}", variable
