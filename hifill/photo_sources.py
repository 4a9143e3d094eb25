"""Random access to training photos: folders, globs, lists, TFRecords, TensorFlow Datasets."""

import bisect
import concurrent.futures
import glob
import itertools
import os
import pathlib

import numpy as np

from hifill import image_io, tfrecords

_RECORD_MARK = ".tfrecord"
# Where the photo may be in a tf.train.Example, in this order.
_IMAGE_FEATURES = ("image/encoded", "image", "image_raw")


class Photos:
    """Numbered photos. Every method may be called from several threads at once."""

    def __len__(self):
        raise NotImplementedError

    def name(self, index):
        """What messages call photo `index`."""
        raise NotImplementedError

    def encoded(self, index):
        """The bytes of photo `index` as a file would hold them.

        Raises:
            ImageError: one line naming the photo, if there are none.
        """
        raise NotImplementedError

    def read(self, index):
        """Decodes photo `index`.

        Returns:
            uint8 [H, W, 3] RGB, upright; grey is repeated, of 16 bits the upper 8 are kept.

        Raises:
            ImageError: one line naming the photo, if it is missing, truncated or not an image.
        """
        return _to_8bit(image_io.decode_photo(self.encoded(index), self.name(index)))


class PhotoFiles(Photos):
    """Photos in files of their own.

    Args:
        paths: sequence of the files' paths. They need not exist before they are read.
    """

    def __init__(self, paths):
        self.paths = tuple(paths)

    def __len__(self):
        return len(self.paths)

    def name(self, index):
        return str(self.paths[index])

    def encoded(self, index):
        try:
            return pathlib.Path(self.paths[index]).read_bytes()
        except OSError as error:
            raise image_io.ImageError(
                f"{self.name(index)}: cannot be read ({error.strerror});"
                " check the path and its permissions"
            ) from error

    def read(self, index):
        return _to_8bit(image_io.read_photo(self.paths[index]))


class RecordPhotos(Photos):
    """Photos in TFRecords of tf.train.Example.

    Opening reads the records' headers only, 12 bytes each.

    Args:
        parts: the files, as (path, first record, number of records); number None takes all the
            rest.
        feature: the feature that holds a photo's encoded bytes; None finds it.
        source: what messages call the whole; None names the files.

    Raises:
        ValueError: if a file is no intact TFRecord file or has no such records.
    """

    def __init__(self, parts, feature=None, source=None):
        self._paths = [path for path, _, _ in parts]
        self._firsts = [first for _, first, _ in parts]
        self._source = source
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self._records = list(pool.map(_part_records, parts))
        self._ends = list(itertools.accumulate(len(records) for records in self._records))
        self._feature = feature or self._find_feature()

    def __len__(self):
        return self._ends[-1] if self._ends else 0

    def name(self, index):
        if self._source is not None:
            return f"{self._source}[{index}]"
        part, row = self._locate(index)
        return f"{self._paths[part]}[{self._firsts[part] + row}]"

    def encoded(self, index):
        values = self._features(index)[self._feature].bytes_list.value
        if len(values) != 1:
            raise image_io.ImageError(
                f"{self.name(index)}: no photo in feature {self._feature}; write the record anew"
            )
        return values[0]

    def _locate(self, index):
        index = range(len(self))[index]
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)

    def _features(self, index):
        import tensorflow as tf
        from google.protobuf import message

        part, row = self._locate(index)
        try:
            record = tfrecords.read_record(self._paths[part], *self._records[part][row])
            return tf.train.Example.FromString(record).features.feature
        except message.DecodeError as error:
            raise image_io.ImageError(
                f"{self.name(index)}: not a tf.train.Example; write the record anew"
            ) from error
        except ValueError as error:
            raise image_io.ImageError(str(error)) from error

    def _find_feature(self):
        # One damaged photo says nothing about the rest.
        found = {}
        for index in range(min(len(self), 10)):
            found.update(self._features(index))
            for name in _IMAGE_FEATURES:
                values = found[name].bytes_list.value if name in found else ()
                if len(values) == 1 and _is_photo(values[0]):
                    return name
        if not len(self):
            return _IMAGE_FEATURES[0]
        raise ValueError(
            f"{self._paths[0]}: no encoded photos in its records; they have the features"
            f" {', '.join(sorted(found)) or '(none)'}, and one of"
            f" {', '.join(_IMAGE_FEATURES)} is looked for"
        )


def open_photos(source):
    """Opens a source of photos for random access.

    Args:
        source: one of these, tried in this order:

            tfds:NAME[:SPLIT]: a prepared data set of TensorFlow Datasets. NAME may also be a
                directory that it prepared, or one with photos in SPLIT/LABEL. SPLIT is "train" if
                not given. Nothing is downloaded.
            TFRecords: a file, a glob of files, or a folder with files whose names contain
                ".tfrecord". The photos are in feature image/encoded, else image, else image_raw.
            a glob of photos; "**" goes through folders.
            a text file with one path per line, relative to the file's folder. Empty lines and those
                that start with # do not count. A path that does not exist shows when it is read.
            a photo.
            a folder, with all below it that is not hidden.

    Returns:
        `Photos`, at least one.

    Raises:
        ValueError: one line, if there is no such source, it holds no photo, or a TFRecord file is
            damaged.
    """
    source = os.fspath(source)
    if source.startswith("tfds:"):
        from hifill import tfds_source

        photos = tfds_source.open_tfds(source)
    else:
        photos = _open_files(os.path.expanduser(source))
    if not len(photos):
        raise ValueError(
            f"{source}: no photos in it; files named {', '.join(image_io.SUFFIXES)} count"
        )
    return photos


def _open_files(source):
    if os.path.isdir(source):
        paths = image_io.list_photos(source)
        return PhotoFiles(paths) if paths else _open_records(_record_files(source))
    if os.path.exists(source):
        name = pathlib.Path(source)
        if _RECORD_MARK in name.name:
            return _open_records([source])
        return PhotoFiles([name] if _is_photo_name(source) else _listed(name))
    if glob.has_magic(source):
        found = sorted(glob.glob(source, recursive=True))
        photos = [pathlib.Path(path) for path in found if _is_photo_name(path)]
        return PhotoFiles(photos) if photos else _open_records(filter(_is_record_name, found))
    raise ValueError(
        f"{source}: no such folder or file; name a folder of photos, a glob, a text list of paths,"
        " TFRecords or tfds:NAME"
    )


def _open_records(paths):
    return RecordPhotos([(path, 0, None) for path in paths])


def _is_photo_name(path):
    return pathlib.Path(path).suffix.lower() in image_io.SUFFIXES


def _is_record_name(path):
    return _RECORD_MARK in os.path.basename(path)


def _record_files(folder):
    found = glob.glob(f"{glob.escape(folder)}/**/*{_RECORD_MARK}*", recursive=True)
    return sorted(path for path in found if os.path.isfile(path))


def _listed(path):
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not a text list of photos (byte {error.start} is not UTF-8);"
            " write one path per line in UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"{path}: not a text list of photos (it holds null bytes);"
            " write one path per line in UTF-8"
        )
    lines = (line.strip() for line in text.split("\n"))
    return [path.parent / line for line in lines if line and not line.startswith("#")]


def _part_records(part):
    path, first, count = part
    records = tfrecords.record_offsets(path)
    if count is not None and first + count > len(records):
        raise ValueError(
            f"{path}: has {len(records)} records, not {first + count}; prepare the data set anew"
        )
    return records[first : None if count is None else first + count]


def _is_photo(content):
    try:
        image_io.decode_photo(content, "")
    except image_io.ImageError:
        return False
    return True


def _to_8bit(photo):
    pixels = photo.pixels
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
