"""Fills holes in photos that are files: `hifill-inpaint`, and what `hifill-client` shares with it.

While one photo is filled, the next is read and the one before it is written, each in a thread of
its own; no more than these three are in memory.
"""

import collections
import concurrent.futures
import contextlib
import logging
import time

from hifill import image_io, jobs
from hifill.inpaint import Inpainter, MaskError, comparison, dilate

USAGE = """
hifill-inpaint PHOTO --mask=MASK --output=FILE
hifill-inpaint FOLDER --mask=MASK_OR_FOLDER --output=FOLDER

Fills the holes of photos of any size. White in the mask is the hole; pixels outside come back
unchanged. JPEG, PNG, WebP, TIFF and BMP; the output has the format of its name, and in a folder
that of the photo. In folders, the mask of photo.jpg is any picture named photo_mask, photo.mask,
photo.jpg or photo, in the same subfolder; one mask file serves all photos. Masks may lie beside the
photos as photo_mask or photo.mask.

--mapped is for a photo larger than memory: an uncompressed RGB TIFF, or a .npy file, of which the
output is a copy with other pixels in the hole.
"""

_SMALLEST = 512  # smaller sides are mirrored up to it before a hole is filled

_log = logging.getLogger(__name__)


def read_files(job, flags):
    """Reads a photo and its mask.

    Args:
        job: a `jobs.Job`.
        flags: has invert_mask, dilate and max_megapixels.

    Returns:
        (photo, hole): an `image_io.Photo`, and bool [H, W].

    Raises:
        ValueError: one line that says which file is at fault.
    """
    if job.mask is None:
        stem = job.photo.stem
        raise ValueError(f"{job.photo}: no mask for it; name one {stem}_mask.png")
    max_pixels = _max_pixels(flags)
    photo = image_io.read_photo(job.photo, max_pixels)
    height, width = photo.pixels.shape[:2]
    if max(height, _SMALLEST) * max(width, _SMALLEST) > max(max_pixels, _SMALLEST**2):
        raise ValueError(f"{job.photo}: {width} x {height} pixels are too long for the other side")
    hole = image_io.read_mask(job.mask, photo.pixels.shape[:2], flags.invert_mask, max_pixels)
    return photo, dilate(hole, flags.dilate)


def _max_pixels(flags):
    """--max_megapixels as a number of pixels, which may be given as infinite."""
    from absl import app

    if not flags.max_megapixels > 0:
        raise app.UsageError(f"--max_megapixels={flags.max_megapixels} is not above 0")
    return int(min(flags.max_megapixels * 1e6, 2**62))


def fill(inpainter, job, photo, hole):
    """Fills what `read_files` read: -> pixels, those of the photo if there is no hole.

    Args:
        inpainter: an `Inpainter`, or anything called like one.

    Raises:
        ValueError: one line that says which file is at fault.
    """
    if not hole.any():
        _log.warning("%s: marks no hole; %s stays as it is", job.mask, job.photo)
        return photo.pixels
    try:
        return inpainter(photo.pixels, hole)
    except MaskError as error:
        raise ValueError(f"{job.mask}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{job.photo}: {error}") from error


def write_files(job, photo, hole, pixels, flags):
    """Writes the result, complete or not at all, and the comparison if one is asked for."""
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
    _max_pixels(flags)
    planned = jobs.plan_jobs(arguments[0], flags.mask, flags.output, flags.comparison)
    inpainter = make_inpainter()
    with logging_redirect_tqdm():
        bar = tqdm(total=len(planned), unit="photo", disable=len(planned) == 1)
        pipeline = _Pipeline(inpainter, flags, bar)
        pipeline.run(planned)
        bar.close()
    if len(planned) > 1:
        _log.info("seconds: %s", pipeline.profile())
        if pipeline.failed:
            _log.error("%d of %d photos failed", pipeline.failed, len(planned))
    return 1 if pipeline.failed else 0


class _Pipeline:
    """Reads ahead by one photo and writes behind by one.

    Args:
        inpainter, flags: as for `fill_files`.
        bar: a progress bar, moved on for each photo that is done or has failed.

    Attributes:
        failed: how many photos failed, or were not tried.
    """

    def __init__(self, inpainter, flags, bar):
        self._inpainter, self._flags, self._bar = inpainter, flags, bar
        self._seconds = collections.Counter()
        self.failed = 0

    def run(self, planned):
        """Fills the photos of a list of `jobs.Job`; failures are logged in its order."""
        with (
            self._timed("in all"),
            concurrent.futures.ThreadPoolExecutor(1) as reader,
            concurrent.futures.ThreadPoolExecutor(1) as writer,
        ):
            reading, writing = reader.submit(self._read, planned[0]), None
            for following, job in enumerate(planned, 1):
                files, error = reading, reading.exception()
                if following < len(planned):
                    reading = reader.submit(self._read, planned[following])
                if error is None:
                    try:
                        with self._timed("filling"):
                            pixels = fill(self._inpainter, job, *files.result())
                    except (ValueError, OSError, MemoryError) as raised:
                        error = raised
                self._settle(*(writing or ()))
                writing = None
                if error is None:
                    writing = job, writer.submit(self._write, job, *files.result(), pixels)
                else:
                    self._fail(job, error)
                if isinstance(error, ConnectionError):
                    self.failed += len(planned) - following
                    break
            self._settle(*(writing or ()))

    def profile(self):
        """What each stage took, in words; they run side by side."""
        return ", ".join(f"{name} {spent:.1f}" for name, spent in self._seconds.items())

    def _read(self, job):
        with self._timed("reading"):
            return read_files(job, self._flags)

    def _write(self, job, photo, hole, pixels):
        with self._timed("writing"):
            write_files(job, photo, hole, pixels, self._flags)

    def _settle(self, job=None, written=None):
        """Waits for a photo to be written."""
        if job is None:
            return
        error = written.exception()
        if error is None:
            self._bar.update()
        else:
            self._fail(job, error)

    def _fail(self, job, error):
        if isinstance(error, MemoryError):
            error = f"{job.photo}: does not fit in memory; shrink it"
        elif not isinstance(error, (ValueError, OSError)):
            raise error
        _log.error("%s", error)
        self.failed += 1
        self._bar.update()

    @contextlib.contextmanager
    def _timed(self, stage):
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - start


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
    if flags.mapped:
        return fill_mapped_file(arguments, flags)
    return fill_files(
        lambda: Inpainter(flags.weights, flags.fidelity, flags.dtype_policy), arguments, flags
    )


def fill_mapped_file(arguments, flags):
    """`hifill-inpaint --mapped`: -> exit code."""
    from absl import app

    from hifill.mapped_photos import fill_mapped

    if len(arguments) != 1:
        raise app.UsageError(f"expected one photo, got {len(arguments)}")
    for name, unset in (("dilate", 0), ("comparison", None), ("quality", None)):
        if flags[name].value != unset:
            raise app.UsageError(f"--{name} does not go with --mapped")
    max_mask_pixels = _max_pixels(flags)
    files = arguments[0], flags.mask, flags.output
    inpainter = Inpainter(flags.weights, flags.fidelity, flags.dtype_policy)
    fill_mapped(inpainter, *files, flags.invert_mask, max_mask_pixels)
    return 0


def run():
    """Entry point of `hifill-inpaint`."""
    from absl import flags

    from hifill import command_line

    values = flags.FlagValues()
    define_file_flags(values)
    string, _, _, boolean, choice = command_line.definers(values)
    boolean("mapped", False, "Fill a photo larger than memory where it lies on disk.")
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
    choice(
        "dtype_policy",
        None,
        ["float32", "mixed_bfloat16"],
        "What the generator computes in; not set, bfloat16 on CPUs that are faster with it.",
    )
    command_line.run(main, values, USAGE)
