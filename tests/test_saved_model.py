"""The SavedModel: what it gives, in a process that has no HiFill too, and what it refuses."""

import io
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from hifill import HighResolutionInpainter, image_io
from hifill.generator_files import GeneratorFile, is_generator_file

SIZE = 128


@pytest.fixture(scope="module")
def folder(export_folder):
    return export_folder / "hifill" / "1"


@pytest.fixture(scope="module")
def model(saved_model):
    return saved_model


@pytest.fixture(scope="module")
def wrapper(generator):
    return HighResolutionInpainter(generator, size=SIZE)


def photo_and_hole(height, width, dtype=np.uint8):
    random = np.random.default_rng(height)
    photo = cv2.resize(random.random((9, 9, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    photo = (np.clip(photo, 0, 1) * np.iinfo(dtype).max).astype(dtype)
    hole = np.zeros((height, width), np.uint8)
    hole[height // 3 : height // 2 + 1, width // 4 : width // 2 + 1] = 255
    return photo, hole


def encoded(pixels, format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def fill_bytes(model, photos, masks):
    signature = model.signatures["serving_default"]
    results = signature(image_bytes=tf.constant(photos), mask_bytes=tf.constant(masks))
    return list(results["inpainted_bytes"].numpy())


def decoded(content):
    return image_io.decode_photo(content, "result")


def assert_root_equals_wrapper(model, wrapper, size, image_dtype, mask_dtype, mask_shape):
    """mask_shape: "HW", "HW1", or "BHW1", which is for a batch."""
    photo, hole = photo_and_hole(*size)
    image = photo if image_dtype == "uint8" else photo.astype(np.float32) / 255
    mask = {"uint8": hole, "bool": hole > 0, "float32": hole.astype(np.float32) / 255}[mask_dtype]
    mask = mask if mask_shape == "HW" else mask[..., None]
    expected = wrapper(image, hole)
    if mask_shape == "BHW1":
        result = model(image[None], mask[None])[0]
    else:
        result = model(image, mask)
    np.testing.assert_array_equal(result, expected)


SIZES = ((128, 128), (300, 411), (90, 1000), (7, 5))


def test_the_root_equals_the_wrapper(model, wrapper):
    """Each dtype and each shape once; each with each other is in the slow one."""
    for size, *kinds in (
        (SIZES[1], "uint8", "uint8", "HW"),
        (SIZES[2], "float32", "bool", "HW1"),
        (SIZES[3], "uint8", "float32", "BHW1"),
    ):
        assert_root_equals_wrapper(model, wrapper, size, *kinds)


@pytest.mark.slow
@pytest.mark.parametrize("mask_shape", ["HW", "HW1", "BHW1"])
@pytest.mark.parametrize("mask_dtype", ["uint8", "bool", "float32"])
@pytest.mark.parametrize("image_dtype", ["uint8", "float32"])
def test_the_root_of_all_kinds_equals_the_wrapper(
    model, wrapper, image_dtype, mask_dtype, mask_shape
):
    for size in SIZES:
        assert_root_equals_wrapper(model, wrapper, size, image_dtype, mask_dtype, mask_shape)


def test_array_signatures(model, wrapper):
    photo, hole = photo_and_hole(200, 170)
    photos, holes = np.stack([photo, photo[::-1]]), np.stack([hole, hole])[..., None]
    results = model.signatures["inpaint"](image=tf.constant(photos), mask=tf.constant(holes))
    expected = [wrapper(*each) for each in zip(photos, holes, strict=True)]
    np.testing.assert_array_equal(results["inpainted"], expected)
    one_mask = model.signatures["inpaint"](image=tf.constant(photos), mask=tf.constant(holes[:1]))
    np.testing.assert_array_equal(one_mask["inpainted"], expected)
    photos, holes = photos.astype(np.float32) / 255, holes.astype(np.float32) / 255
    result = model.signatures["inpaint_float"](image=tf.constant(photos), mask=tf.constant(holes))
    expected = [wrapper(*each) for each in zip(photos, holes, strict=True)]
    np.testing.assert_array_equal(result["inpainted"], expected)
    assert result["inpainted"].dtype == tf.float32


def test_generator_signature(model, generator):
    image = tf.random.stateless_uniform([2, SIZE, SIZE, 3], (1, 2), -1, 1)
    mask = np.zeros((2, SIZE, SIZE, 1), np.float32)
    mask[:, 40:70, 50:90] = 1
    results = model.signatures["generator"](image=image * (1 - mask), mask=tf.constant(mask))
    expected = generator([image * (1 - mask), mask])
    for name, value in zip(("coarse", "refined", "attention"), expected, strict=True):
        np.testing.assert_allclose(results[name], value, atol=2e-5)


def test_generator_files(model, folder, wrapper, monkeypatch):
    """A version's folder, that of the versions and that of the export name the same generator."""
    photo, hole = photo_and_hole(200, 300)
    through_file = HighResolutionInpainter(folder.parent)(photo, hole)
    np.testing.assert_array_equal(through_file, wrapper(photo, hole))
    loaded = []
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loaded.append(path) or model)
    for path in (folder, folder.parent, folder.parent.parent):
        assert is_generator_file(path)
        assert GeneratorFile(path).size == SIZE
    assert loaded == [str(folder)] * 3
    with pytest.raises(ValueError, match="no SavedModel"):
        GeneratorFile(folder / "variables")


def test_a_damaged_model_is_no_generator_file(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "1")
    os.truncate(tmp_path / "1" / "variables" / "variables.data-00000-of-00001", 100)
    with pytest.raises(ValueError, match="1: not a SavedModel, or damaged"):
        GeneratorFile(tmp_path)


def test_a_run_that_was_exported_into_itself_is_a_run(folder, tmp_path):
    (tmp_path / "hifill").symlink_to(folder.parent)
    assert is_generator_file(tmp_path)
    (tmp_path / "generator.weights.h5").touch()
    assert not is_generator_file(tmp_path)


def test_files_of_all_kinds(model, wrapper):
    """Several sizes in one request; each result has its photo's bit depth and alpha."""
    photo, hole = photo_and_hole(150, 260)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep, deep_hole = photo_and_hole(140, 100, np.uint16)
    alpha = np.arange(150 * 260).reshape(150, 260, 1).astype(np.uint8)
    jpeg = encoded(photo, "JPEG", quality=90, exif=exif)
    upright = decoded(jpeg).pixels
    turned_hole = np.ascontiguousarray(np.rot90(hole, -1))
    photos = [
        encoded(photo),
        jpeg,
        cv2.imencode(".png", deep[..., ::-1])[1].tobytes(),
        encoded(np.concatenate([photo, alpha], axis=-1)),
    ]
    masks = [encoded(hole), encoded(turned_hole), encoded(deep_hole), encoded(hole, "JPEG")]
    first, second, third, fourth = map(decoded, fill_bytes(model, photos, masks))
    np.testing.assert_array_equal(first.pixels, wrapper(photo, hole))
    np.testing.assert_array_equal(second.pixels, wrapper(upright, turned_hole))
    assert upright.shape[:2] == (260, 150)
    assert third.pixels.dtype == np.uint16
    np.testing.assert_array_equal(third.pixels, wrapper(deep, deep_hole))
    blurred_hole = decoded(masks[3]).pixels[..., 0]
    np.testing.assert_array_equal(fourth.pixels, wrapper(photo, blurred_hole))
    np.testing.assert_array_equal(fourth.alpha, alpha[..., 0])
    assert first.alpha is None and second.alpha is None
    assert fill_bytes(model, tf.zeros([0], tf.string), tf.zeros([0], tf.string)) == []


def test_a_mask_without_hole_gives_the_photo_back(model):
    photo, hole = photo_and_hole(50, 60)
    (result,) = fill_bytes(model, [encoded(photo)], [encoded(hole * 0)])
    np.testing.assert_array_equal(decoded(result).pixels, photo)


PHOTO, HOLE = photo_and_hole(64, 80)
GOOD = encoded(PHOTO), encoded(HOLE)


@pytest.mark.parametrize(
    ("photo", "mask", "message"),
    [
        (b"", GOOD[1], r"image_bytes\[0\] is empty"),
        (GOOD[0], b"garbage", r"mask_bytes\[0\] is no JPEG or PNG"),
        (encoded(PHOTO, "GIF"), GOOD[1], r"image_bytes\[0\] is a GIF; send JPEG or PNG"),
        (encoded(PHOTO, "WEBP"), GOOD[1], r"image_bytes\[0\] is a WebP"),
        (GOOD[0][:300], GOOD[1], "image_bytes"),
        (encoded(PHOTO, "JPEG")[:900], GOOD[1], "image_bytes"),
        (GOOD[0], GOOD[1][:60], "mask_bytes"),
        (
            GOOD[0],
            encoded(HOLE[:, :70]),
            r"mask_bytes\[0\] is 70 x 64 pixels, image_bytes\[0\] 80 x 64",
        ),
        (
            encoded(np.zeros((1001, 2000, 3), np.uint8)),
            GOOD[1],
            r"image_bytes\[0\] of 2000 x 1001 pixels is over the limit of 2000000",
        ),
        (
            GOOD[0],
            encoded(255 - HOLE // 255),
            r"mask_bytes\[0\] marks 100.0 % as hole; white is the hole",
        ),
    ],
)
def test_bad_files(model, photo, mask, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        fill_bytes(model, [photo], [mask])
    fill_bytes(model, [GOOD[0]], [GOOD[1]])


def test_the_index_of_a_bad_file_is_named(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"mask_bytes\[1\] is a GIF"):
        fill_bytes(model, [GOOD[0]] * 3, [GOOD[1], encoded(HOLE, "GIF"), GOOD[1]])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"1 image_bytes .* 2 mask_bytes"):
        fill_bytes(model, [GOOD[0]], [GOOD[1]] * 2)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (PHOTO[None], HOLE[None, :60, :, None], "mask is 80 x 60 pixels, image 80 x 64"),
        (PHOTO[None, :0], HOLE[None, :0, :, None], "image of 80 x 0 pixels is empty"),
        (np.zeros((1, 1001, 2000, 3), np.uint8), HOLE[None, ..., None], "over the limit of 200"),
        (PHOTO[None][:0], HOLE[None][:0, ..., None], "image holds no photos"),
        (np.zeros((1, 1, 5000, 3), np.uint8), np.zeros((1, 1, 5000, 1), np.uint8), None),
        (np.zeros((1, 1, 20000, 3), np.uint8), np.zeros((1, 1, 20000, 1), np.uint8), "too long"),
        (np.stack([PHOTO] * 3), np.stack([HOLE[..., None]] * 2), "mask has a batch of 2, image"),
    ],
)
def test_bad_arrays(model, image, mask, message):
    if message is None:  # the longest of its width
        model.signatures["inpaint"](image=tf.constant(image), mask=tf.constant(mask))
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.signatures["inpaint"](image=tf.constant(image), mask=tf.constant(mask))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.signatures["inpaint_float"](
            image=tf.constant(image.astype(np.float32) / 255),
            mask=tf.constant(mask.astype(np.float32) / 255),
        )


@pytest.mark.parametrize("bad", [np.nan, -0.1, 200.0])
def test_floats_outside_the_range(model, bad):
    image, mask = PHOTO.astype(np.float32) / 255, HOLE.astype(np.float32)
    expected = model(image, mask).numpy()
    image[HOLE > 0] = bad  # under the hole anything goes
    np.testing.assert_array_equal(model(image, mask), expected)
    image[0, 0, 0] = bad
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside 0 to 1"):
        model(image, mask)


def test_stock_operations_only(model, folder):
    """A process without HiFill knows every operation, and gives the same result."""
    photo, hole = photo_and_hole(100, 130)
    expected = fill_bytes(model, [encoded(photo)], [encoded(hole)])
    script = """
import sys
sys.modules["hifill"] = sys.modules["keras"] = None
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
folder, photo, mask = sys.argv[1:]
saved = saved_model_pb2.SavedModel()
saved.ParseFromString(open(folder + "/saved_model.pb", "rb").read())
graph = saved.meta_graphs[0].graph_def
functions = {function.signature.name for function in graph.library.function}
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
operations = {node.op for node in nodes} - functions
registry = {name for name in dir(tf.raw_ops) if name[0].isupper()}
assert len(operations) > 50, operations
assert operations <= registry, operations - registry
assert not {"PyFunc", "EagerPyFunc"} & operations
model = tf.saved_model.load(folder)
read = lambda path: tf.io.read_file(path)[None]
result = model.signatures["serving_default"](image_bytes=read(photo), mask_bytes=read(mask))
sys.stdout.buffer.write(result["inpainted_bytes"].numpy()[0])
"""
    paths = [folder / "photo.tmp", folder / "mask.tmp"]
    for path, pixels in zip(paths, (photo, hole), strict=True):
        path.write_bytes(encoded(pixels))
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder), *map(str, paths)],
            capture_output=True,
            cwd="/",
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    finally:
        for path in paths:
            path.unlink()
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout == expected[0]


def test_what_saved_model_cli_shows(model):
    names = {
        name: (sorted(function.structured_input_signature[1]), sorted(function.structured_outputs))
        for name, function in model.signatures.items()
    }
    assert names == {
        "serving_default": (["image_bytes", "mask_bytes"], ["inpainted_bytes"]),
        "inpaint": (["image", "mask"], ["inpainted"]),
        "inpaint_float": (["image", "mask"], ["inpainted"]),
        "generator": (["image", "mask"], ["attention", "coarse", "refined"]),
    }
    metadata = json.loads(tf.io.read_file(model.metadata.asset_path).numpy())
    assert metadata["max_pixels"] == 2_000_000 and metadata["version"] == 1
