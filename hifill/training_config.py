"""The settings of a training run, and what they build."""

import dataclasses
import json
import logging
import pathlib

import numpy as np

from hifill import convert, losses, mask_mix, masks, optional_losses, silhouettes, weights
from hifill.discriminator import Discriminator
from hifill.generator import Generator
from hifill.training_step import TrainingStep, kernel_initializer

_log = logging.getLogger(__name__)

LOSS_TERMS = (
    "hole",
    "context",
    "adversarial",
    "gradient_penalty",
    "perceptual",
    "style",
    "feature_matching",
    "total_variation",
)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything a run depends on; the flags of train.py, one for one, which explain them."""

    train_data: str
    workdir: str
    val_data: str | None = None
    # Data
    image_size: int = 512
    resize: bool = False
    min_scale: float = 1.0
    max_bad_fraction: float = 0.01
    # Masks
    stroke_share: float = 0.5
    object_share: float = 0.5
    box_share: float = 0.0
    file_share: float = 0.0
    templates: str | None = None
    mask_folder: str | None = None
    min_hole: float = 0.01
    max_hole: float = 0.25
    one_mask_per_batch: bool = False
    # Losses
    recipe: str = "paper"
    critic_loss: str = "wgan_gp"
    meet_rim: bool = False
    hole_weight: float | None = None
    context_weight: float | None = None
    adversarial_weight: float | None = None
    gradient_penalty_weight: float | None = None
    perceptual_weight: float | None = None
    style_weight: float | None = None
    feature_matching_weight: float | None = None
    total_variation_weight: float | None = None
    feature_extractor: str | None = None
    # Networks
    architecture: str = "released"
    coarse_gate: str = "single_channel"
    refine_gate: str = "pointwise"
    discriminator_kernel: int = 3
    initializer: str = "truncated_normal"
    init_from: str | None = None
    # Optimisation
    iterations: int = 300_000
    batch_size: int = 8
    accumulate: int = 1
    critic_steps: int = 5
    coarse_only: bool = False
    learning_rate: float = 1e-4
    final_learning_rate: float | None = None
    beta_1: float = 0.5
    beta_2: float = 0.9
    average_decay: float = 0.0
    seed: int = 0
    # Where and how it runs
    strategy: str = "one_device"
    dtype_policy: str = "float32"
    jit_compile: bool = False
    deterministic: bool = False
    # What is written
    save_every: int = 1000
    summary_every: int = 100
    validate_every: int = 1000
    validation_photos: int = 64


# These may change between two starts of a run; all else would make another run of it.
_FREE = {"iterations", "workdir", "train_data", "val_data", "templates", "mask_folder"}
_FREE |= {"max_bad_fraction", "init_from", "feature_extractor", "accumulate", "strategy"}
_FREE |= {"learning_rate", "final_learning_rate", "jit_compile", "deterministic"}
_FREE |= {"save_every", "summary_every", "validate_every", "validation_photos"}


def check_same_run(path, config):
    """Checks that a run may be continued with a config.

    Args:
        path: the run's `config.json`.
        config: a `TrainingConfig`.

    Returns:
        The earlier settings, a dict.

    Raises:
        ValueError: if the file is missing or damaged, or holds another value of a setting that has
            to stay.
    """
    try:
        earlier = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: missing or damaged; choose another workdir") from error
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
    for name, value in dataclasses.asdict(config).items():
        before = earlier.get(name, defaults[name])
        if name not in _FREE and before != value:
            raise ValueError(
                f"{path.parent}: holds a run with {name}={before}, not {value}; "
                "choose another workdir, or the same value"
            )
    return earlier


def loss_recipe(config):
    """The `losses.LossRecipe` of a `TrainingConfig`.

    Raises:
        ValueError: if a term lacks what it needs.
    """
    given = {name: getattr(config, f"{name}_weight") for name in LOSS_TERMS}
    given = {name: weight for name, weight in given.items() if weight is not None}
    hinge = config.critic_loss == "hinge"
    recipe = dataclasses.replace(
        losses.RECIPES[config.recipe], meet_rim=config.meet_rim, hinge=hinge, **given
    )
    if (recipe.perceptual or recipe.style) and not config.feature_extractor:
        raise ValueError(
            "--perceptual_weight and --style_weight need --feature_extractor: VGG16 weights "
            "(.h5) or a Keras model (.keras)"
        )
    if config.feature_extractor and not (recipe.perceptual or recipe.style):
        raise ValueError(
            "--feature_extractor is of use with --perceptual_weight or --style_weight only"
        )
    if recipe.feature_matching and not config.critic_steps:
        raise ValueError("--feature_matching_weight needs a critic; raise --critic_steps")
    return recipe


def build_masks(config):
    """The `mask_mix.MaskMix` of a `TrainingConfig`."""
    templates = ()
    if config.templates:
        templates = masks.load_templates(config.templates)
    elif config.object_share:
        templates = silhouettes.generated_templates(np.random.default_rng(config.seed))
    return mask_mix.MaskMix(
        strokes=config.stroke_share,
        objects=config.object_share,
        boxes=config.box_share,
        files=config.file_share,
        min_share=config.min_hole,
        max_share=config.max_hole,
        templates=tuple(templates),
        mask_paths=mask_mix.find_masks(config.mask_folder) if config.mask_folder else (),
    )


def build_generator(config):
    """The untrained generator of a `TrainingConfig`."""
    return Generator(
        config.architecture,
        config.coarse_gate,
        config.refine_gate,
        kernel_initializer=kernel_initializer(config.initializer),
        dtype=config.dtype_policy,
    )


def build_step(config, replicas=1):
    """The networks and optimizers of a `TrainingConfig`, as a `TrainingStep`.

    Args:
        config: a `TrainingConfig`.
        replicas: how many replicas share a batch.

    Raises:
        ValueError: if the settings do not fit each other.
    """
    if config.batch_size % (replicas * config.accumulate):
        raise ValueError(
            f"--batch_size={config.batch_size} cannot be shared evenly by {replicas} replicas "
            f"with --accumulate={config.accumulate}; make it a multiple of "
            f"{replicas * config.accumulate}"
        )
    recipe = loss_recipe(config)
    extractor = config.feature_extractor
    generator = build_generator(config)  # before the critic: the seed's numbers come in turn
    discriminator = None
    if config.critic_steps:
        discriminator = Discriminator(
            config.discriminator_kernel,
            (config.image_size, config.image_size),
            spectral_normalisation=recipe.hinge,
            head="patch" if recipe.hinge else "dense",
            dtype=config.dtype_policy,
        )
    return TrainingStep(
        generator,
        discriminator,
        recipe,
        config.learning_rate,
        (config.beta_1, config.beta_2),
        config.coarse_only,
        config.accumulate,
        optional_losses.load_feature_extractor(extractor) if extractor else None,
        compile_gradients=config.jit_compile and replicas > 1,
    )


def initialise(step, source):
    """Gives a new run's networks the weights of an earlier training.

    Args:
        step: a `TrainingStep`.
        source: "shipped" for those of the package; a weights file; the folder of another run, whose
            critic is taken too if it fits; or a TensorFlow 1 checkpoint or frozen graph of the
            authors' code.

    Raises:
        ValueError: one line saying what is missing or does not fit.
    """
    critic = step.discriminator
    if source == "shipped":
        weights.load_weights(step.generator)
        return
    path = pathlib.Path(source)
    if path.name == "checkpoints" and (path.parent / "generator.weights.h5").exists():
        path = path.parent
    if _is_checkpoint(path):
        variables = convert.read_checkpoint(path)
        convert.load_variables(step.generator, variables)
        if critic is not None:
            _try(convert.load_variables, critic, variables)
        return
    weights.load_weights(step.generator, path)
    critic_path = path / "discriminator.weights.h5"
    if critic is not None and critic_path.exists():
        _try(weights.load_weights, critic, critic_path)


def _is_checkpoint(path):
    if path.is_dir():
        return not (path / "generator.weights.h5").exists() and any(path.glob("*.index"))
    return path.suffix in (".index", ".pb") or path.with_name(path.name + ".index").exists()


def _try(load, critic, source):
    """A critic that does not fit is left as it is: it learns anew quickly."""
    try:
        load(critic, source)
    except ValueError as error:
        _log.warning("the critic starts anew: %s", error)
