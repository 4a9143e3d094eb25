"""What a run's generator makes of a photo: python benchmarks/picture_grid.py RUN PHOTO OUT.png

Four random squares of the photo with holes; columns: photo, masked, coarse, refined, pasted, and
where the attention looks. PHOTO is anything that training takes, RUN also a weights file.
"""

import argparse

import numpy as np
import tensorflow as tf

from hifill import data, mask_mix, photo_sources, silhouettes, summaries
from hifill.training_step import network_range
from hifill.weights import load_generator


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run, or a weights file")
    parser.add_argument("photo", help="a photo, or a folder of them")
    parser.add_argument("output", help="PNG file to write")
    parser.add_argument("--size", type=int, default=256, help="side of the squares, in pixels")
    parser.add_argument("--min_scale", type=float, default=0.5, help="as train.py's")
    arguments = parser.parse_args()
    templates = tuple(silhouettes.generated_templates(np.random.default_rng(0)))
    samples = data.Samples(
        photo_sources.open_photos(arguments.photo),
        mask_mix.MaskMix(templates=templates, min_share=0.05),
        arguments.size,
        min_scale=arguments.min_scale,
    )
    images, masks, _ = next(iter(data.batches(samples, 4)))
    images, masks = network_range(images[0], masks[0])
    coarse, refined, attention = load_generator(arguments.run)([images * (1 - masks), masks])
    grid = summaries.picture_grid(images, masks, coarse, refined, refined, attention)
    tf.io.write_file(arguments.output, tf.io.encode_png(grid))


if __name__ == "__main__":
    main()
