"""Draws curves: python benchmarks/plot_curves.py RUN [RUN ...] OUT.png  (needs hifill[docs])

From RUN/metrics.jsonl: hole L1, Wasserstein estimate, gradient penalty and gradient norms; of
several runs, hole L1 alone.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Title of a panel, whether its axis is logarithmic, and what it shows.
PANELS = (
    (
        "hole L1, grey levels",
        False,
        (
            "hole_l1_grey_levels",
            "coarse_hole_l1_grey_levels",
            "validation/hole_l1_grey_levels",
            "validation_average/hole_l1_grey_levels",
        ),
    ),
    ("Wasserstein estimate", False, ("wasserstein_estimate",)),
    ("gradient penalty", True, ("loss/gradient_penalty",)),
    ("gradient norms", True, ("gradient_norm/generator", "gradient_norm/critic")),
)


def draw(panel, run, title, logarithmic, names):
    """One panel of curves from a run's metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for name in names:
        points = [(row["iteration"], row[name]) for row in rows if row.get(name) is not None]
        if points:
            style = {"linewidth": 2} if name.startswith("validation") else {"linewidth": 1}
            panel.plot(*zip(*points, strict=True), label=name, **style)
    panel.set_title(title)
    panel.set_xlabel("iteration")
    panel.grid(alpha=0.3)
    if logarithmic and panel.lines:
        panel.set_yscale("log")
    if len(panel.lines) > 1:
        panel.legend(fontsize=8)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="folders of runs")
    parser.add_argument("output", help="picture to write, PNG or SVG")
    arguments = parser.parse_args()
    runs = [pathlib.Path(run) for run in arguments.runs]
    shown = [(runs[0], *panel) for panel in PANELS]
    if len(runs) > 1:
        _, logarithmic, names = PANELS[0]
        shown = [(run, run.name, logarithmic, names) for run in runs]
    rows = -(-len(shown) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(10, 3 * rows), constrained_layout=True)
    for panel, (run, *content) in zip(panels.flat, shown, strict=False):
        draw(panel, run, *content)
    figure.savefig(arguments.output, dpi=100)


if __name__ == "__main__":
    main()
