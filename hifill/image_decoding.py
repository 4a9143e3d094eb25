"""Image files -> arrays, for `image_io`.

Pillow reads the 8-bit pixels. It reduces 16-bit RGB to 8 bits, so OpenCV reads those.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from hifill.image_metadata import (
    PNG_XMP,
    Warn,
    loaded_orientation,
    read_dpi,
    read_exif,
    read_xmp,
    reset_orientation,
)

_OPENERS = (
    (rb"\xff\xd8\xff", JpegImagePlugin.jpeg_factory),
    (rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (rb"RIFF....WEBP", WebPImagePlugin.WebPImageFile),
    (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", TiffImagePlugin.TiffImageFile),
    (rb"BM", BmpImagePlugin.BmpImageFile),
)

_IPTC = 0x0404  # of Photoshop's image resources in a JPEG
_PNG_COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
_PNG_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


class UnsupportedError(ValueError):
    """An intact image of a kind that cannot be read without loss; the message is "what; advice"."""


def open_image(file: BinaryIO) -> Image.Image | None:
    """Reads the header of an image; None if it is in none of our formats.

    `Image.open` is passed by, for its limit on pixels is global and warns or raises below ours.
    """
    start = file.read(16)
    file.seek(0)
    for magic, opener in _OPENERS:
        if re.match(magic, start, re.DOTALL):
            return opener(file)
    return None


def decode(image: Image.Image, file: BinaryIO, warn: Warn) -> dict[str, Any]:
    """Decodes an image that `open_image` opened, completely or not at all.

    Returns:
      The fields of `image_io.Photo`.

    Raises:
      UnsupportedError: the samples are neither 8 nor 16-bit grey, RGB or CMYK.
      Exception: whatever Pillow raises for a damaged file.
    """
    format = "JPEG" if image.format == "MPO" else image.format
    # Of a TIFF before loading, after which Pillow has turned it and dropped the tag; of the others
    # after it, lest a truncated file be called one with damaged EXIF.
    if format != "TIFF":
        image.load()
    exif, orientation = read_exif(image, warn)
    frames = getattr(image, "n_frames", 1)
    # Before 16-bit decoding too: of a truncated file OpenCV gives half a picture, Pillow none.
    image.load()
    icc_profile = image.info.get("icc_profile")
    encoding = read_encoding(image, file, format)
    # It shares a segment with thumbnails, which would show what has been filled.
    if _IPTC in image.info.get("photoshop", ()):
        warn("its IPTC block (captions, copyright) is not kept")
    if frames > 1:
        warn(f"holds {frames} frames or pages; only the first is read")
    if _is_sixteen_bit(image, file, format):
        channels, greyscale = _decode_16bit(image, file, format, warn)
    else:
        if image.mode == "CMYK":
            warn("CMYK is converted to RGB and its colour profile dropped; colours may shift")
            icc_profile, encoding = None, {}
        channels, greyscale = _decode_8bit(image, format, warn)
        if format == "TIFF":
            orientation = loaded_orientation(image)
    channels = _upright(channels, orientation)
    colours = channels[..., :1] if greyscale else channels[..., :3]
    return {
        "pixels": np.repeat(colours, 3, axis=2) if greyscale else np.ascontiguousarray(colours),
        "alpha": channels[..., -1].copy() if channels.shape[2] in (2, 4) else None,
        "format": format,
        "greyscale": greyscale,
        "exif": exif,
        "icc_profile": icc_profile,
        "xmp": read_xmp(image, warn),
        "dpi": read_dpi(image),
        "encoding": encoding,
    }


def _decode_8bit(image: Image.Image, format: str, warn: Warn) -> tuple[np.ndarray, bool]:
    greyscale = image.mode in ("1", "L", "LA", "La")
    if not greyscale and image.mode not in ("P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"):
        raise UnsupportedError(f"has {image.mode} pixels; save it as 8 or 16-bit RGB or greyscale")
    if format == "TIFF":
        _check_tiff(image, warn)
    target = ("L" if greyscale else "RGB") + ("A" if image.has_transparency_data else "")
    # Converting to the same mode would copy the whole photo.
    array = np.array(image if image.mode == target else image.convert(target))
    return (array if array.ndim == 3 else array[..., None]), greyscale


def _decode_16bit(
    image: Image.Image, file: BinaryIO, format: str, warn: Warn
) -> tuple[np.ndarray, bool]:
    file.seek(0)
    data = bytearray(file.read())
    if format == "PNG":
        width, height, _, colour_type = struct.unpack_from(">IIBB", data, 16)
        greyscale, has_alpha = colour_type in (0, 4), colour_type in (4, 6)
    else:
        _check_tiff(image, warn)
        tags = image.tag_v2
        width, height = tags[256], tags[257]
        greyscale, has_alpha = tags.get(262) in (0, 1), image.mode == "RGBA"
        # OpenCV turns TIFF by itself, in some versions.
        reset_orientation(data)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.shape[:2] != (height, width):
        raise UnsupportedError("has 16-bit pixels that cannot be decoded; save it as plain 8-bit")
    if array.ndim == 2:
        array = array[..., None]
    # OpenCV expands a transparent colour (tRNS) to alpha in RGB, and ignores it in greyscale.
    has_alpha = has_alpha or (format == "PNG" and array.shape[2] == 4)
    if greyscale and "transparency" in image.info and not has_alpha:
        opaque = (array != image.info["transparency"]) * np.uint16(65535)
        return np.concatenate([array, opaque], axis=2), greyscale
    if greyscale:
        if format == "TIFF" and image.tag_v2.get(262) == 0:
            array = 65535 - array
        channels = [0, 3] if has_alpha else [0]
    else:
        channels = [2, 1, 0, 3] if has_alpha else [2, 1, 0]
    return array[..., channels], greyscale


def _check_tiff(image: Image.Image, warn: Warn) -> None:
    tags = image.tag_v2
    if tags.get(254, 0) & 1:
        raise UnsupportedError("is a camera's raw file; develop it to TIFF or JPEG first")
    if max(tags.get(258, (1,))) == 16 and tags.get(284) == 2 and tags.get(277, 1) > 1:
        raise UnsupportedError("keeps its 16-bit channels in separate planes; save it interleaved")
    if 0 in (extra := tags.get(338, ())) or len(extra) > 1:
        warn("has extra channels that are not alpha; they are not kept")
    if 1 in extra:
        warn("has premultiplied alpha, which is read as plain alpha; edges may change")


def _is_sixteen_bit(image: Image.Image, file: BinaryIO, format: str) -> bool:
    if format == "PNG":
        file.seek(24)
        return file.read(1) == b"\x10"
    if format == "TIFF":
        tags = image.tag_v2
        # CMYK (5) among others is left to Pillow, at 8 bits.
        return max(tags.get(258, (1,))) == 16 and tags.get(262) in (0, 1, 2) and image.mode != "I"
    return False


def _upright(channels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] as stored -> as seen, for the EXIF orientations 1 to 8."""
    if orientation in (2, 3):
        channels = channels[:, ::-1]
    if orientation in (3, 4):
        channels = channels[::-1]
    if orientation in (5, 6, 7, 8):
        channels = channels.transpose(1, 0, 2)
    if orientation in (6, 7):
        channels = channels[:, ::-1]
    if orientation in (7, 8):
        channels = channels[::-1]
    return channels


def read_encoding(image: Image.Image, file: BinaryIO, format: str) -> dict[str, Any]:
    """What only the file's own format knows: for JPEG the arguments of Pillow's encoder, for PNG
    its colour and text `chunks`, for WebP whether it is `lossless`, for TIFF whether it is
    `compressed`."""
    if format == "JPEG":
        tables = [image.quantization[layer[3]] for layer in image.layer]
        # One table per channel, as Pillow's encoder takes them; a shared last one need not repeat.
        while len(tables) > 2 and tables[-1] == tables[-2]:
            tables.pop()
        return {
            "qtables": tables,
            "subsampling": max(JpegImagePlugin.get_sampling(image), 0),
            "progressive": bool(image.info.get("progressive")),
            "comment": image.info.get("comment"),
        }
    if format == "PNG":
        return {"chunks": b"".join(_png_chunks_to_keep(file))}
    if format == "WEBP":
        return {"lossless": any(name == b"VP8L" for name in _webp_chunks(file))}
    if format == "TIFF":
        return {"compressed": image.tag_v2.get(259, 1) != 1}
    return {}


def _png_chunks_to_keep(file: BinaryIO) -> Iterator[bytes]:
    position = 8
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        length, name = struct.unpack(">I4s", header)
        position += 12 + length
        if name in _PNG_COLOUR_CHUNKS + _PNG_TEXT_CHUNKS:
            body = file.read(length + 4)
            # These hold EXIF, IPTC and XMP in text form; the first and last are written anew.
            stale = body.startswith((b"Raw profile type", PNG_XMP))
            if name in _PNG_COLOUR_CHUNKS or not stale:
                yield header + body


def _webp_chunks(file: BinaryIO) -> Iterator[bytes]:
    position = 12
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        name, length = struct.unpack("<4sI", header)
        yield name
        # An animation's frame holds chunks of its own, behind 16 bytes.
        position += 24 if name == b"ANMF" else 8 + length + length % 2
