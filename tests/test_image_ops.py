"""Decoding inside a graph, against the decoding of files."""

import contextlib
import io
import time
import zlib

import cv2
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from hifill import image_io, image_ops

LIMIT = 100_000


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_rgb(content):
    return image_ops.decode_pixels(image_ops.read_header(content, "photo", LIMIT), 3, tf.uint8)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_rgba(content):
    return image_ops.decode_pixels(image_ops.read_header(content, "photo", LIMIT), 4, tf.uint8)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_deep(content):
    return image_ops.decode_pixels(image_ops.read_header(content, "photo", LIMIT), 4, tf.uint16)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_hole(content):
    return image_ops.decode_hole(image_ops.read_header(content, "mask", LIMIT))


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def read_header(content):
    header = image_ops.read_header(content, "photo", LIMIT)
    return [header[name] for name in ("height", "width", "channels", "bits", "orientation")]


def pixels(channels, height=37, width=53, dtype=np.uint8):
    random = np.random.default_rng(channels)
    array = random.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)
    array = cv2.GaussianBlur(array, (0, 0), 3)
    array = cv2.normalize(array, None, 0, int(np.iinfo(dtype).max), cv2.NORM_MINMAX)
    return array[..., 0] if array.ndim == 3 and channels == 1 else array


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        file, format, **options
    )
    return file.getvalue()


def deep_png(array):
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[-1] if array.ndim == 3 else 1)
    return cv2.imencode(".png", array[..., order] if order else array)[1].tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("endian", ["<", ">"])
def test_jpeg_is_upright(orientation, endian):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a maker"  # entries before and after the orientation
    exif[0x0112] = orientation
    exif[0x0131] = "a program of a name that does not fit into the entry itself"
    content = encoded(pixels(3), "JPEG", exif=exif, comment=b"x" * 300, dpi=(72, 72))
    expected = image_io.decode_photo(content, "photo").pixels
    np.testing.assert_array_equal(decode_rgb(content), expected)
    header = [int(value) for value in read_header(content)]
    assert header == [*expected.shape[:2], 3, 8, orientation]


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\0\0\0\x01\0\x63\0\0" * 3,
    ],
)
def test_damaged_exif_is_as_good_as_none(exif):
    content = encoded(pixels(3), "JPEG")
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    content = content[:2] + segment + content[2:]
    assert int(read_header(content)[-1]) == 1
    assert decode_rgb(content).shape == (37, 53, 3)


def test_many_damaged_exif_blocks_take_no_time():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"  # 65535 entries, of which none follows
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    plain = encoded(pixels(3), "JPEG")
    few, many = (plain[:2] + segment * count + plain[2:] for count in (1, 400))
    read_header(few)
    start = time.process_time()
    assert int(read_header(many)[-1]) == 1
    assert time.process_time() - start < 1


def test_orientation_where_it_is_rarely_found():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, segment = encoded(pixels(3), "JPEG"), exif.tobytes()
    segment = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    other = b"\xff\xe2" + (65535).to_bytes(2, "big") + bytes(65533)
    long = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x04\0\0\0\x01\0\0\0\x06" + bytes(4)
    long = b"\xff\xe1" + (len(long) + 2).to_bytes(2, "big") + long
    contents = {
        "after bytes to fill with": plain[:2] + b"\xff\xff" + segment + plain[2:],
        "after 200 KB of other segments": plain[:2] + other * 3 + segment + plain[2:],
        "in four bytes": plain[:2] + long + plain[2:],
        "PNG": encoded(pixels(3), "PNG", exif=exif),
        "16-bit PNG": with_chunk(deep_png(pixels(3, dtype=np.uint16)), b"eXIf", exif.tobytes()[6:]),
    }
    for name, content in contents.items():
        header = [int(value) for value in read_header(content)]
        assert header[:2] == [53, 37] and header[-1] == 6, name
        if name != "16-bit PNG":
            expected = image_io.decode_photo(content, name).pixels
            np.testing.assert_array_equal(decode_rgb(content), expected)
    deep = decode_deep(contents["16-bit PNG"]).numpy()
    expected = image_io.decode_photo(contents["16-bit PNG"], "deep").pixels
    np.testing.assert_array_equal(deep[..., :3], expected)


def with_chunk(png, kind, content):
    """Puts a chunk behind a PNG's header."""
    chunk = len(content).to_bytes(4, "big") + kind + content
    chunk += zlib.crc32(kind + content).to_bytes(4, "big")
    return png[:33] + chunk + png[33:]


def transparent_pngs():
    """PNGs in which single values or palette entries are transparent."""
    grey = np.array([0, 90, 200, 255], np.uint8)[np.arange(37 * 53).reshape(37, 53) % 4]
    palette = Image.fromarray(grey).convert("P")
    deep = grey.astype(np.uint16) * 257
    deep_key = (200 * 257).to_bytes(2, "big")
    return {
        "grey": encoded(Image.fromarray(grey), transparency=200),
        "RGB": encoded(Image.fromarray(np.stack([grey] * 3, -1)), transparency=(90, 90, 90)),
        "palette": encoded(palette, transparency=bytes([0, 100, 255, 30] * 64)),
        "16-bit grey": with_chunk(deep_png(deep), b"tRNS", deep_key),
        "16-bit RGB": with_chunk(deep_png(np.stack([deep] * 3, -1)), b"tRNS", deep_key * 3),
    }


@pytest.mark.parametrize(("name", "content"), transparent_pngs().items())
def test_transparent_values(name, content):
    expected = image_io.decode_photo(content, name)
    assert int(read_header(content)[2]) in (2, 4)
    decode = decode_deep if "16" in name else decode_rgba
    rgba = decode(content).numpy()
    np.testing.assert_array_equal(rgba[..., :3], expected.pixels)
    np.testing.assert_array_equal(rgba[..., 3], expected.alpha)
    _, hole = image_io.white_of(expected)
    np.testing.assert_array_equal(decode_hole(content)[..., 0], hole)


def test_cmyk_has_three_channels():
    content = encoded(Image.fromarray(pixels(3)).convert("CMYK"), "JPEG")
    assert int(read_header(content)[2]) == 3
    assert decode_rgb(content).shape == (37, 53, 3)


PHOTOS = {
    "RGB": encoded(pixels(3)),
    "RGBA": encoded(pixels(4)),
    "grey": encoded(pixels(1)),
    "grey and alpha": encoded(Image.fromarray(pixels(2), "LA")),
    "palette": encoded(Image.fromarray(pixels(3)).quantize(16)),
    "progressive JPEG": encoded(pixels(3), "JPEG", quality=80, progressive=True),
    "JPEG without subsampling": encoded(pixels(3), "JPEG", quality=60, subsampling=0),
    "grey JPEG": encoded(pixels(1), "JPEG"),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_as_files_are_read(name):
    expected = image_io.decode_photo(PHOTOS[name], name).pixels
    np.testing.assert_array_equal(decode_rgb(PHOTOS[name]), expected)


def test_sixteen_bits_stay():
    array = pixels(4, dtype=np.uint16)
    np.testing.assert_array_equal(decode_deep(deep_png(array)), array)
    assert [int(value) for value in read_header(deep_png(array))] == [37, 53, 4, 16, 1]


def with_alpha(alpha):
    return np.concatenate([pixels(3), np.broadcast_to(np.uint8(alpha), (37, 53))[..., None]], -1)


MASKS = {
    **PHOTOS,
    "one bit": encoded(Image.fromarray(pixels(1)).convert("1")),
    "opaque": encoded(with_alpha(255)),
    "alpha that varies": encoded(with_alpha(pixels(1))),
    "16-bit grey": deep_png(pixels(1, dtype=np.uint16)),
    "16-bit RGB": deep_png(pixels(3, dtype=np.uint16)),
    "16-bit RGBA": deep_png(pixels(4, dtype=np.uint16)),
    "values about the middle": encoded(np.arange(37 * 53, dtype=np.uint8).reshape(37, 53)),
    "deep values about the middle": deep_png(
        np.arange(32768 - 900, 32768 - 900 + 37 * 53, dtype=np.uint16).reshape(37, 53)
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_holes_as_mask_files_are_read(name):
    _, expected = image_io.white_of(image_io.decode_photo(MASKS[name], name))
    actual = decode_hole(MASKS[name])
    assert actual.dtype == tf.bool and expected.any() and not expected.all()
    np.testing.assert_array_equal(actual[..., 0], expected)


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
@hypothesis.given(colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_brightness_of_colours(colour):
    content = encoded(np.full((1, 1, 3), colour, np.uint8))
    _, expected = image_io.white_of(image_io.decode_photo(content, "mask"))
    assert bool(decode_hole(content)) == bool(expected)


def png_of(width, height):
    """A header that promises so many pixels, and nothing after it."""
    content = bytearray(encoded(pixels(3)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "photo is empty"),
        (b"nonsense", "photo is no JPEG or PNG"),
        (encoded(pixels(3), "GIF"), "photo is a GIF"),
        (encoded(pixels(3), "BMP"), "photo is a BMP"),
        (encoded(pixels(3), "TIFF"), "photo is a TIFF"),
        (encoded(pixels(3), "WEBP"), "photo is a WebP"),
        (encoded(np.zeros((500, 201, 3), np.uint8)), "201 x 500 pixels is over the limit of 1000"),
        (png_of(2**31 - 1, 2**31 - 1), "over the limit"),
        (png_of(2**32 - 1, 2**32 - 1), "over the limit"),
        (png_of(0, 5), "photo of 0 x 5 pixels is empty"),
        (PHOTOS["RGB"][:20], "photo of 53 x 0 pixels is empty or damaged"),
        (PHOTOS["RGB"][:200], "PNG"),
        (PHOTOS["progressive JPEG"][:500], "JPEG"),
        (PHOTOS["progressive JPEG"][:20], "JPEG"),
        (PHOTOS["RGB"][:8] + b"x" * 500, "PNG|limit"),
    ],
)
def test_bad_input(content, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_rgb(content)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(data=st.data(), name=st.sampled_from(sorted(MASKS)))
def test_damaged_files_give_an_error_or_a_picture(data, name):
    content = bytearray(MASKS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    for decode in (decode_rgb, decode_hole):
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            assert decode(content).shape.num_elements() <= 3 * LIMIT
