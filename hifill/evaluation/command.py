"""The command hifill-evaluate."""

import logging
import pathlib
import re
import shlex
import sys

from hifill import locks
from hifill.evaluation import inputs, protocol, runs
from hifill.evaluation.methods import METHODS, label
from hifill.evaluation.networks import Networks

USAGE = f"""
hifill-evaluate --photos=FOLDER --report=FOLDER [--masks=FOLDER] [--methods=hifill,telea]

Fills one hole in each photo by each method and measures the results. The report's folder gets
report.html, report.md, results.csv (a row for each photo, hole and method), summary.json, and the
holes themselves, so that a later run, or another tool, fills the same ones. The same command
continues a run that was interrupted.

Methods: {", ".join(METHODS)}; NAME=MODEL is any SavedModel, frozen graph or weights file.
"""

_log = logging.getLogger(__name__)


def main(arguments, flags):
    """Positional arguments and parsed flags -> exit code."""
    from absl import app

    if arguments:
        raise app.UsageError(f"unexpected argument {arguments[0]!r}")
    results = dict(_named(value) for value in flags.results)
    methods = [] if flags.methods == ["none"] else flags.methods
    if not (methods or results or flags.inputs):
        raise app.UsageError("--methods=none needs --results or --inputs")
    for name in (*map(label, methods), *results):
        if not re.fullmatch(r"[\w .+-]+", name) or name.endswith("_piece"):
            raise app.UsageError(f"{name!r}: names are of letters, digits, space and . + - _")
    folder = pathlib.Path(flags.report)
    with locks.locked_folder(folder, "--report", f"{folder}: another process works on this report"):
        failed = _evaluate(flags, folder, methods, results)
    return 1 if failed else 0


def _evaluate(flags, folder, methods, results):
    """Draws, writes inputs, runs, reports; returns the rows that failed."""
    from tqdm import tqdm

    from hifill.evaluation.report import about, write_report

    settings = {name: flags[name].value for name in ("photos", "masks", "sizes", "seed", "count")}
    networks = Networks(flags.lpips, flags.inception)
    cases = protocol.load_protocol(folder, settings)
    if cases is None:
        with tqdm(desc="holes", unit="hole") as bar:
            cases = protocol.draw_protocol(
                **settings, folder=folder, progress=lambda done, total: bar.update()
            )
    if flags.inputs:
        inputs.write_inputs(flags.inputs, folder, tqdm(cases, desc="inputs", unit="photo"))
    if not (methods or results):
        return []
    with tqdm(total=len(cases), desc="photos", unit="photo") as bar:

        def progress(done):
            bar.n = done
            bar.refresh()

        rows = runs.run(
            cases, methods, folder, flags.weights, results, networks, flags.processes, progress
        )
    command = shlex.join(["hifill-evaluate", *sys.argv[1:]])
    arguments = {"command": command, **settings, "count": flags.count or "all"}
    write_report(folder, cases, rows, about(cases, arguments), networks)
    failed = [row for row in rows if row["error"]]
    for row in failed[:5]:
        _log.error("%s: %s: %s", row["method"], row["photo"], row["error"])
    if failed:
        _log.error("%d of %d fills failed; they are in no average", len(failed), len(rows))
    _log.info("%s", folder / "report.html")
    return failed


def _are_sizes(given):
    """Whether a list of sizes is one: none twice, nor in two ways of writing."""
    numbers = [size for size in given if size.isdecimal()]
    right = all(s == protocol.NATIVE or (s in numbers and int(s) >= 64) for s in given)
    return right and 0 < len(given) == len({s.lstrip("0") for s in given})


def _named(value):
    from absl import app

    name, separator, folder = value.partition("=")
    if not (name and separator and pathlib.Path(folder).is_dir()):
        raise app.UsageError(f"--results={value}: give NAME=FOLDER, a folder that exists")
    return name, folder


def run():
    """Entry point of `hifill-evaluate`."""
    from absl import flags

    from hifill import command_line

    values = flags.FlagValues()
    string, integer, _, _, _ = command_line.definers(values)
    string("photos", None, "A photo, or a folder of photos that no method has seen.", required=True)
    string(
        "report", None, "Folder of the report; one that holds a run continues it.", required=True
    )
    masks = "random, or a folder: masks named as their photos, or else dealt out in turn."
    string("masks", "random", masks)
    methods = "Comma-separated; none with --results alone."
    flags.DEFINE_list("methods", ["hifill", "telea", "navier-stokes"], methods, flag_values=values)
    results = "NAME=FOLDER of another tool's results on the report's holes; repeat it for more."
    flags.DEFINE_multi_string("results", [], results, flag_values=values)
    inputs_help = "Folder to write the photos with their holes to, and masks, for other tools."
    string("inputs", None, inputs_help)
    sizes = "native, or sides of the middle squares of the photos, such as 512,1024."
    flags.DEFINE_list("sizes", ["native"], sizes, flag_values=values)
    flags.register_validator(
        "sizes",
        _are_sizes,
        "must be native or numbers of at least 64, each once",
        flag_values=values,
    )
    lpips = "Weights for LPIPS, see hifill/evaluation/lpips.py; repeat it for both networks."
    flags.DEFINE_multi_string("lpips", [], lpips, flag_values=values)
    inception = "classify_image_graph_def.pb of 2015, for FID, Inception Score, P-IDS and U-IDS."
    string("inception", None, inception)
    string("weights", None, "Weights of the hifill methods; not set, the shipped ones.")
    integer("count", None, "So many photos, evenly spaced; not set, all.", lower_bound=1)
    integer("seed", 0, "Of random holes.", lower_bound=0)
    integer("processes", 1, "Photos at a time; more than one makes times longer.", lower_bound=1)
    command_line.run(main, values, USAGE)
