"""Fills holes in photos: `Inpainter` from Python, `hifill-inpaint` from the command line."""

import collections
import dataclasses
import logging
import os
import pathlib

import cv2
import numpy as np

from hifill import image_io

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

_log = logging.getLogger(__name__)


class Inpainter:
    """Fills holes in photos of any size: `inpainted = Inpainter()(image, mask)`.

    Args:
        weights: a `.weights.h5` file, a training run's folder, or None for the shipped weights.
        fidelity: "improved" or "original", see `HighResolutionInpainter`.

    Raises:
        ValueError: if the weights are missing or do not fit.
    """

    def __init__(self, weights=None, fidelity="improved"):
        from hifill.highres import HighResolutionInpainter
        from hifill.weights import load_generator

        self._wrapper = HighResolutionInpainter(load_generator(weights), fidelity)

    def __call__(self, image, mask):
        """Fills the holes of one photo.

        Args:
            image: uint8 or uint16 array [H, W, 3], RGB.
            mask: [H, W] or [H, W, 1]; True, above 127 in uint8 or above 0.5 in float is a hole.

        Returns:
            Array of the image's shape and dtype. Without a hole it is a copy of the image, with a
            logged warning.

        Raises:
            ValueError: if shapes or dtypes do not fit, or the hole covers more than 95 %.
        """
        image, mask = np.asarray(image), np.asarray(mask)
        if mask.dtype.kind == "f":
            mask = mask.astype(np.float32)
        share = np.mean(mask > {"b": False, "u": 127}.get(mask.dtype.kind, 0.5))
        if share > FULLEST:
            raise ValueError(
                f"the mask marks {share:.1%} as hole; is it inverted? "
                "White is the hole; --invert_mask for the other habit"
            )
        if share == 0:
            _log.warning("the mask marks no hole: the photo stays as it is")
            return image.copy()
        return self._wrapper(image, mask).numpy()


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


@dataclasses.dataclass(frozen=True)
class Job:
    """The files of one photo; `mask` is None where there is none for it."""

    photo: pathlib.Path
    mask: pathlib.Path | None
    output: pathlib.Path
    comparison: pathlib.Path | None


def plan_jobs(photos, masks, output, comparisons=None):
    """Which mask and which output files belong to which photo.

    Args:
        photos, masks, output: files or folders, as given to the command.
        comparisons: a folder, or None.

    Returns:
        List of `Job`.

    Raises:
        ValueError: if the combination makes no sense, a folder holds no photo, or an output would
            overwrite an input or another output.
    """
    for value, flag in ((masks, "--mask"), (output, "--output")):
        if not value:
            raise ValueError(f"{flag} is empty; name a file or folder")
    as_folder = output.endswith(("/", os.sep))
    photos, masks, output = pathlib.Path(photos), pathlib.Path(masks), pathlib.Path(output)
    for path, name in ((photos, "photo"), (masks, "mask")):
        if not path.exists():
            raise ValueError(f"{path}: no such {name} file or folder")
    if photos.is_dir():
        found = _photos_in(photos, masks, [masks, output, pathlib.Path(comparisons or output)])
        is_file_name = output.suffix.lower() in image_io.SUFFIXES and not as_folder
        if not output.is_dir() and (output.exists() or is_file_name):
            raise ValueError(f"{output}: is no folder; for a folder of photos name a folder")
        outputs = [output / path.relative_to(photos) for path in found]
        root = photos
    else:
        found, root = [photos], photos.parent
        as_folder = as_folder or output.is_dir() or not output.suffix
        outputs = [output / photos.name if as_folder else output]
        if outputs[0].suffix.lower() not in image_io.SUFFIXES:
            raise ValueError(
                f"{outputs[0]}: unknown output format; use one of {' '.join(image_io.SUFFIXES)}"
            )
    chosen = [masks] * len(found)
    if masks.is_dir():
        by_stem = collections.defaultdict(list)
        for path in image_io.list_photos(masks):
            by_stem[path.relative_to(masks).with_suffix("")].append(path)
        beside = masks.resolve() == root.resolve()
        chosen = [_find_mask(photo, photo.relative_to(root), by_stem, beside) for photo in found]
    shown = [None] * len(found)
    if comparisons:
        folder = pathlib.Path(comparisons)
        shown = [
            folder / (path.relative_to(output) if as_folder or photos.is_dir() else path.name)
            for path in outputs
        ]
        stems = collections.Counter(path.with_suffix("") for path in shown)
        shown = [
            path.with_name(f"{path.name}.png")
            if stems[path.with_suffix("")] > 1
            else path.with_suffix(".png")
            for path in shown
        ]
    _refuse_overwriting([*found, *chosen], [*outputs, *shown])
    return [Job(*files) for files in zip(found, chosen, outputs, shown, strict=True)]


def _photos_in(folder, masks, others):
    """The photos of a folder, without masks and earlier results that lie in it too."""
    inner = {path.resolve() for path in others} - {folder.resolve()}
    found = image_io.list_photos(folder)
    found = [p for p in found if not inner & {p.resolve(), *p.resolve().parents}]
    if masks.resolve() == folder.resolve():
        names = {path.with_suffix("") for path in found}
        found = [path for path in found if _masked_stem(path.with_suffix("")) not in names]
    if not found:
        raise ValueError(f"{folder}: no photos in it; they end in {' '.join(image_io.SUFFIXES)}")
    return found


def _masked_stem(stem):
    """The photo that a mask's name points at: a/beach for a/beach_mask; None for other names."""
    for ending in ("_mask", ".mask"):
        if stem.name.endswith(ending):
            return stem.with_name(stem.name.removesuffix(ending) or ending)
    return None


def _find_mask(photo, relative, by_stem, beside_photos):
    stem = relative.with_suffix("")
    names = [f"{stem.name}_mask", f"{stem.name}.mask"]
    if not beside_photos:  # where the same name would be another photo
        names += [relative.name, stem.name]
    for name in names:
        for mask in by_stem.get(stem.with_name(name), ()):
            if mask.resolve() != photo.resolve():
                return mask
    return None


def _refuse_overwriting(inputs, outputs):
    taken = {path.resolve() for path in inputs if path}
    for path in outputs:
        if path and path.resolve() in taken:
            raise ValueError(
                f"{path}: would overwrite an input or another output; choose another output"
            )
        if path:
            taken.add(path.resolve())


def inpaint_file(inpainter, job, flags):
    """Fills one file.

    Args:
        inpainter: an `Inpainter`.
        job: a `Job`.
        flags: has invert_mask, dilate, quality and max_megapixels.

    Raises:
        ValueError: one line that says which file is at fault; the output is then not written.
    """
    if job.mask is None:
        stem = job.photo.stem
        raise ValueError(f"{job.photo}: no mask for it; name one {stem}_mask.png")
    max_pixels = int(min(flags.max_megapixels * 1e6, 2**62))
    photo = image_io.read_photo(job.photo, max_pixels)
    hole = image_io.read_mask(job.mask, photo.pixels.shape[:2], flags.invert_mask, max_pixels)
    hole = dilate(hole, flags.dilate)
    if hole.any():
        try:
            pixels = inpainter(photo.pixels, hole)
        except ValueError as error:
            raise ValueError(f"{job.mask}: {error}") from error
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


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    from absl import app
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    if len(arguments) != 1:
        raise app.UsageError(f"expected one photo or folder, got {len(arguments)}")
    if not flags.max_megapixels > 0:
        raise app.UsageError(f"--max_megapixels={flags.max_megapixels} is not above 0")
    jobs = plan_jobs(arguments[0], flags.mask, flags.output, flags.comparison)
    import tensorflow as tf  # only now: it has much to say, and takes its time

    inpainter = Inpainter(flags.weights, flags.fidelity)
    failed = 0
    with logging_redirect_tqdm():
        for job in tqdm(jobs, unit="photo", disable=len(jobs) == 1):
            try:
                inpaint_file(inpainter, job, flags)
            except (ValueError, OSError) as error:
                failed += 1
                _log.error("%s", error)
            except (MemoryError, tf.errors.ResourceExhaustedError):
                failed += 1
                _log.error("%s: does not fit in memory; shrink it", job.photo)
    if len(jobs) > 1 and failed:
        _log.error("%d of %d photos failed", failed, len(jobs))
    return 1 if failed else 0


def run():
    """Entry point of `hifill-inpaint`."""
    from absl import flags

    from hifill import command_line

    values = flags.FlagValues()
    string, integer, real, boolean, choice = command_line.definers(values)
    string("mask", None, "Mask file, or folder of masks.", required=True)
    string("output", None, "File or folder to write to.", short_name="o", required=True)
    string("weights", None, "Weights file or training run; not set, the shipped weights.")
    integer("dilate", 0, "Grow the hole by so many pixels.", lower_bound=0)
    boolean("invert_mask", False, "Black is the hole.")
    string("comparison", None, "Folder for pictures of input, hole and result side by side.")
    integer("quality", None, "JPEG or WebP quality; not set, the photo's own.", 1, 100)
    real("max_megapixels", 256, "Refuse photos larger than this.", lower_bound=0)
    choice(
        "fidelity",
        "improved",
        ["improved", "original"],
        "original: what the authors' script does, soft rim included.",
    )
    command_line.run(main, values, USAGE)
