"""The command that writes photos into TFRecord files."""

import collections
import concurrent.futures
import contextlib
import hashlib
import json
import logging
import os
import pathlib

from hifill import command_line, image_io, photo_sources, tfrecords

USAGE = """
hifill-tfrecords PHOTOS OUTPUT [--shards=N]

Writes photos into TFRecord files, which suit disks and networks that are slow with many small
files. PHOTOS is a folder, a glob, a text list of paths or any other source that training takes;
OUTPUT is a new folder, and then a source itself. The photos' files are stored as they are, byte for
byte. Photos that cannot be decoded are named and left out, and the exit code is then 1.

An interrupted run goes on where it was if the command is given again.
"""
# TensorFlow is imported where it is used, so that the command can silence its start-up remarks.

_MANIFEST = "photos.json"

_log = logging.getLogger(__name__)


def write_shards(photos, output, shards=None, progress=None):
    """Writes photos into TFRecord files photos-00000-of-0000N.tfrecord, byte for byte.

    The features are image/encoded, and image/filename: the path below the folder that all photos
    share. Each file is written under a temporary name and renamed. Files of an interrupted run with
    the same photos and number of files are kept. Photos that cannot be decoded are logged as errors
    and left out.

    Args:
        photos: what `photo_sources.open_photos` returns.
        output: a folder that is new, empty, or of an interrupted run.
        shards: number of files; None makes them hold about 1000 photos each.
        progress: function that is told each time how many more photos are done.

    Returns:
        One line for each photo left out.

    Raises:
        ValueError: one line, if the folder holds anything else, or a file cannot be written.
    """
    shards = shards or max(1, round(len(photos) / 1000))
    if shards > len(photos):
        raise ValueError(f"{shards} shards are too many for {len(photos)} photos; ask for fewer")
    output = pathlib.Path(output)
    names = [photos.name(index) for index in range(len(photos))]
    manifest = _open_output(output, names, shards)
    filenames = _below_common_folder(names)
    edges = [shard * len(photos) // shards for shard in range(shards + 1)]
    workers = os.cpu_count() or 1
    progress = progress or (lambda count: None)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for shard in range(shards):
            path = output / f"photos-{shard:05}-of-{shards:05}.tfrecord"
            indexes = range(edges[shard], edges[shard + 1])
            left_out = manifest["left_out"].get(str(shard), [])
            if _is_complete(path, len(indexes) - len(left_out)):
                for fault in left_out:
                    _log.error("%s", fault)
                progress(len(indexes))
                continue
            with _replacing(path) as temporary:
                checked = _in_order(pool, 2 * workers, lambda i: _intact(photos, i), indexes)
                manifest["left_out"][str(shard)] = _write_records(
                    temporary, zip(indexes, checked, strict=True), filenames, progress
                )
                # Before the rename: a complete file's faults must be known to later runs.
                _write_manifest(output, manifest)
    faults = manifest["left_out"]
    return [fault for shard in range(shards) for fault in faults.get(str(shard), [])]


def _open_output(output, names, shards):
    """The manifest of a folder, made if it is new."""
    manifest = {
        "photos": len(names),
        "shards": shards,
        "names_sha256": hashlib.sha256("\n".join(names).encode(errors="replace")).hexdigest(),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = [path for path in output.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise ValueError(
            f"{output}: cannot be used ({error.strerror}); choose another folder"
        ) from error
    found = _read_manifest(output) if held else {**manifest, "left_out": {}}
    if found is None:
        raise ValueError(f"{output}: holds other files; choose a new or empty folder")
    if any(found[key] != value for key, value in manifest.items()):
        raise ValueError(
            f"{output}: holds another set ({found['photos']} photos in {found['shards']} files,"
            f" here {len(names)} in {shards}); choose another folder or delete this one"
        )
    _write_manifest(output, found)
    return found


def _read_manifest(output):
    """None if there is none, or it is not ours."""
    try:
        found = json.loads((output / _MANIFEST).read_text())
        return {key: found[key] for key in ("photos", "shards", "names_sha256", "left_out")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_manifest(output, manifest):
    image_io.replace_file(output / _MANIFEST, json.dumps(manifest, indent=2).encode())


def _below_common_folder(names):
    paths = [os.path.abspath(name) for name in names]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, folder).replace(os.sep, "/") for path in paths]


def _is_complete(path, count):
    try:
        return len(tfrecords.record_offsets(path)) == count
    except ValueError:
        return False


@contextlib.contextmanager
def _replacing(path):
    """Gives a temporary name, which becomes the path's if all goes well, and else is removed."""
    import tensorflow as tf

    # Always the same name, so that the next run cleans up after one that was killed.
    temporary = path.with_name(f".{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("; ")[-1]
        raise ValueError(
            f"{path}: cannot be written ({reason}); free some space or choose another folder, and"
            " give the command again to go on"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _intact(photos, index):
    """(bytes, None) of a photo that can be decoded, else (None, why not)."""
    try:
        content = photos.encoded(index)
        image_io.decode_photo(content, photos.name(index))
    except image_io.ImageError as error:
        return None, error
    return content, None


def _in_order(pool, ahead, function, items):
    """Like `pool.map`, which would hold all results at once: at most `ahead` of them."""
    waiting = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _write_records(path, checked, filenames, progress):
    """Writes one file from (index, what `_intact` gives); returns the errors as text."""
    import tensorflow as tf

    left_out = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index, (content, error) in checked:
            if error:
                _log.error("%s", error)
                left_out.append(str(error))
            else:
                writer.write(_example(content, filenames[index]))
            progress(1)
    return left_out


def _example(content, filename):
    import tensorflow as tf

    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
        "image/filename": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[os.fsencode(filename)])
        ),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


# --------------------------------------------------------------------------------------------------
# The command
# --------------------------------------------------------------------------------------------------


def flag_values():
    """The command's flags, an absl FlagValues."""
    from absl import flags

    values = flags.FlagValues()
    _, integer, *_ = command_line.definers(values)
    integer("shards", None, "Number of files; not set, one per 1000 photos.", lower_bound=1)
    return values


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    from absl import app
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    if len(arguments) != 2:
        raise app.UsageError(f"expected photos and an output folder, got {len(arguments)}")
    photos = photo_sources.open_photos(arguments[0])
    with tqdm(total=len(photos), unit="photo", dynamic_ncols=True) as bar, logging_redirect_tqdm():
        left_out = write_shards(photos, arguments[1], flags.shards, bar.update)
    written = len(photos) - len(left_out)
    _log.info("wrote %d photos to %s", written, arguments[1])
    if left_out:
        _log.error("left out %d photos that cannot be decoded, named above", len(left_out))
        return 1
    return 0


def run():
    """Entry point of `hifill-tfrecords`."""
    command_line.run(main, flag_values(), USAGE)


if __name__ == "__main__":
    run()
