"""Twenty fills chosen by a seed: python benchmarks/picture_sheet.py PHOTOS OUT.jpg --seed=0

Random 512 x 512 pieces of the photos, at random scales, with random holes: the hole, our fill and
that of OpenCV's Telea, two to a line, and the mean errors below each. Nothing is left out.
"""

import argparse

import cv2
import numpy as np

from hifill import data, image_io, inpaint, mask_mix, photo_sources, silhouettes
from hifill.evaluation.l1 import hole_l1_grey_levels
from hifill.evaluation.methods import make_method

COUNT, SHOWN = 20, 224  # pictures; side in pixels in which each is shown


def strip(photo, hole, fills):
    """One picture's results in a row, and a line of text: [SHOWN + 20, 3 * SHOWN + 16, 3]."""
    results = [fill(np.where(hole[..., None], np.uint8(0), photo), hole) for fill in fills]
    _, blank, first = np.split(inpaint.comparison(photo, hole, results[0]), 3, axis=1)
    row = [
        cv2.resize(picture, (SHOWN, SHOWN), interpolation=cv2.INTER_AREA)
        for picture in (blank, first, results[1])
    ]
    row = np.pad(np.concatenate(row, axis=1), ((0, 20), (0, 16), (0, 0)), constant_values=255)
    texts = [f"hole {100 * hole.mean():.0f} %"]
    for name, result in zip(("HiFill", "Telea"), results, strict=True):
        texts.append(f"{name} {hole_l1_grey_levels(photo, hole, result):.1f}")
    for i, text in enumerate(texts):
        place = (4 + i * SHOWN, SHOWN + 15)
        cv2.putText(row, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="anything that training takes")
    parser.add_argument("output", help="picture to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="as for hifill-inpaint")
    arguments = parser.parse_args()
    templates = silhouettes.generated_templates(np.random.default_rng(arguments.seed))
    samples = data.Samples(
        photo_sources.open_photos(arguments.photos),
        mask_mix.MaskMix(templates=tuple(templates), max_share=0.4),
        512,
        seed=arguments.seed,
        min_scale=0.2,
    )
    fills = make_method("hifill", arguments.weights), make_method("telea")
    strips = []
    for number in range(COUNT):
        photo, mask = samples.sample(number)[:2]
        strips.append(strip(np.ascontiguousarray(photo), mask[..., 0] > 0, fills))
    rows = [np.concatenate(strips[i : i + 2], axis=1) for i in range(0, COUNT, 2)]
    sheet = np.concatenate(rows)
    image_io.write_photo(arguments.output, sheet, image_io.Photo(sheet), quality=88)


if __name__ == "__main__":
    main()
