"""Fills holes in photos: `Inpainter` from Python, `hifill-inpaint` from the command line."""

import logging
import pathlib

import cv2
import numpy as np

USAGE = """
hifill-inpaint PHOTO --mask=MASK --output=FILE
hifill-inpaint FOLDER --mask=MASK_OR_FOLDER --output=FOLDER

Fills the holes of photos of any size. White in the mask is the hole; pixels outside come back
unchanged. JPEG, PNG, WebP, TIFF and BMP; the output has the format of its name, and in a folder
that of the photo. In folders, the mask of photo.jpg is any picture named photo, photo_mask or
photo.mask; one mask file serves all photos.
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
        from hifill.generator import Generator
        from hifill.highres import HighResolutionInpainter
        from hifill.weights import load_weights

        generator = Generator()
        load_weights(generator, weights)
        self._wrapper = HighResolutionInpainter(generator, fidelity)

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
    if pixels <= 0:
        return hole
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(hole.astype(np.uint8), disc) > 0


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


def pair_files(photos, masks, output):
    """Which mask and which output file belong to which photo.

    Args:
        photos, masks, output: files or folders, as given to the command.

    Returns:
        List of (photo, mask or None if there is none for it, output file).

    Raises:
        ValueError: if the combination makes no sense, or a folder holds no photo.
    """
    from hifill import image_io

    photos, masks, output = (pathlib.Path(path) for path in (photos, masks, output))
    for path, name in ((photos, "photo"), (masks, "mask")):
        if not path.exists():
            raise ValueError(f"{path}: no such {name} file or folder")
    if photos.is_dir():
        if output.exists() and not output.is_dir():
            raise ValueError(f"{output}: is a file; for a folder of photos name a folder")
        found = image_io.list_photos(photos)
        if masks.resolve() in (photos.resolve(), *photos.resolve().parents):
            found = [path for path in found if not _is_mask_name(path.stem)]
        found = [path for path in found if path.resolve() != masks.resolve()]
        if not found:
            raise ValueError(
                f"{photos}: no photos in it; they end in {' '.join(image_io.SUFFIXES)}"
            )
        pairs = [(path, output / path.relative_to(photos)) for path in found]
    else:
        into_folder = output.is_dir() or not output.suffix
        pairs = [(photos, output / photos.name if into_folder else output)]
    if masks.is_dir():
        by_stem = {}
        for path in image_io.list_photos(masks):
            by_stem.setdefault(path.relative_to(masks).with_suffix(""), path)
        root = photos if photos.is_dir() else photos.parent
        chosen = [_find_mask(photo, photo.relative_to(root), by_stem) for photo, _ in pairs]
    else:
        chosen = [masks] * len(pairs)
    return [(photo, mask, out) for (photo, out), mask in zip(pairs, chosen, strict=True)]


def _is_mask_name(stem):
    return stem.endswith(("_mask", ".mask"))


def _find_mask(photo, relative, by_stem):
    stem = relative.with_suffix("")
    names = [f"{stem.name}_mask", f"{stem.name}.mask", stem.name, f"{relative.name}"]
    # A mask may lie in the photo's subfolder, or at the top.
    for candidate in [stem.with_name(name) for name in names] + [pathlib.Path(n) for n in names]:
        mask = by_stem.get(candidate)
        if mask is not None and mask.resolve() != photo.resolve():
            return mask
    return None


def inpaint_file(inpainter, photo_path, mask_path, output_path, flags):
    """Fills one file.

    Args:
        inpainter: an `Inpainter`.
        photo_path, mask_path, output_path: files; mask_path None if there is none.
        flags: has invert_mask, dilate, quality, max_megapixels and comparison.

    Raises:
        ValueError: one line that says which file is at fault; nothing is then written.
    """
    from hifill import image_io

    if mask_path is None:
        raise ValueError(
            f"{photo_path}: no mask for it; name one {photo_path.stem}.png or "
            f"{photo_path.stem}_mask.png"
        )
    for path in (photo_path, mask_path):
        if output_path.resolve() == path.resolve():
            raise ValueError(f"{output_path}: would overwrite an input; choose another output")
    photo = image_io.read_photo(photo_path, int(flags.max_megapixels * 1e6))
    hole = image_io.read_mask(mask_path, photo.pixels.shape[:2], flags.invert_mask)
    hole = dilate(hole, flags.dilate)
    if not hole.any() and photo_path.suffix == output_path.suffix and flags.quality is None:
        _log.warning("%s: marks no hole; %s is a copy of the photo", mask_path, output_path)
        image_io.replace_file(output_path, photo_path.read_bytes())
        return
    try:
        pixels = inpainter(photo.pixels, hole)
    except ValueError as error:
        raise ValueError(f"{mask_path}: {error}") from error
    image_io.write_photo(output_path, pixels, photo, flags.quality)
    if flags.comparison:
        shown = comparison(photo.pixels, hole, pixels)
        name = output_path.with_suffix(".png").name
        image_io.write_photo(pathlib.Path(flags.comparison) / name, shown, image_io.Photo(shown))


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    from absl import app
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    if len(arguments) != 1:
        raise app.UsageError(f"expected one photo or folder, got {len(arguments)}")
    pairs = pair_files(arguments[0], flags.mask, flags.output)
    inpainter = Inpainter(flags.weights, flags.fidelity)
    failed = []
    with logging_redirect_tqdm():
        for photo, mask, output in tqdm(pairs, unit="photo", disable=len(pairs) == 1):
            try:
                inpaint_file(inpainter, photo, mask, output, flags)
            except (ValueError, OSError) as error:
                failed.append(photo)
                _log.error("%s", error)
    if len(pairs) > 1 and failed:
        _log.error("%d of %d photos failed", len(failed), len(pairs))
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
