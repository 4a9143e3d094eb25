"""Rows to averages: by size, method and share of the hole."""

import math

import numpy as np

from hifill.evaluation.metrics import DIRECTIONS
from hifill.evaluation.protocol import BINS

ALL = "all"
COSTS = ("seconds", "peak_megabytes")


def summarise(rows):
    """Averages rows.

    Args:
        rows: from `runs.run`.

    Returns:
        Nested dicts: size -> method -> bin ("all", or "0.01-0.1" and so on, for those that occur)
        -> `photos`, how many were measured; `failures`, how many were not, which are in no average;
        and for each measure a dict of `mean`, over finite values, None if there is none; and
        `infinite` and `undefined`, how many values were. `seconds` has `median` too, and
        `peak_megabytes` `maximum`. Sizes and methods stand in the order of the rows.
    """
    summary = {}
    for row in rows:
        bins = summary.setdefault(row["size"], {}).setdefault(row["method"], {})
        for name in (ALL, bin_name(int(row["hole_bin"]))):
            bins.setdefault(name, []).append(row)
    return {
        size: {
            method: {name: _average(bins[name]) for name in (ALL, *_names()) if name in bins}
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


def _average(rows):
    measured = [row for row in rows if not row["error"]]
    average = {"photos": len(measured), "failures": len(rows) - len(measured)}
    for name in (*COSTS, *DIRECTIONS):
        values = np.array([row[name] for row in measured], float)
        finite = values[np.isfinite(values)]
        average[name] = {
            "mean": float(finite.mean()) if finite.size else None,
            "infinite": int(np.isinf(values).sum()),
            "undefined": int(np.isnan(values).sum()),
        }
        if finite.size and name == "seconds":
            average[name]["median"] = float(np.median(finite))
        if finite.size and name == "peak_megabytes":
            average[name]["maximum"] = float(finite.max())
    return average


def markdown(summary):
    """A table for each size, over all holes: Markdown text."""
    arrows = {"higher": " ↑", "lower": " ↓", "one": " → 1"}
    names = [name for name in DIRECTIONS if any(_values(summary, name))]
    lines = []
    for size, methods in summary.items():
        heads = [f"{name}{arrows[DIRECTIONS[name]]}" for name in names]
        heads = ["method", "photos", "failures", *heads, "seconds (median)", "peak MB"]
        lines += [f"### {size}", "", _line(heads), _line(["---"] * len(heads))]
        for method, bins in methods.items():
            average = bins[ALL]
            cells = [method, average["photos"], average["failures"]]
            cells += [_cell(average[name]) for name in names]
            cells.append(_number(average["seconds"].get("median")))
            cells.append(_number(average["peak_megabytes"].get("maximum"), 0))
            lines.append(_line(cells))
        lines.append("")
    return "\n".join(lines)


def _values(summary, name):
    for methods in summary.values():
        for bins in methods.values():
            yield bins[ALL][name]["mean"] is not None or bins[ALL][name]["infinite"]


def _cell(values):
    text = _number(values["mean"])
    return f"{text} (and {values['infinite']} infinite)" if values["infinite"] else text


def _number(value, digits=3):
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" if digits == 0 else f"{value:#.4g}".rstrip(".")


def _line(cells):
    return f"| {' | '.join(map(str, cells))} |"
