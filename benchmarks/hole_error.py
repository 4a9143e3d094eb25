"""Error inside holes, of the shipped weights and of OpenCV: python benchmarks/hole_error.py PHOTOS

The middle 512 x 512 pixels of each photo (enlarged where they are less), one random hole each, the
same for every method. Prints the mean absolute error over all hole pixels, in grey levels of 255.
"""

import argparse

import cv2
import numpy as np

from hifill import Inpainter, masks, silhouettes
from hifill.photo_sources import open_photos

SIZE = 512


def middle(pixels):
    scale = max(1, SIZE / min(pixels.shape[:2]))
    height, width = (max(SIZE, round(side * scale)) for side in pixels.shape[:2])
    if scale > 1:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    return np.ascontiguousarray(pixels[top : top + SIZE, left : left + SIZE])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "photos", help="photos that no method was trained on: a folder, for example"
    )
    parser.add_argument("--weights", help="weights file or run instead of the shipped weights")
    parser.add_argument("--count", type=int, default=60, help="photos to take, evenly spaced")
    arguments = parser.parse_args()
    photos = open_photos(arguments.photos)
    count = min(arguments.count, len(photos))
    inpainter = Inpainter(arguments.weights)
    methods = {
        "hifill": inpainter,
        "telea": lambda image, hole: cv2.inpaint(image, hole, 3, cv2.INPAINT_TELEA),
        "mean of the known pixels": lambda image, hole: np.where(
            hole > 0, image[hole[..., 0] == 0].mean(0), image
        ),
    }
    templates = silhouettes.generated_templates(np.random.default_rng(0))
    errors = {name: [] for name in methods}
    for i in range(count):
        image = middle(photos.read(i * len(photos) // count))
        hole = masks.random_mask(np.random.default_rng(i), SIZE, SIZE, templates)
        inside = hole[..., 0] > 0
        for name, fill in methods.items():
            filled = np.asarray(fill(image, hole * np.uint8(255)), np.float32)
            errors[name].append(np.abs(filled - image)[inside].ravel())
    for name, error in errors.items():
        print(f"{name:>25} {np.concatenate(error).mean():6.2f}")


if __name__ == "__main__":
    main()
