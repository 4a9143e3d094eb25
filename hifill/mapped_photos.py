"""Photos larger than memory: NumPy files and uncompressed TIFFs, filled where they lie on disk."""

import logging
import os
import pathlib
import secrets
import shutil

import numpy as np

from hifill import image_io, inpaint, pixel_files

_STRIP_BYTES = 16 * 2**20  # of a hole, looked at at once
_log = logging.getLogger(__name__)


def fill_mapped(
    inpainter, photo, mask, output, invert_mask=False, max_mask_pixels=image_io.MAX_PIXELS
):
    """Fills the holes of a photo that need not fit in memory.

    The output is a copy of the photo's file in which hole pixels are overwritten, and nothing else:
    smaller copies of the photo in a TIFF stay as they are. It is written under a temporary name and
    renamed; on failure nothing is left behind.

    Args:
        inpainter: an `Inpainter`, of fidelity "improved" or "plain".
        photo: a `.npy` file of uint8, uint16 or float32 (0 to 1) [H, W, 3], or an uncompressed RGB
            TIFF or BigTIFF of 8 or 16 bits, in strips or tiles.
        mask: a `.npy` file of bool or uint8 [h, w] or [h, w, 1], an uncompressed grey TIFF of 8
            bits, or a picture that `image_io.read_mask` reads, which must fit in memory. Above 127
            or True is the hole. It may have another size, as for `image_io.read_mask`.
        output: the file to write, its suffix that of the photo.
        invert_mask: black is the hole.
        max_mask_pixels: masks that must fit in memory are refused above this.

    Raises:
        ValueError: one line that says which file is at fault: it is missing, damaged or of another
            kind, the output would overwrite an input, or the mask marks more than 95 %
            (`inpaint.MaskError`).
    """
    photo, mask, output = pathlib.Path(photo), pathlib.Path(mask), pathlib.Path(output)
    if inpainter.arrays is None:
        raise ValueError('fidelity "original" needs whole photos; use "improved" or "plain"')
    if output.resolve() in (photo.resolve(), mask.resolve()):
        raise pixel_files.error_of(output, "would overwrite an input", "choose another output")
    suffixes = [path.suffix.lower().replace(".tiff", ".tif") for path in (photo, output)]
    if suffixes[0] != suffixes[1]:
        raise pixel_files.error_of(
            output, "is another format than the photo's", f"end it in {photo.suffix}"
        )
    layout = pixel_files.read_layout(photo)
    hole = _Hole(mask, layout.shape[:2], invert_mask, max_mask_pixels)
    share = _share(photo, layout.open(photo, "r"), mask, hole)
    temporary = output.with_name(f".hifill-{os.getpid()}-{secrets.token_hex(4)}{output.suffix}")
    try:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo, temporary)
            if share:
                pixels = layout.open(temporary, "r+")
                inpainter.arrays(pixels, hole, pixels)
                pixels.flush()
            else:
                _log.warning("%s: marks no hole; %s stays as it is", mask, photo)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise pixel_files.error_of(
            output, problem, "check its folder, permissions and free space"
        ) from error


class _Hole:
    """Bool array [H, W]: where a mask of any size marks the hole, by the rule of `image_io.cover`.

    Parts of it are computed where they are read.
    """

    dtype = np.dtype(bool)

    def __init__(self, path, shape, invert, max_pixels):
        self.shape, self._invert, self._white = shape, invert, 128
        try:
            layout = pixel_files.read_layout(path, is_mask=True)
            if layout.dtype == bool:  # in the file, anything but 0 may stand for True
                self._white, layout.dtype = 1, np.dtype(np.uint8)
            self._mask = layout.open(path, "r")
        except pixel_files.UnmappableError:
            white = image_io.white_of(image_io.read_photo(path, max_pixels))[1]
            self._white, self._mask = 1, white.view(np.uint8)[..., None]
        size = self._mask.shape[:2]
        if not image_io.same_aspect(size, shape):
            sizes = "mask of {1} x {0} does not fit the photo of {3} x {2} pixels (width x height)"
            raise pixel_files.error_of(
                path, sizes.format(*size, *shape), "make a mask of the photo's aspect"
            )

    def release(self):
        pixel_files.release(self._mask)

    def __getitem__(self, key):
        rows, columns = pixel_files.indices_of(key, self.shape)
        if not rows.size or not columns.size:
            return np.zeros([rows.size, columns.size], bool)
        # The first and the last pixel of the mask that a pixel of the photo touches.
        sizes = zip((rows, columns), self._mask.shape[:2], self.shape, strict=True)
        touched = [(i * n // size, ((i + 1) * n - 1) // size) for i, n, size in sizes]
        box = tuple(slice(first.min(), last.max() + 1) for first, last in touched)
        hole = (self._mask[box][..., 0] >= self._white) != self._invert
        for axis in (1, 0):
            first, last = (i - box[axis].start for i in touched[axis])
            source, hole = hole, pixel_files.take(hole, first, axis)
            for further in range(1, (last - first).max() + 1):
                hole = hole | pixel_files.take(source, np.minimum(first + further, last), axis)
        return hole


def _share(photo, pixels, mask, hole):
    """Which share of a photo its hole is, of 1. Checks that and the range of floats."""
    count, (height, width) = 0, hole.shape
    step = max(1, _STRIP_BYTES // width)
    for top in range(0, height, step):
        part = hole[top : top + step]
        count += np.count_nonzero(part)
        if pixels.dtype.kind == "f":
            known = pixels[top : top + step][~part]
            if not ((known >= 0) & (known <= 1)).all():  # NaN is not
                raise pixel_files.error_of(
                    photo, "has known values outside 0 to 1", "divide 8 bits by 255"
                )
        pixel_files.release(pixels)
        pixel_files.release(hole)
    share = count / (height * width)
    try:
        inpaint.check_share(share)
    except inpaint.MaskError as error:
        raise inpaint.MaskError(f"{mask}: {error}") from error
    return share
