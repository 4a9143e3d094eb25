"""Training data: a folder of photos -> batches of crops and holes, as a tf.data pipeline.

Sample number i is a function of the seed and i alone. The position in the data is therefore one
number, and a resumed run sees exactly the photos and masks that it would have seen.
"""

import dataclasses
import functools
import pathlib

import cv2
import numpy as np
import tensorflow as tf

from hifill import image_io, masks

# Draws of one sample come from [seed, stream, number]; the streams keep them independent.
_CROP_STREAM, _MASK_STREAM, _ORDER_STREAM = range(3)


@dataclasses.dataclass(frozen=True)
class PhotoSource:
    """Random crops with random holes from a folder of photos.

    Attributes:
        paths: the photos.
        image_size: side of the square crops in pixels.
        seed: chooses everything random.
        resize: False crops the photo at its own scale (Places2 in the paper); True first resizes it
            so that its short side is `image_size` (CelebA-HQ, DIV2K).
        min_scale: with resize False, the photo is first scaled by a factor drawn from
            [min_scale, 1], never below `image_size`.
        templates: object shapes for masks, see `masks.random_mask`.
    """

    paths: tuple
    image_size: int
    seed: int = 0
    resize: bool = False
    min_scale: float = 1.0
    templates: tuple = ()

    def sample(self, number):
        """Sample `number`: image uint8 [S, S, 3] RGB and mask uint8 [S, S, 1], 1 = hole."""
        epoch, position = divmod(int(number), len(self.paths))
        path = self.paths[_order(self.seed, epoch, len(self.paths))[position]]
        rng = np.random.default_rng([self.seed, _CROP_STREAM, number])
        image = self._crop(_read_rgb(path), rng)
        rng = np.random.default_rng([self.seed, _MASK_STREAM, number])
        return image, masks.random_mask(rng, self.image_size, self.image_size, self.templates)

    def _crop(self, image, rng):
        size = self.image_size
        short = min(image.shape[:2])
        scale = size / short if self.resize else rng.uniform(self.min_scale, 1)
        scale = max(scale, size / short)
        if scale != 1:
            height, width = (max(size, round(side * scale)) for side in image.shape[:2])
            kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            image = cv2.resize(image, (width, height), interpolation=kernel)
        top = rng.integers(image.shape[0] - size + 1)
        left = rng.integers(image.shape[1] - size + 1)
        image = image[top : top + size, left : left + size]
        if rng.random() < 0.5:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)


@functools.lru_cache(maxsize=2)
def _order(seed, epoch, count):
    return np.random.default_rng([seed, _ORDER_STREAM, epoch]).permutation(count)


def _read_rgb(path):
    pixels = image_io.read_photo(path).pixels
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def find_photos(folder):
    """Photos under a folder, recursively, in a fixed order.

    Raises:
        ValueError: if the folder does not exist or holds no photo.
    """
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder; name a folder of photos")
    paths = tuple(image_io.list_photos(folder))
    if not paths:
        raise ValueError(
            f"{folder}: no photos in it; files named {', '.join(image_io.SUFFIXES)} count"
        )
    return paths


def batches(source, batch_size, first_sample=0):
    """An endless tf.data pipeline of batches.

    Args:
        source: a `PhotoSource`.
        batch_size: pictures per batch.
        first_sample: number of the first sample; batch_size times the batches already used.

    Returns:
        tf.data.Dataset of (images float32 [B, S, S, 3] RGB in [-1, 1], masks float32 [B, S, S, 1],
        1 = hole), in order.
    """
    size = source.image_size

    def load(number):
        image, mask = tf.numpy_function(source.sample, [number], [tf.uint8, tf.uint8])
        image = tf.ensure_shape(image, [size, size, 3])
        mask = tf.ensure_shape(mask, [size, size, 1])
        return tf.cast(image, tf.float32) / 127.5 - 1, tf.cast(mask, tf.float32)

    numbers = tf.data.Dataset.range(first_sample, np.iinfo(np.int64).max)
    samples = numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(batch_size, drop_remainder=True).prefetch(4)
