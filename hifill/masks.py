"""Random holes drawn for training: brush strokes and object shapes.

Follows "Random mask generation", section 3.5 of Yi et al., "Contextual Residual Aggregation for
Ultra High-Resolution Image Inpainting" (CVPR 2020): some holes imitate tears, scratches, spots and
manual erasing, the others are object silhouettes that are rotated, flipped, scaled and moved at
random. `mask_mix` adds boxes and mask files. In every mask and template 1 marks the hole and 0 the
picture that stays. All randomness comes from the `rng` argument: the same state gives the same
result.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

_LONGEST_TEMPLATE = 512


def round_corners(points: np.ndarray) -> np.ndarray:
    """Smooth a path of points [N, 2] (x, y), keeping its two ends."""
    for _ in range(2):  # Chaikin's corner cutting
        head, tail = points[:-1], points[1:]
        cut = np.stack([0.75 * head + 0.25 * tail, 0.25 * head + 0.75 * tail], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


def draw_path(canvas: np.ndarray, points: np.ndarray, widths: np.ndarray) -> None:
    """Draw a thick path with 1: points [N, 2] (x, y), and a width for each piece between them."""
    # OpenCV ends every thick line with a half disc, which gives the round joints for free.
    corners = np.rint(points).astype(int).tolist()
    for a, b, width in zip(
        corners, corners[1:], np.rint(widths).astype(int).tolist(), strict=False
    ):
        cv2.line(canvas, a, b, 1, max(1, width))


def draw_oval(
    canvas: np.ndarray, x: float, y: float, rx: float, ry: float, tilt: float = 0.0
) -> None:
    """Fill an oval with 1: its centre, its two radii, its tilt in degrees."""
    axes = (max(1, round(rx)), max(1, round(ry)))
    cv2.ellipse(canvas, (round(x), round(y)), axes, tilt, 0.0, 360.0, 1, cv2.FILLED)


def _draw_sweep(rng: np.random.Generator, canvas: np.ndarray, start: np.ndarray, size: float):
    """One movement of an erasing brush: a wandering curve, or scrubbing to and fro."""
    count = int(rng.integers(3, 11))
    scrubbing = rng.random() < 0.35
    turns = rng.normal(0.0, 0.3 if scrubbing else 0.8, count)
    turns[0] = rng.uniform(0.0, 2 * math.pi)
    headings = np.cumsum(turns) + (math.pi * (np.arange(count) % 2) if scrubbing else 0.0)
    steps = rng.uniform(0.06, 0.22, count) * size
    moves = steps[:, None] * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    points = round_corners(np.concatenate([start[None], start + np.cumsum(moves, axis=0)]))
    swell = 1.0 + 0.25 * np.sin(np.linspace(0.0, rng.uniform(1.0, 9.0), len(points)))
    draw_path(canvas, points, swell * rng.uniform(0.02, 0.09) * size)


def _draw_scratch(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, size: float):
    """A scratch, or a wider and more ragged tear: long, nearly straight, thin at its ends."""
    tear = rng.random() < 0.4
    count = int(rng.integers(8, 20))
    along = np.linspace(-0.5, 0.5, count)[:, None] * rng.uniform(0.3, 1.3)
    bow = rng.normal(0.0, 0.12) * np.cos(np.linspace(-1.5, 1.5, count))[:, None]
    ragged = rng.normal(0.0, 0.016 if tear else 0.002, (count, 1))
    heading = rng.uniform(0.0, math.pi)
    forward = np.array([[math.cos(heading), math.sin(heading)]])
    sideways = forward[:, ::-1] * (-1.0, 1.0)
    taper = np.sin(np.linspace(0.15, math.pi - 0.15, count)) * rng.uniform(0.6, 1.2, count)
    broad = rng.uniform(0.012, 0.045) if tear else rng.uniform(0.003, 0.012)
    points = centre + size * (along * forward + (bow + ragged) * sideways)
    draw_path(canvas, points, taper * broad * size)


def _draw_spots(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, size: float):
    """A few stains near each other."""
    spread, largest = rng.uniform(0.03, 0.3) * size, rng.uniform(0.012, 0.06) * size
    for _ in range(int(rng.integers(1, 9))):
        x, y = centre + rng.normal(0.0, spread, 2)
        radius = largest * rng.uniform(0.3, 1.0)
        draw_oval(canvas, x, y, radius, radius * rng.uniform(0.5, 1.0), rng.uniform(0.0, 180.0))


def brush_strokes(
    rng: np.random.Generator, height: int, width: int, max_share: float = 0.25
) -> np.ndarray:
    """Draw tears, scratches, spots and manual erasing, sized to suit the picture.

    Returns uint8 [height, width] of 0 and 1 (1 is the hole). The hole covers at most `max_share`
    (0 to 1) of it; it can be arbitrarily small, and empty where no stroke fits the limit.
    """
    # The cap keeps strips, such as 33 x 900, from being crossed by strokes wider than they are.
    size = min(math.sqrt(height * width), 3.0 * min(height, width))
    limit = max_share * height * width
    wanted = rng.uniform(0.0, 1.0) * limit
    # Damage of one picture mostly has one cause, so one tool dominates each mask.
    odds = np.full(3, 0.1)
    odds[rng.choice(3, p=[0.56, 0.24, 0.2])] = 0.8
    mask = np.zeros((height, width), np.uint8)
    for _ in range(16):
        longer = mask.copy()
        draw = (_draw_sweep, _draw_scratch, _draw_spots)[rng.choice(3, p=odds)]
        draw(rng, longer, rng.uniform(0.0, 1.0, 2) * (width, height), size)
        covered = cv2.countNonZero(longer)
        if covered <= limit:
            mask = longer
            if covered >= wanted:
                break
    return mask


def resized(shape: np.ndarray, scale: float) -> np.ndarray:
    """Shrink a shape of 0 and 1 to `scale` times its size."""
    size = (max(1, round(shape.shape[1] * scale)), max(1, round(shape.shape[0] * scale)))
    soft = cv2.resize(shape * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    # A shape thinner than half a pixel keeps its brightest trace.
    return (soft > min(127, int(soft.max()) - 1)).astype(np.uint8)


def object_shape(
    rng: np.random.Generator,
    height: int,
    width: int,
    templates: Sequence[np.ndarray],
    max_share: float = 0.25,
) -> np.ndarray:
    """Place one template at a random angle, size and position, mirrored or not.

    `templates` are 2-D uint8 or bool arrays of any size; what is not 0 is the shape. Its whole
    area is at most `max_share` (0 to 1) of the mask, up to the rounding of its outline, and it may
    leave the mask partly. Returns uint8 [height, width] of 0 and 1 (1 is the hole), empty only
    where a shape is too thin to show at its size. Raises ValueError if there is no template, or
    the chosen one is not 2-D or is blank.
    """
    if len(templates) == 0:
        raise ValueError("object shapes need at least one template")
    template = np.asarray(templates[int(rng.integers(len(templates)))])
    if template.ndim != 2 or not template.any():
        raise ValueError(f"a template must be 2-D and not blank, got shape {template.shape}")
    shape = (template != 0).astype(np.uint8)
    area = rng.uniform(0.04, 1.0) * max_share * height * width
    # Thin, spread-out shapes would otherwise grow until only a piece of one limb is in view.
    largest = 1.2 * max(height, width) / max(shape.shape)
    scale = min(math.sqrt(area / cv2.countNonZero(shape)), largest)
    if scale < 0.5:
        # Bilinear sampling skips pixels when it shrinks this much, which frays the outline.
        shape, scale = resized(shape, scale), 1.0
    angle = rng.uniform(0.0, 2 * math.pi)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) * rng.choice([-1.0, 1.0], 2)
    # Pinning a point of the shape, not its centre, to the mask keeps some of it in view.
    row, column = divmod(int(rng.choice(np.flatnonzero(shape))), shape.shape[1])
    shift = rng.uniform(0.1, 0.9, 2) * (width, height) - linear @ (column, row)
    placed = cv2.warpAffine(
        shape * np.uint8(255), np.column_stack([linear, shift]), (width, height)
    )
    return (placed > 127).astype(np.uint8)


def crop(shape: np.ndarray) -> np.ndarray:
    """Cut a shape of 0 and 1 down to the box that holds its ones."""
    left, top, width, height = cv2.boundingRect(shape)
    return shape[top : top + height, left : left + width].copy()


def load_templates(folder: str | Path) -> list[np.ndarray]:
    """Read every PNG and JPEG in a folder and its subfolders, in the order of their sorted paths.

    White (above 127) is the shape. Returns uint8 arrays of 0 and 1 (1 is the shape), cropped to the
    shape, with a long side of at most 512. Raises ValueError if the folder holds no such file, or
    one is unreadable or has no white.
    """
    found = Path(folder).rglob("*")
    paths = sorted(path for path in found if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    if not paths:
        raise ValueError(f"no PNG or JPEG mask templates in {folder}")
    templates = []
    for path in paths:
        try:
            picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
        except (OSError, cv2.error) as error:
            raise ValueError(f"cannot read mask template {path}") from error
        if picture is None:
            raise ValueError(f"cannot read mask template {path}")
        shape = crop((picture > 127).astype(np.uint8))
        if shape.size == 0:
            raise ValueError(f"mask template has no white shape: {path}")
        if max(shape.shape) > _LONGEST_TEMPLATE:
            shape = resized(shape, _LONGEST_TEMPLATE / max(shape.shape))
        templates.append(shape)
    return templates


def pixel_limits(height: int, width: int, min_share: float, max_share: float) -> tuple[int, int]:
    """Give the least and the most pixels, at least one, that a hole with such a share may cover.

    Raises ValueError if no number of pixels lies between the two shares (0 to 1).
    """
    # The margin keeps a bound that is a whole number of pixels from being lost to rounding.
    least = max(1, math.ceil(min_share * height * width - 1e-6))
    most = math.floor(max_share * height * width + 1e-6)
    if not (0.0 <= min_share <= max_share <= 1.0 and least <= most):
        raise ValueError(f"no hole in {height} x {width} covers {min_share} to {max_share} of it")
    return least, most


def with_area(rng: np.random.Generator, mask: np.ndarray, pixels: int) -> np.ndarray:
    """Shrink or grow a hole evenly along its outline until it has exactly this many pixels.

    `mask` is uint8 [H, W] of 0 and 1 (1 is the hole), and so is the result. A blank mask gets a
    round hole at a random place.
    """
    if not mask.any():
        mask = mask.copy()
        mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = 1
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    depth -= cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    exact = np.zeros(mask.size, np.uint8)
    exact[np.argpartition(depth, mask.size - pixels, axis=None)[mask.size - pixels :]] = 1
    return exact.reshape(mask.shape)


def random_mask(
    rng: np.random.Generator,
    height: int,
    width: int,
    templates: Sequence[np.ndarray],
    stroke_share: float = 0.5,
    min_share: float = 0.01,
    max_share: float = 0.25,
) -> np.ndarray:
    """Make one training mask: brush strokes, an object shape, or at times both.

    `templates` are as for `object_shape`, and may be empty when `stroke_share` is 1. A
    `stroke_share` of 0 gives shapes only and 1 strokes only; in between, it is the chance of
    strokes, and up to 15 % of the masks get both. Returns uint8 [height, width, 1] of 0 and 1
    (1 is the hole); the share of ones lies between `min_share` and `max_share` (0 to 1), and at
    least one pixel is a hole. Raises ValueError if `stroke_share` is outside 0 to 1, if no number
    of pixels lies between the two shares, or if a template is needed and missing or blank.
    """
    if not 0.0 <= stroke_share <= 1.0:
        raise ValueError(f"stroke_share must be 0 to 1, got {stroke_share}")
    least, most = pixel_limits(height, width, min_share, max_share)
    both = rng.random() < 0.6 * stroke_share * (1.0 - stroke_share)
    strokes = rng.random() < stroke_share
    limit = max_share / 2 if both else max_share
    for _ in range(4):
        mask = np.zeros((height, width), np.uint8)
        if strokes or both:
            mask |= brush_strokes(rng, height, width, limit)
        if both or not strokes:
            mask |= object_shape(rng, height, width, templates, limit)
        covered = cv2.countNonZero(mask)
        if least <= covered <= most:
            return mask[..., None]
    # Narrow bounds and odd sizes can miss every time; the last try then gives the outline.
    return with_area(rng, mask, least if covered < least else most)[..., None]
