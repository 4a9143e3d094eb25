"""Random training masks: brush strokes and object shapes.

Follows "Random mask generation", section 3.5 of Yi et al., "Contextual Residual Aggregation for
Ultra High-Resolution Image Inpainting" (CVPR 2020): some holes imitate tears, scratches, spots and
manual erasing, the others are object silhouettes that are rotated, flipped, scaled and moved at
random. In every mask and template 1 marks the hole and 0 the picture that stays. All randomness
comes from the `rng` argument: the same state gives the same result.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

_LONGEST_TEMPLATE = 512


def _round_corners(points: np.ndarray) -> np.ndarray:
    for _ in range(2):  # Chaikin's corner cutting
        head, tail = points[:-1], points[1:]
        cut = np.stack([0.75 * head + 0.25 * tail, 0.25 * head + 0.75 * tail], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


def _draw_path(canvas: np.ndarray, points: np.ndarray, widths: np.ndarray) -> None:
    # OpenCV ends every thick line with a half disc, which gives the round joints for free.
    corners = np.rint(points).astype(int).tolist()
    for a, b, width in zip(
        corners, corners[1:], np.rint(widths).astype(int).tolist(), strict=False
    ):
        cv2.line(canvas, a, b, 1, max(1, width))


def _oval(canvas: np.ndarray, x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> None:
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
    points = _round_corners(np.concatenate([start[None], start + np.cumsum(moves, axis=0)]))
    swell = 1.0 + 0.25 * np.sin(np.linspace(0.0, rng.uniform(1.0, 9.0), len(points)))
    _draw_path(canvas, points, swell * rng.uniform(0.02, 0.09) * size)


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
    _draw_path(canvas, points, taper * broad * size)


def _draw_spots(rng: np.random.Generator, canvas: np.ndarray, centre: np.ndarray, size: float):
    """A few stains near each other."""
    spread, largest = rng.uniform(0.03, 0.3) * size, rng.uniform(0.012, 0.06) * size
    for _ in range(int(rng.integers(1, 9))):
        x, y = centre + rng.normal(0.0, spread, 2)
        radius = largest * rng.uniform(0.3, 1.0)
        _oval(canvas, x, y, radius, radius * rng.uniform(0.5, 1.0), rng.uniform(0.0, 180.0))


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


def _resized(shape: np.ndarray, scale: float) -> np.ndarray:
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
        shape, scale = _resized(shape, scale), 1.0
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


def _crop(shape: np.ndarray) -> np.ndarray:
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
        shape = _crop((picture > 127).astype(np.uint8))
        if shape.size == 0:
            raise ValueError(f"mask template has no white shape: {path}")
        if max(shape.shape) > _LONGEST_TEMPLATE:
            shape = _resized(shape, _LONGEST_TEMPLATE / max(shape.shape))
        templates.append(shape)
    return templates


# The silhouettes below are drawn with numbers for a canvas of 256 x 256.


def _limb(canvas: np.ndarray, points: Sequence[tuple[float, float]], start: float, end: float):
    path = _round_corners(np.array(points, float))
    _draw_path(canvas, path, np.linspace(start, end, len(path)))


def _polygon(canvas: np.ndarray, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray):
    cv2.fillPoly(canvas, [np.rint(np.column_stack([x, y])).astype(np.int32)], 1)


def _blob(rng: np.random.Generator, canvas: np.ndarray) -> None:
    angles, orders = np.linspace(0.0, 2 * math.pi, 180), np.arange(1, 9)[:, None]
    waves = np.cos(orders * angles + rng.uniform(0.0, 2 * math.pi, (8, 1))) / orders
    strengths = rng.normal(0.0, rng.uniform(0.1, 0.3), (8, 1))
    radii = 60.0 * np.clip(1.0 + (strengths * waves).sum(axis=0), 0.25, 1.75)
    flat = rng.uniform(0.5, 1.0)
    _polygon(canvas, 128 + radii * np.cos(angles), 128 + flat * radii * np.sin(angles))


def _person(rng: np.random.Generator, canvas: np.ndarray) -> None:
    broad, neck = rng.uniform(15, 24), 128 + rng.uniform(-8, 8)
    _oval(canvas, neck, 50, rng.uniform(10, 14), rng.uniform(13, 17))
    _limb(canvas, [(neck, 55), (neck, 78)], 13, 13)
    hips = 0.8 * broad
    _polygon(canvas, [neck - broad, neck + broad, 128 + hips, 128 - hips], [76, 76, 140, 140])
    if rng.random() < 0.25:
        hem = broad * rng.uniform(1.2, 1.8)
        _polygon(canvas, [114, 142, 128 + hem, 128 - hem], [110, 110, 195, 195])
    for side in (-1, 1):
        lift, foot = rng.uniform(-35, 60), 128 + side * rng.uniform(8, 32)
        elbow = (neck + side * (broad + rng.uniform(4, 30)), 100 + 0.2 * lift)
        hand = (elbow[0] + side * rng.uniform(-18, 14), elbow[1] + lift)
        _limb(canvas, [(neck + side * (broad - 5), 81), elbow, hand], 14, 8)
        _limb(canvas, [(128 + side * 9, 135), (128 + side * 13, 180), (foot, 228)], 20, 11)
        _oval(canvas, foot + side * 4, 229, 10, 5)


def _animal(rng: np.random.Generator, canvas: np.ndarray) -> None:
    long, deep, leg = rng.uniform(42, 65), rng.uniform(18, 32), rng.uniform(22, 60)
    _oval(canvas, 120, 120, long, deep)
    x, y = 120 + long + rng.uniform(5, 25), 115 - rng.uniform(5, 50)
    _limb(canvas, [(120 + 0.7 * long, 115), (118 + long, 60 + 0.4 * y), (x, y)], 1.2 * deep, 14)
    _oval(canvas, x + 6, y, rng.uniform(13, 20), rng.uniform(9, 13), rng.uniform(0, 35))
    _limb(canvas, [(x, y - 4), (x - 5, y - 6 - rng.uniform(8, 22))], 8, 4)
    for hip in 120 + long * np.array([-0.8, -0.55, 0.5, 0.75]):
        knee, foot = hip + rng.uniform(-10, 10), hip + rng.uniform(-14, 14)
        path = [(hip, 122), (knee, 120 + deep + 0.4 * leg), (foot, 120 + deep + leg)]
        _limb(canvas, path, rng.uniform(0.5, 0.7) * deep, 8)
    tail = (115 - long - rng.uniform(0, 35), 120 + rng.uniform(-50, 40))
    _limb(canvas, [(125 - long, 112), (112 - long, 100), tail], 9, 5)


def _car(rng: np.random.Generator, canvas: np.ndarray) -> None:
    half, roof, hood = rng.uniform(75, 100), rng.uniform(85, 108), rng.uniform(118, 128)
    back, front = rng.uniform(0.45, 0.95), rng.uniform(0.2, 0.4)
    x = np.array([-1, -0.97, -back, -0.75 * back, 0.6 * front, front + 0.15, 0.93, 1])
    _polygon(canvas, 128 + half * x, [158, hood, hood - 3, roof, roof, hood - 3, hood + 6, 158])
    wheel = rng.uniform(15, 20)
    _oval(canvas, 128 - 0.6 * half, 158, wheel, wheel)
    _oval(canvas, 128 + 0.6 * half, 158, wheel, wheel)


def _bottle(rng: np.random.Generator, canvas: np.ndarray) -> None:
    neck, body, waist = rng.uniform(8, 14), rng.uniform(24, 42), rng.uniform(0.7, 1.1)
    half = np.array([neck + 3, neck + 3, neck, neck, 0.85 * body, body, waist * body, 0.9 * body])
    rows = np.array([40, 52, 54, 90, 115, 150, 190, 220])
    _polygon(canvas, np.append(128 + half, 128 - half[::-1]), np.append(rows, rows[::-1]))
    if rng.random() < 0.3:
        side = 128 + body
        _limb(canvas, [(side - 8, 120), (side + 45, 125), (side + 35, 175), (side - 10, 195)], 9, 9)


def _plant(rng: np.random.Generator, canvas: np.ndarray) -> None:
    top = np.array([128 + rng.uniform(-20, 20), rng.uniform(80, 110)])
    _limb(canvas, [(128, 230), (128 + rng.uniform(-15, 15), 160), top], rng.uniform(6, 22), 6)
    spread = rng.uniform(18, 42)
    for _ in range(int(rng.integers(3, 12))):
        x, y = top + rng.normal(0.0, 0.6 * spread, 2)
        _oval(canvas, x, y, spread * rng.uniform(0.4, 0.9), spread * 0.4, rng.uniform(0, 180))


_OBJECTS = (_blob, _person, _animal, _car, _bottle, _plant)


def _silhouette(rng: np.random.Generator, kind: int) -> np.ndarray:
    canvas = np.zeros((256, 256), np.uint8)
    _OBJECTS[kind](rng, canvas)
    # A gentle bend and a blur hide the ruler-drawn parts and fuse the joints.
    bend = rng.normal(0.0, rng.uniform(2.0, 8.0), (5, 5, 2))
    bend = cv2.resize(bend, (256, 256), interpolation=cv2.INTER_CUBIC)
    rows, columns = (np.mgrid[:256, :256] + bend.transpose(2, 0, 1)).astype(np.float32)
    bent = cv2.remap(canvas * np.uint8(255), columns, rows, cv2.INTER_LINEAR)
    return _crop((cv2.GaussianBlur(bent, (0, 0), 2.0) > 127).astype(np.uint8))


def generated_templates(rng: np.random.Generator, count: int = 64) -> list[np.ndarray]:
    """Draw `count` object-like silhouettes, so that training needs no template files.

    Blobs with a smooth random outline and rough people, animals, cars, bottles and plants take
    turns; one in five is a group of two or three. Returns uint8 arrays of 0 and 1 (1 is the
    shape), of varying sizes, cropped to the shape.
    """
    templates = []
    for index in range(count):
        shape = _silhouette(rng, index % len(_OBJECTS))
        for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.2 else 0):
            # A group stands on one ground line and may overlap, as in a photograph.
            other = _silhouette(rng, int(rng.integers(len(_OBJECTS))))
            other = _resized(other, rng.uniform(0.5, 1.0))
            start = int(shape.shape[1] * rng.uniform(0.6, 1.1))
            columns = max(shape.shape[1], start + other.shape[1])
            group = np.zeros((max(shape.shape[0], other.shape[0]), columns), np.uint8)
            group[-shape.shape[0] :, : shape.shape[1]] = shape
            group[-other.shape[0] :, start : start + other.shape[1]] |= other
            shape = group
        templates.append(shape)
    return templates


def _with_area(rng: np.random.Generator, mask: np.ndarray, pixels: int) -> np.ndarray:
    """Shrink or grow a hole evenly along its outline until it has exactly this many pixels."""
    if not mask.any():
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
    # The margin keeps a bound that is a whole number of pixels from being lost to rounding.
    least = max(1, math.ceil(min_share * height * width - 1e-6))
    most = math.floor(max_share * height * width + 1e-6)
    if not (0.0 <= min_share <= max_share <= 1.0 and least <= most):
        raise ValueError(f"no hole in {height} x {width} covers {min_share} to {max_share} of it")
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
    return _with_area(rng, mask, least if covered < least else most)[..., None]
