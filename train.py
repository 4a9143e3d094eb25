"""python train.py --train_data=PHOTOS --workdir=RUN [--flagfile=places2.cfg]

Trains HiFill. Starts a run in the folder --workdir, or continues the one that it holds. Ctrl-C
saves first. RUN/generator.weights.h5 always holds the latest weights, and
`tensorboard --logdir=RUN` shows losses and pictures.
"""

import dataclasses
import signal

from absl import app, flags

from hifill import command_line


def define_flags():
    """One flag for each field of `TrainingConfig`."""
    values = flags.FlagValues()
    string, integer, real, boolean, choice = command_line.definers(values)
    string("train_data", None, "Folder of photos, recursive.", required=True)
    string("workdir", None, "Folder of the run.", required=True)
    string("val_data", None, "Folder of photos for the picture grid.")
    string(
        "templates", None, "Folder of object shapes (white = hole) for masks; not set, drawn ones."
    )
    integer("iterations", 300_000, "Train up to this iteration.", lower_bound=1)
    integer("batch_size", 8, "Pictures per step.", lower_bound=1)
    integer("image_size", 512, "Side of the crops, a multiple of 64.", lower_bound=64)
    boolean("resize", False, "Resize the short side to image_size before cropping.")
    real(
        "min_scale",
        1.0,
        "Scale photos by a random factor from here to 1 before cropping.",
        0.0,
        1.0,
    )
    integer(
        "critic_steps",
        5,
        "Critic steps per generator step; 0: reconstruction alone.",
        lower_bound=0,
    )
    boolean("coarse_only", False, "Train the coarse network alone; needs --critic_steps=0.")
    choice("recipe", "paper", ["paper", "released"], "Loss weights: the paper's, or its code's.")
    for term in ("hole", "context", "adversarial"):
        real(f"{term}_weight", None, f"Replaces the recipe's {term} weight.")
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
    real("learning_rate", 1e-4, "Of both Adam optimizers.", lower_bound=0.0)
    real("beta_1", 0.5, "Adam's decay of the gradient's mean.", 0.0, 1.0)
    real("beta_2", 0.9, "Adam's decay of the gradient's square.", 0.0, 1.0)
    integer("seed", 0, "Chooses order, crops, masks and initial weights.", 0)
    string("init_from", None, "Weights file or run to start a new run from.")
    choice(
        "dtype_policy", "float32", ["float32", "mixed_bfloat16"], "What the networks compute in."
    )
    boolean("jit_compile", False, "Compile the steps with XLA.")
    integer("save_every", 1000, "Iterations between checkpoints and picture grids.", lower_bound=1)
    integer("summary_every", 100, "Iterations between summaries.", lower_bound=1)
    flags.register_validator(
        "image_size", lambda size: size % 64 == 0, "must be a multiple of 64", flag_values=values
    )
    flags.register_validator(
        "discriminator_kernel", lambda size: size in (3, 5), "must be 3 or 5", flag_values=values
    )
    return values


def main(arguments, values):
    """The command: positional arguments and parsed flags -> exit code."""
    if arguments:
        raise app.UsageError(f"unexpected argument {arguments[0]!r}")
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from hifill.training import Trainer, TrainingConfig

    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    trainer = Trainer(TrainingConfig(**{name: getattr(values, name) for name in names}))
    start = int(trainer.iteration)
    # The running iteration is finished first, so that nothing of it is done twice. A shell that
    # starts a run in the background has it ignore Ctrl-C, hence both signals.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: trainer.stop())
    with (
        logging_redirect_tqdm(),
        tqdm(total=values.iterations, initial=start, unit="it", mininterval=1) as bar,
    ):
        for _, metrics in trainer.train():
            bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
            bar.update()
    return 0 if trainer.finished else 130


if __name__ == "__main__":
    command_line.run(main, define_flags(), __doc__)
