"""The examples of docs/other_tf_code.md are run as they stand there, without the package hifill."""

import io
import pathlib
import re
import subprocess
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
PHOTOS = DOCS.parent / "hifill" / "demo_photos"
# Without the package: neither the model nor an example may need it. What loads the same model again
# gets the first one, since loading takes long.
PREAMBLE = """
import functools
import sys

sys.modules["hifill"] = None

import tensorflow as tf

tf.saved_model.load = functools.cache(tf.saved_model.load)
"""
# What the examples leave in variables and not in files.
POSTSCRIPT = """
import numpy as np

traces = model.__call__.experimental_get_tracing_count()
model(image[:50], mask[:50])
assert model.__call__.experimental_get_tracing_count() == traces, "prepared for one size"

np.savez("results.npz", *pictures, probabilities=probabilities)
changed = tf.where(mask > 127, tf.constant(200, tf.uint8), image)
batch["image"] = tf.cast(changed, tf.float32)[None] / 255
np.save("changed.npy", classifier.predict(batch, verbose=0))
"""


def crop(left, top, width, height):
    """A photo and its mask."""
    photo = Image.open(PHOTOS / "launch.jpg").crop((left, top, left + width, top + height))
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 3 : width // 2] = 255
    return photo, Image.fromarray(mask)


def encoded(image, name):
    file = io.BytesIO()
    image.save(file, name)
    return file.getvalue()


def pixels(path):
    return np.asarray(Image.open(path))


def filled(model, photo, mask):
    """What the model makes of two pictures, by a signature: the root is traced for each size."""
    arrays = {"image": np.asarray(photo)[None], "mask": np.asarray(mask)[None, ..., None]}
    signature = model.signatures["inpaint"]
    return signature(**{k: tf.constant(v) for k, v in arrays.items()})["inpainted"][0].numpy()


def test_the_examples_of_the_document(saved_model, export_folder, tmp_path):
    (tmp_path / "DIR").symlink_to(export_folder)
    for name, photo, mask in (
        ("photo.jpg", *crop(300, 100, 140, 100)),
        ("other.png", *crop(100, 0, 90, 160)),
    ):
        photo.save(tmp_path / name)
        mask.save(tmp_path / ("mask.png" if name == "photo.jpg" else "other_mask.png"))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")

    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "other_tf_code.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    script = tmp_path / "examples.py"
    script.write_text("\n\n".join([PREAMBLE, *blocks, POSTSCRIPT]))
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=300)

    decoded = tf.io.decode_jpeg((tmp_path / "photo.jpg").read_bytes(), channels=3)
    first = filled(saved_model, decoded, pixels(tmp_path / "mask.png"))
    second = filled(
        saved_model, pixels(tmp_path / "other.png"), pixels(tmp_path / "other_mask.png")
    )
    np.testing.assert_array_equal(pixels(tmp_path / "filled.png"), first)
    np.testing.assert_array_equal(pixels(tmp_path / "second.png"), second)
    results = np.load(tmp_path / "results.npz")
    np.testing.assert_array_equal(results["arr_0"], first)
    np.testing.assert_array_equal(results["arr_1"], second)
    assert "arr_2" not in results  # the broken one
    # serving_default decodes JPEG with another transform.
    assert np.abs(pixels(tmp_path / "first.png").astype(int) - first).mean() < 2
    # The Keras model cannot know what lay under the hole.
    assert results["probabilities"].shape == (1, 10)
    np.testing.assert_array_equal(results["probabilities"], np.load(tmp_path / "changed.npy"))


def example(**features):
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def examples_of(pattern):
    """List of dicts from the names of features to their values."""
    found = []
    for path in sorted(pattern.parent.glob(pattern.name)):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            found.append({name: value.bytes_list.value[0] for name, value in features.items()})
    return found


def test_beam_fills_tfrecords_and_sets_bad_ones_aside(saved_model, export_folder, tmp_path):
    photos = [crop(300 - 30 * i, 20 * i, 100 + 20 * i, 150 - 10 * i) for i in range(5)]
    records = [
        example(image=encoded(photo, "PNG"), mask=encoded(mask, "PNG"), name=f"{i}".encode())
        for i, (photo, mask) in enumerate(photos)
    ]
    photo, mask = (encoded(picture, "PNG") for picture in photos[0])
    bad = {
        b"bad": (b"no picture", mask, "image_bytes[0] is no JPEG or PNG; send JPEG or PNG"),
        b"cut": (photo[:1000], mask, "image: Invalid PNG data, size 1000"),
        b"cut mask": (photo, mask[:60], "mask: Invalid PNG data, size 60"),
    }
    bad_records = [
        example(image=image, mask=mask, name=name) for name, (image, mask, _) in bad.items()
    ]
    for name, content in (("a", [*records[:2], *bad_records]), ("b", records[2:])):
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.tfrecord")) as writer:
            for record in content:
                writer.write(record)

    flags = (
        f"--input={tmp_path}/*.tfrecord",
        f"--model={export_folder}/hifill/1",
        f"--output={tmp_path}/filled/part",
    )
    command = [sys.executable, DOCS / "examples" / "beam_inpaint.py", *flags]
    subprocess.run(command, check=True, timeout=300)
    results = {each["name"]: each for each in examples_of(tmp_path / "filled" / "part-*")}
    assert sorted(results) == [b"0", b"1", b"2", b"3", b"4"]
    for i, (photo, mask) in enumerate(photos):
        result = results[f"{i}".encode()]
        assert sorted(result) == ["inpainted", "name"]
        png = np.asarray(Image.open(io.BytesIO(result["inpainted"])))
        np.testing.assert_array_equal(png, filled(saved_model, photo, mask))

    failed = {each["name"]: each for each in examples_of(tmp_path / "filled" / "part_failed-*")}
    assert sorted(failed) == sorted(bad)
    for name, (image, mask, message) in bad.items():
        expected = {"image": image, "mask": mask, "name": name, "error": message.encode()}
        assert failed[name] == expected
