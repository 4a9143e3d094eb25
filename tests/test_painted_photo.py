"""The photo behind a page of hifill-demo: its hole, its fills, its files."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from hifill import image_io
from hifill.painted_photo import PREVIEW, UNDO, PaintedPhoto


def encoded(pixels, format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def painted(textured_photo, tmp_path):
    """A photo larger than its preview."""
    return PaintedPhoto(encoded(textured_photo(400, 1600)), "wide.png", tmp_path, 1e6)


@pytest.fixture
def layer():
    """What is painted on the preview of `painted`: a bar."""
    bar = np.zeros((320, PREVIEW), bool)
    bar[100:140, 200:600] = True
    return bar


def whiten(pixels, hole):
    return np.where(hole[..., None], pixels.dtype.type(255), pixels)


def test_the_hole_covers_what_is_painted_in_the_photos_resolution(painted, layer):
    hole = painted.hole(layer)
    assert hole.shape == (400, 1600)
    rows, columns = np.nonzero(hole)
    assert (rows.min(), rows.max() + 1) == (125, 175)
    assert (columns.min(), columns.max() + 1) == (250, 750)
    assert hole.sum() == 50 * 500
    grown = painted.hole(layer, growth=10)
    assert grown[115, 500] and not grown[114, 500]


def test_an_editor_may_hand_back_smaller_pictures(painted, layer):
    smaller = cv2.resize(layer.astype(np.uint8), (PREVIEW // 2, 160)) > 0
    np.testing.assert_array_equal(painted.hole(smaller), painted.hole(layer))


def test_a_mask_keeps_the_photos_resolution_where_it_is_left_alone(painted, layer):
    mask = np.zeros((400, 1600), np.uint8)
    mask[200:300:2, 801] = 255  # lost at the preview's size
    mask[0, 0] = 255
    painted.read_mask(encoded(mask), "mask.png", invert=False)
    shown = cv2.imread(str(painted.layer((255, 0, 0))), cv2.IMREAD_UNCHANGED)[..., 3] > 0
    assert shown.shape == (320, PREVIEW)
    np.testing.assert_array_equal(painted.hole(shown), mask > 0)
    bar = painted.hole(shown | layer)
    assert bar[150, 500] and bar.sum() == (mask > 0).sum() + 50 * 500
    shown[:10, :10] = False  # erased
    erased = painted.hole(shown)
    assert not erased[0, 0] and erased[200, 801]
    painted.read_mask(encoded(mask), "mask.png", invert=True)
    with pytest.raises(ValueError, match=r"100\.0% of the photo: leave more"):
        painted.hole(painted._shown_mask())


def test_masks_that_do_not_fit_are_refused(painted):
    for content, message in (
        (encoded(np.zeros((9, 9), np.uint8)), "mask.png: mask of 9 x 9 does not fit"),
        (b"text", "mask.png: is not a JPEG"),
    ):
        with pytest.raises(ValueError, match=message):
            painted.read_mask(content, "mask.png", invert=False)
    assert painted.mask is None


def test_nothing_painted_is_said(painted):
    for layer in (None, np.zeros((320, PREVIEW), bool)):
        with pytest.raises(ValueError, match="nothing is painted"):
            painted.hole(layer)


def test_fills_follow_each_other_and_can_be_undone(painted, layer):
    photo = painted.photo.pixels.copy()
    holes = [painted.hole(np.roll(layer, 15 * i, axis=0)) for i in range(UNDO + 2)]
    states = [photo]
    for hole in holes:
        painted.fill(whiten, hole)
        states.append(painted.pixels)
    np.testing.assert_array_equal(states[1], whiten(photo, holes[0]))
    for _ in range(UNDO):
        states.pop()
        painted.undo()
        np.testing.assert_array_equal(painted.pixels, states[-1])
    assert (painted.undoable, painted.fills) == (0, 2)
    np.testing.assert_array_equal(painted.photo.pixels, photo)


def test_previews_show_before_and_now(painted, layer):
    painted.fill(whiten, painted.hole(layer))
    before, now = (cv2.imread(str(path)) for path in (painted.before, painted.now))
    assert before.shape == now.shape == (320, PREVIEW, 3)
    assert now[120, 400].min() > 250 > before[120, 400].max()


def test_the_file_keeps_format_depth_alpha_and_profile(tmp_path, layer):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65536, (320, PREVIEW, 4), np.uint16)
    deep = PaintedPhoto(cv2.imencode(".png", pixels)[1].tobytes(), "deep.png", tmp_path, 1e6)
    hole = deep.hole(layer)
    deep.fill(whiten, hole)
    written = image_io.read_photo(deep.write())
    assert deep.write().name == "deep_filled.png"
    np.testing.assert_array_equal(written.pixels, whiten(deep.photo.pixels, hole))
    np.testing.assert_array_equal(written.alpha, pixels[..., 3])

    exif = Image.Exif()
    exif[0x010E] = "a title"
    content = encoded(rng.integers(0, 256, (64, 64, 3), np.uint8), "WEBP", exif=exif, lossless=True)
    misnamed = PaintedPhoto(content, "photo.jpg", tmp_path, 1e6)
    assert misnamed.write().name == "photo_filled.webp"
    assert Image.open(misnamed.write()).getexif()[0x010E] == "a title"


def test_transparent_pixels_are_white_in_the_preview(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:32, :, 3] = 255
    painted = PaintedPhoto(encoded(pixels), "a.png", tmp_path, 1e6)
    shown = cv2.imread(str(painted.now))
    assert shown[8].max() < 5 and shown[-8].min() > 250


def test_the_mask_is_written_in_black_and_white(painted, layer):
    hole = painted.hole(layer)
    written = image_io.read_mask(painted.write_mask(hole), hole.shape)
    np.testing.assert_array_equal(written, hole)


def test_photos_over_the_limit_are_refused(tmp_path):
    content = encoded(np.zeros((40, 30), np.uint8))
    with pytest.raises(ValueError, match=r"big.png: 30 x 40 is over the limit of 1000 pixels"):
        PaintedPhoto(content, "big.png", tmp_path, 1000)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_it_is_closed(painted, layer, tmp_path):
    painted.fill(whiten, painted.hole(layer))
    painted.write()
    assert list(tmp_path.rglob("*.png"))
    painted.close()
    assert not list(tmp_path.iterdir())
