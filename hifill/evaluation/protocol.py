"""What is measured: photos, their sizes, and one fixed hole for each, drawn once and kept."""

import dataclasses
import functools
import hashlib
import json
import pathlib

import cv2
import numpy as np

from hifill import image_encoding, image_io, jobs
from hifill.mask_mix import MaskMix
from hifill.silhouettes import generated_templates

# Shares of the picture: (0.01, 0.1], (0.1, 0.2], ... as in Liu et al., "Image Inpainting for
# Irregular Holes Using Partial Convolutions" (ECCV 2018).
BINS = ((0.01, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6))
NATIVE = "native"
_SPREAD = 0.02  # of the shares that one hole may have
_DRAWN = 512  # short side on which holes are drawn; larger photos get the same hole, enlarged


@dataclasses.dataclass(frozen=True)
class Case:
    """One photo of one size under one hole.

    Attributes:
        folder: of the photos, an absolute path.
        photo: path of the file below it.
        size: "native", or the side in pixels of the middle square, resized, as text.
        mask: path of the mask within the report's folder; PNG, white = hole.
        photo_sha256, mask_sha256: of the files.
        hole_share: 0 to 1.
    """

    folder: str
    photo: str
    size: str
    mask: str
    photo_sha256: str
    mask_sha256: str
    hole_share: float

    @property
    def path(self):
        """Of the photo's file."""
        return pathlib.Path(self.folder, self.photo)

    @property
    def hole_bin(self):
        """Index into `BINS`, -1 below the first, their number above the last."""
        if self.hole_share <= BINS[0][0]:
            return -1
        return sum(self.hole_share > high for _, high in BINS)


def read_case(case):
    """The photo of a case: uint8 [H, W, 3], RGB.

    Raises:
        ValueError: if the file cannot be read or has changed since the protocol was written.
    """
    try:
        content = case.path.read_bytes()
    except OSError as error:
        raise ValueError(f"{case.path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != case.photo_sha256:
        raise ValueError(f"{case.path}: has changed since its hole was drawn")
    return read_photo(case.path, case.size)


def read_photo(path, size):
    """A photo as it is evaluated: uint8 [H, W, 3], RGB.

    Args:
        path: file; 16 bits are rounded to 8.
        size: "native", or the side of a square as text: the photo's middle square is resized to
            it, averaging if it shrinks, bicubic if it grows. (An enlarged photo holds no detail
            that could get lost; native sizes do.)

    Raises:
        image_io.ImageError: if the file cannot be read.
    """
    pixels = _read_8bit(path)
    if size == NATIVE:
        return pixels
    pixels = np.ascontiguousarray(_middle_square(pixels))
    side, target = len(pixels), int(size)
    if side == target:
        return pixels
    method = cv2.INTER_AREA if target < side else cv2.INTER_CUBIC
    return cv2.resize(pixels, (target, target), interpolation=method)


def _read_8bit(path):
    return image_encoding.to_8bit(image_io.read_photo(path).pixels)


def _middle_square(pixels):
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def read_hole(folder, case):
    """The hole of a case: bool [H, W].

    Raises:
        ValueError: if the file is gone or has changed since the protocol was written.
    """
    path = pathlib.Path(folder) / case.mask
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != case.mask_sha256:
        raise ValueError(f"{path}: is not the mask that was drawn; choose another --report")
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) > 127


def draw_protocol(
    photos, masks, sizes, seed, folder, count=None, progress=lambda done, total: None
):
    """Draws or copies one hole for each photo and size, and writes `protocol.json`.

    Args:
        photos: folder of photos, or one photo. Masks and reports that lie in it are no photos.
        masks: "random", a mask, or a folder of masks. A mask that has its photo's name (see
            `jobs.plan_jobs`) belongs to it and has its aspect; if none has, the masks are dealt out
            in turn and take any aspect.
        sizes: list of "native" or sides in pixels, as text.
        seed: int. Random holes are strokes and object shapes in equal parts; their shares fall
            into each of `BINS` in turn, so that all are measured alike.
        folder: of the report.
        count: so many photos, evenly spaced; None for all.
        progress: called with the number of cases done and of all.

    Returns:
        List of `Case`.

    Raises:
        ValueError: if there are no photos, some masks but not all have their photo's name, or files
            cannot be read or written. Nothing is then left in the folder but masks.
    """
    folder, root = pathlib.Path(folder), pathlib.Path(photos).resolve()
    found = _photos(photos, masks, folder)
    if count is not None and count < len(found):
        found = [found[i * len(found) // count] for i in range(count)]
    chosen = _masks_for(found, masks, seed)
    root = root if root.is_dir() else root.parent
    mix = MaskMix(templates=tuple(generated_templates(np.random.default_rng(seed))))
    cases, unreadable = [], []
    for i, (job, (mask, paired)) in enumerate(zip(found, chosen, strict=True)):
        path = job.photo.resolve()
        try:
            photo_hash = hashlib.sha256(path.read_bytes()).hexdigest()
            shape = _read_8bit(path).shape[:2]
            holes = [_hole(mix, (seed, i), mask, paired, shape, size) for size in sizes]
        except ValueError as error:
            unreadable.append(str(error))
            continue
        for size, hole in zip(sizes, holes, strict=True):
            content = cv2.imencode(".png", hole.astype(np.uint8) * 255)[1].tobytes()
            name = f"masks/{i:05d}_{size}.png"
            image_io.replace_file(folder / name, content)
            mask_hash = hashlib.sha256(content).hexdigest()
            share = float(hole.mean())
            relative = path.relative_to(root).as_posix()
            cases.append(Case(str(root), relative, size, name, photo_hash, mask_hash, share))
            progress(len(cases), len(found) * len(sizes))
    if unreadable:
        more = f"; and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
        raise ValueError("; ".join(unreadable[:3]) + more)
    settings = _settings(photos, masks, sizes, seed, count)
    listed = [dataclasses.asdict(case) for case in cases]
    for case in listed:
        del case["folder"]
    content = {"settings": settings, "folder": str(root), "cases": listed}
    image_io.replace_file(folder / "protocol.json", json.dumps(content, indent=1).encode())
    return cases


def load_protocol(folder, settings):
    """The cases that `draw_protocol` wrote into a report's folder, or None if there are none.

    Args:
        folder: of the report.
        settings: dict of the arguments photos, masks, sizes, seed and count of `draw_protocol`.

    Raises:
        ValueError: if the file is damaged, or was written with other settings.
    """
    path = pathlib.Path(folder) / "protocol.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        written, root = content["settings"], content["folder"]
        cases = [Case(folder=root, **case) for case in content["cases"]]
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{path}: is damaged; choose another --report") from error
    for name, value in _settings(**settings).items():
        if written.get(name) != value:
            raise ValueError(
                f"{folder}: holds a run with {name}={written.get(name)}, not {value}; choose "
                "another --report"
            )
    return cases


def _settings(photos, masks, sizes, seed, count):
    """As they are compared: paths from anywhere, a list as a list."""
    masks = masks if masks == "random" else str(pathlib.Path(masks).resolve())
    photos = str(pathlib.Path(photos).resolve())
    return {"photos": photos, "masks": masks, "sizes": list(sizes), "seed": seed, "count": count}


def fingerprint(cases):
    """SHA-256 of all photos and masks in their order: equal for equal protocols."""
    text = "".join(case.photo_sha256 + case.size + case.mask_sha256 for case in cases)
    return hashlib.sha256(text.encode()).hexdigest()


def _photos(photos, masks, report):
    """The `jobs.Job` of every photo, without what reports within the folder hold."""
    root, report = pathlib.Path(photos).resolve(), report.resolve()
    if report == root:
        raise ValueError(f"{report}: holds the photos; choose another --report")
    masks = photos if masks == "random" else masks
    found = jobs.plan_jobs(photos, masks, f"{report}/pictures/")

    @functools.cache
    def in_report(folder):
        if folder == report or (folder / "protocol.json").exists():
            return True
        return folder != root and root in folder.parents and in_report(folder.parent)

    found = [job for job in found if not in_report(job.photo.resolve().parent)]
    for job in found:
        if len(job.photo.name.splitlines()) > 1:
            raise ValueError(f"{job.photo!r}: has a line break in its name; rename it")
    return found


def _masks_for(found, masks, seed):
    """(Mask or None, whether it was made for its photo) for each job."""
    if masks == "random":
        return [(None, False)] * len(found)
    if pathlib.Path(masks).is_file():
        return [(masks, False)] * len(found)
    unpaired = [str(job.photo) for job in found if job.mask is None]
    if not unpaired:
        return [(job.mask, True) for job in found]
    if len(unpaired) < len(found):
        more = f" and {len(unpaired) - 3} more" if len(unpaired) > 3 else ""
        raise ValueError(f"{masks}: no mask for {', '.join(unpaired[:3])}{more}")
    dealt = image_io.list_photos(masks)
    if not dealt:
        raise ValueError(f"{masks}: no masks in it")
    order = np.random.default_rng(seed).permutation(len(dealt))
    return [(dealt[order[i % len(dealt)]], False) for i in range(len(found))]


def _hole(mix, seed, mask, paired, shape, size):
    """bool, of the size that the photo will have; `shape` is its own."""
    target = shape if size == NATIVE else (int(size), int(size))
    if mask is None:
        return _drawn_hole(mix, seed, target)
    if paired:
        hole = image_io.read_mask(mask, shape)
        hole = hole if size == NATIVE else _middle_square(hole)
    else:
        _, hole = image_io.white_of(image_io.read_photo(mask))
    if not hole.any():
        raise ValueError(f"{mask}: marks no hole")
    return image_io.cover(hole, target)


def _drawn_hole(mix, seed, shape):
    low, high = BINS[seed[1] % len(BINS)]
    height, width = (max(16, round(side * _DRAWN / min(shape))) for side in shape)
    rng = np.random.default_rng(seed)
    # Most masks are grown until they reach the least share: it is spread over the bin.
    least = rng.uniform(low, high - _SPREAD)
    drawn = dataclasses.replace(mix, min_share=least, max_share=least + _SPREAD)
    hole = drawn.draw(rng, height, width)[..., 0] * np.uint8(255)
    hole = cv2.resize(hole, shape[::-1], interpolation=cv2.INTER_LINEAR) > 127
    if not hole.any():  # in a photo of a few pixels
        hole[shape[0] // 2, shape[1] // 2] = True
    return hole
