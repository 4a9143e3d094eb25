"""Training: WGAN-GP with several critic steps per generator step (HiFill paper, Algorithm 1)."""

import dataclasses
import json
import logging
import math
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from hifill import distribution, summaries
from hifill.data import Samples
from hifill.image_io import replace_file
from hifill.photo_sources import open_photos
from hifill.run_checkpoints import RunCheckpoints
from hifill.training_config import (
    TrainingConfig,
    build_masks,
    build_step,
    check_same_run,
    initialise,
)
from hifill.validation import Validation
from hifill.weights import save_weights

__all__ = ["Trainer", "TrainingConfig"]

_log = logging.getLogger(__name__)


class Trainer:
    """A run in a folder: builds or resumes it, trains, validates, saves, writes summaries.

    The folder holds `config.json`; `checkpoints/`, everything needed to resume; `summaries/` for
    TensorBoard and `metrics.jsonl` with the same numbers; `generator.weights.h5` and
    `discriminator.weights.h5`, the latest weights; and `best.weights.h5`, the generator with the
    lowest hole L1 on `val_data`.

    Args:
        config: a `TrainingConfig`. With `deterministic`, all of TensorFlow in this process becomes
            deterministic.

    Raises:
        ValueError: if the data, the initial weights or the folder's earlier run do not fit.
    """

    def __init__(self, config):
        self.config = config
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        # A cluster has to be joined before anything else runs.
        self.strategy = distribution.make_strategy(config.strategy)
        self.is_chief = distribution.is_chief(self.strategy)
        keras.utils.set_random_seed(config.seed)
        self.samples = Samples(
            open_photos(config.train_data),
            build_masks(config),
            config.image_size,
            seed=config.seed,
            resize=config.resize,
            min_scale=config.min_scale,
            samples_per_mask=config.batch_size if config.one_mask_per_batch else 1,
            max_bad_fraction=config.max_bad_fraction,
        )
        with self.strategy.scope():
            self.step = build_step(config, self.strategy.num_replicas_in_sync)
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.samples_used = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best = tf.Variable(math.inf, dtype=tf.float32, trainable=False)
        self._photos_per_iteration = (config.critic_steps + 1) * config.batch_size
        self._stopping = False

        self.workdir = pathlib.Path(config.workdir)
        self.checkpoints = RunCheckpoints(
            self.workdir / "checkpoints",
            step=self.step,
            iteration=self.iteration,
            samples_used=self.samples_used,
            best=self.best,
        )
        if self.checkpoints.latest:
            check_same_run(self.workdir / "config.json", config)
            path = self.checkpoints.restore()
            self.step.set_learning_rate(config.learning_rate)
            _log.info("resuming %s at iteration %d", path, int(self.iteration))
        elif config.init_from:
            initialise(self.step, config.init_from)
        distribution.check_in_step(self.strategy, self.iteration)
        self._saved = int(self.iteration) if self.checkpoints.latest else None
        self._validation = self._make_validation()
        self._iterate = self._compiled_iteration()
        self._generate = tf.function(
            self._generated, jit_compile=config.jit_compile, autograph=False
        )
        self._run_log = self._open_run_log()

    def _make_validation(self):
        config = self.config
        photos = open_photos(config.val_data or config.train_data)
        samples = Samples(
            photos,
            self.samples.masks,
            config.image_size,
            seed=config.seed + 1,
            resize=config.resize,
            augment=False,
            max_bad_fraction=config.max_bad_fraction,
        )
        # Without photos held out there is nothing to measure, but four pictures to look at.
        count = config.validation_photos if config.val_data else 4
        return Validation(samples, min(count, len(photos)), config.batch_size)

    def _compiled_iteration(self):
        strategy, mean = self.strategy, tf.distribute.ReduceOp.MEAN
        compiled = self.config.jit_compile and strategy.num_replicas_in_sync == 1

        def replica_iteration(images, masks, epsilon, stop):
            metrics = self.step.iteration(images, masks, epsilon)
            # Any worker may be told to stop; all have to stop after the same iteration.
            metrics["stop"] = stop
            shares = tf.reduce_mean(tf.cast(masks, tf.float32), axis=[2, 3, 4])  # [steps, B]
            return metrics, shares

        @tf.function(jit_compile=compiled, autograph=False)
        def iterate(element, stop):
            metrics, shares = strategy.run(replica_iteration, args=(*element, stop))
            means = {name: strategy.reduce(mean, m, axis=None) for name, m in metrics.items()}
            return means, shares

        return iterate

    def _generated(self, masked, holes):
        if self.config.coarse_only:
            coarse = self.step.trained_network(tf.concat([masked, holes], axis=-1))
            return coarse, coarse
        return self.step.generator([masked, holes])

    def _open_run_log(self):
        if not self.is_chief:
            return summaries.RunLog(None)
        self.workdir.mkdir(parents=True, exist_ok=True)
        settings = dataclasses.asdict(self.config)
        replace_file(self.workdir / "config.json", json.dumps(settings, indent=1).encode())
        log = summaries.RunLog(self.workdir, int(self.iteration))
        log.text("flags", summaries.flags_table(settings), int(self.iteration))
        return log

    def train(self):
        """Trains up to `config.iterations`, yielding (iteration, metrics as floats) after each.

        Saves every `save_every` iterations, at the end, and after `stop`.

        Raises:
            FloatingPointError: if a loss is not finite; the last checkpoint is kept.
            ValueError: if too many photos cannot be read (all whole iterations are saved), a
                checkpoint cannot be written, or another worker is lost.
        """
        config = self.config
        elements = distribution.iterator(
            self.strategy,
            self.samples,
            config.batch_size,
            config.critic_steps + 1,
            int(self.samples_used),
        )
        interval, stopped = [], False
        while not (self.finished or stopped):
            self._decay_learning_rate()
            started = time.perf_counter()
            try:
                element = _next(elements)
            except ValueError:
                self.save()
                raise
            waited = time.perf_counter() - started
            with distribution.lost_worker(self.iteration):
                stop = tf.constant(float(self._stopping))
                metrics, shares = self._iterate(element, stop)
                metrics = {name: float(value) for name, value in metrics.items()}
            # Workers stop together, or one would wait for the other for ever.
            alone = self.strategy.num_replicas_in_sync == 1
            stopped = metrics.pop("stop") > 0 or (alone and self._stopping)
            iteration = int(self.iteration.assign_add(1))
            self.samples_used.assign_add(self._photos_per_iteration)
            self._check_finite(iteration, metrics)
            metrics["seconds"], metrics["data_wait"] = time.perf_counter() - started, waited
            interval.append((metrics, self.strategy.experimental_local_results(shares)))
            if iteration % config.summary_every == 0:
                self._write_summaries(iteration, interval)
                interval = []
            if config.val_data and iteration % config.validate_every == 0:
                metrics = {**metrics, **self.validate()}
            if iteration % config.save_every == 0:
                self.save()
            yield iteration, metrics
        self.save()

    def stop(self):
        """Ends `train` after the running iteration, or the next, with everything saved."""
        self._stopping = True

    @property
    def finished(self):
        """Whether all of `config.iterations` are done."""
        return int(self.iteration) >= self.config.iterations

    def _decay_learning_rate(self):
        config = self.config
        if config.final_learning_rate is not None:
            # Half a cosine (Loshchilov and Hutter 2017, equation 5).
            rest = (1 + math.cos(math.pi * min(1, int(self.iteration) / config.iterations))) / 2
            span = config.learning_rate - config.final_learning_rate
            self.step.set_learning_rate(config.final_learning_rate + span * rest)

    def _check_finite(self, iteration, metrics):
        # Loss scaling skips the steps whose float16 gradients overflow.
        forgiven = "gradient_norm" if self.config.dtype_policy == "mixed_float16" else "-"
        bad = [
            name
            for name, value in metrics.items()
            if not np.isfinite(value) and not name.startswith(forgiven)
        ]
        if bad:
            raise FloatingPointError(
                f"iteration {iteration}: {', '.join(bad)} is not finite; start again with a lower "
                "--learning_rate, from the last good checkpoint "
                f"({self.checkpoints.latest or 'none yet'})"
            )

    def validate(self):
        """Measures the generator on `val_data`; keeps it as `best.weights.h5` if it is the best.

        Returns:
            Dict from `validation/...` to float, see `Validation.measure`; empty for all but the
            chief of a cluster.
        """
        if not self.is_chief:
            return {}
        measured = self._validation.measure(self._generate)
        if measured["hole_l1_grey_levels"] < float(self.best):
            self.best.assign(measured["hole_l1_grey_levels"])
            save_weights(self.step.generator, self.workdir / "best.weights.h5")
        values = {f"validation/{name}": value for name, value in measured.items()}
        self._run_log.scalars(int(self.iteration), values)
        return values

    def save(self):
        """Writes a checkpoint, the weights, and a picture grid, unless they are written already."""
        iteration = int(self.iteration)
        if not self.is_chief or iteration == self._saved:
            return
        self.checkpoints.save(iteration)
        save_weights(self.step.generator, self.workdir / "generator.weights.h5")
        if self.step.discriminator is not None:
            save_weights(self.step.discriminator, self.workdir / "discriminator.weights.h5")
        self._run_log.image(iteration, "pictures", self.picture_grid())
        self._saved = iteration

    def _write_summaries(self, iteration, interval):
        history = [metrics for metrics, _ in interval]
        values = {name: float(np.mean([m[name] for m in history])) for name in history[0]}
        seconds, waited = values.pop("seconds"), values.pop("data_wait")
        values["photos_per_second"] = self._photos_per_iteration / seconds
        values["data_wait_share"] = waited / seconds
        values["learning_rate"] = float(self.step.generator_optimizer.learning_rate)
        values["photos_unreadable"] = len(self.samples.bad)
        values["photos_enlarged"] = len(self.samples.enlarged)
        if self.config.dtype_policy == "mixed_float16":
            values["loss_scale/generator"] = float(self.step.generator_optimizer.dynamic_scale)
        self._run_log.scalars(iteration, values)
        shares = np.concatenate([np.ravel(share) for _, local in interval for share in local])
        self._run_log.histogram(iteration, "hole_share_of_each_mask", shares)

    def picture_grid(self):
        """Four pictures with their holes, of `val_data` if given, see `summaries.picture_grid`."""
        images, holes = self._validation.first
        coarse, refined, attention = self.step.generator([images * (1 - holes), holes])
        return summaries.picture_grid(images, holes, coarse, refined, attention)


def _next(elements):
    try:
        return next(elements)
    except tf.errors.OpError as error:
        # The pipeline's error quotes ours in one of many lines.
        marker = "ImageError: "
        quoted = [line for line in error.message.splitlines() if marker in line]
        raise ValueError(quoted[0].split(marker, 1)[1] if quoted else error.message) from error
