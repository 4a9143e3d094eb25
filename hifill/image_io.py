"""Files to arrays and back, with nothing lost on the way.

`read_photo` gives the pixels and everything needed to write them back the same way; `write_photo`
does so. `decode_photo` reads what a file holds from memory. `read_mask` turns any picture of a hole
into a boolean array. `list_photos` walks a folder. The work of each file format is in
`image_decoding` and `image_encoding`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from hifill import image_decoding, image_encoding

logger = logging.getLogger(__name__)

MAX_PIXELS = 256_000_000
SUFFIXES = tuple(image_encoding.FORMATS)

_SETTINGS_LOCK = threading.RLock()


class ImageError(ValueError):
    """A file that cannot be read or written. The message is one line: the file, what is wrong,
    what to do."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, upright, and what its file held besides the pixels.

    Attributes:
      pixels: uint8 or uint16 [H, W, 3], RGB, the full range of its dtype.
      alpha: None or [H, W] of the same dtype; 0 is transparent.
      format: "JPEG", "PNG", "WEBP", "TIFF" or "BMP"; None for a photo that comes from no file.
      greyscale: the file held one colour channel, and is written back with one.
      exif: the EXIF block as a TIFF stream, its orientation 1 and its thumbnail removed.
      icc_profile: the colour profile.
      xmp: the XMP packet.
      dpi: the resolution (x, y) in dots per inch.
      encoding: what only the file's own format knows; see `image_decoding.read_encoding`.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    format: str | None = None
    greyscale: bool = False
    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    encoding: dict[str, Any] = field(default_factory=dict)


def read_photo(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Photo:
    """Reads a JPEG, PNG, WebP, TIFF or BMP file, whatever its name says.

    The EXIF orientation is applied to the pixels and the tag set to 1. 16-bit PNG and TIFF stay 16
    bits. Palettes become RGB or RGBA, CMYK becomes RGB. Of several frames the first is read.

    Args:
      path: the file.
      max_pixels: H x W above this is refused before anything is decoded.

    Returns:
      A `Photo` with uint8 or uint16 [H, W, 3] RGB pixels.

    Raises:
      ImageError: the file is missing, unreadable, not an image, truncated, damaged, of samples
        that are neither 8 nor 16 bits, or over the pixel limit.
    """
    path = Path(path)
    with _one_line_errors(path), open(path, "rb") as file:
        return _decode(file, path, max_pixels)


def decode_photo(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decodes what a photo's file holds, as `read_photo` does.

    Args:
      content: the bytes of a JPEG, PNG, WebP, TIFF or BMP file.
      name: what messages call the photo.
      max_pixels: H x W above this is refused before anything is decoded.

    Returns:
      A `Photo` with uint8 or uint16 [H, W, 3] RGB pixels.

    Raises:
      ImageError: as for `read_photo`.
    """
    with _one_line_errors(name):
        return _decode(io.BytesIO(content), name, max_pixels)


def write_photo(
    path: str | os.PathLike, pixels: np.ndarray, like: Photo, quality: int | None = None
) -> None:
    """Writes pixels to a file, in the manner of the photo they come from.

    The format is that of the extension. Alpha, EXIF, XMP, ICC profile and resolution are put back
    where the format can hold them; what cannot be kept is logged as a warning. A greyscale photo
    is written with one channel. PNG, TIFF, BMP, and WebP from anything but a lossy WebP, give the
    pixels back bit for bit. JPEG from JPEG keeps quantisation tables, chroma subsampling and
    progressive coding; other JPEG has quality 95 without subsampling, lossy WebP quality 95.

    The file is written under a temporary name and renamed: on failure nothing is left behind, and
    an earlier file of that name is untouched. Missing parent directories are created.

    Args:
      path: the output file, its extension one of `SUFFIXES`, in any case.
      pixels: [H, W, 3] RGB of the dtype of `like.pixels`.
      like: what `read_photo` returned.
      quality: 1 to 100, for JPEG (in place of the source's tables; its subsampling stays) and WebP
        (which is then lossy). Other formats ignore it.

    Raises:
      ImageError: the extension is unknown, the quality out of range, the format cannot hold the
        photo, or the file cannot be written, a full disk included.
      ValueError: `pixels` are not of the documented shape and dtype.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise _error(
            path, f"unknown output format '{path.suffix}'", f"use one of {' '.join(SUFFIXES)}"
        )
    if quality is not None and not 1 <= quality <= 100:
        raise _error(path, f"quality {quality} is out of range", "give 1 to 100")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != like.pixels.dtype:
        raise ValueError(
            f"pixels are {pixels.dtype} {pixels.shape}, expected {like.pixels.dtype} [H, W, 3]"
        )
    if like.alpha is not None and like.alpha.shape != pixels.shape[:2]:
        raise ValueError(f"pixels are {pixels.shape}, the photo's alpha {like.alpha.shape}")
    try:
        encoded = image_encoding.encode(path.suffix, pixels, like, quality, _warning_for(path))
    except Exception as error:
        # Pillow's encoders raise OSError, ValueError and struct.error alike for what a format
        # cannot hold, such as a side that is too long.
        problem = f"cannot be encoded ({error or type(error).__name__})"
        raise _error(path, problem, "choose another format, such as .png") from error
    replace_file(path, encoded)


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it: all of it, or nothing.

    Missing parent directories are created.

    Raises:
      ImageError: the file cannot be written, a full disk included.
    """
    # In the same folder, for a rename does not cross file systems; opened rather than made by
    # tempfile, whose files nobody else may read.
    temporary = path.with_name(f".hifill-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "check the path and its permissions"
        problem = f"cannot be written ({error.strerror or error})"
        raise _error(path, problem, f"{advice} or choose another output") from error


def read_mask(
    path: str | os.PathLike,
    size: tuple[int, int],
    invert: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Reads a mask of any bit depth, mode and size, for a photo of a given size.

    The alpha channel is taken if it varies, else the luminance; values above 127 of 255 are the
    hole (white; opaque in an alpha channel). A mask of another size, but of the photo's aspect
    within 1 % or a rounded pixel, is resized after the threshold so that every pixel of the photo
    that touches a hole pixel is hole: thin strokes survive.

    Args:
      path: the file, in any format that `read_photo` reads; its EXIF orientation is applied.
      size: (H, W) of the photo.
      invert: black (or transparent) is the hole.
      max_pixels: H x W above this is refused before anything is decoded.

    Returns:
      bool [H, W], True = hole. It may be empty or full.

    Raises:
      ImageError: as for `read_photo`, or the mask has another aspect than the photo.
    """
    return hole_in(read_photo(path, max_pixels), str(path), size, invert)


def hole_in(mask: Photo, name: str, size: tuple[int, int], invert: bool = False) -> np.ndarray:
    """The hole that a decoded mask marks in a photo of a given size; see `read_mask`.

    Args:
      mask: what `read_photo` or `decode_photo` returned.
      name: what messages call it.
      size: (H, W) of the photo.
      invert: black (or transparent) is the hole.

    Returns:
      bool [H, W], True = hole. It may be empty or full.

    Raises:
      ImageError: the mask has another aspect than the photo.
    """
    channel, white = white_of(mask)
    hole = white != invert
    if not same_aspect(hole.shape, size):
        turned = same_aspect(hole.shape[::-1], size)
        raise _error(
            name,
            f"mask of {hole.shape[1]} x {hole.shape[0]} does not fit the photo of"
            f" {size[1]} x {size[0]} pixels (width x height)",
            "turn it by 90 degrees" if turned else "make a mask of the photo's aspect",
        )
    hole = cover(hole, size)
    logger.info("%s: hole from the %s, %.2f %% of the photo", name, channel, 100 * hole.mean())
    if channel == "luminance" and mask.pixels.any() and not white.any():
        brightest, white_value = mask.pixels.max(), np.iinfo(mask.pixels.dtype).max
        logger.warning(
            "%s: nothing in it is white: its brightest value is %d of %d",
            name,
            brightest,
            white_value,
        )
    return np.ascontiguousarray(hole)


def cover(hole: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a hole so that nothing thin is lost.

    Args:
      hole: bool [h, w].
      shape: (H, W) of the result.

    Returns:
      bool [H, W], True where a pixel's extent touches any True.
    """
    return _cover_along(_cover_along(hole, shape[0], 0), shape[1], 1)


def white_of(mask: Photo) -> tuple[str, np.ndarray]:
    """What is white in a picture of a mask, or opaque if its alpha channel varies.

    Returns:
      The channel that was taken, and bool [H, W]: its value is above 127 of 255.
    """
    if mask.alpha is not None and mask.alpha.min() != mask.alpha.max():
        channel, values = "alpha channel", mask.alpha
    else:
        channel, values = "luminance", image_encoding.luminance(mask.pixels)
    return channel, image_encoding.to_8bit(values) > 127


def list_photos(folder: str | os.PathLike) -> list[Path]:
    """Lists the files below a folder whose extension is one of `SUFFIXES`, sorted.

    Hidden files and folders (named with a leading dot, as our temporary files are) are skipped.

    Raises:
      ImageError: `folder` is not a readable folder.
    """
    folder = Path(folder)
    try:
        os.listdir(folder)
    except OSError as error:
        raise _error(folder, f"cannot be listed ({error.strerror})", "give a folder") from error
    photos = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        photos += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(photos)


# --------------------------------------------------------------------------------------------------
# The pieces
# --------------------------------------------------------------------------------------------------


def _error(path: Path | str, problem: str, advice: str) -> ImageError:
    return ImageError(" ".join(f"{path}: {problem}; {advice}".splitlines()))


@contextlib.contextmanager
def _one_line_errors(path: Path | str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except image_decoding.UnsupportedError as error:
        raise _error(path, *str(error).split("; ")) from error
    except Image.DecompressionBombError as error:
        raise _error(path, str(error), "raise PIL.Image.MAX_IMAGE_PIXELS or shrink it") from error
    except MemoryError as error:
        raise _error(path, "does not fit in memory", "shrink it or free some memory") from error
    except Exception as error:
        # Only errors of the file system carry an errno. On a damaged file Pillow raises whatever
        # its parsers stumble on: OSError, SyntaxError, EOFError, struct.error, ...
        if isinstance(error, OSError) and error.errno:
            advice = "check the path and its permissions"
            raise _error(path, f"cannot be read ({error.strerror})", advice) from error
        problem = f"is truncated, damaged or of a rare kind ({error or type(error).__name__})"
        raise _error(path, problem, "get an intact copy or convert it to PNG") from error


def _warning_for(path: Path | str) -> Callable[[str], None]:
    return lambda text: logger.warning("%s: %s", path, text)


def _decode(file: BinaryIO, path: Path | str, max_pixels: int) -> Photo:
    if not file.read(1):
        raise _error(path, "is empty", "get an intact copy of it")
    file.seek(0)
    image = image_decoding.open_image(file)
    if image is None:
        raise _error(path, "is not a JPEG, PNG, WebP, TIFF or BMP image", "convert it to PNG first")
    width, height = image.size
    if width * height > max_pixels:
        problem = f"{width} x {height} is over the limit of {max_pixels} pixels"
        raise _error(path, problem, "shrink it or raise the limit")
    with contextlib.ExitStack() as settings:
        # Pillow's settings belong to the whole program: they are changed only where they differ
        # from what is needed here, and put back.
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            settings.enter_context(_pillow_setting(ImageFile, "LOAD_TRUNCATED_IMAGES", False))
        if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
            settings.enter_context(_pillow_setting(Image, "MAX_IMAGE_PIXELS", None))
        return Photo(**image_decoding.decode(image, file, _warning_for(path)))


@contextlib.contextmanager
def _pillow_setting(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    with _SETTINGS_LOCK:
        previous = getattr(module, name)
        setattr(module, name, value)
        try:
            yield
        finally:
            setattr(module, name, previous)


def same_aspect(mask: tuple[int, int], photo: tuple[int, int]) -> bool:
    (height, width), (other_height, other_width) = sorted((mask, photo))
    ratio = (width * other_height) / (height * other_width)
    # One side of the smaller is off by up to a pixel where it has been rounded.
    rounded = (
        abs(width - other_width * height / other_height) <= 1
        or abs(height - other_height * width / other_width) <= 1
    )
    return abs(ratio - 1) <= 0.01 or rounded


def _cover_along(hole: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Resizes one axis of a bool array; True where an extent touches any True of the source."""
    source = hole.shape[axis]
    if source == size:
        return hole
    edges = np.arange(size + 1, dtype=np.int64) * source
    first, last = edges[:-1] // size, -(-edges[1:] // size)
    if size > source:  # an extent touches two of the source at most
        return np.take(hole, first, axis) | np.take(hole, last - 1, axis)
    before = [(1, 0) if each == axis else (0, 0) for each in range(hole.ndim)]
    counts = np.pad(np.cumsum(hole, axis, dtype=np.int32), before)
    return np.take(counts, last, axis) > np.take(counts, first, axis)
