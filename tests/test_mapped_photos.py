"""Photos filled through memory maps: every layout of pixels, and files that are no such thing."""

import struct
import types

import numpy as np
import pytest
from PIL import Image

from hifill import HighResolutionInpainter, image_io, inpaint, mapped_photos, pixel_files
from hifill.array_inpainting import ArrayInpainter

HEIGHT, WIDTH = 150, 207


@pytest.fixture(scope="module")
def inpainter(generator):
    return types.SimpleNamespace(
        arrays=ArrayInpainter(HighResolutionInpainter(generator, size=128))
    )


@pytest.fixture(scope="module")
def photo(textured_photo):
    return textured_photo(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def mask(disc):
    return disc(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def filled(inpainter, photo, mask):
    """Returns a function: dtype -> the photo in that dtype, and how it is filled in memory."""

    def fill(dtype):
        scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
        before = (photo * np.float32(scale)).astype(dtype)
        after = before.copy()
        inpainter.arrays(before, mask, after)
        return before, after

    return fill


def tiff(pixels, order="<", big=False, tile=(32, 48), gap=0, tags=()):
    """A TIFF of tiles, or strips where they are as wide as the photo, in reverse order."""
    (height, width, channels), (tall, wide) = pixels.shape, tile
    bits = 8 * pixels.itemsize
    is_strips = wide == width
    parts, padding = [], ((0, 0 if is_strips else -height % tall), (0, -width % wide), (0, 0))
    padded = np.pad(pixels, padding).astype(pixels.dtype.newbyteorder(order))
    for top in range(0, len(padded), tall):
        for left in range(0, padded.shape[1], wide):
            parts.append(padded[top : top + tall, left : left + wide].tobytes() + b"g" * gap)
    sizes = [len(part) - gap for part in parts]
    body, offsets = b"secret metadata ", []
    for part in reversed(parts):
        offsets.insert(0, 16 + len(body))
        body += part
    shape = (
        {278: [tall], 273: offsets, 279: sizes}
        if is_strips
        else {322: [wide], 323: [tall], 324: offsets, 325: sizes}
    )
    values = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 277: [channels]}
    values |= {262: [2 if channels > 1 else 1], **shape, **dict(tags)}
    place, form, number = ("Q", 16, "Q") if big else ("I", 4, "H")
    entries = b""
    for tag, numbers in sorted(values.items()):
        value = struct.pack(f"{order}{len(numbers)}{place}", *numbers)
        if len(numbers) > 1:
            value, body = struct.pack(order + place, 16 + len(body)), body + value
        entries += struct.pack(f"{order}HH{place}", tag, form, len(numbers)) + value
    start = 16 + len(body)
    head = (
        struct.pack(order + "HHHQ", 43, 8, 0, start)
        if big
        else struct.pack(order + "HI", 42, start)
    )
    head = ({"<": b"II", ">": b"MM"}[order] + head).ljust(16, b"\0")
    return head + body + struct.pack(order + number, len(values)) + entries + bytes(8)


def save(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npy":
        np.save(path, content)
    else:
        Image.fromarray(content).save(path)
    return path


LAYOUTS = {
    "tiles": {},
    "wide tiles": {"tile": (16, 256)},
    "strips with gaps": {"tile": (7, WIDTH), "gap": 3},
    "big-endian tiles": {"order": ">"},
    "BigTIFF": {"big": True, "tile": (HEIGHT, WIDTH)},
    "big-endian BigTIFF": {"big": True, "order": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff(inpainter, filled, mask, tmp_path, layout, dtype):
    before, after = filled(dtype)
    source = save(tmp_path / "photo.tif", tiff(before, **LAYOUTS[layout]))
    files = source, save(tmp_path / "mask.npy", mask), tmp_path / "new" / "out.tiff"
    if dtype == np.uint16 and "endian" in layout:
        with pytest.raises(image_io.ImageError, match="byte order"):
            mapped_photos.fill_mapped(inpainter, *files)
    else:
        mapped_photos.fill_mapped(inpainter, *files)
        # Metadata, gaps and padding too.
        assert files[-1].read_bytes() == tiff(after, **LAYOUTS[layout])


def test_pillows_strips(inpainter, filled, mask, tmp_path):
    before, after = filled(np.uint8)
    source, output = tmp_path / "photo.tif", tmp_path / "out.tif"
    Image.fromarray(before).save(source, tiffinfo={270: "a title", 278: 9})
    marked = save(tmp_path / "mask.png", ~mask)
    mapped_photos.fill_mapped(inpainter, source, marked, output, invert_mask=True)
    image = Image.open(output)
    np.testing.assert_array_equal(image, after)
    assert image.tag_v2[270] == "a title" and len(image.tag_v2[273]) > 9
    changed = np.fromfile(source, np.uint8) != np.fromfile(output, np.uint8)
    assert np.count_nonzero(changed) == np.count_nonzero(before != after)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_numpy_file(inpainter, filled, mask, tmp_path, dtype):
    before, after = filled(dtype)
    source, output = save(tmp_path / "photo.npy", before), tmp_path / "out.npy"
    grey = save(tmp_path / "mask.tif", tiff(mask[..., None] * np.uint8(255)))
    mapped_photos.fill_mapped(inpainter, source, grey, output)
    np.testing.assert_array_equal(np.load(output), after)
    assert {path.name for path in tmp_path.iterdir()} == {"photo.npy", "mask.tif", "out.npy"}


@pytest.mark.parametrize("shape", [(50, 69), (149, 206), (75, 103), (300, 414), (301, 415)])
@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_scaled_masks(tmp_path, shape, suffix):
    marks = np.random.default_rng(0).random(shape) < 0.05
    grey = marks * np.uint8(255)
    path = save(tmp_path / f"m{suffix}", tiff(grey[..., None]) if suffix == ".tif" else grey)
    hole = mapped_photos._Hole(path, (HEIGHT, WIDTH), False, 10**6)
    expected = image_io.cover(marks, (HEIGHT, WIDTH))
    if shape == (50, 69):
        np.testing.assert_array_equal(expected, marks.repeat(3, 0).repeat(3, 1))
    rows = np.array([149, 148, 130])
    assert hole.shape == expected.shape and hole.dtype == bool
    for key in (np.s_[:], np.s_[40:61], np.s_[7:90, 100:102], np.s_[9:9], rows):
        np.testing.assert_array_equal(hole[key], expected[key])


def test_tiles_are_read_as_arrays_are(photo, tmp_path):
    path = save(tmp_path / "photo.tif", tiff(photo))
    tiles = pixel_files.read_layout(path).open(path, "r")
    across = np.ix_([149, 148, 149, 3], [9, 8, 206])
    for key in (np.s_[3:90], np.s_[31:33, 40:], np.array([149, 148, 140]), across):
        np.testing.assert_array_equal(tiles[key], photo[key])
        pixel_files.release(tiles)


def test_release_loses_nothing(tmp_path):
    path = save(tmp_path / "a.npy", np.zeros((9, 9), np.uint8))
    for mode in ("r+", "c"):
        array = np.load(path, mmap_mode=mode)
        array[3] = 7
        pixel_files.release(np.asarray(array)[2:5])
        assert (array[3] == 7).all()
    pixel_files.release(np.zeros(3))


def test_nothing_to_fill(inpainter, photo, tmp_path, caplog):
    source, output = save(tmp_path / "photo.npy", photo), tmp_path / "out.npy"
    empty = save(tmp_path / "mask.npy", np.zeros((HEIGHT, WIDTH, 1), bool))
    mapped_photos.fill_mapped(inpainter, source, empty, output)
    assert "no hole" in caplog.text and output.read_bytes() == source.read_bytes()


BLACK = np.zeros((60, 90, 3), np.uint8)
GOOD = tiff(BLACK)
BAD_PHOTOS = {
    "neither": (b"neither", "is no .npy file or TIFF"),
    "empty": (b"", "is no .npy"),
    "truncated": (GOOD[:9000], "truncated"),
    "compressed": (tiff(BLACK, tags={259: [5]}), "tiffcp -8 -c none"),
    "planes": (tiff(BLACK, tags={284: [2]}), "-p contig"),
    "alpha": (tiff(np.zeros((60, 90, 4), np.uint8)), "4 channels"),
    "turned": (tiff(BLACK, tags={274: [6]}), "upright"),
    "no pixels": (tiff(BLACK, tags={257: [0]}), "90 x 0"),
    "missing tiles": (tiff(BLACK, tags={324: [0] * 4}), "missing"),
    "tiny tiles": (tiff(BLACK, tags={322: [1]}), "4 strips or tiles"),
    "float64": (np.zeros((60, 90, 3)), "<f8"),
    "mixed": (tiff(BLACK, tags={258: [8, 16, 8]}), "bits"),
    "two axes": (np.zeros((60, 90), np.uint8), "[60, 90]"),
    "no array": (np.zeros((0, 90, 3), np.uint8), "photo"),
    "columns first": (np.asfortranarray(BLACK), "C order"),
    "over 1": (np.full((60, 90, 3), np.float32(9)), "0 to 1"),
    "NaN": (np.full((60, 90, 3), np.float32(np.nan)), "0 to 1"),
}


def refused(folder, *arguments, **options):
    """The one line of an error that leaves no file in a folder."""
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError) as error:
        mapped_photos.fill_mapped(*arguments, **options)
    assert sorted(folder.iterdir()) == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photos(inpainter, tmp_path, name):
    content, message = BAD_PHOTOS[name]
    suffix = ".tif" if isinstance(content, bytes) else ".npy"
    source = save(tmp_path / f"photo{suffix}", content)
    marks = save(tmp_path / "mask.npy", np.eye(60, 90, dtype=bool))
    line = refused(tmp_path, inpainter, source, marks, tmp_path / f"out{suffix}")
    assert message in line and line.startswith(str(source))


def test_other_faults(inpainter, tmp_path):
    source, output = save(tmp_path / "photo.tif", GOOD), tmp_path / "out.tif"
    marks = save(tmp_path / "mask.npy", np.eye(60, 90, dtype=bool))
    full = save(tmp_path / "full.npy", np.ones((60, 90), bool))
    grey = save(tmp_path / "grey.png", np.eye(60, 90, dtype=np.uint8))
    narrow = save(tmp_path / "narrow.npy", np.eye(60, 60, dtype=bool))

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    original, full_disk = (types.SimpleNamespace(arrays=fill) for fill in (None, fail))
    for message, *arguments in (
        ("overwrite", inpainter, source, marks, tmp_path / "." / "photo.tif"),
        ("overwrite", inpainter, save(tmp_path / "photo.npy", b""), marks, marks),
        ("end it in .tif", inpainter, source, marks, tmp_path / "out.npy"),
        ("is it inverted?", inpainter, source, full, output),
        ("cannot be read", inpainter, source, tmp_path / "none.npy", output),
        ("60 x 60 does not fit the photo of 90 x 60", inpainter, source, narrow, output),
        ("over the limit of 99 pixels", inpainter, source, grey, output, False, 99),
        ('fidelity "original"', original, source, marks, output),
        ("No space left", full_disk, source, marks, output),
        ("cannot be written", inpainter, source, marks, source / "out.tif"),
    ):
        assert message in refused(tmp_path, *arguments)
    with pytest.raises(inpaint.MaskError):
        mapped_photos.fill_mapped(inpainter, source, full, output)


@pytest.mark.parametrize("big", [False, True])
def test_damaged_headers(tmp_path, big):
    rng, path = np.random.default_rng(0), tmp_path / "photo.tif"
    whole = tiff(np.ones((20, 30, 3), np.uint8), big=big, tile=(16, 16))
    for trial in range(300):
        content = bytearray(whole)
        if trial % 4 == 0:
            content = content[: rng.integers(len(content))]
        else:
            places = [*range(16), *range(whole.index(b"secret") + 4 * 768 + 16, len(whole))]
            for place in rng.choice(places, rng.integers(1, 4)):
                content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            layout = pixel_files.read_layout(path)
            layout.open(path, "r")[0 : layout.shape[0]].sum()
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
