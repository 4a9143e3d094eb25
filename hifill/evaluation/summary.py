"""Rows to averages: by size, method and share of the hole."""

import math

import numpy as np

from hifill.evaluation.metrics import DIRECTIONS
from hifill.evaluation.protocol import BINS

ALL = "all"
COSTS = ("seconds", "peak_megabytes")


def summarise(rows, scores=lambda rows: {}):
    """Averages rows.

    Args:
        rows: from `runs.run`.
        scores: function from rows of one method to scores of them as a set, see
            `networks.Networks.scores`.

    Returns:
        Nested dicts: size -> method -> bin ("all", or "0.01-0.1" and so on, for those that occur)
        -> `photos`, how many were measured; `failures`, how many were not, which are in no average;
        for each measure a dict of `mean` and `median` over finite values, None if there is none,
        and `infinite` and `undefined`, how many values were; and `scores`. `peak_megabytes` has
        `maximum` too. Sizes and methods stand in the order of the rows.
    """
    summary = {}
    for row in rows:
        bins = summary.setdefault(row["size"], {}).setdefault(row["method"], {})
        for name in (ALL, bin_name(int(row["hole_bin"]))):
            bins.setdefault(name, []).append(row)
    return {
        size: {
            method: {
                name: _average(bins[name], scores) for name in (ALL, *_names()) if name in bins
            }
            for method, bins in methods.items()
        }
        for size, methods in summary.items()
    }


def bin_name(index):
    """The name of a bin: "0.01-0.1"; "below 0.01" for -1; "above 0.6"."""
    if index < 0:
        return f"below {BINS[0][0]:g}"
    if index >= len(BINS):
        return f"above {BINS[-1][1]:g}"
    low, high = BINS[index]
    return f"{low:g}-{high:g}"


def _names():
    return [bin_name(index) for index in range(-1, len(BINS) + 1)]


def _average(rows, scores):
    measured = [row for row in rows if not row["error"]]
    average = {"photos": len(measured), "failures": len(rows) - len(measured)}
    for name in (*COSTS, *DIRECTIONS):
        values = np.array([row[name] for row in measured], float)
        finite = values[np.isfinite(values)]
        average[name] = {
            "mean": float(finite.mean()) if finite.size else None,
            "median": float(np.median(finite)) if finite.size else None,
            "infinite": int(np.isinf(values).sum()),
            "undefined": int(np.isnan(values).sum()),
        }
        if name == "peak_megabytes":
            average[name]["maximum"] = float(finite.max()) if finite.size else None
    average["scores"] = scores(rows)
    return average


def short(value, digits=3):
    """A number in so many digits or more, four after the point at most; a dash if undefined."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "infinite"
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(4, max(0, places))}f}"
