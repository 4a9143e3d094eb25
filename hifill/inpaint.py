"""Fills holes in photos: `Inpainter` from Python, `hifill-inpaint` from the command line."""

import logging

import cv2
import numpy as np

from hifill import image_io, jobs

USAGE = """
hifill-inpaint PHOTO --mask=MASK --output=FILE
hifill-inpaint FOLDER --mask=MASK_OR_FOLDER --output=FOLDER

Fills the holes of photos of any size. White in the mask is the hole; pixels outside come back
unchanged. JPEG, PNG, WebP, TIFF and BMP; the output has the format of its name, and in a folder
that of the photo. In folders, the mask of photo.jpg is any picture named photo_mask, photo.mask,
photo.jpg or photo, in the same subfolder; one mask file serves all photos. Masks may lie beside the
photos as photo_mask or photo.mask.
"""

FULLEST = 0.95
_DTYPES = (np.uint8, np.uint16, np.float32)
_SMALLEST = 512  # smaller sides are mirrored up to it before a hole is filled

_log = logging.getLogger(__name__)


class MaskError(ValueError):
    """A mask that marks nearly everything. The message is one line."""


class Inpainter:
    """Fills holes in photos of any size: `inpainted = Inpainter()(image, mask)`.

    Args:
        weights: a `.weights.h5` file, a training run's folder, a frozen graph (`.pb`), an exported
            SavedModel's folder, or None for the shipped weights.
        fidelity: "improved", "plain" or "original", see `HighResolutionInpainter`.

    Raises:
        ValueError: if the weights or the file are missing or do not fit.
    """

    def __init__(self, weights=None, fidelity="improved"):
        from hifill.array_inpainting import ArrayInpainter
        from hifill.generator_files import is_generator_file
        from hifill.highres import HighResolutionInpainter
        from hifill.weights import load_generator

        if weights is None or not is_generator_file(weights):
            weights = load_generator(weights)
        self._wrapper = HighResolutionInpainter(weights, fidelity)
        self._fill = None if fidelity == "original" else ArrayInpainter(self._wrapper)

    def __call__(self, image, mask):
        """Fills the holes of one photo.

        Args:
            image: uint8, uint16 or float32 (0 to 1) array [H, W, 3], RGB.
            mask: [H, W] or [H, W, 1]; True, above 127 in uint8 or above 0.5 in float is a hole.

        Returns:
            Array of the image's shape and dtype. Without a hole it is a copy of the image, with a
            logged warning.

        Raises:
            ValueError: if shapes or dtypes do not fit, or the hole covers more than 95 %.
            MemoryError: if the photo is too large for the device.
        """
        import tensorflow as tf

        image, mask = np.asarray(image), np.asarray(mask)
        if mask.dtype.kind == "f":
            mask = mask.astype(np.float32)
        hole = hole_of(mask)
        if image.dtype not in _DTYPES:
            raise ValueError(f"image has dtype {image.dtype}, not uint8, uint16 or float32")
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image has shape {image.shape}, not [H, W, 3]")
        if hole.shape not in (image.shape[:2], (*image.shape[:2], 1)):
            raise ValueError(f"mask has shape {hole.shape}, the image {image.shape}")
        hole = hole.reshape(image.shape[:2])
        if not hole.any():
            return image.copy()
        if image.dtype.kind == "f":
            outside = ~((image >= 0) & (image <= 1)).all(axis=-1)  # NaN is
            if (outside & ~hole).any():
                raise ValueError("image holds known values outside 0 to 1; divide 8 bits by 255")
        try:
            if self._fill is None:
                return self._wrapper(image, mask).numpy()
            out = image.copy()
            self._fill(image, hole, out)
            return out
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError("the photo does not fit in memory") from error


def hole_of(mask):
    """Where a mask marks the hole; logs a warning if that is nowhere.

    Args:
        mask: array; True, above 127 in uint8 or above 0.5 in float is a hole.

    Returns:
        Bool array of its shape.

    Raises:
        MaskError: if the hole covers more than 95 %.
    """
    hole = mask > {"b": False, "u": 127}.get(mask.dtype.kind, 0.5)
    share = np.count_nonzero(hole) / max(hole.size, 1)
    if share > FULLEST:
        raise MaskError(
            f"the mask marks {share:.1%} as hole; is it inverted? "
            "White is the hole; --invert_mask for the other habit"
        )
    if share == 0:
        _log.warning("the mask marks no hole: the photo stays as it is")
    return hole


def dilate(hole, pixels):
    """Grows a hole by a radius: bool [H, W] -> bool [H, W]."""
    if pixels <= 0 or not hole.any():
        return hole
    known = (~hole).astype(np.uint8)
    return cv2.distanceTransform(known, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= pixels


def comparison(image, hole, inpainted):
    """Input, input with its hole in white, and result, side by side.

    Args:
        image, inpainted: [H, W, 3] of one dtype.
        hole: bool [H, W].

    Returns:
        [H, 3 * W, 3] of that dtype.
    """
    white = np.iinfo(image.dtype).max
    return np.concatenate([image, np.where(hole[..., None], white, image), inpainted], axis=1)


def inpaint_file(inpainter, job, flags):
    """Fills one file.

    Args:
        inpainter: an `Inpainter`, or anything called like one.
        job: a `jobs.Job`.
        flags: has invert_mask, dilate, quality and max_megapixels.

    Raises:
        ValueError: one line that says which file is at fault; the output is then not written.
    """
    if job.mask is None:
        stem = job.photo.stem
        raise ValueError(f"{job.photo}: no mask for it; name one {stem}_mask.png")
    max_pixels = int(min(flags.max_megapixels * 1e6, 2**62))
    photo = image_io.read_photo(job.photo, max_pixels)
    height, width = photo.pixels.shape[:2]
    if max(height, _SMALLEST) * max(width, _SMALLEST) > max(max_pixels, _SMALLEST**2):
        raise ValueError(f"{job.photo}: {width} x {height} pixels are too long for the other side")
    hole = image_io.read_mask(job.mask, photo.pixels.shape[:2], flags.invert_mask, max_pixels)
    hole = dilate(hole, flags.dilate)
    if hole.any():
        try:
            pixels = inpainter(photo.pixels, hole)
        except MaskError as error:
            raise ValueError(f"{job.mask}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{job.photo}: {error}") from error
    else:
        _log.warning("%s: marks no hole; %s stays as it is", job.mask, job.photo)
        pixels = photo.pixels
    same_format = job.photo.suffix.lower() == job.output.suffix.lower() and flags.quality is None
    if same_format and not hole.any():
        image_io.replace_file(job.output, job.photo.read_bytes())
    else:
        image_io.write_photo(job.output, pixels, photo, flags.quality)
    if job.comparison:
        shown = comparison(photo.pixels, hole, pixels)
        image_io.write_photo(job.comparison, shown, image_io.Photo(shown))


def fill_files(make_inpainter, arguments, flags):
    """Fills the photos that a command names, and says which of them failed.

    Args:
        make_inpainter: function without arguments that returns an `Inpainter`, or anything called
            like one. It is called when the files are known to make sense. After a ConnectionError
            of what it returns, no other photo is tried.
        arguments: the command's positional arguments.
        flags: the parsed flags of `define_file_flags`.

    Returns:
        Exit code.
    """
    from absl import app
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    if len(arguments) != 1:
        raise app.UsageError(f"expected one photo or folder, got {len(arguments)}")
    if not flags.max_megapixels > 0:
        raise app.UsageError(f"--max_megapixels={flags.max_megapixels} is not above 0")
    planned = jobs.plan_jobs(arguments[0], flags.mask, flags.output, flags.comparison)
    inpainter = make_inpainter()
    failed = 0
    with logging_redirect_tqdm():
        bar = tqdm(planned, unit="photo", disable=len(planned) == 1)
        for done, job in enumerate(bar):
            try:
                inpaint_file(inpainter, job, flags)
            except ConnectionError as error:
                _log.error("%s", error)
                failed += len(planned) - done
                break
            except (ValueError, OSError) as error:
                failed += 1
                _log.error("%s", error)
            except MemoryError:
                failed += 1
                _log.error("%s: does not fit in memory; shrink it", job.photo)
    if len(planned) > 1 and failed:
        _log.error("%d of %d photos failed", failed, len(planned))
    return 1 if failed else 0


def define_file_flags(values):
    """Defines the flags of `fill_files` in an absl FlagValues."""
    from hifill import command_line

    string, integer, real, boolean, _ = command_line.definers(values)
    string("mask", None, "Mask file, or folder of masks.", required=True)
    string("output", None, "File or folder to write to.", short_name="o", required=True)
    integer("dilate", 0, "Grow the hole by so many pixels.", lower_bound=0)
    boolean("invert_mask", False, "Black is the hole.")
    string("comparison", None, "Folder for pictures of input, hole and result side by side.")
    integer("quality", None, "JPEG or WebP quality; not set, the photo's own.", 1, 100)
    real("max_megapixels", 256, "Refuse photos larger than this.", lower_bound=0)


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    return fill_files(lambda: Inpainter(flags.weights, flags.fidelity), arguments, flags)


def run():
    """Entry point of `hifill-inpaint`."""
    from absl import flags

    from hifill import command_line

    values = flags.FlagValues()
    define_file_flags(values)
    string, _, _, _, choice = command_line.definers(values)
    string(
        "weights",
        None,
        "Weights, training run, frozen graph or SavedModel; not set, the shipped weights.",
    )
    choice(
        "fidelity",
        "improved",
        ["improved", "plain", "original"],
        "original: what the authors' script does, soft rim included.",
    )
    command_line.run(main, values, USAGE)
