"""Training data: photos -> crops with holes, as a tf.data pipeline.

Sample number i is a function of the seed and i alone. The position in the data is therefore one
number: a resumed run sees exactly the photos and masks that it would have seen, and each replica of
a distributed run computes its own share of the same batches.
"""

import functools
import logging
import math
import threading

import cv2
import numpy as np
import tensorflow as tf

from hifill.image_io import ImageError

_log = logging.getLogger(__name__)

# Draws of one sample come from [seed, stream, number]; the streams keep them independent.
_CROP_STREAM, _MASK_STREAM, _ORDER_STREAM, _EPSILON_STREAM, _REPLACEMENT_STREAM = range(5)


class Samples:
    """Numbered crops of photos with random holes.

    Every epoch takes every photo once, in an order of its own. A photo that cannot be read is named
    in a warning once, and a photo drawn at random takes its place from then on.

    Args:
        photos: what `photo_sources.open_photos` returns.
        masks: what draws the holes, a `mask_mix.MaskMix`.
        image_size: side of the square crops in pixels.
        seed: chooses everything random.
        resize: False crops the photo at its own scale (Places2 in the paper); True first resizes it
            so that its short side is `image_size` (CelebA-HQ, DIV2K).
        min_scale: with resize False, the photo is first scaled by a factor drawn from
            [min_scale, 1], never below `image_size`.
        augment: False takes the crop from the middle and never flips it, for validation.
        samples_per_mask: so many consecutive samples share one mask; the batch size for the
            original's one mask per batch.
        max_bad_fraction: share of the photos that may be unreadable.

    Attributes:
        bad: numbers of the photos that could not be read so far, with why.
        enlarged: numbers of the photos that were smaller than the crop so far.
    """

    def __init__(
        self,
        photos,
        masks,
        image_size,
        seed=0,
        resize=False,
        min_scale=1.0,
        augment=True,
        samples_per_mask=1,
        max_bad_fraction=0.01,
    ):
        self.photos = photos
        self.masks = masks
        self.image_size = image_size
        self.seed = seed
        self.resize = resize
        self.min_scale = min_scale
        self.augment = augment
        self.samples_per_mask = samples_per_mask
        self.max_bad_fraction = max_bad_fraction
        self.bad = {}
        self.enlarged = set()
        self._lock = threading.Lock()

    def sample(self, number):
        """Sample `number`.

        Returns:
            (image uint8 [S, S, 3] RGB, mask uint8 [S, S, 1] with 1 = hole, epsilon float32 in
            [0, 1) for the critic's gradient penalty).

        Raises:
            ImageError: if more than `max_bad_fraction` of the photos turned out unreadable.
        """
        number, size = int(number), self.image_size
        image = self._crop(*self._photo(number), self._rng(_CROP_STREAM, number))
        mask = self.masks.draw(self._rng(_MASK_STREAM, number // self.samples_per_mask), size, size)
        return image, mask, np.float32(self._rng(_EPSILON_STREAM, number).random(dtype=np.float32))

    def _rng(self, *stream):
        return np.random.default_rng([self.seed, *stream])

    def _photo(self, number):
        epoch, position = divmod(number, len(self.photos))
        index = int(_order(self.seed, epoch, len(self.photos))[position])
        replacements = self._rng(_REPLACEMENT_STREAM, number)
        while True:
            if index not in self.bad:
                try:
                    return index, self.photos.read(index)
                except ImageError as error:
                    self._count_bad(index, error)
            index = int(replacements.integers(len(self.photos)))

    def _count_bad(self, index, error):
        with self._lock:
            if index not in self.bad:
                self.bad[index] = str(error)
                _log.warning("left out: %s", error)
            bad, count = len(self.bad), len(self.photos)
        if bad > self.max_bad_fraction * count or bad == count:
            raise ImageError(
                f"{bad} of {count} photos cannot be read, more than the {self.max_bad_fraction:.2%}"
                f" allowed; mend or remove them, or raise --max_bad_fraction. The last: {error}"
            )

    def _crop(self, index, image, rng):
        size = self.image_size
        short = min(image.shape[:2])
        if short < size:
            self._count_enlarged(index, image.shape)
        scale = size / short if self.resize else rng.uniform(self.min_scale, 1)
        scale = max(scale, size / short)
        if scale > 1:
            # Whole, a long strip one pixel high would take gigabytes.
            image = self._window(image, 2 * math.ceil(size / scale), rng)
        if scale != 1:
            height, width = (max(size, round(side * scale)) for side in image.shape[:2])
            kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            image = cv2.resize(image, (width, height), interpolation=kernel)
        image = self._window(image, size, rng)
        if self.augment and rng.random() < 0.5:
            image = cv2.flip(image, 1)
        return np.ascontiguousarray(image)

    def _window(self, image, size, rng):
        """At most size x size of a picture, in a random place, or the middle for validation."""
        spare = np.maximum(np.array(image.shape[:2]) - size, 0)
        top, left = rng.integers(spare + 1) if self.augment else spare // 2
        return image[top : top + size, left : left + size]

    def _count_enlarged(self, index, shape):
        with self._lock:
            if not self.enlarged:
                _log.warning(
                    "%s is enlarged: its %d x %d pixels are less than the crop's %d; other such "
                    "photos are counted without a word",
                    self.photos.name(index),
                    *shape[1::-1],
                    self.image_size,
                )
            self.enlarged.add(index)


@functools.lru_cache(maxsize=4)
def _order(seed, epoch, count):
    return np.random.default_rng([seed, _ORDER_STREAM, epoch]).permutation(count)


def batches(
    samples, batch_size, steps=1, first_sample=0, replicas=1, first_replica=0, local_replicas=None
):
    """An endless tf.data pipeline; each element is what one replica needs for one iteration.

    Args:
        samples: a `Samples`.
        batch_size: pictures of one step, over all replicas, which share them evenly.
        steps: steps of an iteration, each with pictures of its own.
        first_sample: the position in the data: number of the first sample.
        replicas: replicas over all machines.
        first_replica, local_replicas: those that this pipeline feeds, in turn; all by default.

    Returns:
        tf.data.Dataset of (images uint8 [steps, b, S, S, 3] RGB, masks uint8 [steps, b, S, S, 1]
        with 1 = hole, epsilon float32 [steps, b]), in order, b = batch_size / replicas.
    """
    size, share = samples.image_size, batch_size // replicas
    local_replicas = local_replicas or replicas

    def numbers(element):
        iteration = element // local_replicas
        replica = first_replica + element % local_replicas
        step = iteration * steps + tf.range(steps, dtype=tf.int64)[:, None]
        place = replica * share + tf.range(share, dtype=tf.int64)
        return tf.reshape(first_sample + step * batch_size + place, [-1])  # [steps * b]

    def load(number):
        image, mask, epsilon = tf.numpy_function(
            samples.sample, [number], [tf.uint8, tf.uint8, tf.float32], stateful=False
        )
        image = tf.ensure_shape(image, [size, size, 3])
        mask = tf.ensure_shape(mask, [size, size, 1])
        return image, mask, tf.ensure_shape(epsilon, [])

    def split_steps(*tensors):
        # [steps * b, ...] -> [steps, b, ...]
        return tuple(tf.reshape(t, [steps, share, *t.shape[1:]]) for t in tensors)

    elements = tf.data.Dataset.range(np.iinfo(np.int64).max)
    loaded = (
        elements.map(numbers)
        .unbatch()
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )
    return loaded.batch(steps * share, drop_remainder=True).map(split_steps).prefetch(2)
