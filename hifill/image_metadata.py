"""EXIF, XMP and resolution of a photo, made fit to be written again.

EXIF is passed on byte for byte, because writing it anew would break the absolute offsets of maker
notes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

from PIL import Image

Warn = Callable[[str], None]

PNG_XMP = b"XML:com.adobe.xmp"

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202

# The TIFF tags that tell about the photo. All others tell how the pixels lie in the file, or belong
# to one program (layers, previews) and would go on showing what has been filled.
_DESCRIPTIVE_TAGS = {
    *(269, 270, 271, 272, 285, 305, 306, 315, 316),  # title, camera, software, date, artist
    *(33432, 33723, 18246, 18249, *range(40091, 40096)),  # copyright, IPTC, rating, Windows' own
    *(33550, 33922, 34264, 34735, 34736, 34737),  # GeoTIFF
    *(_EXIF_IFD, _GPS_IFD),
}


def read_exif(image: Image.Image, warn: Warn) -> tuple[bytes | None, int]:
    """The EXIF block of an opened image as a TIFF stream, its orientation reset and its thumbnail
    removed, and the orientation that it had, 1 to 8."""
    try:
        parsed = image.getexif()
        orientation = parsed.get(_ORIENTATION, 1)
        if image.format == "TIFF":
            described = descriptive_tags(parsed)
            kept = Image.Exif()
            kept.update(described)
            block = kept.tobytes() if described else None
        else:
            block = image.info.get("exif") or (parsed.tobytes() if len(parsed) else None)
        return (_clean_exif(block) if block else None), orientation
    except Exception:
        # Pillow's parser meets damage with any exception; the pixels are good all the same.
        warn("its EXIF is damaged and not kept")
        return None, 1


def loaded_orientation(image: Image.Image) -> int:
    """The orientation that is left to apply once Pillow has loaded an image: it turns TIFF itself,
    and then drops the tag."""
    return image.getexif().get(_ORIENTATION, 1)


def descriptive_tags(exif: Image.Exif) -> dict[int, Any]:
    """Those tags of a TIFF file or an EXIF block that may stand in another TIFF file."""
    tags = {tag: exif[tag] for tag in _DESCRIPTIVE_TAGS & set(exif)}
    for tag in {_EXIF_IFD, _GPS_IFD} & set(tags):
        # The interoperability tag is an offset into the old file.
        tags[tag] = {k: v for k, v in exif.get_ifd(tag).items() if k != _INTEROP_IFD}
    return tags


def read_xmp(image: Image.Image, warn: Warn) -> bytes | None:
    """The XMP packet of a loaded image, its orientation reset."""
    xmp = image.info.get("xmp") or image.info.get(PNG_XMP.decode())
    if not xmp:
        return None
    xmp = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    if b"hdrgm:" in xmp:
        warn("its HDR gain map does not fit a changed photo and is not kept")
        return None
    return re.sub(rb'(tiff:Orientation(?:="|>))[0-9]', rb"\g<1>1", xmp)


def read_dpi(image: Image.Image) -> tuple[float, float] | None:
    """The resolution (x, y) of an opened image, if it is a sensible one."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 65536 and 0 < y < 65536 else None


def reset_orientation(tiff: bytearray) -> int:
    """Sets the orientation in the first directory of a TIFF stream to 1, in place, leaving every
    other byte where it is. Returns the position of the pointer to the next directory."""
    order = "<" if tiff[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", tiff, 2)[0] == 43
    (directory,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, 8 if big else 4)
    entries, next_at = _tiff_entries(tiff, order, directory, big)
    for tag, kind, value_at in entries:
        if tag == _ORIENTATION:
            struct.pack_into(order + ("I" if kind == 4 else "H"), tiff, value_at, 1)
    return next_at


def _clean_exif(block: bytes) -> bytes:
    """The TIFF stream of an EXIF block with orientation 1 and without the thumbnail, which would
    still show what is being filled."""
    tiff = bytearray(block.removeprefix(b"Exif\0\0"))
    next_at = reset_orientation(tiff)
    order = "<" if tiff[:2] == b"II" else ">"
    if next_at + 4 > len(tiff):
        return bytes(tiff)
    (thumbnail_ifd,) = struct.unpack_from(order + "I", tiff, next_at)
    struct.pack_into("I", tiff, next_at, 0)
    if thumbnail_ifd:
        entries, _ = _tiff_entries(tiff, order, thumbnail_ifd)
        values = {tag: struct.unpack_from(order + "I", tiff, at)[0] for tag, _, at in entries}
        start = values.get(_THUMBNAIL_OFFSET, 0)
        end = min(start + values.get(_THUMBNAIL_LENGTH, 0), len(tiff))
        if 8 <= start < end:
            tiff[start:end] = bytes(end - start)
    return bytes(tiff)


def _tiff_entries(
    tiff: bytearray, order: str, directory: int, big: bool = False
) -> tuple[list[tuple[int, int, int]], int]:
    """The (tag, type, position of the value) of each entry, and the position behind them."""
    count_code, count_bytes, entry_bytes, value_at = ("Q", 8, 20, 12) if big else ("H", 2, 12, 8)
    (count,) = struct.unpack_from(order + count_code, tiff, directory)
    start = directory + count_bytes
    end = start + count * entry_bytes
    entries = [
        (*struct.unpack_from(order + "HH", tiff, at), at + value_at)
        for at in range(start, end, entry_bytes)
    ]
    return entries, end
