"""TFRecord files: their index, and the command that writes them."""

import json
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import app
from PIL import Image

from hifill import image_io, photo_sources, tfrecords, write_tfrecords

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "hifill" / "demo_photos" / "launch.jpg"
COUNT = 11


@pytest.fixture
def folder(tmp_path):
    """Eleven photos, of which the last sorts first."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    launch = Image.open(LAUNCH)
    for i in range(COUNT - 1):
        name = f"sub/é{i}.jpg" if i % 2 else f"{i}.png"
        launch.crop((20 * i, 30 * i, 20 * i + 50, 30 * i + 40)).save(root / name)
    launch.crop((0, 0, 30, 40)).save(root / "00.webp")
    return root


def write(*arguments):
    values = write_tfrecords.flag_values()
    rest = values(["hifill-tfrecords", *map(str, arguments)])[1:]
    return write_tfrecords.main(rest, values)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def examples(output):
    """Dict from filename to encoded bytes."""
    found = {}
    for path in sorted(output.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            assert sorted(features) == ["image/encoded", "image/filename"]
            encoded, filename = (features[name].bytes_list.value[0] for name in sorted(features))
            found[filename.decode()] = encoded
    return found


def expect_error(call, *parts):
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message and "; " in message
    for part in parts:
        assert str(part) in message


# --------------------------------------------------------------------------------------------------
# The index
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def record_file(tmp_path):
    contents = [os.urandom(length) for length in (0, 1, 70_000, 12, 0, 300)]
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return path, contents


def test_index(record_file):
    path, contents = record_file
    offsets = tfrecords.record_offsets(path)
    assert offsets.dtype == np.int64 and offsets.shape == (6, 2)
    assert [tfrecords.read_record(path, *row) for row in offsets] == contents


def test_index_of_an_empty_file(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    assert tfrecords.record_offsets(tmp_path / "a.tfrecord").shape == (0, 2)


def test_truncated_files_are_named(record_file):
    path, _ = record_file
    whole = path.read_bytes()
    boundaries = {0, *(int(start + length + 4) for start, length in tfrecords.record_offsets(path))}
    for size in [*range(1, 60), len(whole) - 330, len(whole) - 310, len(whole) - 1]:
        path.write_bytes(whole[:size])
        if size in boundaries:
            assert tfrecords.record_offsets(path)[:, 1].sum() < 70_314
        else:
            expect_error(lambda: tfrecords.record_offsets(path), path, "truncated")


def test_damaged_and_other_files_are_named(record_file, tmp_path):
    path, _ = record_file
    damaged = bytearray(path.read_bytes())
    offset = tfrecords.record_offsets(path)[3, 0] - 12
    for change in (1, 128):
        damaged[offset] ^= change
        path.write_bytes(damaged)
        expect_error(lambda: tfrecords.record_offsets(path), path, "damaged in record 3")
        damaged[offset] ^= change
    for content in (b"some text, of a length", bytes(100_000), b"\x1f\x8b" + bytes(50)):
        path.write_bytes(content)
        expect_error(lambda: tfrecords.record_offsets(path), path, "not a TFRecord file")
    for other in (tmp_path, tmp_path / "missing"):
        expect_error(lambda other=other: tfrecords.record_offsets(other), other, "cannot be read")


def test_a_file_that_shrinks(record_file):
    path, _ = record_file
    row = tfrecords.record_offsets(path)[-1]
    path.write_bytes(path.read_bytes()[:-50])
    expect_error(lambda: tfrecords.read_record(path, *row), path, "shorter")
    path.unlink()
    expect_error(lambda: tfrecords.read_record(path, *row), path, "cannot be read")


# --------------------------------------------------------------------------------------------------
# The writer
# --------------------------------------------------------------------------------------------------


def test_round_trip(folder, tmp_path):
    output = tmp_path / "new" / "records"
    assert write(folder, output, "--shards=3") == 0
    assert sorted(files(output)) == [
        "photos-00000-of-00003.tfrecord",
        "photos-00001-of-00003.tfrecord",
        "photos-00002-of-00003.tfrecord",
        "photos.json",
    ]
    paths = image_io.list_photos(folder)
    assert examples(output) == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths
    }
    photos, source = photo_sources.open_photos(output), photo_sources.open_photos(folder)
    assert len(photos) == COUNT
    for index in range(COUNT):
        assert photos.encoded(index) == paths[index].read_bytes()
        np.testing.assert_array_equal(photos.read(index), source.read(index))


def test_other_sources(folder, tmp_path):
    (tmp_path / "list.txt").write_text("photos/2.png\nphotos/sub/é1.jpg\n")
    assert write(tmp_path / "list.txt", tmp_path / "a") == 0
    assert sorted(examples(tmp_path / "a")) == ["2.png", "sub/é1.jpg"]
    assert [*files(tmp_path / "a")].count("photos-00000-of-00001.tfrecord") == 1
    assert write(tmp_path / "a", tmp_path / "b", "--shards=2") == 0
    assert sorted(examples(tmp_path / "b").values()) == sorted(examples(tmp_path / "a").values())


def test_default_number_of_files(folder, tmp_path):
    photos = photo_sources.PhotoFiles([folder / "0.png"] * 2600)
    write_tfrecords.write_shards(photos, tmp_path / "out")
    assert len(examples(tmp_path / "out")) == 1
    assert len([*(tmp_path / "out").glob("*-of-00003.tfrecord")]) == 3


def test_complete_files_are_kept(folder, tmp_path):
    output = tmp_path / "out"
    write(folder, output, "--shards=4")
    paths = sorted(output.glob("*.tfrecord"))
    whole = files(output)
    paths[1].unlink()
    paths[2].write_bytes(whole[paths[2].name][:-20])
    (output / f".{paths[3].name}").write_text("left by a run that was killed")
    written = {path.name: path.stat().st_mtime_ns for path in (paths[0], paths[3])}
    assert write(folder, output, "--shards=4") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (paths[0], paths[3])} == written
    assert {name: content for name, content in files(output).items() if name[0] != "."} == whole


def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    encoded = photo_sources.PhotoFiles.encoded
    with monkeypatch.context() as patch:

        def interrupted(photos, index):
            if index == 7:
                raise KeyboardInterrupt
            return encoded(photos, index)

        patch.setattr(photo_sources.PhotoFiles, "encoded", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(folder, output, "--shards=3")
    assert sorted(files(output)) == [
        "photos-00000-of-00003.tfrecord",
        "photos-00001-of-00003.tfrecord",
        "photos.json",
    ]
    assert write(folder, output, "--shards=3") == 0
    assert len(examples(output)) == COUNT


def test_folders_with_something_else_are_refused(folder, tmp_path):
    output = tmp_path / "out"
    write(folder, output, "--shards=2")
    before = files(output)
    expect_error(lambda: write(folder, output, "--shards=3"), output, "another set", "11 in 3")
    expect_error(lambda: write(folder / "sub", output, "--shards=2"), output, "another set")
    assert files(output) == before
    expect_error(lambda: write(folder, folder), folder, "holds other files")
    (tmp_path / "json").mkdir()
    for content in ("{}", "[1]", "no json"):
        (tmp_path / "json" / "photos.json").write_text(content)
        expect_error(lambda: write(folder, tmp_path / "json"), "json", "holds other files")
    (tmp_path / "file").touch()
    expect_error(lambda: write(folder, tmp_path / "file"), tmp_path / "file", "cannot be used")
    expect_error(lambda: write(folder, tmp_path / "few", "--shards=12"), "12 shards")


def test_damaged_photos_are_left_out_and_named_by_every_run(folder, tmp_path, caplog):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:-200])
    (folder / "sub" / "é5.jpg").write_text("nothing")
    for _ in range(2):
        caplog.clear()
        assert write(folder, tmp_path / "out", "--shards=3") == 1
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 3
        assert str(folder / "2.png") in errors[0] and "truncated" in errors[0]
        assert str(folder / "sub" / "é5.jpg") in errors[1]
        assert "left out 2 photos" in errors[2]
    assert len(examples(tmp_path / "out")) == COUNT - 2
    manifest = json.loads((tmp_path / "out" / "photos.json").read_text())
    assert sum(map(len, manifest["left_out"].values())) == 2


def test_a_full_disk_is_one_line(folder, tmp_path):
    # A limit on the size of files fails the writes as a full disk does.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        expect_error(
            lambda: write(folder, tmp_path / "out"), "photos-00000-of-00001", "cannot be written"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(files(tmp_path / "out")) == ["photos.json"]
    assert write(folder, tmp_path / "out") == 0


def test_many_photos_are_not_held_in_memory():
    pending, most = set(), 0

    class Pool:
        def submit(self, function, item):
            nonlocal most
            pending.add(item)
            most = max(most, len(pending))
            return self

        def result(self):
            return pending.pop()

    assert sorted(write_tfrecords._in_order(Pool(), 4, None, range(50))) == [*range(50)]
    assert most == 4


def test_wrong_arguments(tmp_path):
    with pytest.raises(app.UsageError, match="expected photos and an output folder"):
        write(tmp_path)
    expect_error(lambda: write(tmp_path, tmp_path / "out"), tmp_path, "no photos")


def command(*arguments):
    code = "from hifill import write_tfrecords; write_tfrecords.run()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def test_command(folder, tmp_path):
    (folder / "2.png").write_text("nothing")
    result = command(folder, tmp_path / "out", "--shards=2")
    assert result.returncode == 1, result.stderr
    assert len(examples(tmp_path / "out")) == COUNT - 1
    assert result.stderr.count("2.png: is not a JPEG") == 1
    assert "11/11" in result.stderr and "wrote 10 photos" in result.stderr
    assert "Traceback" not in result.stderr and not result.stdout
