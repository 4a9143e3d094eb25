"""python train.py --train_data=PHOTOS --workdir=RUN [--flagfile=places2.cfg]

Trains HiFill. Starts a run in the folder --workdir, or continues the one that it holds. Ctrl-C
saves first. RUN/generator.weights.h5 always holds the latest weights, and
`tensorboard --logdir=RUN` shows losses and pictures.
"""

import dataclasses
import signal

from absl import app, flags

from hifill.command_line import run

FLAGS = flags.FLAGS


def define_flags():
    """One flag for each field of `TrainingConfig`."""
    flags.DEFINE_string("train_data", None, "Folder of photos, recursive.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_string("val_data", None, "Folder of photos for the picture grid.")
    flags.DEFINE_string(
        "templates", None, "Folder of object shapes (white = hole) for masks; not set, drawn ones."
    )
    flags.DEFINE_integer("iterations", 300_000, "Train up to this iteration.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 8, "Pictures per step.", lower_bound=1)
    flags.DEFINE_integer("image_size", 512, "Side of the crops, a multiple of 64.", lower_bound=64)
    flags.DEFINE_bool("resize", False, "Resize the short side to image_size before cropping.")
    flags.DEFINE_float(
        "min_scale", 1.0, "Scale photos by a random factor from here to 1 before cropping.", 0.0, 1.0
    )
    flags.DEFINE_integer(
        "critic_steps", 5, "Critic steps per generator step; 0: reconstruction alone.", lower_bound=0
    )
    flags.DEFINE_enum(
        "recipe", "paper", ["paper", "released"], "Loss weights: the paper's, or its code's."
    )
    for term in ("hole", "context", "adversarial"):
        flags.DEFINE_float(f"{term}_weight", None, f"Replaces the recipe's {term} weight.")
    flags.DEFINE_enum(
        "architecture", "released", ["released", "paper"], "Layer tables of the generator."
    )
    gates = ["single_channel", "pointwise", "depthwise_separable", "full", "none"]
    flags.DEFINE_enum("coarse_gate", "single_channel", gates, "Gates of the coarse network.")
    flags.DEFINE_enum("refine_gate", "pointwise", gates, "Gates of the refine network.")
    flags.DEFINE_integer("discriminator_kernel", 3, "Kernel of the critic: 3 or 5.", 3, 5)
    flags.DEFINE_enum(
        "initializer",
        "truncated_normal",
        ["truncated_normal", "variance_preserving"],
        "Initial weights: the original's, or scaled so that they learn from the first step.",
    )
    flags.DEFINE_float("learning_rate", 1e-4, "Of both Adam optimizers.", lower_bound=0.0)
    flags.DEFINE_float("beta_1", 0.5, "Adam's decay of the gradient's mean.", 0.0, 1.0)
    flags.DEFINE_float("beta_2", 0.9, "Adam's decay of the gradient's square.", 0.0, 1.0)
    flags.DEFINE_integer("seed", 0, "Chooses order, crops, masks and initial weights.", 0)
    flags.DEFINE_string("init_from", None, "Weights file or run to start a new run from.")
    flags.DEFINE_enum(
        "dtype_policy", "float32", ["float32", "mixed_bfloat16"], "What the networks compute in."
    )
    flags.DEFINE_bool("jit_compile", False, "Compile the steps with XLA.")
    flags.DEFINE_integer("save_every", 1000, "Iterations between checkpoints.", lower_bound=1)
    flags.DEFINE_integer("summary_every", 100, "Iterations between summaries.", lower_bound=1)


def main(arguments):
    """The command: positional arguments -> exit code."""
    if arguments:
        raise app.UsageError(f"unexpected argument {arguments[0]!r}")
    import keras
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from hifill.training import Trainer, TrainingConfig

    # Also where a shell started this in the background, which ignores Ctrl-C, and for `kill`.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    keras.utils.set_random_seed(FLAGS.seed)
    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    trainer = Trainer(TrainingConfig(**{name: getattr(FLAGS, name) for name in names}))
    start = int(trainer.iteration)
    with (
        logging_redirect_tqdm(),
        tqdm(total=FLAGS.iterations, initial=start, unit="it", mininterval=1) as bar,
    ):
        for _, metrics in trainer.train():
            bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
            bar.update()
    return 0


if __name__ == "__main__":
    define_flags()
    run(main, __doc__)
