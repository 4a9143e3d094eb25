"""Draws a run's curves: python benchmarks/plot_curves.py RUN OUT.png  (needs hifill[docs])

From RUN/metrics.jsonl: hole L1, Wasserstein estimate, gradient penalty and gradient norms.
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
        ("hole_l1_grey_levels", "coarse_hole_l1_grey_levels", "validation/hole_l1_grey_levels"),
    ),
    ("Wasserstein estimate", False, ("wasserstein_estimate",)),
    ("gradient penalty", True, ("loss/gradient_penalty",)),
    ("gradient norms", True, ("gradient_norm/generator", "gradient_norm/critic")),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("output", help="picture to write, PNG or SVG")
    arguments = parser.parse_args()
    path = pathlib.Path(arguments.run, "metrics.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    figure, panels = plt.subplots(2, 2, figsize=(10, 6), constrained_layout=True)
    for panel, (title, logarithmic, names) in zip(panels.flat, PANELS, strict=True):
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
    figure.savefig(arguments.output, dpi=100)


if __name__ == "__main__":
    main()
