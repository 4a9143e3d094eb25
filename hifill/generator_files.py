"""Generators that come as files of TensorFlow's own: frozen graphs and SavedModels."""

import pathlib

import tensorflow as tf
from google.protobuf.message import DecodeError

from hifill.weights import weights_file

_NODES = ("img:0", "mask:0", "inpainted:0", "attention:0")


class GeneratorFile:
    """A generator read from a file, called like a `hifill.Generator` with one picture.

    `_, refined, attention = generator([masked_image, mask])`, shapes and ranges as for
    `hifill.Generator`, the batch 1.

    Args:
        path: a frozen graph (`.pb`) with the nodes of `frozen_graph.frozen_graph`, ours or the
            authors'; or a SavedModel with our signature `generator`: its folder, that of its
            versions or of an export (the latest version is taken).

    Attributes:
        size: height and width of the picture.

    Raises:
        ValueError: one line, if the file is missing or none of these.
    """

    def __init__(self, path):
        path = pathlib.Path(path)
        self._call, self.size = _read_saved_model(path) if path.is_dir() else _read_frozen(path)

    def __call__(self, inputs):
        return self._call(*inputs)


def is_generator_file(path):
    """Whether `GeneratorFile` is for a path, rather than `hifill.weights`."""
    path = pathlib.Path(path)
    if path.is_dir() and weights_file(path).exists():  # a run, which may have been exported into
        return False
    return path.suffix.lower() == ".pb" or _saved_model_folder(path) is not None


def version_folders(folder):
    """What in a folder has a version's number as its name, the latest first; it may be missing."""
    numbers = [p for p in folder.glob("*") if p.name.isdecimal() and p.name.isascii()]
    return sorted(numbers, key=lambda path: int(path.name), reverse=True)


def _read_frozen(path):
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except DecodeError as error:
        raise ValueError(f"{path}: not a frozen graph, or truncated") from error
    names = {node.name for node in definition.node}
    missing = [name for name in _NODES if name.removesuffix(":0") not in names]
    if missing:
        raise ValueError(f"{path}: a graph without {', '.join(missing)}; is it HiFill's?")
    try:
        function = tf.compat.v1.wrap_function(
            lambda: tf.import_graph_def(definition, name=""), signature=[]
        )
    except (ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a graph that TensorFlow can run ({reason})") from error
    image, mask, inpainted, attention = map(function.graph.get_tensor_by_name, _NODES)
    shapes = [tensor.shape.as_list() for tensor in (image, mask) if tensor.shape.rank == 4]
    if len(shapes) < 2 or None in shapes[0] or shapes[0][:3] != shapes[1][:3]:
        raise ValueError(f"{path}: img:0 and mask:0 are not of one fixed size; is it HiFill's?")
    graph = function.prune([image, mask], [inpainted, attention])

    def call(masked_image, masks):
        inpainted, attention = graph((masked_image[..., ::-1] + 1) * 127.5, masks)
        return None, inpainted[..., ::-1] / 127.5 - 1, attention

    return call, image.shape[1]


def _saved_model_folder(path):
    """The folder of a SavedModel, or the latest in a folder of versions or an export; or None."""
    for parent in (path, path / "hifill"):
        for folder in (parent, *version_folders(parent)):
            if (folder / "saved_model.pb").exists():
                return folder
    return None


def _read_saved_model(path):
    folder = _saved_model_folder(path)
    if folder is None:
        raise ValueError(f"{path}: no SavedModel in it")
    try:
        model = tf.saved_model.load(str(folder))
        signature = model.signatures["generator"]
        size = signature.structured_input_signature[1]["image"].shape[1]
    except KeyError as error:
        raise ValueError(f"{folder}: has no signature named generator; is it HiFill's?") from error
    except (OSError, tf.errors.OpError, ValueError, IndexError) as error:  # as variables are read
        raise ValueError(f"{folder}: not a SavedModel, or damaged") from error

    def call(masked_image, masks):
        results = signature(image=masked_image, mask=masks)
        return results["coarse"], results["refined"], results["attention"]

    # The signature's variables live as long as the model that it came from.
    call.model = model
    return call, size
