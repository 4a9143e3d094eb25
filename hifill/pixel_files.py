"""Pixels as they lie in NumPy files and uncompressed TIFFs, seen through memory maps.

Pages of a map that have been read or written count as the process's memory until it lets go of
them, which `release` does.
"""

import logging
import mmap
import os
import struct
import sys

import numpy as np

from hifill import image_io

_MOST_VALUES = 2**24  # of a TIFF's tag: more tiles than any photo has
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of values
_TAGS = {256: "width", 257: "height", 258: "bits", 259: "compression", 262: "colours"}
_TAGS |= {273: "offsets", 274: "orientation", 277: "samples", 278: "rows", 284: "planes"}
_TAGS |= {322: "tile_width", 323: "tile_height", 324: "offsets", 330: "others", 339: "kinds"}
_DEFAULTS = {"compression": [1], "samples": [1], "rows": [2**32 - 1], "planes": [1], "kinds": [1]}
_DEFAULTS |= {"orientation": [1], "bits": [1], "colours": [None]}
_REWRITE = "rewrite it by tiffcp -8 -c none -p contig, or gdal_translate -co COMPRESS=NONE"
_log = logging.getLogger(__name__)


class UnmappableError(image_io.ImageError):
    """An intact file whose pixels cannot be used as they lie in it."""


def release(array):
    """Lets go of the pages of a mapped file that lie in memory; of other arrays it keeps all.

    Nothing that has been written is lost.
    """
    if hasattr(array, "release"):
        array.release()
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    # Not of private maps ("c"), which keep in these pages what has been written.
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


class Pixels:
    """Where a file holds pixels [H, W, C], and an array of them once `open` has mapped the file.

    Reading that array copies; slices of it can be assigned.

    Args:
        shape, dtype: of the array.
        tile: (height, width). Tiles of the photo's width are strips, and the last may be shorter.
        offsets: list of ints, where in the file each tile starts.
    """

    ndim = 3

    def __init__(self, shape, dtype, tile, offsets):
        self.shape, self.dtype, self._tile, self._offsets = shape, np.dtype(dtype), tile, offsets
        self._across = -(-shape[1] // max(1, tile[1]))
        self._row_bytes = tile[1] * shape[2] * self.dtype.itemsize  # of a tile

    def check(self, size):
        """Raises ValueError unless each tile lies in a file of so many bytes, at its own place."""
        (height, width, _), (tall, _), offsets = self.shape, self._tile, self._offsets
        if min(height, width, tall, self._row_bytes) < 1:
            raise ValueError(f"{width} x {height} pixels")
        if len(offsets) != -(-height // tall) * self._across:
            raise ValueError(f"{len(offsets)} strips or tiles")
        end = 8  # of the header
        for i in sorted(range(len(offsets)), key=offsets.__getitem__):
            if offsets[i] < end:
                raise ValueError("strips or tiles that are missing or overlap")
            end = offsets[i] + min(tall, height - i // self._across * tall) * self._row_bytes
        if end > size:
            raise ValueError("pixels beyond its end")

    def open(self, path, mode):
        """-> np.memmap where the pixels lie one after the other, else this array."""
        gaps = np.diff(self._offsets) != self._tile[0] * self._row_bytes
        if self._tile[1] == self.shape[1] and not gaps.any():
            return np.memmap(path, self.dtype, mode, self._offsets[0], self.shape)
        self._file = np.memmap(path, np.uint8, mode)
        return self

    def flush(self):
        self._file.flush()

    def release(self):
        release(self._file)

    def __getitem__(self, key):
        rows, columns = indices_of(key, self.shape)
        top, left = rows.min(), columns.min()
        box = np.empty([rows.max() + 1 - top, columns.max() + 1 - left, self.shape[2]], self.dtype)
        for place, stored in self._stored(top, left, *box.shape[:2]):
            box[place] = stored
        return take(take(box, rows - top, 0), columns - left, 1)

    def __setitem__(self, key, pixels):
        rows, columns = indices_of(key, self.shape)
        for place, stored in self._stored(rows[0], columns[0], rows.size, columns.size):
            stored[:] = pixels[place]

    def _stored(self, top, left, height, width):
        """Yields places in a box of the array, and views of the file that belong there."""
        tall, wide = self._tile
        for y in range(top // tall, -(-(top + height) // tall)):
            first, last = max(top - y * tall, 0), min(top + height - y * tall, tall)
            rows = slice(y * tall + first - top, y * tall + last - top)
            for x in range(left // wide, -(-(left + width) // wide)):
                start, stop = max(left - x * wide, 0), min(left + width - x * wide, wide)
                offset = self._offsets[y * self._across + x]
                begin, end = (offset + row * self._row_bytes for row in (first, last))
                stored = self._file[begin:end].view(self.dtype, np.ndarray)
                stored = stored.reshape(last - first, wide, -1)
                columns = slice(x * wide + start - left, x * wide + stop - left)
                yield (rows, columns), stored[:, start:stop]


def indices_of(key, shape):
    """The rows and columns that slices or arrays of indices, such as of np.ix_, stand for."""
    keys = key if isinstance(key, tuple) else (key, slice(None))
    return [np.arange(length)[k].ravel() for k, length in zip(keys, shape, strict=False)]


def take(array, indices, axis):
    """array.take(indices, axis), but no copy where that is all of it."""
    if np.array_equal(indices, np.arange(array.shape[axis])):
        return array
    return array.take(indices, axis)


def error_of(path, problem, advice, kind=image_io.ImageError):
    return kind(" ".join(f"{path}: {problem}; {advice}".splitlines()))


def read_layout(path, is_mask=False):
    """Checks a photo, or a mask, and all that its header says about places in it: -> `Pixels`."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(6)
            if start == b"\x93NUMPY":
                layout = _numpy_layout(path, is_mask)
            elif start[:4] in (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"):
                layout = _tiff_layout(path, file, size, is_mask)
            else:
                advice = "convert it to an uncompressed TIFF"
                raise error_of(path, "is no .npy file or TIFF", advice, UnmappableError)
        layout.check(size)
        return layout
    except image_io.ImageError:
        raise
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise error_of(path, problem, "check the path and its permissions") from error
    except Exception as error:  # NumPy and struct raise many kinds for what is damaged
        problem = f"is truncated or damaged ({error or type(error).__name__})"
        raise error_of(path, problem, "get an intact copy of it") from error


def _numpy_layout(path, is_mask):
    array = np.lib.format.open_memmap(path, mode="r")
    shape = (*array.shape, 1) if is_mask and array.ndim == 2 else array.shape
    known = ["bool", "uint8"] if is_mask else ["uint8", "uint16", "float32"]
    channels, in_order = 1 if is_mask else 3, array.flags.c_contiguous
    if array.dtype not in map(np.dtype, known) or shape[2:] != (channels,) or not in_order:
        wanted = f"{' or '.join(known)} [H, W, {channels}]"
        advice = f"make it {wanted} in C order and this machine's byte order"
        raise error_of(path, f"is {array.dtype.str} {list(array.shape)}", advice)
    return Pixels(shape, array.dtype, shape[:2], [array.offset])


def _tiff_layout(path, file, size, is_mask):
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    tags = _DEFAULTS | _read_tags(file, size, order) | {"order": [order]}
    depths, channels, colours = ({8}, 1, 1) if is_mask else ({8, 16}, 3, 2)
    bits, native = tags["bits"][0], "<" if sys.byteorder == "little" else ">"
    count = tags["samples"][0]  # of channels, alpha included
    keep = "give it 3; gdal_translate -b 1 -b 2 -b 3 keeps the first ones"
    for name, known, problem, advice in (
        ("compression", {1}, "is compressed", _REWRITE),
        ("planes", {1}, "has its colours in separate planes", _REWRITE),
        ("samples", {channels}, f"has {count} channels, alpha included", keep),
        ("colours", {colours}, "is not RGB", "convert it to RGB"),
        ("bits", depths & {bits}, f"has samples of {bits} bits", "convert them all to 8 or 16"),
        ("kinds", {1}, "has samples that are no unsigned integers", "convert them"),
        ("order", {order if bits == 8 else native}, "has another machine's byte order", _REWRITE),
        ("orientation", {1}, "is stored turned", "store it upright"),
    ):
        if not set(tags[name]) <= known:
            raise error_of(path, problem, advice, UnmappableError)
    if tags.get("others") and not is_mask:
        _log.warning("%s: holds other pictures, such as overviews, which stay as they are", path)
    shape = tags["height"][0], tags["width"][0], channels
    tile = tags.get("tile_height", [min(tags["rows"][0], shape[0])])
    tile = tile[0], tags.get("tile_width", shape[1:])[0]
    return Pixels(shape, f"u{bits // 8}", tile, tags["offsets"])


def _read_tags(file, size, order):
    """The tags of a TIFF's first directory that are in `_TAGS`: {name: list of ints}."""

    def read(offset, length):
        if offset + length > size:
            raise EOFError("parts beyond its end")
        file.seek(offset)
        return file.read(length)

    def unpack(form, offset):
        return struct.unpack(order + form, read(offset, struct.calcsize(order + form)))

    big = unpack("H", 2) == (43,)
    count_form, place, entry = ("Q", "Q", "HHQ8s") if big else ("H", "I", "HHI4s")
    (start,) = unpack(place, 8 if big else 4)
    (count,) = unpack(count_form, start)
    if count >= 2**16:
        raise ValueError(f"{count} tags")
    start += struct.calcsize(order + count_form)
    end = start + count * struct.calcsize(order + entry)
    tags = {}
    for tag, kind, number, value in struct.iter_unpack(order + entry, read(start, end - start)):
        if tag in _TAGS:
            form = np.dtype(order + _INTEGERS[kind])
            length = form.itemsize * min(number, _MOST_VALUES)
            if length > len(value):
                value = read(*struct.unpack(order + place, value), length)
            tags[_TAGS[tag]] = np.frombuffer(value[:length], form).tolist()
    if unpack(place, end) != (0,):
        tags["others"] = [1]
    return tags
