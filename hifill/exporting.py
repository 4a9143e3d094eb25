"""Trained weights to files that need none of our Python: `export.py` does it from a shell."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import time

import tensorflow as tf

import hifill
from hifill import locks
from hifill.generator_files import version_folders
from hifill.image_io import MAX_PIXELS, replace_file
from hifill.onnx_model import load_converter, onnx_model
from hifill.saved_model import ServedInpainter
from hifill.weights import fingerprint, load_generator, training_step

MODEL = "hifill"  # the folder of the versions, and the name that servers know
METADATA = "hifill.json"
FORMATS = ("saved_model", "frozen_graph", "litert", "onnx")
_LATEST = 2**63 - 1  # a version is an int64 for TensorFlow Serving


def export(
    output,
    weights=None,
    version=None,
    formats=FORMATS[:2],
    max_pixels=MAX_PIXELS,
    frozen_dtype="float32",
    warm_up=(),
    size=512,
):
    """Writes a generator in several formats.

    - saved_model: `<output>/hifill/<version>/`, see `ServedInpainter`. It appears there complete.
    - frozen_graph: `<output>/hifill.pb`, see `frozen_graph.frozen_graph`.
    - litert: `<output>/hifill_float32.tflite`, `_float16`, `_int8`, see `litert_model`.
    - onnx: `<output>/hifill.onnx`, see `onnx_model`.

    Args:
        output: folder, made if it is missing.
        weights: a `.weights.h5` file, a training run's folder, or None for the shipped weights.
        version: a positive int; None for the next one.
        formats: which of `FORMATS`.
        max_pixels: the SavedModel refuses larger photos, height x width.
        frozen_dtype: "float32" or "float16", of the weights in the frozen graph.
        warm_up: sides of square photos that TensorFlow Serving fills once when it loads the
            SavedModel, see `warm_up.warm_up_requests`.
        size: height and width of the generator's picture, a multiple of 64.

    Returns:
        List of the paths that were written.

    Raises:
        ValueError: if the weights are missing or do not fit, the version exists, a photo to warm
            up with is too large, a package is missing for a format, another export writes to the
            folder, or something cannot be written. Each file, and the SavedModel's folder, appears
            complete or not at all.
    """
    if not str(output):
        raise ValueError("--output is empty; name a folder")
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ValueError(f"unknown format {unknown[0]!r}, choose of {', '.join(FORMATS)}")
    if size <= 0 or size % 64:
        raise ValueError(f"size must be a multiple of 64, got {size}")
    if "onnx" in formats:
        load_converter()
    largest = max(warm_up, default=0)
    if largest**2 > max_pixels:
        raise ValueError(
            f"--warm_up={largest}: {largest} x {largest} pixels are over the limit of {max_pixels}"
        )
    output = pathlib.Path(output)
    with _locked(output):
        return _export(output, weights, version, formats, max_pixels, frozen_dtype, warm_up, size)


def _export(output, weights, version, formats, max_pixels, frozen_dtype, warm_up, size):
    versions = output / MODEL
    if version is None:
        version = 1 + max((int(path.name) for path in version_folders(versions)), default=0)
    if not 1 <= version <= _LATEST:
        raise ValueError(f"version {version} is not within 1 to 2^63 - 1; choose another --version")
    if "saved_model" in formats and (versions / str(version)).exists():
        raise ValueError(
            f"{versions / str(version)}: exists; choose another --version or leave it out"
        )
    _remove_left_over(versions)
    requests = None
    if warm_up and "saved_model" in formats:
        from hifill.warm_up import warm_up_requests

        requests = warm_up_requests(warm_up)
    generator = load_generator(weights)
    files = {}
    if "frozen_graph" in formats:
        from hifill.frozen_graph import frozen_graph

        files["hifill.pb"] = frozen_graph(generator, size, frozen_dtype).SerializeToString()
    if "litert" in formats:
        from hifill.litert_model import litert_model

        for dtype in ("float32", "float16", "int8"):
            files[f"hifill_{dtype}.tflite"] = litert_model(generator, size, dtype)
    if "onnx" in formats:
        files["hifill.onnx"] = onnx_model(generator, size)
    written = [output / name for name in files]
    with contextlib.ExitStack() as stack:
        if "saved_model" in formats:
            metadata = {
                "name": MODEL,
                "version": version,
                "hifill": hifill.__version__,
                "tensorflow": tf.__version__,
                "weights_sha256": fingerprint(generator),
                "training_step": training_step(weights),
                "architecture": generator.architecture,
                "coarse_gate": generator.coarse_gate,
                "refine_gate": generator.refine_gate,
                "size": size,
                "max_pixels": max_pixels,
                "encoded_inputs": ["JPEG", "PNG"],
            }
            folder = stack.enter_context(_appearing(versions / str(version)))
            _save(folder, generator, metadata, requests)
            written.insert(0, versions / str(version))
        for name, content in files.items():
            replace_file(output / name, content)
    return written


@contextlib.contextmanager
def _locked(folder):
    """Makes a folder, keeps other exports out of it, and removes it if it stays empty."""
    missing = []
    with contextlib.suppress(OSError):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
    busy = f"{folder}: another export writes here; wait for it"
    try:
        with locks.locked_folder(folder, "--output", busy):
            yield
    finally:
        for path in (folder / MODEL, *missing) if missing else ():
            with contextlib.suppress(OSError):
                path.rmdir()


def _remove_left_over(versions):
    """Removes what an export that was killed, days ago, left of `_appearing`."""
    for path in versions.glob(".*"):
        old = time.time() - path.lstat().st_mtime > 86400
        if old and re.fullmatch(r"\.\d+-\d+-[0-9a-f]{8}", path.name):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _appearing(path):
    """Gives a temporary folder beside `path`, and its name to it when all went well."""
    # Servers look for folders with numbers as names.
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in filter(pathlib.Path.is_file, temporary.rglob("*")):
            with open(file, "r+b") as written:
                os.fsync(written.fileno())
        temporary.rename(path)
    except (OSError, tf.errors.OpError) as error:
        # TensorFlow's messages begin with a node or a temporary name; some end with an operation.
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0].split(" [Op")[0]
        reason = reason.rpartition("; ")[2]
        raise ValueError(
            f"{path}: cannot be written ({reason}); free some space or choose another --output"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save(folder, generator, metadata, requests):
    asset = folder / METADATA
    asset.write_text(json.dumps(metadata, indent=1) + "\n")
    module = ServedInpainter(generator, asset, metadata["max_pixels"], metadata["size"])
    tf.saved_model.save(module, str(folder), signatures=module.named_signatures())
    asset.unlink()  # it has been copied into assets/
    if requests:
        replace_file(folder / "assets.extra" / "tf_serving_warmup_requests", requests)
