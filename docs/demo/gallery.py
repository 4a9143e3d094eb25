"""Fills that go well and fills that fail, for docs/filling.md: python docs/demo/gallery.py OUTPUT

Photos of the package and of scikit-image, with holes drawn here.
"""

import pathlib
import sys

import cv2
import numpy as np
import skimage.data

import hifill
from demo import PHOTOS, labelled, overview
from hifill import image_io

# Each hole: a photo, what it is, strokes as (width, points), and where to look (left, top, right,
# bottom; None is all of it). All in pixels.
GOOD = (
    ("dunes", "people and shadows; the ridge bulges", None, (860, 1860, 1720, 2434)),
    ("colosseum", "tears", None, (1000, 300, 1720, 780)),
    ("launch", "a tower", None, None),
    (
        "chelsea",
        "scratches",
        [(7, [(20, 40), (200, 90), (430, 20)]), (7, [(60, 290), (250, 180), (440, 260)])],
        None,
    ),
)
FAILED = (
    ("astronaut", "a face is not invented", [(90, [(215, 90), (225, 150)])], (60, 0, 420, 240)),
    ("coffee", "what stands alone is not completed", [(90, [(390, 150), (400, 260)])], None),
    (
        "colosseum",
        "large holes lose their structure",
        [(420, [(700, 500), (1000, 800)])],
        (100, 60, 1900, 1260),
    ),
    ("launch", "half a thing becomes a stump", [(90, [(330, 130), (330, 190)])], None),
)


def photo_named(name):
    path = PHOTOS / f"{name}.jpg"
    return image_io.read_photo(path).pixels if path.exists() else getattr(skimage.data, name)()


def hole_of(name, strokes, size):
    """The hole that the package has for a photo, or that of strokes: -> bool [H, W]."""
    if strokes is None:
        return image_io.read_mask(PHOTOS / f"{name}_mask.png", size)
    drawn = np.zeros(size, np.uint8)
    for width, points in strokes:
        cv2.polylines(drawn, [np.array(points)], False, 255, width)
    return drawn > 0


def main(output):
    inpainter = hifill.Inpainter()
    for title, cases in (("good", GOOD), ("failed", FAILED)):
        rows = []
        for name, what, strokes, place in cases:
            photo = photo_named(name)
            hole = hole_of(name, strokes, photo.shape[:2])
            filled = inpainter(photo, hole)
            left, top, right, bottom = place or (0, 0, photo.shape[1], photo.shape[0])
            shown = [np.where(hole[..., None], np.uint8(255), photo), filled]
            crops = [overview(picture[top:bottom, left:right]) for picture in shown]
            size = f"{name}, {photo.shape[1]} x {photo.shape[0]}: {what}"
            rows.append(np.concatenate([labelled(crops[0], size), labelled(crops[1], "")], axis=1))
        sheet = np.concatenate(rows)
        sheet = cv2.resize(sheet, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
        path = pathlib.Path(output) / f"gallery_{title}.jpg"
        image_io.write_photo(path, sheet, image_io.Photo(sheet), quality=80)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1])
