"""Validation while training: held-out photos with fixed holes."""

import logging

import numpy as np
import tensorflow as tf

from hifill import losses
from hifill.data import Samples
from hifill.photo_sources import open_photos
from hifill.training_config import loss_recipe
from hifill.training_step import network_range

_log = logging.getLogger(__name__)


class Validation:
    """The same pictures and holes every time.

    Args:
        samples: a `data.Samples` that does not augment.
        count: how many of its samples to use.
        batch_size: how many at a time.
        recipe: the `losses.LossRecipe` that says what is judged in a hole.

    Attributes:
        first: (images [n, S, S, 3] in [-1, 1], masks [n, S, S, 1]) of the first, up to 4, samples.
    """

    def __init__(self, samples, count, batch_size, recipe):
        self._samples = [samples.sample(number)[:2] for number in range(count)]
        self._recipe = recipe
        self._batch_size = min(batch_size, count)
        self.first = _network_inputs(self._samples[:4])

    def measure(self, generate):
        """Measures a generator.

        Args:
            generate: function of masked images [B, S, S, 3] in [-1, 1] with holes at 0 and masks
                [B, S, S, 1], which returns (coarse, refined, ...), as `TrainingStep.generate`.

        Returns:
            Dict of floats, means over photos: `hole_l1_grey_levels` and
            `coarse_hole_l1_grey_levels`, mean absolute difference inside the hole on the scale
            0 to 255, and `psnr`, in decibels, of the composited picture.
        """
        rows = []
        for start in range(0, len(self._samples), self._batch_size):
            images, masks = _network_inputs(self._samples[start : start + self._batch_size])
            # The last, smaller batch is filled up: XLA compiles for one size.
            missing = self._batch_size - len(images)
            padding = [[0, missing], [0, 0], [0, 0], [0, 0]]
            padded = [tf.pad(t, padding) for t in (images * (1 - masks), masks)]
            drawn = (t[: len(images)] for t in generate(*padded)[:2])
            coarse, refined = (losses.fill(t, images, masks, self._recipe) for t in drawn)
            area = tf.reduce_sum(masks, axis=[1, 2, 3]) * 3
            errors = [
                tf.reduce_sum(tf.abs(t - images) * masks, axis=[1, 2, 3]) / area * 127.5
                for t in (refined, coarse)
            ]
            pasted = losses.composite(refined, images, masks)
            rows.append(tf.stack([*errors, tf.image.psnr(pasted, images, max_val=2.0)], axis=1))
        means = tf.reduce_mean(tf.concat(rows, axis=0), axis=0)
        names = ("hole_l1_grey_levels", "coarse_hole_l1_grey_levels", "psnr")
        return dict(zip(names, means.numpy().tolist(), strict=True))


def held_out(config, training_samples):
    """The `Validation` of a run, with the kinds of holes that it trains on.

    Args:
        config: a `TrainingConfig`; without `val_data`, the first four training photos are taken.
        training_samples: the run's `data.Samples`.
    """
    photos = training_samples.photos
    # Without photos held out there is nothing to measure, but four pictures to look at.
    count = 4
    if config.val_data:
        photos, count = open_photos(config.val_data), config.validation_photos
        _log.info("%s: %d photos to validate on", config.val_data, min(count, len(photos)))
    samples = Samples(
        photos,
        training_samples.masks,
        config.image_size,
        seed=config.seed + 1,
        resize=config.resize,
        augment=False,
        max_bad_fraction=config.max_bad_fraction,
    )
    return Validation(samples, min(count, len(photos)), config.batch_size, loss_recipe(config))


def _network_inputs(samples):
    return network_range(*(np.stack(part) for part in zip(*samples, strict=True)))
