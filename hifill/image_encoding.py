"""Arrays -> image files, for `image_io`.

Pillow writes the 8-bit pixels, except those of TIFF. It has no 16-bit RGB, so PNG and TIFF have
encoders of their own here.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, TiffImagePlugin

from hifill.image_metadata import PNG_XMP, Warn, descriptive_tags

if TYPE_CHECKING:
    from hifill.image_io import Photo

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}

_JPEG_SEGMENT_BYTES = 65533
_STRIP_BYTES = 1 << 20


def to_8bit(values: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of any shape -> uint8, rounded to the nearest of the 256 values."""
    if values.dtype == np.uint8:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def luminance(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 [..., 3] RGB -> [...] of the same dtype (BT.601); grey pixels keep their
    value exactly."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    luma = red.copy()
    coloured = (red != green) | (green != blue)
    # The weights sum to 2**16, so that white stays white; 65535 * 2**16 + 2**15 fits in 32 bits.
    weights = np.array([19595, 38470, 7471], np.uint32)
    luma[coloured] = (pixels[coloured].astype(np.uint32) @ weights + 32768) >> 16
    return luma


def encode(suffix: str, pixels: np.ndarray, photo: Photo, quality: int | None, warn: Warn) -> bytes:
    """Encodes uint8 or uint16 [H, W, 3] RGB in the format of a suffix, with all of `photo` that
    the format can hold; what it cannot goes to `warn`."""
    format = FORMATS[suffix.lower()]
    alpha = photo.alpha
    if alpha is not None and format in ("JPEG", "BMP"):
        warn(f"{format} holds no alpha; the alpha channel is dropped")
        alpha = None
    if pixels.dtype == np.uint16 and format not in ("PNG", "TIFF"):
        warn(f"{format} holds 8 bits; the 16-bit photo is rounded")
        pixels, alpha = to_8bit(pixels), None if alpha is None else to_8bit(alpha)
    # WebP has no grey; Pillow, among others, does not read 16-bit TIFF with grey and alpha.
    greyscale = photo.greyscale and format != "WEBP"
    if format == "TIFF" and alpha is not None and pixels.dtype == np.uint16:
        greyscale = False
    profile = photo.icc_profile
    if profile and profile[16:20] != b"RGB " and not (greyscale and profile[16:20] == b"GRAY"):
        warn("the colour profile does not fit the written channels and is dropped")
        photo = dataclasses.replace(photo, icc_profile=None)
    channels = luminance(pixels)[..., None] if greyscale else pixels
    if alpha is not None:
        channels = np.concatenate([channels, alpha[..., None]], axis=2)
    return _ENCODERS[format](channels, photo, quality, warn)


def _save(channels: np.ndarray, format: str, **options: Any) -> bytes:
    array = channels[..., 0] if channels.shape[2] == 1 else channels
    options = {name: value for name, value in options.items() if value is not None}
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(encoded, format, **options)
    return encoded.getvalue()


def _encode_jpeg(channels: np.ndarray, photo: Photo, quality: int | None, warn: Warn) -> bytes:
    kept = photo.encoding if photo.format == "JPEG" else {}
    if quality is None and "qtables" not in kept:
        quality = 95
    exif = b"Exif\0\0" + photo.exif if photo.exif else None
    if exif and len(exif) > _JPEG_SEGMENT_BYTES:
        warn("the EXIF is too long for JPEG and is dropped")
        exif = None
    xmp = photo.xmp
    if xmp and len(xmp) > _JPEG_SEGMENT_BYTES - 29:
        warn("the XMP is too long for JPEG and is dropped")
        xmp = None
    return _save(
        channels,
        "JPEG",
        quality=quality,
        qtables=None if quality else kept["qtables"],
        subsampling=kept.get("subsampling", 0),
        progressive=kept.get("progressive", False),
        comment=kept.get("comment"),
        dpi=photo.dpi,
        exif=exif,
        icc_profile=photo.icc_profile,
        xmp=xmp,
    )


def _encode_webp(channels: np.ndarray, photo: Photo, quality: int | None, warn: Warn) -> bytes:
    metadata = {"exif": photo.exif, "icc_profile": photo.icc_profile, "xmp": photo.xmp}
    was_lossy = photo.format == "WEBP" and not photo.encoding.get("lossless")
    if quality or was_lossy:
        return _save(channels, "WEBP", quality=quality or 95, **metadata)
    # `exact` keeps the colours of transparent pixels.
    return _save(channels, "WEBP", lossless=True, exact=True, **metadata)


def _encode_bmp(channels: np.ndarray, photo: Photo, quality: int | None, warn: Warn) -> bytes:
    if photo.exif or photo.icc_profile or photo.xmp:
        warn("BMP holds no EXIF, XMP or colour profile; they are dropped")
    return _save(channels, "BMP", dpi=photo.dpi)


def _encode_png(channels: np.ndarray, photo: Photo, quality: int | None, warn: Warn) -> bytes:
    extra = []
    if photo.icc_profile:
        body = b"ICC Profile\0\0" + zlib.compress(photo.icc_profile)
        extra.append(_png_chunk(b"iCCP", body))
    if photo.format == "PNG":
        extra.append(photo.encoding.get("chunks", b""))
    if photo.dpi:
        per_metre = (round(value / 0.0254) for value in photo.dpi)
        extra.append(_png_chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if photo.exif:
        extra.append(_png_chunk(b"eXIf", photo.exif))
    if photo.xmp:
        extra.append(_png_chunk(b"iTXt", PNG_XMP + bytes(5) + photo.xmp))
    encoded = _save(channels, "PNG") if channels.dtype == np.uint8 else _png_16bit(channels)
    header_end = 33
    return b"".join([encoded[:header_end], *extra, encoded[header_end:]])


def _png_16bit(channels: np.ndarray) -> bytes:
    """uint16 [H, W, 1 to 4] -> a PNG file; OpenCV's encoder has no grey with alpha."""
    height, width, count = channels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    rows = np.ascontiguousarray(channels, ">u2").view(np.uint8).reshape(height, -1)
    # Each row is headed by its filter, here 1: the difference to the pixel on the left, by bytes.
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * count :] -= rows[:, : -2 * count]
    compressed = zlib.compress(filtered)
    pieces = range(0, len(compressed), _STRIP_BYTES)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
            *(_png_chunk(b"IDAT", compressed[at : at + _STRIP_BYTES]) for at in pieces),
            _png_chunk(b"IEND", b""),
        ]
    )


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _encode_tiff(channels: np.ndarray, photo: Photo, quality: int | None, warn: Warn) -> bytes:
    height, width, count = channels.shape
    compressed = photo.format != "TIFF" or photo.encoding.get("compressed", True)
    rows_per_strip = max(1, _STRIP_BYTES // (width * count * channels.itemsize))
    strips = []
    for top in range(0, height, rows_per_strip):
        strip = channels[top : top + rows_per_strip]
        if compressed:
            strip = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        data = strip.astype(strip.dtype.newbyteorder("<")).tobytes()
        strips.append(zlib.compress(data) if compressed else data)
    lengths = [len(strip) for strip in strips]
    tags = {
        256: width,
        257: height,
        258: (8 * channels.itemsize,) * count,
        259: 8 if compressed else 1,
        262: 1 if count < 3 else 2,
        # Pillow adds the end of the directory to these offsets.
        273: tuple(np.cumsum([0, *lengths[:-1]]).tolist()),
        277: count,
        278: rows_per_strip,
        279: tuple(lengths),
        284: 1,
        317: 2 if compressed else 1,
        # Plain alpha, not premultiplied.
        338: 2 if count in (2, 4) else None,
        700: photo.xmp,
        34675: photo.icc_profile,
    }
    if photo.dpi:
        tags |= {282: photo.dpi[0], 283: photo.dpi[1], 296: 2}
    parsed = Image.Exif()
    parsed.load(photo.exif or b"")
    described = descriptive_tags(parsed)
    for candidate in (described | tags, tags):
        directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0" + bytes(4))
        try:
            for tag, value in candidate.items():
                if value is not None:
                    directory[tag] = value
            header = io.BytesIO()
            directory.save(header)
            break
        except Exception:
            if candidate is tags:
                raise
            warn("the EXIF cannot be written to TIFF and is dropped")
    return b"".join([header.getvalue(), *strips])


_ENCODERS = {
    "JPEG": _encode_jpeg,
    "PNG": _encode_png,
    "WEBP": _encode_webp,
    "TIFF": _encode_tiff,
    "BMP": _encode_bmp,
}
