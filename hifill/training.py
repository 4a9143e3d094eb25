"""Training: WGAN-GP with several critic steps per generator step (HiFill paper, Algorithm 1)."""

import dataclasses
import json
import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from hifill import data, losses, masks, silhouettes
from hifill.discriminator import Discriminator
from hifill.generator import Generator
from hifill.image_io import replace_file
from hifill.training_step import TrainingStep, kernel_initializer
from hifill.weights import load_weights, save_weights

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything a run depends on; the flags of train.py, one for one."""

    train_data: str
    workdir: str
    val_data: str | None = None
    templates: str | None = None
    iterations: int = 300_000
    batch_size: int = 8
    image_size: int = 512
    resize: bool = False
    min_scale: float = 1.0
    critic_steps: int = 5
    coarse_only: bool = False
    recipe: str = "paper"
    hole_weight: float | None = None
    context_weight: float | None = None
    adversarial_weight: float | None = None
    architecture: str = "released"
    coarse_gate: str = "single_channel"
    refine_gate: str = "pointwise"
    discriminator_kernel: int = 3
    initializer: str = "truncated_normal"
    learning_rate: float = 1e-4
    beta_1: float = 0.5
    beta_2: float = 0.9
    seed: int = 0
    init_from: str | None = None
    dtype_policy: str = "float32"
    jit_compile: bool = False
    save_every: int = 1000
    summary_every: int = 100


def _next(batches):
    try:
        return next(batches)
    except tf.errors.OpError as error:
        # The pipeline's error quotes ours in one of many lines.
        marker = "ImageError: "
        quoted = [line for line in error.message.splitlines() if marker in line]
        raise ValueError(quoted[0].split(marker, 1)[1] if quoted else error.message) from error


class Trainer:
    """A run in a folder: builds or resumes it, trains, saves, writes summaries.

    The folder holds `config.json`, `checkpoints/` (everything needed to resume), `summaries/` for
    TensorBoard, and `generator.weights.h5`, the latest weights.

    Args:
        config: a `TrainingConfig`.

    Raises:
        ValueError: if the data, the initial weights or the folder's earlier run do not fit.
    """

    def __init__(self, config):
        self.config = config
        paths = data.find_photos(config.train_data)
        keras.utils.set_random_seed(config.seed)
        if config.templates:
            templates = masks.load_templates(config.templates)
        else:
            templates = silhouettes.generated_templates(np.random.default_rng(config.seed))
        self.source = data.PhotoSource(
            paths=paths,
            image_size=config.image_size,
            seed=config.seed,
            resize=config.resize,
            min_scale=config.min_scale,
            templates=tuple(templates),
        )
        self.step = _build_step(config)
        self._critic_step = tf.function(self.step.critic_step, jit_compile=config.jit_compile)
        self._generator_step = tf.function(self.step.generator_step, jit_compile=config.jit_compile)
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._stopping = False

        workdir = pathlib.Path(config.workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        self.weights_path = workdir / "generator.weights.h5"
        checkpoint = tf.train.Checkpoint(step=self.step, iteration=self.iteration)
        self.checkpoints = tf.train.CheckpointManager(
            checkpoint, str(workdir / "checkpoints"), max_to_keep=3
        )
        if self.checkpoints.latest_checkpoint:
            self._check_same_run(workdir / "config.json")
            self._restore(checkpoint)
            self.step.set_learning_rate(config.learning_rate)
            _log.info("resuming %s at iteration %d", workdir, int(self.iteration))
        elif config.init_from:
            load_weights(self.step.generator, config.init_from)
        replace_file(
            workdir / "config.json", json.dumps(dataclasses.asdict(config), indent=1).encode()
        )
        self._summaries = tf.summary.create_file_writer(str(workdir / "summaries"))
        val_paths = data.find_photos(config.val_data) if config.val_data else paths
        shown = dataclasses.replace(self.source, paths=val_paths, seed=config.seed + 1)
        self._shown = _next(iter(data.batches(shown, 4)))

    def _restore(self, checkpoint):
        path = self.checkpoints.latest_checkpoint
        try:
            checkpoint.restore(path).assert_consumed()
        except (tf.errors.OpError, IndexError, AssertionError) as error:
            earlier = self.checkpoints.checkpoints[:-1]
            advice = f"delete its files to continue from {earlier[-1]}" if earlier else "start anew"
            raise ValueError(
                f"{path}: a damaged checkpoint, or one of another run; {advice}"
            ) from error

    def _check_same_run(self, path):
        # These may change between two starts of a run; all else would make another run of it.
        free = {"iterations", "workdir", "train_data", "val_data", "templates", "save_every"}
        free |= {"summary_every", "jit_compile", "init_from", "learning_rate"}
        try:
            earlier = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: missing or damaged; choose another workdir") from error
        for name, value in dataclasses.asdict(self.config).items():
            if name not in free and earlier.get(name) != value:
                raise ValueError(
                    f"{path.parent}: holds a run with {name}={earlier.get(name)}, not {value}; "
                    "choose another workdir, or the same value"
                )

    def train(self):
        """Trains up to `config.iterations`, yielding (iteration, metrics as floats) after each.

        Saves every `save_every` iterations, at the end, and after `stop`.

        Raises:
            FloatingPointError: if a loss is not finite; the last checkpoint is kept.
            ValueError: if a photo cannot be read; all whole iterations are saved.
        """
        config = self.config
        per_iteration = config.critic_steps + 1
        first = int(self.iteration) * per_iteration * config.batch_size
        batches = iter(data.batches(self.source, config.batch_size, first))
        while not (self.finished or self._stopping):
            try:
                metrics = self._iterate(batches)
            except ValueError:
                self.save()
                raise
            self.iteration.assign_add(1)
            iteration = int(self.iteration)
            bad = [name for name, value in metrics.items() if not np.isfinite(value)]
            if bad:
                raise FloatingPointError(
                    f"iteration {iteration}: {', '.join(bad)} is not finite; start again with a "
                    "lower --learning_rate, from the last good checkpoint "
                    f"({self.checkpoints.latest_checkpoint or 'none yet'})"
                )
            if iteration % config.summary_every == 0:
                self._write_summaries(iteration, metrics)
            if iteration % config.save_every == 0:
                self.save()
            yield iteration, metrics
        if int(self.iteration) % config.save_every:
            self.save()

    def stop(self):
        """Ends `train` at the end of an iteration, with everything saved."""
        self._stopping = True

    @property
    def finished(self):
        """Whether all of `config.iterations` are done."""
        return int(self.iteration) >= self.config.iterations

    def _iterate(self, batches):
        # All photos first: where one cannot be read, nothing has been updated yet.
        *critic_batches, generator_batch = [
            _next(batches) for _ in range(self.config.critic_steps + 1)
        ]
        rng = np.random.default_rng([self.config.seed, int(self.iteration)])
        metrics = {}
        for images, holes in critic_batches:
            epsilon = rng.uniform(size=len(images)).astype(np.float32)
            metrics.update(self._critic_step(images, holes, tf.constant(epsilon)))
        metrics.update(self._generator_step(*generator_batch))
        return {name: float(value) for name, value in metrics.items()}

    def save(self):
        """Writes a checkpoint, the generator's weights, and a picture grid for TensorBoard."""
        iteration = int(self.iteration)
        self.checkpoints.save(checkpoint_number=iteration)
        save_weights(self.step.generator, self.weights_path)
        with self._summaries.as_default(step=iteration):
            tf.summary.image("masked, coarse, result, original", self.picture_grid()[None])
        self._summaries.flush()

    def _write_summaries(self, iteration, metrics):
        with self._summaries.as_default(step=iteration):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)
        self._summaries.flush()

    def picture_grid(self):
        """Four pictures with their holes, of `val_data` if given: uint8 [4S, 4S, 3].

        Columns: masked input, coarse result pasted, refined result pasted, original.
        """
        images, holes = self._shown
        masked = images * (1 - holes)
        coarse, refined, _ = self.step.generator([masked, holes])
        columns = [
            masked + holes,
            losses.composite(coarse, images, holes),
            losses.composite(refined, images, holes),
            images,
        ]
        rows = tf.concat(columns, axis=2)  # [4, S, 4S, 3]
        grid = tf.concat(tf.unstack(rows), axis=0)
        return tf.cast(tf.round((tf.clip_by_value(grid, -1, 1) + 1) * 127.5), tf.uint8)


def _build_step(config):
    generator = Generator(
        config.architecture,
        config.coarse_gate,
        config.refine_gate,
        kernel_initializer=kernel_initializer(config.initializer),
        dtype=config.dtype_policy,
    )
    discriminator = None
    if config.critic_steps:
        discriminator = Discriminator(
            config.discriminator_kernel,
            (config.image_size, config.image_size),
            dtype=config.dtype_policy,
        )
    weights = {
        "hole": config.hole_weight,
        "context": config.context_weight,
        "adversarial": config.adversarial_weight,
    }
    given = {name: weight for name, weight in weights.items() if weight is not None}
    recipe = dataclasses.replace(losses.RECIPES[config.recipe], **given)
    betas = (config.beta_1, config.beta_2)
    return TrainingStep(
        generator, discriminator, recipe, config.learning_rate, betas, config.coarse_only
    )
