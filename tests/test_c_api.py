"""The SavedModel without Python: a C program against the C API in TensorFlow's package."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

SOURCE = pathlib.Path(__file__).parent / "serving" / "inpaint.c"
LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "hifill" / "demo_photos" / "launch.jpg"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "this test needs a C compiler: install gcc (apt-get install gcc libc6-dev)"
    library = tf.sysconfig.get_lib()
    path = tmp_path_factory.mktemp("c_api") / "inpaint"
    # Sessions are in libtensorflow_cc; tensors, strings and statuses in libtensorflow_framework.
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{tf.sysconfig.get_include()}"]
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    where = [f"-L{library}", f"-Wl,-rpath,{library}"]
    subprocess.run([compiler, *flags, SOURCE, "-o", path, *where, *libraries], check=True)
    return path


def run(program, *arguments):
    command = [program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_same_pixels_as_in_python_also_after_failed_requests(
    program, export_folder, saved_model, tmp_path
):
    # A PNG, since decoders may differ in the last bit of a JPEG.
    image = np.asarray(Image.open(LAUNCH))[200:350, 400:600]
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[40:80, 50:110] = 255
    photo, hole, small, garbage, filled, nothing = (
        tmp_path / name
        for name in ("a.png", "hole.png", "small.png", "garbage.jpg", "filled.png", "nothing.png")
    )
    Image.fromarray(image).save(photo)
    Image.fromarray(mask).save(hole)
    Image.fromarray(mask[:10, :20]).save(small)
    garbage.write_bytes(b"no picture")

    version = export_folder / "hifill" / "1"
    ended = run(
        *(program, version),
        *(garbage, hole, nothing),
        *(tmp_path / "absent.jpg", hole, nothing),
        *(photo, small, nothing),
        *(photo, hole, filled),
    )
    assert ended.returncode == 1
    assert f"inpaint: {garbage}: " in ended.stderr
    assert "image_bytes[0] is no JPEG or PNG; send JPEG or PNG" in ended.stderr
    assert "absent.jpg: No such file" in ended.stderr
    assert "mask_bytes[0] is 20 x 10 pixels, image_bytes[0] 200 x 150" in ended.stderr
    assert not nothing.exists()

    result = np.asarray(Image.open(filled))
    np.testing.assert_array_equal(result, saved_model(image, mask))
    assert np.any(result != image)


def test_refuses_a_folder_without_a_model(program, tmp_path):
    ended = run(program, tmp_path, "photo.jpg", "mask.png", "out.png")
    assert ended.returncode == 2
    assert str(tmp_path) in ended.stderr
