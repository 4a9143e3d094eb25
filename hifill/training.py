"""Training: WGAN-GP with several critic steps per generator step (HiFill paper, Algorithm 1)."""

import functools
import logging
import math
import time

import keras
import numpy as np
import tensorflow as tf

from hifill import distribution, summaries
from hifill.data import Samples
from hifill.photo_sources import open_photos
from hifill.run_checkpoints import RunCheckpoints
from hifill.run_folder import RunFolder
from hifill.training_config import (
    TrainingConfig,
    build_generator,
    build_masks,
    build_step,
    check_same_run,
    initialise,
)
from hifill.validation import held_out
from hifill.weight_average import WeightAverage
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
        with distribution.one_line_errors(0), self.strategy.scope():
            self.step = build_step(config, self.strategy.num_replicas_in_sync)
            self.average = None
            if config.average_decay:
                self.average = WeightAverage(
                    self.step.generator, build_generator(config), config.average_decay
                )
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.samples_used = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best = tf.Variable(math.inf, dtype=tf.float32, trainable=False)
        self._photos_per_iteration = (config.critic_steps + 1) * config.batch_size
        self._stopping = False
        self._saved = None

        self.folder = RunFolder(config.workdir, config, writes=self.is_chief)
        self.checkpoints = RunCheckpoints(
            self.folder.path / "checkpoints",
            step=self.step,
            iteration=self.iteration,
            samples_used=self.samples_used,
            best=self.best,
            **({"average": self.average} if self.average else {}),
        )
        if self.checkpoints.paths():
            self._resume()
        else:
            self.folder.check_new()
            if config.init_from:
                initialise(self.step, config.init_from)
                if self.average:
                    self.average.reset()
        distribution.check_in_step(self.strategy, self.iteration)
        _log.info("%s: %d photos", config.train_data, len(self.samples.photos))
        self._validation = held_out(config, self.samples) if self.is_chief else None
        self._iterate = self._compiled_iteration()
        self._generate = self._compiled(self.step.generator)
        self._generate_averaged = self.average and self._compiled(self.average.network)

    def _resume(self):
        config = self.config
        earlier = check_same_run(self.folder.path / "config.json", config)
        path = self.checkpoints.restore()
        self.step.set_learning_rate(config.learning_rate)
        self._saved = int(self.iteration)
        _log.info("resuming %s at iteration %d", path, self._saved)
        if config.init_from and config.init_from != earlier.get("init_from"):
            _log.warning("--init_from is for new runs and was not used")
        measured_on = ("val_data", "validation_photos", "templates", "mask_folder")
        if any(earlier.get(name) != getattr(config, name) for name in measured_on):
            _log.info("the best weights are looked for anew, on other photos or holes")
            self.best.assign(math.inf)

    def _compiled(self, generator):
        generate = functools.partial(self.step.generate, generator=generator)
        return tf.function(generate, jit_compile=self.config.jit_compile, autograph=False)

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
            if self.average:
                self.average.update()
            means = {name: strategy.reduce(mean, m, axis=None) for name, m in metrics.items()}
            return means, shares

        return iterate

    def train(self):
        """Trains up to `config.iterations`, yielding (iteration, metrics as floats) after each.

        Saves every `save_every` iterations, at the end, and after `stop`.

        Raises:
            FloatingPointError: if a loss is not finite; the last checkpoint is kept.
            ValueError: if too many photos cannot be read or a summary cannot be written (all whole
                iterations are saved), a checkpoint cannot be written, memory does not suffice, or
                another worker is lost.
        """
        with self.folder.opened(int(self.iteration)):
            yield from self._train()

    def _train(self):
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
                element = next(elements)
            except ValueError:
                self.save()
                raise
            waited = time.perf_counter() - started
            with distribution.one_line_errors(self.iteration):
                metrics, shares = self._iterate(element, tf.constant(float(self._stopping)))
                metrics = {name: float(value) for name, value in metrics.items()}
            # Workers stop together, or one would wait for the other for ever.
            alone = self.strategy.num_replicas_in_sync == 1
            stopped = metrics.pop("stop") > 0 or (alone and self._stopping)
            iteration = int(self.iteration.assign_add(1))
            self.samples_used.assign_add(self._photos_per_iteration)
            metrics.update(self._loss_scales())
            self._check_finite(iteration, metrics)
            metrics["seconds"], metrics["data_wait"] = time.perf_counter() - started, waited
            interval.append((metrics, self.strategy.experimental_local_results(shares)))
            if iteration % config.save_every == 0:
                self.save()
            try:
                if iteration % config.summary_every == 0:
                    self._write_summaries(iteration, interval)
                    interval = []
                if config.val_data and iteration % config.validate_every == 0:
                    metrics = {**metrics, **self.validate()}
            except ValueError:
                self.save()
                raise
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

    def _loss_scales(self):
        return {f"loss_scale/{k}": _number(v) for k, v in self.step.loss_scales().items()}

    def _check_finite(self, iteration, metrics):
        # Loss scaling skips the steps whose float16 gradients overflow.
        forgiven = "gradient_norm" if self.config.dtype_policy == "mixed_float16" else "-"
        bad = [
            name
            for name, value in metrics.items()
            if not (np.isfinite(value) or name.startswith(forgiven))
            # It would be halved for ever where gradients are never finite.
            or (name.startswith("loss_scale") and value < 1)
        ]
        if bad:
            reason = "fell below 1" if bad[0].startswith("loss_scale") else "is not finite"
            raise FloatingPointError(
                f"iteration {iteration}: {', '.join(bad)} {reason}; start again with a lower "
                "--learning_rate, from the last good checkpoint "
                f"({self.checkpoints.latest or 'none yet'})"
            )

    def validate(self):
        """Measures the generator on `val_data`, and its average if there is one.

        The better of the two is kept as `best.weights.h5` if it is better than all before.

        Returns:
            Dict from `validation/...` and `validation_average/...` to float, see
            `Validation.measure`; empty for all but the chief of a cluster.
        """
        if not self.is_chief:
            return {}
        measured = {"validation": (self.step.generator, self._generate)}
        if self.average:
            measured["validation_average"] = self.average.network, self._generate_averaged
        values = {}
        with self.folder.opened(int(self.iteration)):
            for group, (network, generate) in measured.items():
                results = self._validation.measure(generate)
                values |= {f"{group}/{name}": value for name, value in results.items()}
                if results["hole_l1_grey_levels"] < float(self.best):
                    self.best.assign(results["hole_l1_grey_levels"])
                    best = self.folder.path / "best.weights.h5"
                    save_weights(network, best, iteration=int(self.iteration))
            self.folder.write(int(self.iteration), values)
        return values

    def save(self):
        """Writes a checkpoint, the weights, and a picture grid, unless they are written already."""
        iteration = int(self.iteration)
        if not self.is_chief or iteration == self._saved:
            return
        networks = {"generator": self.step.generator, "discriminator": self.step.discriminator}
        networks["average"] = self.average and self.average.network
        with self.folder.opened(iteration):
            self.checkpoints.save(iteration)
            for name, network in networks.items():
                if network is not None:
                    path = self.folder.path / f"{name}.weights.h5"
                    save_weights(network, path, iteration=iteration)
            self._saved = iteration
            self.folder.write(iteration, pictures={"pictures": self.picture_grid()})

    def _write_summaries(self, iteration, interval):
        history = [metrics for metrics, _ in interval]
        values = {name: _finite_mean([m[name] for m in history]) for name in history[0]}
        del values["seconds"], values["data_wait"]
        # The first iteration of a process compiles.
        timed = history[1:] or history
        seconds = np.mean([m["seconds"] for m in timed])
        values["photos_per_second"] = self._photos_per_iteration / seconds
        values["data_wait_share"] = np.mean([m["data_wait"] for m in timed]) / seconds
        values["learning_rate"] = _number(self.step.generator_optimizer.learning_rate)
        values["photos_unreadable"] = len(self.samples.bad)
        values["photos_enlarged"] = len(self.samples.enlarged)
        shares = np.concatenate([np.ravel(share) for _, local in interval for share in local])
        self.folder.write(iteration, values, histograms={"hole_share_of_each_mask": shares})

    def picture_grid(self):
        """Four pictures with their holes, of `val_data` if given, see `summaries.picture_grid`."""
        images, holes = self._validation.first
        coarse, refined, attention = self.step.generate(images * (1 - holes), holes)
        filled = self.step.inpainted(refined, images, holes)
        return summaries.picture_grid(images, holes, coarse, refined, filled, attention)


def _number(variable):
    """The value of a scalar variable, mirrored or not."""
    return float(tf.convert_to_tensor(variable))


def _finite_mean(values):
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
