"""Training masks of several kinds, each with a share of its own.

To the strokes and objects of `masks` this adds boxes, the rectangles of Yu et al., "Generative
Image Inpainting with Contextual Attention" (CVPR 2018), and whole mask files, such as an
irregular-mask data set. In every mask 1 marks the hole and 0 the picture that stays.
"""

import dataclasses
import functools
import math
from pathlib import Path

import cv2
import numpy as np

from hifill import image_io, masks

_SLIMMEST_BOX = 3.0  # long side over short side
_TRIES = 5


@dataclasses.dataclass(frozen=True, eq=False)
class MaskMix:
    """Draws masks of the chosen kinds. Safe to share between threads.

    The first four attributes weigh the kinds against each other: numbers of at least 0, not all of
    them 0. Strokes and objects meet in some masks, see `masks.random_mask`.

    Attributes:
        strokes: tears, scratches, spots and erasing (the paper, section 3.5).
        objects: shapes of objects, from `templates` (the paper, section 3.5).
        boxes: single rectangles, see `box`.
        files: whole masks, from `mask_paths`, see `mask_from_files`.
        min_share: the least share of the picture that a hole covers, 0 to 1.
        max_share: the greatest share.
        templates: object shapes, 2-D uint8 or bool arrays of any size; what is not 0 is the shape.
        mask_paths: files of masks, see `find_masks`.

    Raises:
        ValueError: if the weights or shares are out of range, if a kind lacks its templates or
            mask files, or if mask files are given and `files` is 0.
    """

    strokes: float = 0.5
    objects: float = 0.5
    boxes: float = 0.0
    files: float = 0.0
    min_share: float = 0.01
    max_share: float = 0.25
    templates: tuple = ()
    mask_paths: tuple = ()

    def __post_init__(self):
        weights = {kind: getattr(self, kind) for kind in ("strokes", "objects", "boxes", "files")}
        for kind, weight in weights.items():
            if not 0.0 <= weight < math.inf:
                raise ValueError(
                    f"the share of {kind} must be a number of at least 0, not {weight}"
                )
        if not any(weights.values()):
            raise ValueError(f"one of the shares of {', '.join(weights)} must be above 0")
        if not (0.0 <= self.min_share <= self.max_share <= 1.0 and self.max_share > 0.0):
            raise ValueError(
                "holes must cover shares between 0 and 1, the least first, not"
                f" {self.min_share} to {self.max_share}"
            )
        if self.objects and len(self.templates) == 0:
            raise ValueError("masks from objects need templates; set their share to 0 or give some")
        if self.files and len(self.mask_paths) == 0:
            raise ValueError("masks from files need mask files; set their share to 0 or give some")
        if len(self.mask_paths) and not self.files:
            raise ValueError("the mask files would not be used; give masks from files a share")

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """Draw one mask; the same state of `rng` gives the same mask.

        Returns:
            uint8 [height, width, 1] of 0 and 1 (1 is the hole). The share of ones lies between
            `min_share` and `max_share`, and at least one pixel is a hole.

        Raises:
            ValueError: if no number of pixels lies between the two shares, or if a template or
                mask file is blank.
            image_io.ImageError: if a mask file cannot be read.
        """
        drawn = self.strokes + self.objects
        weights = np.array([drawn, self.boxes, self.files], float)
        kind = rng.choice(3, p=weights / weights.sum()) if self.boxes or self.files else 0
        size, limits = (height, width), (self.min_share, self.max_share)
        if kind == 0:
            return masks.random_mask(rng, *size, self.templates, self.strokes / drawn, *limits)
        if kind == 1:
            return box(rng, *size, *limits)[..., None]
        return mask_from_files(rng, *size, self.mask_paths, *limits)[..., None]


def box(
    rng: np.random.Generator,
    height: int,
    width: int,
    min_share: float = 0.01,
    max_share: float = 0.25,
) -> np.ndarray:
    """Draw one rectangle of random area, aspect and place, all of it inside the mask.

    Its area is spread evenly between the two shares (0 to 1) of the mask. One side is up to 3 times
    the other, or more where nothing else fits. Returns uint8 [height, width] of 0 and 1 (1 is the
    hole); where no rectangle has an area between the shares, a nearly rectangular hole has. Raises
    ValueError if no number of pixels lies between the two shares.
    """
    least, most = masks.pixel_limits(height, width, min_share, max_share)
    area = rng.uniform(least, most)
    aspects = np.clip([1 / _SLIMMEST_BOX, _SLIMMEST_BOX], area / height**2, width**2 / area)
    wanted = math.sqrt(area / math.exp(rng.uniform(*np.log(aspects))))
    # Of small or narrowly bounded boxes, few have whole sides: take the height next to the wanted
    # one for which some width gives an area within the bounds.
    heights = np.arange(1, height + 1)
    narrowest, widest = -(-least // heights), np.minimum(most // heights, width)
    off = np.abs(heights - wanted) + np.where(narrowest <= widest, 0.0, 2.0 * height)
    nearest = int(off.argmin())
    box_height = int(heights[nearest])
    box_width = max(1, int(np.clip(round(area / box_height), narrowest[nearest], widest[nearest])))
    top = int(rng.integers(height - box_height + 1))
    left = int(rng.integers(width - box_width + 1))
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + box_height, left : left + box_width] = 1
    if least <= box_height * box_width <= most:
        return mask
    return masks.with_area(rng, mask, least)


def find_masks(folder: str | Path) -> tuple[Path, ...]:
    """List the mask files under a folder, recursively, in a fixed order.

    Files with an extension of `image_io.SUFFIXES` count. Raises ValueError if the folder does not
    exist or holds no such file.
    """
    paths = tuple(image_io.list_photos(folder))
    if not paths:
        suffixes = ", ".join(image_io.SUFFIXES)
        raise ValueError(f"{folder}: no mask files in it; files named {suffixes} count")
    return paths


def mask_from_files(
    rng: np.random.Generator,
    height: int,
    width: int,
    paths: tuple,
    min_share: float = 0.01,
    max_share: float = 0.25,
) -> np.ndarray:
    """Read one of the mask files, turned by a multiple of 90 degrees, mirrored or not, and resized.

    The alpha channel is taken if it varies, else the luminance; values above 127 of 255 are the
    hole. Where the hole's share is outside `min_share` to `max_share` (0 to 1), up to 4 other files
    are tried, and then a hole is shrunk or grown along its outline. Returns uint8 [height, width]
    of 0 and 1 (1 is the hole). Raises image_io.ImageError if a file cannot be read, and ValueError
    if only blank files were met or no number of pixels lies between the two shares.
    """
    least, most = masks.pixel_limits(height, width, min_share, max_share)
    outside = None
    for number in rng.choice(len(paths), min(_TRIES, len(paths)), replace=False):
        path = paths[number]
        quarters = int(rng.integers(4))
        size = (height, width) if quarters % 2 == 0 else (width, height)
        mask = np.rot90(_unpacked(_packed_mask(path, *size), *size), quarters)
        if rng.random() < 0.5:
            mask = mask[:, ::-1]
        mask = np.ascontiguousarray(mask)
        covered = cv2.countNonZero(mask)
        if least <= covered <= most:
            return mask
        if 0 < covered < mask.size:
            outside = mask
    if outside is None:
        raise ValueError(f"{path}: the mask is all black or all white; white must mark a hole")
    return masks.with_area(rng, outside, least if outside.sum() < least else most)


# Bits, not bytes: 256 masks of 512 x 512 then take 8 MB.
@functools.lru_cache(maxsize=256)
def _packed_mask(path: str | Path, height: int, width: int) -> np.ndarray:
    return np.packbits(_resized(_read_hole(path), height, width))


def _unpacked(bits: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.unpackbits(bits, count=height * width).reshape(height, width)


def _read_hole(path: str | Path) -> np.ndarray:
    """The mask in a file, uint8 [H, W] of 0 and 1, at the file's own size."""
    _, white = image_io.white_of(image_io.read_photo(path))
    return white.astype(np.uint8)


def _resized(hole: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a hole so that its outline stays in place and nothing thin vanishes."""
    if hole.shape == (height, width):
        return hole
    # OpenCV averages areas only where no side grows.
    smaller = (min(width, hole.shape[1]), min(height, hole.shape[0]))
    soft = cv2.resize(hole.astype(np.float32), smaller, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    # Beside full cover about half makes a hole, but along a thin line less will do: compared with
    # exactly half of their neighbours, lines break where two pixels share them evenly.
    firm = (soft > 0.45 * cv2.dilate(soft, np.ones((3, 3)))).astype(np.uint8)
    return firm | ((soft > 0) & (cv2.dilate(firm, np.ones((3, 3))) == 0))
