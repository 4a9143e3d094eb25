"""Photos of TensorFlow Datasets that are already on the disk, for `photo_sources`."""

import os
import re

import numpy as np

from hifill import image_io
from hifill.photo_sources import PhotoFiles, Photos, RecordPhotos

# tensorflow_datasets is imported where it is used: it takes a second, and few runs need it.

_SPLIT = r"[\w-]+(\[[^\[\]]*\])?"
# A version, "1.2.3", has dots, and so is no split.
_SOURCE = re.compile(rf"tfds:(?P<name>.+?)(:(?P<split>{_SPLIT}(\+{_SPLIT})*))?")
_CATALOGUE = "https://www.tensorflow.org/datasets/catalog/overview"


class ExamplePhotos(Photos):
    """Photos of a tfds data source whose image features are left encoded."""

    def __init__(self, source, examples, feature):
        self._source = source
        self._examples = examples
        self._feature = feature

    def __len__(self):
        return len(self._examples)

    def name(self, index):
        return f"{self._source}[{index}]"

    def encoded(self, index):
        index = range(len(self))[index]
        try:
            return bytes(self._examples[index][self._feature])
        except Exception as error:
            # Each file format has exceptions of its own, and none is documented.
            raise image_io.ImageError(
                f"{self.name(index)}: cannot be read ({_first_line(error)}); prepare it anew"
            ) from error


def open_tfds(source):
    """Opens a data set of TensorFlow Datasets. Nothing is downloaded.

    Args:
        source: "tfds:NAME[:SPLIT]", see `photo_sources.open_photos`. NAME may have a configuration
            and a version, "div2k/bicubic_x2:2.0.0"; SPLIT may be a slice, "train[:80%]", and a sum.

    Returns:
        `Photos` in the data set's order. Of several image features it takes "image", else "hr".

    Raises:
        ValueError: one line, if there is no such data set, split or image feature, or the data set
            is not prepared on this machine.
    """
    import tensorflow_datasets as tfds

    match = _SOURCE.fullmatch(source)
    if not match:
        raise ValueError(f"{source}: names no data set; give tfds:NAME or tfds:NAME:SPLIT")
    name, split = match["name"], match["split"] or "train"
    builder = _directory_builder(os.path.expanduser(name)) or _named_builder(name)
    source = f"tfds:{name}:{split}"
    if isinstance(builder, tfds.ImageFolder):
        return _open_image_folder(source, builder, split)
    feature, images = _image_features(source, builder.info.features)
    undecoded = {name: tfds.decode.SkipDecoding() for name in images}
    try:
        examples = builder.as_data_source(split, decoders=undecoded)
    except NotImplementedError:
        _check_prepared(name, builder)
        return _open_tfrecords(source, builder, split, feature)
    except Exception as error:
        # Whatever has gone wrong inside, "not prepared" explains it best.
        _check_prepared(name, builder)
        raise _split_error(source, builder, error) from error
    if "[" in split and builder.info.file_format.value == "parquet":
        # tensorflow_datasets would give the whole split, without a word.
        raise ValueError(
            f"{source}: slices of Parquet files do not work; prepare it as array_record"
        )
    return ExamplePhotos(source, examples, feature)


def _directory_builder(directory):
    """The builder for an existing directory, None if it is no data set."""
    import tensorflow_datasets as tfds

    if not os.path.isdir(directory):
        return None
    if os.path.exists(os.path.join(directory, "dataset_info.json")):
        try:
            return tfds.builder_from_directory(directory)
        except Exception as error:
            raise ValueError(
                f"{directory}: not a data set that can be read ({_first_line(error)});"
                " prepare it anew"
            ) from error
    builder = tfds.ImageFolder(directory)
    # A folder of the working directory may well be named as a data set.
    return builder if _examples(builder) else None


def _examples(builder):
    """Split -> paths of an ImageFolder.

    Its data set has the paths too, but reads every photo to give them.
    """
    return {
        split: [example.image_path for example in examples]
        for split, examples in builder._split_examples.items()
        if examples
    }


def _named_builder(name):
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"[\w/:.*+=,-]+", name):
        raise _unknown(name)
    try:
        return tfds.builder(name)
    except tfds.core.DatasetNotFoundError as error:
        raise _unknown(name) from error
    except Exception as error:
        configurations = _configurations(name)
        if configurations is None:
            raise _unknown(name) from error
        reason = _first_line(error).split('}": ')[-1].split(" Here are ")[0].rstrip(".")
        advice = f"see {_CATALOGUE}"
        if configurations:
            shown = configurations[:12] + ["..."] * (len(configurations) > 12)
            advice = f"it has the configurations {', '.join(shown)}"
        raise ValueError(f"tfds:{name}: cannot be opened: {reason}; {advice}") from error


def _unknown(name):
    if os.path.isdir(os.path.expanduser(name)):
        return ValueError(
            f"tfds:{name}: the folder is no data set; give one with dataset_info.json"
            " (NAME/CONFIGURATION/VERSION) or with photos in SPLIT/LABEL"
        )
    return ValueError(f"tfds:{name}: no such data set and no such folder; see {_CATALOGUE}")


def _configurations(name):
    """The configurations' names of a data set; None if there is no such set."""
    import tensorflow_datasets as tfds

    try:
        return sorted(tfds.builder_cls(re.split("[/:]", name)[0]).builder_configs)
    except Exception:
        return None


def _image_features(source, features):
    """(name of the feature to take, names of all image features)."""
    import tensorflow_datasets as tfds

    images = [name for name in features if isinstance(features[name], tfds.features.Image)]
    photos = [
        name
        for name in images
        if not isinstance(features[name], tfds.features.LabeledImage)
        and np.dtype(features[name].np_dtype).kind == "u"  # depth maps are of floats
    ]
    for name in ("image", "hr", *(photos if len(photos) == 1 else ())):
        if name in photos:
            return name, images
    problem = "which feature is the photo is not clear" if photos else "no feature is a photo"
    raise ValueError(
        f"{source}: {problem}; it has the features {', '.join(features)}, and image, hr or a single"
        " one is looked for"
    )


def _check_prepared(name, builder):
    if not os.path.exists(os.path.join(builder.data_dir, "dataset_info.json")):
        raise ValueError(
            f"tfds:{name}: not prepared in {builder.data_dir}; prepare it with: tfds build"
            f" {name} (environment variable TFDS_DATA_DIR names another place)"
        )


def _open_tfrecords(source, builder, split, feature):
    info = builder.info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise ValueError(
            f"{source}: prepared as {info.file_format and info.file_format.value}, which has no"
            " random access; prepare it as tfrecord or array_record"
        )
    try:
        shards = info.splits[split].file_instructions
    except Exception as error:
        raise _split_error(source, builder, error) from error
    parts = [(shard.filename, shard.skip, shard.take) for shard in shards]
    return RecordPhotos(parts, feature, source)


def _open_image_folder(source, builder, split):
    import tensorflow_datasets as tfds

    paths = _examples(builder)
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits)
        return PhotoFiles(
            path for part in parts for path in paths[str(part.splitname)][part.from_ : part.to]
        )
    except Exception as error:
        raise _split_error(source, builder, error) from error


def _split_error(source, builder, error):
    splits = ", ".join(builder.info.splits) or "(none)"
    return ValueError(
        f"{source}: no such photos: {_first_line(error).rstrip('.')}; it has the splits {splits}"
    )


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip("'\"")
