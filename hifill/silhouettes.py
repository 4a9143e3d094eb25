"""Object-like silhouettes, drawn at random: mask templates for training without template files.

Every silhouette is drawn with numbers for a canvas of 256 x 256; 1 marks the shape. All randomness
comes from the `rng` argument: the same state gives the same result.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from hifill.masks import crop, draw_oval, draw_path, resized, round_corners


def _limb(canvas: np.ndarray, points: Sequence[tuple[float, float]], start: float, end: float):
    path = round_corners(np.array(points, float))
    draw_path(canvas, path, np.linspace(start, end, len(path)))


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
    draw_oval(canvas, neck, 50, rng.uniform(10, 14), rng.uniform(13, 17))
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
        draw_oval(canvas, foot + side * 4, 229, 10, 5)


def _animal(rng: np.random.Generator, canvas: np.ndarray) -> None:
    long, deep, leg = rng.uniform(42, 65), rng.uniform(18, 32), rng.uniform(22, 60)
    draw_oval(canvas, 120, 120, long, deep)
    x, y = 120 + long + rng.uniform(5, 25), 115 - rng.uniform(5, 50)
    _limb(canvas, [(120 + 0.7 * long, 115), (118 + long, 60 + 0.4 * y), (x, y)], 1.2 * deep, 14)
    draw_oval(canvas, x + 6, y, rng.uniform(13, 20), rng.uniform(9, 13), rng.uniform(0, 35))
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
    draw_oval(canvas, 128 - 0.6 * half, 158, wheel, wheel)
    draw_oval(canvas, 128 + 0.6 * half, 158, wheel, wheel)


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
        draw_oval(canvas, x, y, spread * rng.uniform(0.4, 0.9), spread * 0.4, rng.uniform(0, 180))


_OBJECTS = (_blob, _person, _animal, _car, _bottle, _plant)


def _silhouette(rng: np.random.Generator, kind: int) -> np.ndarray:
    canvas = np.zeros((256, 256), np.uint8)
    _OBJECTS[kind](rng, canvas)
    # A gentle bend and a blur hide the ruler-drawn parts and fuse the joints.
    bend = rng.normal(0.0, rng.uniform(2.0, 8.0), (5, 5, 2))
    bend = cv2.resize(bend, (256, 256), interpolation=cv2.INTER_CUBIC)
    rows, columns = (np.mgrid[:256, :256] + bend.transpose(2, 0, 1)).astype(np.float32)
    bent = cv2.remap(canvas * np.uint8(255), columns, rows, cv2.INTER_LINEAR)
    return crop((cv2.GaussianBlur(bent, (0, 0), 2.0) > 127).astype(np.uint8))


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
            other = resized(other, rng.uniform(0.5, 1.0))
            start = int(shape.shape[1] * rng.uniform(0.6, 1.1))
            columns = max(shape.shape[1], start + other.shape[1])
            group = np.zeros((max(shape.shape[0], other.shape[0]), columns), np.uint8)
            group[-shape.shape[0] :, : shape.shape[1]] = shape
            group[-other.shape[0] :, start : start + other.shape[1]] |= other
            shape = group
        templates.append(shape)
    return templates
