"""Every kind of source, on crops of a real photo."""

import concurrent.futures
import io
import pathlib
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from hifill import photo_sources
from hifill.image_io import ImageError

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "hifill" / "demo_photos" / "launch.jpg"
NAMES = ["a.jpg", "b.png", "e.bmp", "sub/c.png", "sub/d e.jpg"]


def crop(i):
    """uint8 [40, 60, 3] RGB."""
    return cv2.imread(str(LAUNCH))[40 * i : 40 * i + 40, 60 * i : 60 * i + 60, ::-1]


def encoded(i, format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(crop(i))).save(file, format, **options)
    return file.getvalue()


def write_photos(root, names=NAMES):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(crop(i))).save(root / name)


def write_records(path, photos, feature="image/encoded"):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for photo in photos:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[photo]))
            features = tf.train.Features(feature={feature: value})
            writer.write(tf.train.Example(features=features).SerializeToString())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_photos(root)
    (root / "notes.txt").write_text("not a photo")
    (root / ".hidden.jpg").write_text("not a photo")
    return root


def names(photos):
    return [photos.name(i) for i in range(len(photos))]


def check_error(error, *parts):
    message = str(error.value)
    assert "\n" not in message and "; " in message
    for part in parts:
        assert str(part) in message


def refuse(source, *parts):
    with pytest.raises(ValueError) as error:
        photo_sources.open_photos(source)
    check_error(error, source, *parts)


# --------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------


def test_folder(folder):
    photos = photo_sources.open_photos(folder)
    assert names(photos) == [str(folder / name) for name in NAMES]
    image = photos.read(3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, crop(3))
    assert photos.encoded(0) == (folder / "a.jpg").read_bytes()
    with pytest.raises(IndexError):
        photos.read(5)


def test_glob(folder):
    assert names(photo_sources.open_photos(f"{folder}/*")) == [
        str(folder / name) for name in ("a.jpg", "b.png", "e.bmp")
    ]
    assert len(photo_sources.open_photos(f"{folder}/**")) == 5
    assert names(photo_sources.open_photos(f"{folder}/**/[cd]*.*g")) == [
        str(folder / name) for name in ("sub/c.png", "sub/d e.jpg")
    ]
    refuse(f"{folder}/*.tif", "no photos")


def test_a_folder_whose_name_looks_like_a_glob(tmp_path):
    write_photos(tmp_path / "a[1]")
    assert len(photo_sources.open_photos(tmp_path / "a[1]")) == 5
    write_records(tmp_path / "b.tfrecord", [encoded(0)])
    shutil.move(tmp_path / "b.tfrecord", tmp_path / "a[1]" / "sub")
    shutil.move(tmp_path / "a[1]" / "sub", tmp_path / "sub[2]")
    for path in tmp_path.glob("sub*/*g"):
        path.unlink()
    assert len(photo_sources.open_photos(tmp_path / "sub[2]")) == 1


def test_single_photo(folder):
    np.testing.assert_array_equal(photo_sources.open_photos(folder / "b.png").read(0), crop(1))


def test_list(folder, tmp_path):
    lists = tmp_path / "train.flist"
    lists.write_bytes(
        "\ufeff# five of them\r\n\r\n  b.png\r\nsub/d e.jpg\r\nö.png \r\n".encode()
        + f"{folder}/e.bmp".encode()
    )
    shutil.copytree(folder / "sub", tmp_path / "sub")
    shutil.copy(folder / "b.png", tmp_path)
    photos = photo_sources.open_photos(lists)
    assert names(photos) == [
        *(str(tmp_path / name) for name in ("b.png", "sub/d e.jpg", "ö.png")),
        str(folder / "e.bmp"),
    ]
    np.testing.assert_array_equal(photos.read(0), crop(1))
    np.testing.assert_array_equal(photos.read(3), crop(2))
    for read in (photos.read, photos.encoded):
        with pytest.raises(ImageError) as error:
            read(2)
        check_error(error, tmp_path / "ö.png", "cannot be read (No such file")


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"a.jpg\n\0\0"])
def test_list_that_is_none(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    refuse(tmp_path / "list", "not a text list")


def test_empty_and_missing(tmp_path):
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.tfrecord").touch()
    for name in ("list.txt", "empty", "a.tfrecord"):
        refuse(tmp_path / name, "no photos")
    for name in ("missing", "missing.jpg", "missing.tfrecord"):
        refuse(tmp_path / name, "no such folder")


def test_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(photo_sources.open_photos(f"~/{folder.name}")) == 5


def test_kinds_of_pixels(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    Image.fromarray(deep[..., 0].astype(np.uint8)).save(tmp_path / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    (tmp_path / "turned.png").write_bytes(encoded(0, exif=turned))
    write_records(tmp_path / "a.tfrecord", [encoded(0, exif=turned)])
    photos = photo_sources.open_photos(f"{tmp_path}/*.png")
    np.testing.assert_array_equal(photos.read(0), deep >> 8)
    grey = photos.read(1)
    assert grey.shape == (20, 30, 3) and (np.ptp(grey, axis=2) == 0).all()
    for image in (photos.read(2), photo_sources.open_photos(tmp_path / "a.tfrecord").read(0)):
        np.testing.assert_array_equal(image, np.rot90(crop(0), -1))


def test_damaged_photos_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(0)[:-500])
    (tmp_path / "b.png").write_text("nothing")
    write_records(tmp_path / "c.tfrecord", [encoded(0)[:-500], b"nothing", b"", encoded(1)])
    photos = photo_sources.open_photos(tmp_path)
    records = photo_sources.open_photos(tmp_path / "c.tfrecord")
    for index, problem in enumerate(["truncated", "is not a JPEG", "is empty"]):
        with pytest.raises(ImageError) as error:
            records.read(index)
        check_error(error, f"c.tfrecord[{index}]: ", problem)
    for index, problem in enumerate(["truncated", "is not a JPEG"]):
        with pytest.raises(ImageError) as error:
            photos.read(index)
        check_error(error, photos.name(index), problem)
    np.testing.assert_array_equal(records.read(3), crop(1))


# --------------------------------------------------------------------------------------------------
# TFRecords
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feature", ["image/encoded", "image", "image_raw"])
def test_records(tmp_path, feature):
    write_records(tmp_path / "a.tfrecord-00000-of-00002", [encoded(0), encoded(1)], feature)
    (tmp_path / "a.tfrecord-00001-of-00002").touch()
    write_records(tmp_path / "b.tfrecords", [encoded(2), encoded(3, "JPEG")], feature)
    (tmp_path / ".c.tfrecord").write_text("half-written")
    one = photo_sources.open_photos(tmp_path / "b.tfrecords")
    assert names(one) == [f"{tmp_path}/b.tfrecords[{i}]" for i in range(2)]
    for source in (tmp_path, f"{tmp_path}/*", f"{tmp_path}/[ab]*.tfrecord*"):
        photos = photo_sources.open_photos(source)
        assert len(photos) == 4
        for index in (2, 0, 1):
            np.testing.assert_array_equal(photos.read(index), crop(index))
        assert photos.encoded(3) == encoded(3, "JPEG")
        assert photos.name(1).endswith("a.tfrecord-00000-of-00002[1]")
        assert photos.name(2).endswith("b.tfrecords[0]")
        with pytest.raises(IndexError):
            photos.read(4)


def test_records_below_a_folder_with_photos_are_ignored(tmp_path):
    write_photos(tmp_path, ["a.jpg"])
    write_records(tmp_path / "a.tfrecord", [encoded(0)] * 3)
    assert names(photo_sources.open_photos(tmp_path)) == [str(tmp_path / "a.jpg")]


def test_records_of_something_else(tmp_path):
    write_records(tmp_path / "a.tfrecord", [b"text", b"more"], "label")
    refuse(tmp_path / "a.tfrecord", "no encoded photos", "features label,", "image/encoded")
    write_records(tmp_path / "b.tfrecord", [bytes(300)], "image")
    refuse(tmp_path / "b.tfrecord", "no encoded photos", "features image,")
    with tf.io.TFRecordWriter(str(tmp_path / "c.tfrecord")) as writer:
        writer.write(b"\xff\xff\xff no proto")
    refuse(tmp_path / "c.tfrecord", "not a tf.train.Example")
    (tmp_path / "d.tfrecord").write_text("just some text")
    refuse(tmp_path / "d.tfrecord", "not a TFRecord file")


def test_a_record_without_photo(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in ([encoded(0)], [], [encoded(0)] * 2):
            values = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
            features = tf.train.Features(feature={"image": values} if value else {})
            writer.write(tf.train.Example(features=features).SerializeToString())
        writer.write(b"\xff\xff\xff no proto")
    photos = photo_sources.open_photos(path)
    for index, problem in ((1, "feature image"), (2, "feature image"), (3, "not a tf.train")):
        with pytest.raises(ImageError) as error:
            photos.read(index)
        check_error(error, f"{path}[{index}]", problem)
    path.unlink()
    with pytest.raises(ImageError) as error:
        photos.read(0)
    check_error(error, path, "cannot be read")


# --------------------------------------------------------------------------------------------------
# TensorFlow Datasets
# --------------------------------------------------------------------------------------------------


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Six and two photos; number i's label is i."""

    VERSION = tfds.core.Version("1.0.0")
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=6)}
    )

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": encoded(i), "label": i}


def prepare(folder, file_format, builder=Tiny):
    download = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=2)
    builder(data_dir=folder, file_format=file_format).download_and_prepare(download_config=download)
    return folder / builder.name / "1.0.0"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("tfds"), "tfrecord")


def check_tiny(directory):
    for split, numbers in (
        ("", range(6)),
        (":train", range(6)),
        (":train[1:5]", range(1, 5)),
        (":train[50%:]", range(3, 6)),
        (":train[4:]+test", [4, 5, 0, 1]),
    ):
        photos = photo_sources.open_photos(f"tfds:{directory}{split}")
        assert len(photos) == len(numbers)
        for index, number in enumerate(numbers):
            np.testing.assert_array_equal(photos.read(index), crop(number))
        assert photos.name(1) == f"tfds:{directory}{split or ':train'}[1]"
        with pytest.raises(IndexError):
            photos.read(len(numbers))
    refuse(f"tfds:{directory}:validation", "no such photos", "validation", "train, test")
    refuse(f"tfds:{directory}:train[300%:]", "no such photos")
    with pytest.raises(ValueError, match=r"no photos|no such photos"):
        photo_sources.open_photos(f"tfds:{directory}:train[3:3]")


def test_prepared_for_random_access(tmp_path):
    check_tiny(prepare(tmp_path, "array_record"))


def test_prepared_as_parquet(tmp_path):
    directory = prepare(tmp_path, "parquet")
    photos = photo_sources.open_photos(f"tfds:{directory}:test+train")
    for index, number in enumerate([0, 1, *range(6)]):
        np.testing.assert_array_equal(photos.read(index), crop(number))
    refuse(f"tfds:{directory}:train[1:5]", "slices of Parquet")


def test_prepared_as_records(prepared, tmp_path):
    check_tiny(prepared)
    assert len(photo_sources.open_photos(prepared)) == 8  # as plain TFRecords
    copy = shutil.copytree(prepared, tmp_path / "1.0.0")
    shard = copy / "tiny-train.tfrecord-00001-of-00002"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"tiny-train.tfrecord-00001.*truncated"):
        photo_sources.open_photos(f"tfds:{copy}")
    assert len(photo_sources.open_photos(f"tfds:{copy}:test")) == 2
    shutil.copy(prepared / "tiny-test.tfrecord-00000-of-00002", shard)
    with pytest.raises(ValueError, match=r"tiny-train.tfrecord-00001.* 1 records, not 3"):
        photo_sources.open_photos(f"tfds:{copy}")
    (copy / "features.json").write_text("{")
    with pytest.raises(ValueError, match="not a data set that can be read"):
        photo_sources.open_photos(f"tfds:{copy}")


def test_prepared_by_name(prepared):
    tfds.core.add_data_dir(prepared.parents[1])
    for name in ("tiny", "tiny:1.0.0", "tiny:1.0.0:test"):
        photos = photo_sources.open_photos(f"tfds:{name}")
        np.testing.assert_array_equal(photos.read(1), crop(1))
    refuse("tfds:tiny:2.0.0", "no such data set")


def test_image_folder(tmp_path):
    numbered = ["train/cat/0.jpg", "train/dog/1.png", "train/dog/2.png", "test/cat/3.png"]
    write_photos(tmp_path, numbered)
    photos = photo_sources.open_photos(f"tfds:{tmp_path}")
    assert sorted(names(photos)) == [str(tmp_path / name) for name in numbered[:3]]
    reference = tfds.as_numpy(tfds.ImageFolder(str(tmp_path)).as_dataset(split="train"))
    for index, example in enumerate(reference):
        assert photos.name(index).encode() == example["image/filename"]
    test = photo_sources.open_photos(f"tfds:{tmp_path}:test")
    np.testing.assert_array_equal(test.read(0), crop(3))
    assert names(photo_sources.open_photos(f"tfds:{tmp_path}:train[1:]")) == names(photos)[1:]
    refuse(f"tfds:{tmp_path}:valid", "no such photos", "test, train")
    with pytest.raises(ValueError, match="no data set"):
        photo_sources.open_photos(f"tfds:{tmp_path}/train")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("places365_small", (256, 256)),
        ("celeb_a_hq/256", (256, 256)),
        ("div2k", None),
        ("mnist", (28, 28)),
        ("celeb_a_hq/64:2.0.0:train[:80%]", (64, 64)),
    ],
)
def test_registered_data_sets(name, shape):
    with tfds.testing.mock_data(num_examples=3):
        photos = photo_sources.open_photos(f"tfds:{name}")
    images = [photos.read(index) for index in range(3)]
    assert len(photos) == 3
    assert all(image.dtype == np.uint8 and image.shape[2:] == (3,) for image in images)
    assert shape is None or all(image.shape[:2] == shape for image in images)
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("tfds:no_such_thing", ["no such data set"]),
        ("tfds:no/such/folder/at/all", ["no such data set and no such folder"]),
        ("tfds:mnist:train[:80", ["no such data set"]),
        ("tfds:", ["names no data set"]),
        ("tfds:div2k/huge", ["BuilderConfig huge not found", "bicubic_x2"]),
        ("tfds:mnist:9.9.9", ["cannot be loaded at version 9.9.9"]),
        ("tfds:celeb_a_hq/256:test", ["not prepared in", "tfds build celeb_a_hq/256"]),
        ("tfds:ag_news_subset", ["no feature is a photo", "label, title"]),
        ("tfds:lost_and_found/full", ["which feature", "image_left"]),
    ],
)
def test_data_sets_that_cannot_be_opened(source, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        photo_sources.open_photos(source)
    check_error(error, *parts)


def test_a_folder_named_as_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    with tfds.testing.mock_data():
        assert photo_sources.open_photos("tfds:mnist").read(0).shape == (28, 28, 3)


# --------------------------------------------------------------------------------------------------
# All of them
# --------------------------------------------------------------------------------------------------


def test_many_threads(folder, prepared, tmp_path):
    write_records(tmp_path / "a.tfrecord", [encoded(i) for i in range(5)])
    array_records = prepare(tmp_path, "array_record")
    sources = [folder, tmp_path / "a.tfrecord", f"tfds:{prepared}", f"tfds:{array_records}"]
    for source in sources:
        photos = photo_sources.open_photos(source)
        expected = [photos.read(index) for index in range(len(photos))]
        indexes = np.random.default_rng(0).integers(0, len(photos), 300)
        photos = photo_sources.open_photos(source)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for index, image in zip(indexes, pool.map(photos.read, indexes), strict=True):
                np.testing.assert_array_equal(image, expected[index])
