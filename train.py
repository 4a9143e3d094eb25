"""python train.py --train_data=PHOTOS --workdir=RUN [--flagfile=places2.cfg]

Trains HiFill. Starts a run in the folder --workdir, or continues the one that it holds, exactly
where it was. Ctrl-C saves first. RUN/generator.weights.h5 always holds the latest weights,
RUN/best.weights.h5 the best on --val_data; `tensorboard --logdir=RUN` shows curves and pictures.
"""

import dataclasses
import datetime
import logging
import signal
import sys
import time

from absl import app, flags

from hifill import command_line

_SECONDS_BETWEEN_LINES = 30


def define_flags():
    """One flag for each field of `TrainingConfig`."""
    values = flags.FlagValues()
    kinds = command_line.definers(values)
    _define_data_flags(*kinds)
    _define_network_flags(*kinds)
    _define_run_flags(*kinds)
    flags.register_validator(
        "image_size", lambda size: size % 64 == 0, "must be a multiple of 64", flag_values=values
    )
    flags.register_validator(
        "discriminator_kernel", lambda size: size in (3, 5), "must be 3 or 5", flag_values=values
    )
    return values


def _define_data_flags(string, integer, real, boolean, choice):
    string(
        "train_data",
        None,
        "Photos: a folder, a glob, a text file of paths, TFRecords, or tfds:NAME[:split].",
        required=True,
    )
    string("workdir", None, "Folder of the run.", required=True)
    string("val_data", None, "Photos held out for validation, as for --train_data.")
    integer("image_size", 512, "Side of the crops, a multiple of 64.", lower_bound=64)
    boolean("resize", False, "Resize the short side to image_size before cropping.")
    low_to_1 = "Scale photos by a random factor from here to 1 before cropping."
    real("min_scale", 1.0, low_to_1, 0.0, 1.0)
    bad = "Stop if a larger share of the photos cannot be read; others are left out, each named."
    real("max_bad_fraction", 0.01, bad, 0.0, 1.0)
    real("stroke_share", 0.5, "Share of masks that are brush strokes.", 0.0)
    real("object_share", 0.5, "Share of masks that are object shapes.", 0.0)
    real("box_share", 0.0, "Share of masks that are rectangles.", 0.0)
    real("file_share", 0.0, "Share of masks from --mask_folder.", 0.0)
    string("templates", None, "Folder of object shapes (white = hole); not set, drawn ones.")
    string("mask_folder", None, "Folder of whole masks (white = hole), for --file_share.")
    real("min_hole", 0.01, "Smallest share of a picture that its hole covers.", 0.0, 1.0)
    real("max_hole", 0.25, "Largest share.", 0.0, 1.0)
    boolean("one_mask_per_batch", False, "One mask for all pictures of a step, as the original.")


def _define_network_flags(string, integer, real, boolean, choice):
    choice("recipe", "paper", ["paper", "released"], "Loss weights: the paper's, or its code's.")
    choice(
        "critic_loss",
        "wgan_gp",
        ["wgan_gp", "hinge"],
        "WGAN-GP, or DeepFillV2's hinge loss with a spectrally normalised patch critic.",
    )
    boolean(
        "meet_rim",
        False,
        "Train and validate what is shown, a picture that meets the photo at the hole's rim.",
    )
    for term in ("hole", "context", "adversarial", "gradient_penalty"):
        real(f"{term}_weight", None, f"Replaces the recipe's {term} weight.", 0.0)
    off = "Not in HiFill, off unless set."
    real("perceptual_weight", None, f"Weight of the perceptual loss (Johnson 2016). {off}", 0.0)
    real("style_weight", None, f"Weight of the style loss (Gatys 2016, Liu 2018). {off}", 0.0)
    matching = "Weight of feature matching on the critic (Wang 2018)."
    real("feature_matching_weight", None, f"{matching} {off}", 0.0)
    real("total_variation_weight", None, f"Weight of total variation (Liu 2018). {off}", 0.0)
    extractor = "VGG16 weights (.h5), or any Keras model (.keras) whose outputs are features."
    string("feature_extractor", None, f"For perceptual and style loss: {extractor}")
    choice("architecture", "released", ["released", "paper"], "Layer tables of the generator.")
    gates = ["single_channel", "pointwise", "depthwise_separable", "full", "none"]
    choice("coarse_gate", "single_channel", gates, "Gates of the coarse network.")
    choice("refine_gate", "pointwise", gates, "Gates of the refine network.")
    integer("discriminator_kernel", 3, "Kernel of the critic: 3 or 5.")
    choice(
        "initializer",
        "truncated_normal",
        ["truncated_normal", "variance_preserving"],
        "Initial weights: the original's, or scaled so that they learn from the first step.",
    )
    string(
        "init_from",
        None,
        "What a new run starts from: `shipped`, a weights file, another run's folder, or a "
        "TensorFlow 1 checkpoint of the authors' code.",
    )


def _define_run_flags(string, integer, real, boolean, choice):
    integer("iterations", 300_000, "Train up to this iteration.", lower_bound=1)
    integer("batch_size", 8, "Pictures per step, over all replicas.", lower_bound=1)
    integer("accumulate", 1, "Parts into which a batch is split to save memory.", lower_bound=1)
    critic = "Critic steps per generator step; 0: reconstruction alone."
    integer("critic_steps", 5, critic, lower_bound=0)
    boolean("coarse_only", False, "Train the coarse network alone; needs --critic_steps=0.")
    real("learning_rate", 1e-4, "Of both Adam optimizers.", lower_bound=0.0)
    final = "Learning rate at the last iteration, approached along a cosine; not set: constant."
    real("final_learning_rate", None, final, 0.0)
    real("beta_1", 0.5, "Adam's decay of the gradient's mean.", 0.0, 1.0)
    real("beta_2", 0.9, "Adam's decay of the gradient's square.", 0.0, 1.0)
    average = "Of the moving average of the generator's weights, such as 0.999; 0: none is kept."
    real("average_decay", 0.0, average, 0.0, 0.99999)
    integer("seed", 0, "Chooses order, crops, masks and initial weights.", 0)
    strategies = ["one_device", "mirrored", "multi_worker", "tpu"]
    choice("strategy", "one_device", strategies, "Where it runs; multi_worker reads TF_CONFIG.")
    policies = ["float32", "mixed_bfloat16", "mixed_float16"]
    choice("dtype_policy", "float32", policies, "What the networks compute in.")
    boolean("jit_compile", False, "Compile the steps with XLA.")
    boolean("deterministic", False, "The same bits every time, where TensorFlow can; slower.")
    integer("save_every", 1000, "Iterations between checkpoints and picture grids.", lower_bound=1)
    integer("summary_every", 100, "Iterations between summaries.", lower_bound=1)
    integer("validate_every", 1000, "Iterations between validations.", lower_bound=1)
    integer("validation_photos", 64, "Photos of --val_data to validate on.", lower_bound=1)


def main(arguments, values):
    """The command: positional arguments and parsed flags -> exit code."""
    if arguments:
        raise app.UsageError(f"unexpected argument {arguments[0]!r}")
    from hifill.training import Trainer, TrainingConfig

    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    trainer = Trainer(TrainingConfig(**{name: getattr(values, name) for name in names}))
    # The running iteration is finished first, so that nothing of it is done twice. A shell that
    # starts a run in the background has it ignore Ctrl-C, hence both signals.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: trainer.stop())
    show = _show_bar if sys.stderr.isatty() else _show_lines
    show(trainer.train(), int(trainer.iteration), values.iterations)
    return 0 if trainer.finished else 130


def _show_bar(progress, start, total):
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with (
        logging_redirect_tqdm(),
        tqdm(total=total, initial=start, unit="it", mininterval=1) as bar,
    ):
        for _, metrics in progress:
            bar.set_postfix_str(_summary(metrics), refresh=False)
            bar.update()


def _show_lines(progress, start, total):
    """A line now and then: what a bar leaves in a log file is unreadable."""
    began = told = time.monotonic()
    validated = {}
    for iteration, metrics in progress:
        now = time.monotonic()
        validated = {k: v for k, v in metrics.items() if k.startswith("validation")} or validated
        if now - told > _SECONDS_BETWEEN_LINES or iteration in (start + 1, total):
            left = (now - began) / (iteration - start) * (total - iteration)
            left = datetime.timedelta(seconds=round(left))
            logging.getLogger("hifill").info(
                "iteration %d of %d, %s left, %s",
                iteration,
                total,
                left,
                _summary({**metrics, **validated}),
            )
            told = now


def _summary(metrics):
    shown = {
        "hole L1": "hole_l1_grey_levels",
        "validation": "validation/hole_l1_grey_levels",
        "Wasserstein": "wasserstein_estimate",
        "seconds": "seconds",
    }
    return ", ".join(f"{name} {metrics[key]:.3g}" for name, key in shown.items() if key in metrics)


if __name__ == "__main__":
    command_line.run(main, define_flags(), __doc__)
