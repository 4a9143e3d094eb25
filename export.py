"""python export.py --output=DIR [--weights=FILE_OR_RUN --version=N]

Turns the shipped weights, a weights file or a training run into files that need no HiFill to run:
DIR/hifill/<N>/, a SavedModel that takes photos of any size, and DIR/hifill.pb, a frozen graph of
the generator with the nodes of the authors' own. TensorFlow Serving can watch DIR/hifill while a
new version is written.
"""

from absl import flags

from hifill import command_line


def define_flags():
    values = flags.FlagValues()
    string, integer, real, _, choice = command_line.definers(values)
    string("output", None, "Folder to write to.", required=True)
    string("weights", None, "Weights file or training run; not set, the shipped weights.")
    integer("version", None, "Number of the SavedModel; not set, the next one.", 1, 2**63 - 1)
    flags.DEFINE_multi_enum(
        "formats",
        ["saved_model", "frozen_graph"],
        ["saved_model", "frozen_graph", "litert", "onnx"],
        "What to write; give it several times. litert and onnx are the generator alone.",
        flag_values=values,
    )
    real("max_megapixels", 256, "The SavedModel refuses larger photos.", lower_bound=0)
    choice("frozen_dtype", "float32", ["float32", "float16"], "Of the weights in the frozen graph.")
    flags.DEFINE_multi_integer(
        "warm_up",
        [],
        "Sides of square photos that TensorFlow Serving fills once when it loads the SavedModel.",
        lower_bound=1,
        flag_values=values,
    )
    return values


def main(arguments, values):
    """Positional arguments and parsed flags -> None."""
    from absl import app

    if arguments:
        raise app.UsageError(f"unexpected argument {arguments[0]!r}")
    if not values.max_megapixels > 0:
        raise app.UsageError(f"--max_megapixels={values.max_megapixels} is not above 0")
    from hifill.exporting import export  # TensorFlow takes its time

    written = export(
        values.output,
        values.weights,
        values.version,
        values.formats,
        int(min(values.max_megapixels * 1e6, 2**62)),
        values.frozen_dtype,
        values.warm_up,
    )
    for path in written:
        print(path)


if __name__ == "__main__":
    command_line.run(main, define_flags(), __doc__)
