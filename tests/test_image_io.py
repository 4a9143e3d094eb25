"""Real files, written with Pillow, OpenCV or by hand, read and written back by `image_io`."""

import errno
import io
import logging
import os
import stat
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from hifill import image_io
from hifill.image_io import ImageError, Photo, decode_photo, read_mask, read_photo, write_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
HEIGHT, WIDTH = 22, 37


def noise(channels, dtype=np.uint8, height=HEIGHT, width=WIDTH):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def smooth(height=64, width=96):
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8)


def exif_bytes(orientation=None, make="Maker"):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = make
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    return exif.tobytes()


def save_16bit(path, array):
    """array uint16 [H, W], [H, W, 3] RGB or [H, W, 4] RGBA, by OpenCV."""
    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    code = order[2 if array.ndim == 2 else array.shape[2]]
    assert cv2.imwrite(str(path), array if code is None else cv2.cvtColor(array, code))


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def insert_png_chunk(path, name, body):
    data = path.read_bytes()
    path.write_bytes(data[:33] + png_chunk(name, body) + data[33:])


def png_chunk_names(path):
    data, names, at = path.read_bytes(), [], 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        names.append(name)
        at += 12 + length
    return names


def save_tiff(path, array, order="<", **tags):
    """An uncompressed TIFF with any tags, t262=0 for instance."""
    count = 1 if array.ndim == 2 else array.shape[2]
    header = b"II*\0" if order == "<" else b"MM\0*"
    directory = TiffImagePlugin.ImageFileDirectory_v2(header + bytes(4))
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    values = {
        256: array.shape[1],
        257: array.shape[0],
        258: (8 * array.itemsize,) * count,
        259: 1,
        262: 1 if count == 1 else 2,
        273: 0,
        277: count,
        278: array.shape[0],
        279: len(data),
        338: 2 if count == 4 else None,
    } | {int(name[1:]): value for name, value in tags.items()}
    directory.tagtype[273] = 4
    for tag, value in values.items():
        if value is not None:
            directory[tag] = value
    with open(path, "wb") as file:
        directory.save(file)
        file.write(data)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def check_error(error, path):
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    assert ";" in message, "no advice"


# --------------------------------------------------------------------------------------------------
# Pixels
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp", ".bmp"])
def test_8bit_round_trip(tmp_path, caplog, suffix, channels):
    if suffix == ".bmp" and channels in (2, 4):
        pytest.skip("no alpha in BMP")
    if suffix == ".webp" and channels < 3:
        pytest.skip("no grey in WebP")
    array = noise(channels)
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(array).save(tmp_path / f"in{suffix}", **options)

    photo = read_photo(tmp_path / f"in{suffix}")
    colour = array[..., None] if channels == 1 else array[..., : channels - 1 + channels % 2]
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.flags.writeable
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(colour, photo.pixels.shape))
    assert photo.greyscale == (channels < 3)
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, array[..., -1])
    else:
        assert photo.alpha is None

    write_photo(tmp_path / f"out{suffix}", photo.pixels, photo)
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert written.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        assert written.format == photo.format
        np.testing.assert_array_equal(np.asarray(written), array)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("target", [".png", ".tif"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16bit_round_trip(tmp_path, caplog, suffix, target, channels):
    array = noise(channels, np.uint16)
    save_16bit(tmp_path / f"in{suffix}", array)

    photo = read_photo(tmp_path / f"in{suffix}")
    assert photo.pixels.dtype == np.uint16
    colour = array[..., None] if channels == 1 else array[..., :3]
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(colour, photo.pixels.shape))
    assert (photo.alpha is not None) == (channels == 4)

    output = tmp_path / f"out{target}"
    write_photo(output, photo.pixels, photo)
    written = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    if channels > 1:
        written = cv2.cvtColor(written, {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[channels])
    assert written.dtype == np.uint16
    np.testing.assert_array_equal(written, array)
    again = read_photo(output)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    if channels == 4:
        np.testing.assert_array_equal(again.alpha, array[..., 3])
    assert warnings_of(caplog) == []


def test_16bit_grey_with_alpha(tmp_path):
    pixels = np.repeat(noise(1, np.uint16)[..., None], 3, axis=2)
    photo = Photo(pixels=pixels, alpha=noise(3, np.uint16)[..., 0], greyscale=True)
    for suffix in (".png", ".tif"):
        write_photo(tmp_path / f"a{suffix}", pixels, photo)
        again = read_photo(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(again.pixels, pixels)
        np.testing.assert_array_equal(again.alpha, photo.alpha)
        assert again.greyscale == (suffix == ".png")


def test_many_strips_and_big_endian(tmp_path):
    array = noise(3, np.uint16, 700, 900)
    save_tiff(tmp_path / "a.tif", array, order=">")
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.pixels, array)
    for kept in (photo, Photo(array)):
        write_photo(tmp_path / "b.tif", array, kept)
        with Image.open(tmp_path / "b.tif") as written:
            assert len(written.tag_v2[273]) > 1
            # As in the source, and deflate where there was none.
            assert written.tag_v2[259] == (1 if kept is photo else 8)
        np.testing.assert_array_equal(read_photo(tmp_path / "b.tif").pixels, array)


def test_white_is_zero(tmp_path):
    array = noise(1, np.uint16)
    save_tiff(tmp_path / "a.tif", array, t262=0)
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.pixels[..., 0], 65535 - array)


def test_tiff_kinds_that_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    planar = noise(3, np.uint16)
    kinds = [
        lambda: save_tiff(path, planar, t284=2),
        lambda: save_tiff(path, noise(3), t254=1),
        lambda: Image.fromarray(np.ones((4, 4), np.float32)).save(path),
        lambda: Image.fromarray(np.ones((4, 4), np.int32)).save(path),
    ]
    for make in kinds:
        make()
        with pytest.raises(ImageError) as error:
            read_photo(path)
        check_error(error, path)
        assert "truncated" not in str(error.value)


def test_one_bit_and_palette(tmp_path, caplog):
    bits = noise(1) > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    photo = read_photo(tmp_path / "bits.png")
    assert photo.greyscale
    np.testing.assert_array_equal(photo.pixels[..., 1], bits * np.uint8(255))

    palette = Image.fromarray(noise(3)).quantize(16)
    palette.save(tmp_path / "palette.png")
    photo = read_photo(tmp_path / "palette.png")
    np.testing.assert_array_equal(photo.pixels, np.asarray(palette.convert("RGB")))
    write_photo(tmp_path / "out.png", photo.pixels, photo)
    with Image.open(tmp_path / "out.png") as written:
        assert written.mode == "RGB"

    palette.save(tmp_path / "transparent.png", transparency=3)
    photo = read_photo(tmp_path / "transparent.png")
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(palette) == 3)
    assert warnings_of(caplog) == []


def test_transparent_colour(tmp_path):
    array = noise(3) // 2
    array[3, 5] = (200, 201, 202)
    Image.fromarray(array).save(tmp_path / "8.png", transparency=(200, 201, 202))
    deep = noise(3, np.uint16) // 2
    deep[3, 5] = (60000, 60001, 60002)
    save_16bit(tmp_path / "16.png", deep)
    insert_png_chunk(tmp_path / "16.png", b"tRNS", struct.pack(">HHH", 60000, 60001, 60002))
    grey = noise(1, np.uint16) // 2
    grey[3, 5] = 60000
    save_16bit(tmp_path / "grey.png", grey)
    insert_png_chunk(tmp_path / "grey.png", b"tRNS", struct.pack(">H", 60000))
    for name in ("8.png", "16.png", "grey.png"):
        photo = read_photo(tmp_path / name)
        assert photo.alpha is not None, name
        assert np.argwhere(photo.alpha == 0).tolist() == [[3, 5]], name


def test_cmyk_jpeg(tmp_path, caplog):
    array = smooth()
    image = Image.fromarray(array).convert("CMYK")
    image.save(tmp_path / "a.jpg", quality=100, icc_profile=SRGB)
    photo = read_photo(tmp_path / "a.jpg")
    assert np.abs(photo.pixels.astype(int) - array).mean() < 4
    assert photo.icc_profile is None
    assert len(warnings_of(caplog)) == 1 and "CMYK" in caplog.text
    write_photo(tmp_path / "b.jpg", photo.pixels, photo)
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.mode == "RGB"
        assert JpegImagePlugin.get_sampling(written) == 0


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_first_of_several_frames(tmp_path, caplog, suffix):
    frames = [Image.fromarray(noise(3)), Image.fromarray(255 - noise(3))]
    options = {} if suffix == ".tif" else {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    photo = read_photo(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(photo.pixels, noise(3))
    assert "2 frames" in caplog.text


def test_filled_greyscale_changes_no_known_pixel(tmp_path):
    grey = noise(1)
    Image.fromarray(grey).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    filled = photo.pixels.copy()
    filled[5:9, 5:9] = (255, 0, 0)
    write_photo(tmp_path / "b.png", filled, photo)
    with Image.open(tmp_path / "b.png") as written:
        result = np.asarray(written)
    assert result.ndim == 2
    assert (result[5:9, 5:9] == 76).all()
    result = result.copy()
    result[5:9, 5:9] = grey[5:9, 5:9]
    np.testing.assert_array_equal(result, grey)


def test_16bit_to_8bit_formats(tmp_path, caplog):
    pixels = noise(3).astype(np.uint16) * 257
    photo = Photo(pixels=pixels, alpha=noise(1).astype(np.uint16) * 257)
    write_photo(tmp_path / "a.webp", pixels, photo)
    again = read_photo(tmp_path / "a.webp")
    np.testing.assert_array_equal(again.pixels, noise(3))
    np.testing.assert_array_equal(again.alpha, noise(1))
    assert "16-bit" in caplog.text
    caplog.clear()
    write_photo(tmp_path / "a.bmp", pixels, photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.bmp").pixels, noise(3))
    assert "alpha" in caplog.text and "16-bit" in caplog.text
    caplog.clear()
    write_photo(tmp_path / "a.jpg", pixels, photo)
    assert "alpha" in caplog.text and "16-bit" in caplog.text


def test_wrong_pixels_are_a_programming_error(tmp_path):
    photo = Photo(pixels=noise(3), alpha=noise(1))
    for pixels in (noise(3, np.uint16), noise(4), noise(1), noise(3)[1:]):
        with pytest.raises(ValueError) as error:
            write_photo(tmp_path / "a.png", pixels, photo)
        assert not isinstance(error.value, ImageError)
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------
# Orientation, EXIF, ICC profile
# --------------------------------------------------------------------------------------------------

# As the EXIF standard words it: orientation 6 stores the visual right side as row 0, for instance.
STORED_TO_SEEN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpg", "png", "webp", "tif", "16.png", "16.tif"])
def test_orientation(tmp_path, caplog, name, orientation):
    path = tmp_path / f"in.{name}"
    stored = noise(3, np.uint16 if name.startswith("16") else np.uint8)
    exif = exif_bytes(orientation)
    if name == "16.tif":
        save_tiff(path, stored, t271="Maker", t274=orientation)
    elif name == "16.png":
        save_16bit(path, stored)
        insert_png_chunk(path, b"eXIf", exif[6:])
    elif name == "jpg":
        stored = smooth()
        Image.fromarray(stored).save(path, quality=100, subsampling=0, exif=exif)
    else:
        options = {"lossless": True} if name == "webp" else {}
        Image.fromarray(stored).save(path, exif=exif, **options)

    photo = read_photo(path)
    seen = STORED_TO_SEEN[orientation](stored)
    assert photo.pixels.shape == seen.shape
    if name == "jpg":
        assert np.abs(photo.pixels.astype(int) - seen).max() < 12
    else:
        np.testing.assert_array_equal(photo.pixels, seen)

    for target in ("out." + name, "out.png", "out.tif", "out.jpg", "out.webp"):
        write_photo(tmp_path / target, photo.pixels, photo)
        with Image.open(tmp_path / target) as written:
            assert written.size == seen.shape[1::-1]
            assert written.getexif().get(ExifTags.Base.Orientation, 1) == 1, target
            assert written.getexif()[ExifTags.Base.Make] == "Maker", target
        again = read_photo(tmp_path / target)
        assert again.pixels.shape == seen.shape
        if not target.endswith(("jpg", "webp")):
            np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".tif", "16.png", "16.tif"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif", "16.png", "16.tif"])
def test_metadata_is_kept(tmp_path, caplog, source, target):
    path, output = tmp_path / f"in{source}", tmp_path / f"out{target}"
    options = {"exif": exif_bytes(6), "icc_profile": SRGB, "dpi": (300, 300)}
    if source == ".webp":
        del options["dpi"]
    if source.startswith("16"):
        array = noise(3, np.uint16)
        photo = Photo(array, exif=exif_bytes()[6:], icc_profile=SRGB, dpi=(300.0, 300.0))
        write_photo(path, array, photo)
    else:
        Image.fromarray(noise(3)).save(path, **options)
    photo = read_photo(path)
    if target.startswith("16") and photo.pixels.dtype == np.uint8:
        pytest.skip("8-bit photos stay so")
    write_photo(output, photo.pixels, photo)
    with Image.open(output) as written:
        assert written.info["icc_profile"] == SRGB
        exif = written.getexif()
        assert exif[ExifTags.Base.Make] == "Maker"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
        if ".webp" not in (source, target):
            assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    expected = ["8 bits"] if source.startswith("16") and target in (".jpg", ".webp") else []
    assert len(warnings_of(caplog)) == len(expected)
    # A second time round, through what was written.
    again = read_photo(output)
    assert again.icc_profile == SRGB
    assert again.exif is not None


def test_exif_is_passed_on_byte_for_byte(tmp_path):
    exif = exif_bytes(6, make="A maker with an offset")
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
    photo = read_photo(tmp_path / "a.jpg")
    changed = [at for at in range(len(photo.exif)) if photo.exif[at] != exif[6 + at]]
    assert len(photo.exif) == len(exif) - 6
    assert len(changed) == 1 and photo.exif[changed[0]] == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_thumbnail_is_removed(tmp_path, order):
    thumbnail = b"\xff\xd8 what was filled \xff\xd9"
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 26)
    second = struct.pack(order + "HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(thumbnail), 0)
    exif = b"Exif\0\0" + header + first + second + thumbnail
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.pixels.shape == (96, 64, 3)
    write_photo(tmp_path / "b.jpg", photo.pixels, photo)
    assert b"what was filled" in (tmp_path / "a.jpg").read_bytes()
    assert b"what was filled" not in (tmp_path / "b.jpg").read_bytes()
    with Image.open(tmp_path / "b.jpg") as written:
        assert written.getexif()[0x0112] == 1
        assert not written.getexif().get_ifd(ExifTags.IFD.IFD1)


def test_damaged_exif_costs_only_the_exif(tmp_path, caplog):
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\0", b"Exif\0\0"):
        Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif)
        photo = read_photo(tmp_path / "a.jpg")
        write_photo(tmp_path / "b.jpg", photo.pixels, photo)
        write_photo(tmp_path / "b.tif", photo.pixels, photo)


def test_an_iptc_block_that_is_not_kept_is_named(tmp_path, caplog):
    content = io.BytesIO()
    Image.fromarray(smooth()).save(content, "JPEG")
    resources = b"8BIM" + struct.pack(">HHL", 0x0404, 0, 4) + b"\x1c\x02\x00\x00"
    segment = b"Photoshop 3.0\0" + resources
    header = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    path = tmp_path / "a.jpg"
    path.write_bytes(content.getvalue()[:2] + header + content.getvalue()[2:])
    read_photo(path)
    assert f"{path}: its IPTC block (captions, copyright) is not kept" in caplog.text


def test_too_long_exif_for_jpeg(tmp_path, caplog):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70000
    Image.fromarray(smooth()).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    write_photo(tmp_path / "b.jpg", photo.pixels, photo)
    assert "EXIF is too long" in caplog.text


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_xmp(tmp_path, suffix):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.fromarray(smooth()).save(path, pnginfo=info)
    elif suffix == ".tif":
        save_tiff(path, smooth(), t700=xmp)
    else:
        Image.fromarray(smooth()).save(path, xmp=xmp)
    photo = read_photo(path)
    write_photo(path, photo.pixels, photo)
    again = read_photo(path)
    assert again.pixels.shape == photo.pixels.shape
    # Pillow itself removes the attribute from TIFF.
    assert b'dc:title="t"' in again.xmp
    assert (b'tiff:Orientation="1"' in again.xmp) == (suffix != ".tif")
    assert b'"6"' not in again.xmp


def test_profile_that_no_longer_fits(tmp_path, caplog):
    grey_profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    Image.fromarray(noise(1)).save(tmp_path / "a.png", icc_profile=grey_profile)
    photo = read_photo(tmp_path / "a.png")
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    assert read_photo(tmp_path / "b.png").icc_profile == grey_profile
    assert warnings_of(caplog) == []
    write_photo(tmp_path / "b.webp", photo.pixels, photo)
    assert read_photo(tmp_path / "b.webp").icc_profile is None
    assert "profile" in caplog.text


def test_png_colour_and_text_chunks(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "someone")
    info.add_text("Raw profile type exif", "\nexif\n 8\n4d4d002a00000008\n")
    Image.fromarray(noise(3)).save(tmp_path / "a.png", pnginfo=info)
    insert_png_chunk(tmp_path / "a.png", b"gAMA", struct.pack(">I", 100000))
    photo = read_photo(tmp_path / "a.png")
    write_photo(tmp_path / "b.png", photo.pixels, photo)
    with Image.open(tmp_path / "b.png") as written:
        assert written.info["gamma"] == 1.0
        assert written.text == {"Author": "someone"}
    names = png_chunk_names(tmp_path / "b.png")
    assert names.index(b"gAMA") < names.index(b"IDAT")


# --------------------------------------------------------------------------------------------------
# JPEG and WebP
# --------------------------------------------------------------------------------------------------


def tables_by_channel(image):
    return [image.quantization[layer[3]] for layer in image.layer]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 92, 100])
def test_jpeg_coding_is_kept(tmp_path, quality, subsampling, progressive):
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", comment=b"a comment", **options)
    photo = read_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.JPEG", photo.pixels, photo)
    with Image.open(tmp_path / "a.jpg") as source, Image.open(tmp_path / "b.JPEG") as written:
        assert tables_by_channel(written) == tables_by_channel(source)
        assert JpegImagePlugin.get_sampling(written) == subsampling
        assert bool(written.info.get("progressive")) == progressive
        assert written.info["comment"] == b"a comment"


def test_jpeg_quality_argument(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", quality=60, subsampling=2)
    Image.fromarray(smooth()).save(tmp_path / "q90.jpg", quality=90)
    photo = read_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.jpg", photo.pixels, photo, quality=90)
    with Image.open(tmp_path / "q90.jpg") as expected, Image.open(tmp_path / "b.jpg") as written:
        assert tables_by_channel(written) == tables_by_channel(expected)
        assert JpegImagePlugin.get_sampling(written) == 2


def test_jpeg_from_another_format(tmp_path):
    photo = Photo(pixels=smooth())
    write_photo(tmp_path / "a.jpg", photo.pixels, photo)
    Image.fromarray(smooth()).save(tmp_path / "q95.jpg", quality=95)
    with Image.open(tmp_path / "q95.jpg") as expected, Image.open(tmp_path / "a.jpg") as written:
        assert tables_by_channel(written) == tables_by_channel(expected)
        assert JpegImagePlugin.get_sampling(written) == 0


def test_grey_jpeg(tmp_path):
    Image.fromarray(smooth()[..., 0]).save(tmp_path / "a.jpg", quality=80)
    photo = read_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.jpg", photo.pixels, photo)
    with Image.open(tmp_path / "a.jpg") as source, Image.open(tmp_path / "b.jpg") as written:
        assert written.mode == "L"
        assert tables_by_channel(written) == tables_by_channel(source)


@pytest.mark.parametrize("alpha", [False, True])
def test_webp_stays_lossy_or_lossless(tmp_path, alpha):
    array = np.dstack([smooth(), smooth()[..., :1]]) if alpha else smooth()
    for lossless in (False, True):
        Image.fromarray(array).save(tmp_path / "a.webp", lossless=lossless, exif=exif_bytes())
        photo = read_photo(tmp_path / "a.webp")
        for quality in (None, 50):
            write_photo(tmp_path / "b.webp", photo.pixels, photo, quality=quality)
            again = read_photo(tmp_path / "b.webp")
            equal = np.array_equal(again.pixels, photo.pixels)
            assert equal == (lossless and quality is None)
            assert (again.alpha is not None) == alpha


# --------------------------------------------------------------------------------------------------
# Faults
# --------------------------------------------------------------------------------------------------


def test_no_such_file_and_not_a_file(tmp_path):
    for path in (tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(ImageError) as error:
            read_photo(path)
        check_error(error, path)
        assert "cannot be read" in str(error.value)
    assert issubclass(ImageError, ValueError)


@pytest.mark.parametrize("content", [b"", b"GIF89a......", b"just text\nof two lines", bytes(100)])
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        read_photo(path)
    check_error(error, path)
    assert "truncated" not in str(error.value)


def test_bytes_are_decoded_as_their_file_is(tmp_path, caplog):
    Image.fromarray(noise(3)).save(tmp_path / "a.png", exif=exif_bytes(6))
    save_16bit(tmp_path / "b.png", noise(3, np.uint16))
    for path in sorted(tmp_path.iterdir()):
        photo, of_file = decode_photo(path.read_bytes(), "shard[7]"), read_photo(path)
        np.testing.assert_array_equal(photo.pixels, of_file.pixels)
        assert photo.pixels.dtype == of_file.pixels.dtype and photo.exif == of_file.exif
    for content in (b"", b"just text", path.read_bytes()[:-30]):
        with pytest.raises(ImageError, match=r"^shard\[7\]: .*; ") as error:
            decode_photo(content, "shard[7]")
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match="over the limit"):
        decode_photo(path.read_bytes(), "shard[7]", max_pixels=10)


def test_extension_does_not_matter_for_reading(tmp_path):
    Image.fromarray(noise(3)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg").format == "PNG"


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "jpg",
        "progressive.jpg",
        "png",
        "webp",
        "lossless.webp",
        "tif",
        "deflate.tif",
        "lzw.tif",
        "bmp",
        "16.png",
        "grey16.png",
        "16.tif",
        "plain16.tif",
        "grey16.tif",
        "ours16.tif",
    ],
)
def test_truncated(tmp_path, monkeypatch, capfd, name, tolerant):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    path = tmp_path / f"a.{name}"
    if "16" in name:
        array = noise(1 if "grey" in name else 3, np.uint16, 80, 90)
        if name == "plain16.tif":
            save_tiff(path, array)
        elif name == "ours16.tif":
            write_photo(path, array, Photo(array))
        else:
            save_16bit(path, array)
    else:
        kind = name.split(".")[0]
        options = {
            "progressive": {"progressive": True},
            "lossless": {"lossless": True},
            "deflate": {"compression": "tiff_adobe_deflate"},
            "lzw": {"compression": "tiff_lzw"},
        }.get(kind, {})
        Image.fromarray(noise(3, height=80, width=90)).save(path, **options)
    whole = path.read_bytes()
    read_photo(path)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImageError) as error:
            read_photo(path)
        check_error(error, path)
    assert tolerant == ImageFile.LOAD_TRUNCATED_IMAGES
    assert "OpenCV" not in capfd.readouterr().err


def test_pixel_limit_is_checked_before_decoding(tmp_path, monkeypatch):
    for suffix in image_io.SUFFIXES:
        path = tmp_path / f"a{suffix}"
        Image.fromarray(noise(3, height=50, width=40)).save(path)
        assert read_photo(path, max_pixels=2000).pixels.shape == (50, 40, 3)
        with monkeypatch.context() as patch:
            patch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
            for read in (
                read_photo,
                lambda p, max_pixels: read_mask(p, (50, 40), False, max_pixels),
            ):
                with pytest.raises(ImageError, match=r"40 x 50.*1999") as error:
                    read(path, max_pixels=1999)
                check_error(error, path)
    assert image_io.MAX_PIXELS == 256_000_000


@pytest.mark.filterwarnings("error")
def test_pillows_own_limit_is_not_in_the_way(tmp_path, monkeypatch):
    for suffix in (".jpg", ".png", ".tif", ".bmp"):
        Image.fromarray(noise(3)).save(tmp_path / f"a{suffix}")
        with monkeypatch.context() as patch:
            patch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
            read_photo(tmp_path / f"a{suffix}")
            assert Image.MAX_IMAGE_PIXELS == 10


def test_unknown_output_format_and_quality(tmp_path):
    photo = Photo(pixels=noise(3))
    for path in (tmp_path / "a.gif", tmp_path / "a"):
        with pytest.raises(ImageError, match=r"\.jpg .*\.bmp") as error:
            write_photo(path, photo.pixels, photo)
        check_error(error, path)
    for quality in (0, 101):
        with pytest.raises(ImageError, match=str(quality)):
            write_photo(tmp_path / "a.jpg", photo.pixels, photo, quality=quality)
    assert list(tmp_path.iterdir()) == []


def test_side_too_long_for_the_format(tmp_path):
    pixels = np.zeros((1, 70000, 3), np.uint8)
    for suffix in (".jpg", ".webp"):
        path = tmp_path / f"a{suffix}"
        with pytest.raises(ImageError) as error:
            write_photo(path, pixels, Photo(pixels))
        check_error(error, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_failed_write_leaves_nothing_behind(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.png"
    path.write_bytes(b"earlier")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(ImageError, match="free some space") as error:
        write_photo(path, noise(3), Photo(noise(3)))
    check_error(error, path)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_photo(tmp_path / "a.png", noise(3), Photo(noise(3)))
    assert list(tmp_path.iterdir()) == []


def test_the_output_is_a_directory_or_below_a_file(tmp_path):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "a.png", tmp_path / "file" / "b.png"):
        with pytest.raises(ImageError, match="cannot be written") as error:
            write_photo(path, noise(3), Photo(noise(3)))
        check_error(error, path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "file"]


def test_output_is_a_normal_file_in_new_folders(tmp_path):
    path = tmp_path / "new" / "folders" / "a.png"
    previous = os.umask(0o027)
    try:
        write_photo(path, noise(3), Photo(noise(3)))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [found.name for found in path.parent.iterdir()] == ["a.png"]


def test_error_message_is_one_line_for_an_odd_name(tmp_path):
    with pytest.raises(ImageError) as error:
        read_photo(tmp_path / "two\nlines.png")
    assert "\n" not in str(error.value)


# --------------------------------------------------------------------------------------------------
# Masks and folders
# --------------------------------------------------------------------------------------------------

HOLE = np.zeros((40, 60), bool)
HOLE[10:20, 15:40] = True


def save_mask(path, kind):
    white = HOLE.astype(np.uint8) * 255
    opaque = np.full_like(white, 255)
    if kind == "16":
        save_16bit(path, white.astype(np.uint16) * 257)
        return
    image = {
        "L": lambda: Image.fromarray(white),
        "1": lambda: Image.fromarray(HOLE),
        "P": lambda: Image.fromarray(white).convert("RGB").quantize(2),
        "RGB": lambda: Image.fromarray(np.dstack([white] * 3)),
        "RGBA": lambda: Image.fromarray(np.dstack([opaque, 0 * white, white, white])),
        "opaque RGBA": lambda: Image.fromarray(np.dstack([white, white, white, opaque])),
        "transparent RGBA": lambda: Image.fromarray(np.dstack([white, white, white, 0 * white])),
        "LA": lambda: Image.fromarray(np.dstack([0 * white, white])),
    }[kind]()
    image.save(path)


@pytest.mark.parametrize(
    ("kind", "channel"),
    [
        ("L", "luminance"),
        ("1", "luminance"),
        ("P", "luminance"),
        ("RGB", "luminance"),
        ("RGBA", "alpha"),
        ("LA", "alpha"),
        ("opaque RGBA", "luminance"),
        ("transparent RGBA", "luminance"),
        ("16", "luminance"),
    ],
)
def test_mask_kinds(tmp_path, caplog, kind, channel):
    caplog.set_level(logging.INFO, logger="hifill.image_io")
    save_mask(tmp_path / "mask.png", kind)
    mask = read_mask(tmp_path / "mask.png", HOLE.shape)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, HOLE)
    np.testing.assert_array_equal(
        read_mask(tmp_path / "mask.png", HOLE.shape, invert=True), np.logical_not(HOLE)
    )
    assert channel in caplog.text
    assert f"{100 * HOLE.mean():.2f} %" in caplog.text
    assert "mask.png" in caplog.text


def test_mask_threshold(tmp_path):
    values = np.array([[0, 127, 128, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "8.png")
    save_16bit(tmp_path / "16.png", np.array([[0, 32767, 32768, 65535]], np.uint16))
    for name in ("8.png", "16.png"):
        assert read_mask(tmp_path / name, (1, 4)).tolist() == [[False, False, True, True]]


def test_masks_of_zeros_and_ones_are_told_of(tmp_path, caplog):
    Image.fromarray(HOLE.astype(np.uint8)).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png", HOLE.shape).any()
    (told,) = warnings_of(caplog)
    assert "mask.png: nothing in it is white: its brightest value is 1 of 255" in told


def test_jpeg_mask_noise_is_no_hole(tmp_path):
    Image.fromarray(HOLE.astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=40)
    with Image.open(tmp_path / "mask.jpg") as image:
        values = np.asarray(image)
    assert ((values > 0) & ~HOLE).any(), "the file has no noise to test with"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg", HOLE.shape), HOLE)
    half = read_mask(tmp_path / "mask.jpg", (20, 30))
    expected = np.zeros((20, 30), bool)
    expected[5:10, 7:20] = True
    np.testing.assert_array_equal(half, expected)


def test_mask_orientation(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(HOLE.astype(np.uint8) * 255).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(
        read_mask(tmp_path / "mask.png", HOLE.shape[::-1]), np.rot90(HOLE, -1)
    )


def test_empty_and_full_masks_are_returned(tmp_path, caplog):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png", (4, 4)).any()
    assert read_mask(tmp_path / "mask.png", (8, 8), invert=True).all()
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("size", [(31, 47), (100, 150), (20, 30), (400, 600), (799, 1199)])
@pytest.mark.parametrize("invert", [False, True])
def test_thin_strokes_survive_any_size(tmp_path, size, invert):
    source = np.zeros((400, 600), bool)
    source[137, 20:580] = source[30:370, 401] = source[5, 7] = True
    stored = source != invert
    Image.fromarray(stored.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", size, invert=invert)
    assert mask.shape == size
    assert mask.flags.c_contiguous
    for y, x in np.argwhere(source):
        # Every pixel that the hole pixel's area touches, away from the very edges.
        top, bottom = (y + 0.01) * size[0] / 400, (y + 0.99) * size[0] / 400
        left, right = (x + 0.01) * size[1] / 600, (x + 0.99) * size[1] / 600
        assert mask[int(top) : int(bottom) + 1, int(left) : int(right) + 1].all()
    # And not much more: two pixels more in width at most.
    length = 560 * size[1] / 600 + 340 * size[0] / 400
    assert mask.sum() < length * (size[0] / 400 + 2) + 9


def test_mask_enlarged_by_a_whole_number_is_exact(tmp_path):
    save_mask(tmp_path / "mask.png", "L")
    mask = read_mask(tmp_path / "mask.png", (120, 180))
    np.testing.assert_array_equal(mask, HOLE.repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize("size", [(41, 60), (40, 59), (20, 30), (1333, 2000), (3000, 4480)])
def test_aspect_within_rounding_is_accepted(tmp_path, size):
    save_mask(tmp_path / "mask.png", "L")
    mask = read_mask(tmp_path / "mask.png", size)
    assert mask.shape == size
    assert mask.mean() == pytest.approx(HOLE.mean(), rel=0.15)


@pytest.mark.parametrize("size", [(60, 40), (40, 50), (400, 560), (100, 100)])
def test_other_aspect_is_refused(tmp_path, size):
    save_mask(tmp_path / "mask.png", "L")
    with pytest.raises(ImageError, match=rf"60 x 40.*{size[1]} x {size[0]}") as error:
        read_mask(tmp_path / "mask.png", size)
    check_error(error, tmp_path / "mask.png")
    assert ("turn it" in str(error.value)) == (size == (60, 40))


def test_list_photos(tmp_path):
    names = ["b.JPG", "a.png", "sub/c.tiff", "sub/deep/d.WebP", "e.bmp"]
    others = ["notes.txt", ".hidden.png", ".cache/f.png", "g.gif", "raw.nef", "noext"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert image_io.list_photos(tmp_path) == sorted(tmp_path / name for name in names)
    for path in (tmp_path / "missing", tmp_path / "a.png"):
        with pytest.raises(ImageError) as error:
            image_io.list_photos(path)
        check_error(error, path)


def test_list_photos_skips_temporary_files(tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def spy(source, target):
        seen.append((os.path.exists(source), image_io.list_photos(tmp_path)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    write_photo(tmp_path / "a.png", noise(3), Photo(noise(3)))
    assert seen == [(True, [])]


def test_photo_needs_no_file(tmp_path):
    for suffix in image_io.SUFFIXES:
        write_photo(tmp_path / f"a{suffix.upper()}", noise(3), Photo(noise(3)))
        with Image.open(io.BytesIO((tmp_path / f"a{suffix.upper()}").read_bytes())) as written:
            assert written.size == (WIDTH, HEIGHT)
