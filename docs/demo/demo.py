"""Two repairs beside OpenCV's: python docs/demo/demo.py OUTPUT

Removes the hikers of dunes.jpg and mends the tears of colosseum.jpg, two photos of the package.
OUTPUT gets each photo as we fill it, and a picture of all methods with their times.
"""

import pathlib
import sys
import time

import cv2
import numpy as np

import hifill
from hifill import image_io, inpaint
from hifill.evaluation.methods import make_method

PHOTOS = pathlib.Path(hifill.__file__).parent / "demo_photos"
# Where to look, in full size: left, top.
PLACES = {"dunes": (1040, 1900), "colosseum": (1000, 330)}
WIDTH, HEIGHT = 720, 480
METHODS = {"hifill": "HiFill", "telea": "OpenCV, Telea", "navier-stokes": "OpenCV, Navier-Stokes"}


def labelled(picture, text):
    """A picture of WIDTH x HEIGHT with a line of text above it."""
    line = np.full((32, WIDTH, 3), 255, np.uint8)
    cv2.putText(line, text, (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([line, picture])


def overview(picture):
    """The whole picture, as large as fits."""
    scale = min(WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    below, right = HEIGHT - small.shape[0], WIDTH - small.shape[1]
    return np.pad(small, ((0, below), (0, right), (0, 0)), constant_values=255)


def main(output):
    output = pathlib.Path(output)
    fills = {name: make_method(name) for name in METHODS}
    fills["hifill"](np.zeros((64, 64, 3), np.uint8), np.eye(64, dtype=bool))  # compiles
    for name, (left, top) in PLACES.items():
        photo = image_io.read_photo(PHOTOS / f"{name}.jpg")
        hole = image_io.read_mask(PHOTOS / f"{name}_mask.png", photo.pixels.shape[:2])
        place = np.s_[top : top + HEIGHT, left : left + WIDTH]
        _, blank, _ = np.split(inpaint.comparison(photo.pixels, hole, photo.pixels), 3, axis=1)
        shown = [labelled(overview(blank), f"{name}.jpg, {hole.shape[1]} x {hole.shape[0]}")]
        details = [labelled(blank[place], "its hole, in full size")]
        for method, title in METHODS.items():
            start = time.perf_counter()
            filled = fills[method](photo.pixels, hole)
            text = f"{title}: {time.perf_counter() - start:.1f} s"
            print(f"{name}.jpg, {text}")
            details.append(labelled(filled[place], text))
            if method == "hifill":
                shown.append(labelled(overview(filled), title))
                image_io.write_photo(output / f"{name}.jpg", filled, photo)
        rows = [shown, details[:2], details[2:]]
        sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        compared = output / f"{name}_compared.jpg"
        image_io.write_photo(compared, sheet, image_io.Photo(sheet), quality=85)
    print(f"pictures: {output}")


if __name__ == "__main__":
    main(sys.argv[1])
