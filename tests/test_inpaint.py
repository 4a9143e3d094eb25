"""The command line and `Inpainter`, run for real on small files."""

import functools
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from PIL import Image

import hifill
from hifill import convert, image_io, inpaint_files, weights

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def weights_file(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded.weights.h5"
    weights.save_weights(generator, path)
    return path


@pytest.fixture(scope="module")
def make_inpainter():
    """Makes `Inpainter`s, but none twice, since the first photo of each takes long."""
    return functools.cache(hifill.Inpainter)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def mask(tmp_path):
    path = tmp_path / "hole.png"
    Image.fromarray(hole().astype(np.uint8) * 255).save(path)
    return path


def hole():
    marked = np.zeros((HEIGHT, WIDTH), bool)
    marked[20:40, 30:50] = True
    return marked


@pytest.fixture
def command(weights_file, make_inpainter, run_command, monkeypatch):
    """Runs hifill-inpaint in this process: arguments -> (exit code, what it wrote to stderr)."""
    monkeypatch.setattr(inpaint_files, "Inpainter", make_inpainter)

    def run(*arguments, entry=inpaint_files.run, with_weights=True):
        weights = [f"--weights={weights_file}"] if with_weights else []
        return run_command(entry, "hifill-inpaint", *arguments, *weights)[::2]

    return run


def pixels(path):
    return np.asarray(Image.open(path))


def test_one_photo(command, photo, mask, tmp_path):
    output = tmp_path / "new" / "filled.png"
    code, _ = command(photo, f"--mask={mask}", "-o", output)
    assert code == 0
    before, after = pixels(photo), pixels(output)
    np.testing.assert_array_equal(after[~hole()], before[~hole()])
    assert (after[hole()] != before[hole()]).mean() > 0.9


def test_invert_and_dilate(command, photo, mask, tmp_path):
    inverted = tmp_path / "inverted.png"
    Image.fromarray(255 - pixels(mask)).save(inverted)
    plain, grown = tmp_path / "plain.png", tmp_path / "grown.png"
    assert command(photo, f"--mask={mask}", "-o", plain)[0] == 0
    assert command(photo, f"--mask={inverted}", "--invert_mask", "-o", grown)[0] == 0
    np.testing.assert_array_equal(pixels(plain), pixels(grown))
    assert command(photo, f"--mask={mask}", "--dilate=5", "-o", grown)[0] == 0
    changed = (pixels(grown) != pixels(photo)).any(-1)
    assert changed[15:45, 30:50].mean() > 0.9 and changed[20:40, 25:55].mean() > 0.9
    assert not changed[:15].any() and not changed[:, :25].any()


def test_quality_and_comparison(command, photo, mask, tmp_path):
    low, high = tmp_path / "low.jpg", tmp_path / "high.jpg"
    shown = tmp_path / "shown"
    assert command(photo, f"--mask={mask}", "-o", low, "--quality=10")[0] == 0
    arguments = ("-o", high, "--quality=95", f"--comparison={shown}")
    assert command(photo, f"--mask={mask}", *arguments)[0] == 0
    assert low.stat().st_size < high.stat().st_size
    grid = pixels(shown / "high.png")
    assert grid.shape == (HEIGHT, 3 * WIDTH, 3)
    np.testing.assert_array_equal(grid[:, :WIDTH], pixels(photo))
    assert (grid[:, WIDTH : 2 * WIDTH][hole()] == 255).all()


def test_folder_pairs_masks_by_name_and_survives_bad_files(command, photo, mask, tmp_path):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    names = ["plain.png", "under.png", "dotted.png", "sub/deep.png", "lonely.png"]
    for name in names:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, photos / name)
    (photos / "broken.png").write_bytes(photo.read_bytes()[:200])
    for name in ["plain.png", "under_mask.png", "dotted.mask.png", "sub/deep.png", "broken.png"]:
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mask, masks / name)
    output = tmp_path / "out"
    code, stderr = command(photos, f"--mask={masks}", f"--output={output}")
    assert code == 1
    written = sorted(str(path.relative_to(output)) for path in output.rglob("*.*"))
    assert written == ["dotted.png", "plain.png", "sub/deep.png", "under.png"]
    assert "2 of 6 photos failed" in stderr
    assert "lonely.png: no mask for it" in stderr and "broken.png" in stderr


def test_reading_filling_and_writing_overlap(photo, mask, tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcd":
        shutil.copy(photo, folder / f"{name}.png")
    spans = {}

    def slowed(stage, function):
        def run(*arguments):
            start = time.perf_counter()
            time.sleep(0.2)
            result = function(*arguments)
            spans.setdefault(stage, []).append((start, time.perf_counter()))
            return result

        return run

    for stage in ("read_files", "write_files"):
        monkeypatch.setattr(inpaint_files, stage, slowed(stage, getattr(inpaint_files, stage)))
    values = flags.FlagValues()
    inpaint_files.define_file_flags(values)
    values(["", f"--mask={mask}", f"--output={tmp_path / 'out'}"])
    fill = slowed("fill", lambda pixels, hole: np.where(hole[..., None], 0, pixels))
    assert inpaint_files.fill_files(lambda: fill, [str(folder)], values) == 0
    assert len(list((tmp_path / "out").iterdir())) == 4
    reading, filling, writing = (spans[stage] for stage in ("read_files", "fill", "write_files"))
    for i in range(4):
        start, end = filling[i]
        if i < 3:
            assert reading[i + 1][0] < end and reading[i + 1][1] > start
        if i > 0:
            assert writing[i - 1][0] < end and writing[i - 1][1] > start
        if i > 2:  # no more than three photos at a time
            assert reading[i][0] > writing[i - 3][1]


def test_one_mask_for_a_folder_and_masks_beside_photos(command, photo, mask, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(photo, photos / "a.png")
    shutil.copy(photo, photos / "b.png")
    assert command(photos, f"--mask={mask}", f"--output={tmp_path / 'one'}")[0] == 0
    assert len(list((tmp_path / "one").iterdir())) == 2
    shutil.copy(mask, photos / "a_mask.png")
    shutil.copy(mask, photos / "b.mask.png")
    code, stderr = command(photos, f"--mask={photos}", f"--output={tmp_path / 'two'}")
    assert code == 0, stderr
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["a.png", "b.png"]


def test_mapped(command, photo, mask, tmp_path):
    mapped, output = tmp_path / "photo.npy", tmp_path / "filled.npy"
    np.save(mapped, pixels(photo))
    assert command(mapped, f"--mask={mask}", "-o", output, "--mapped")[0] == 0
    assert command(photo, f"--mask={mask}", "-o", tmp_path / "filled.png")[0] == 0
    np.testing.assert_array_equal(np.load(output), pixels(tmp_path / "filled.png"))
    code, error = command(photo, f"--mask={mask}", "-o", tmp_path / "other.png", "--mapped")
    assert code == 1 and "is no .npy file or TIFF" in error
    assert command(mapped, f"--mask={mask}", "-o", output, "--mapped", "--dilate=3")[0] == 2


def test_empty_mask_returns_the_photo_with_a_warning(command, photo, mask, tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(mask)
    source = tmp_path / "photo.jpg"
    Image.open(photo).save(source)
    for output in (tmp_path / "same.jpg", tmp_path / "same.png"):
        code, stderr = command(source, f"--mask={mask}", "-o", output)
        assert code == 0 and "no hole" in stderr
        np.testing.assert_array_equal(pixels(output), pixels(source))
    assert (tmp_path / "same.jpg").read_bytes() == source.read_bytes()


def test_full_mask_is_refused(command, photo, mask, tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(mask)
    code, stderr = command(photo, f"--mask={mask}", "-o", tmp_path / "out.png")
    assert code == 1 and "hole.png" in stderr and "--invert_mask" in stderr
    assert not (tmp_path / "out.png").exists()


def one_line(stderr):
    # TensorFlow warns of retracing where one process makes many inpainters, as these tests do.
    expected = ("hole from the", "tf.function retracing")
    complaints = [line for line in stderr.splitlines() if not any(e in line for e in expected)]
    assert len(complaints) == 1, stderr
    assert "Traceback" not in stderr
    return complaints[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda photo, mask: photo.write_text("not an image"), "photo.png"),
        (lambda photo, mask: photo.write_bytes(photo.read_bytes()[:500]), "photo.png"),
        (lambda photo, mask: mask.write_bytes(mask.read_bytes()[:60]), "hole.png"),
        (lambda photo, mask: photo.unlink(), "photo.png: no such"),
        (lambda photo, mask: mask.unlink(), "hole.png: no such"),
        (lambda photo, mask: Image.new("L", (WIDTH, WIDTH), 255).save(mask), "90 x 90"),
    ],
    ids=["not an image", "truncated", "truncated mask", "no photo", "no mask", "mask's aspect"],
)
def test_bad_files(command, photo, mask, tmp_path, spoil, message):
    spoil(photo, mask)
    output = tmp_path / "out.png"
    code, stderr = command(photo, f"--mask={mask}", f"--output={output}")
    assert code == 1 and message in one_line(stderr)
    assert not output.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"photo.png", "hole.png"}


def test_other_faults(command, photo, mask, tmp_path):
    arguments = (photo, f"--mask={mask}")
    code, stderr = command(*arguments, "-o", tmp_path / "o.png", "--max_megapixels=0.001")
    assert code == 1 and "90 x 60" in one_line(stderr)
    code, stderr = command(*arguments, "-o", tmp_path / "o.gif")
    assert code == 1 and "o.gif" in one_line(stderr)
    code, stderr = command(*arguments, "-o", tmp_path / "o.png", "--max_megapixels=nan")
    assert code == 2 and "--max_megapixels" in stderr
    code, stderr = command(*arguments, "-o", photo)
    assert code == 1 and "overwrite" in one_line(stderr)
    code, stderr = command(*arguments, "-o", mask / "inside.png")
    assert code == 1 and "inside.png" in one_line(stderr)
    code, stderr = command(
        *arguments, "-o", tmp_path / "o.png", "--weights=/none.h5", with_weights=False
    )
    assert code == 1 and "/none.h5" in one_line(stderr)
    (tmp_path / "empty").mkdir()
    code, stderr = command(tmp_path / "empty", f"--mask={mask}", "-o", tmp_path / "out")
    assert code == 1 and "no photos" in one_line(stderr)


@pytest.mark.parametrize(
    "arguments",
    [["--mask=m.png", "-o", "o.png"], ["p.png", "-o", "o.png"], ["p.png", "--nonsense"]],
    ids=["no photo", "no mask", "unknown flag"],
)
def test_wrong_flags(command, arguments):
    code, stderr = command(*arguments, with_weights=False)
    assert code == 2 and "--help" in stderr and "Traceback" not in stderr


def test_help_runs_as_installed():
    program = pathlib.Path(sys.executable).with_name("hifill-inpaint")
    result = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "--dilate" in result.stdout and "White in the mask is the hole" in result.stdout


def test_inpainter_keeps_dtype_and_known_pixels(weights_file, make_inpainter):
    inpainter = make_inpainter(str(weights_file), "improved", None)
    for dtype in (np.uint8, np.uint16):
        image = np.random.default_rng(1).integers(0, 200, (HEIGHT, WIDTH, 3)).astype(dtype)
        result = inpainter(image, hole()[..., None])
        assert result.dtype == dtype and isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result[~hole()], image[~hole()])
        np.testing.assert_array_equal(inpainter(image, hole() * 1.0), result)
    with pytest.raises(ValueError, match="inverted"):
        inpainter(image, np.ones((HEIGHT, WIDTH), bool))


def test_convert_command(generator, command, tmp_path):
    variables = convert.tensorflow1_variables(generator)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in variables.items():
            tf.compat.v1.get_variable(name, initializer=array)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "0"))
    output = tmp_path / "out.weights.h5"
    arguments = (tmp_path, output)
    code, stderr = command(*arguments, entry=convert.run, with_weights=False)
    assert code == 0, stderr
    loaded = hifill.Generator()
    hifill.load_weights(loaded, output)
    for ours, theirs in zip(loaded.weights, generator.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "0.data-00000-of-00001").write_bytes(b"short")
    code, stderr = command(*arguments, entry=convert.run, with_weights=False)
    assert code == 1 and str(tmp_path) in one_line(stderr)


def test_image_error_is_a_value_error():
    assert issubclass(image_io.ImageError, ValueError)
