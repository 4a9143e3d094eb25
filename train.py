"""Trains HiFill: python train.py --train_data=PHOTOS --workdir=RUN [--flagfile=places2.cfg]

Starts a run in the folder --workdir, or continues the one that it holds. Ctrl-C saves first.
"""

import dataclasses
import sys

from absl import app, flags, logging

from hifill.layers import GATES
from hifill.losses import RECIPES
from hifill.generator import COARSE

FLAGS = flags.FLAGS

flags.DEFINE_string("train_data", None, "Folder of photos, searched recursively.", required=True)
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, summaries.", required=True)
flags.DEFINE_string("val_data", None, "Folder of photos for the picture grid.")
flags.DEFINE_string(
    "templates", None, "Folder of object shapes (white = hole) for masks; drawn shapes if not set."
)
flags.DEFINE_integer("iterations", 300_000, "Train up to this iteration.", lower_bound=1)
flags.DEFINE_integer("batch_size", 8, "Pictures per step.", lower_bound=1)
flags.DEFINE_integer("image_size", 512, "Side of the crops, a multiple of 64.", lower_bound=64)
flags.DEFINE_bool("resize", False, "Resize photos to image_size first, instead of only cropping.")
flags.DEFINE_float(
    "min_scale", 1.0, "Scale photos by a random factor from here to 1 before cropping.",
    lower_bound=0.0, upper_bound=1.0,
)
flags.DEFINE_integer(
    "critic_steps", 5, "Critic steps per generator step; 0 trains on reconstruction alone.",
    lower_bound=0,
)
flags.DEFINE_enum("recipe", "paper", list(RECIPES), "Loss weights: the paper's or the authors' code's.")
for _term in ("hole", "context", "adversarial"):
    flags.DEFINE_float(f"{_term}_weight", None, f"Weight of the {_term} loss instead of the recipe's.")
flags.DEFINE_enum("architecture", "released", list(COARSE), "Layer tables of the generator.")
flags.DEFINE_enum("coarse_gate", "single_channel", GATES, "Gates of the coarse network.")
flags.DEFINE_enum("refine_gate", "pointwise", GATES, "Gates of the refine network.")
flags.DEFINE_enum("discriminator_kernel", "3", ["3", "5"], "Kernel size of the critic.")
flags.DEFINE_enum(
    "initializer", "truncated_normal", ["truncated_normal", "variance_preserving"],
    "Initial weights: the original's, or scaled so that signals reach the output from the start.",
)
flags.DEFINE_float("learning_rate", 1e-4, "Of both Adam optimizers.", lower_bound=0.0)
flags.DEFINE_integer("seed", 0, "Chooses the photos' order, crops, masks and initial weights.")
flags.DEFINE_string("init_from", None, "Weights file or run to start a new run from.")
flags.DEFINE_enum("dtype_policy", "float32", ["float32", "mixed_bfloat16"], "What to compute in.")
flags.DEFINE_bool("jit_compile", False, "Compile the steps with XLA.")
flags.DEFINE_integer("save_every", 1000, "Iterations between checkpoints.", lower_bound=1)
flags.DEFINE_integer("summary_every", 100, "Iterations between summaries.", lower_bound=1)
flags.register_validator(
    "image_size", lambda value: value % 64 == 0, "must be a multiple of 64"
)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    # After the flags are parsed: --help and wrong flags need not wait for TensorFlow.
    import keras
    from tqdm import tqdm

    from hifill.training import Trainer, TrainingConfig

    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    values = {name: getattr(FLAGS, name) for name in names}
    values["discriminator_kernel"] = int(values["discriminator_kernel"])
    keras.utils.set_random_seed(FLAGS.seed)
    try:
        trainer = Trainer(TrainingConfig(**values))
        start = int(trainer.iteration)
        with tqdm(total=FLAGS.iterations, initial=start, unit="it", dynamic_ncols=True) as bar:
            for iteration, metrics in trainer.train():
                bar.update()
                if iteration % 10 == 0:
                    bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
    except KeyboardInterrupt:
        logging.info("interrupted; the run is saved in %s", FLAGS.workdir)
        return 130
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    app.run(main)
