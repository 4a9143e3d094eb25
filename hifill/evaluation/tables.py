"""A summary as tables: all measures, and two layouts that papers use."""

from hifill.evaluation.metrics import ARROWS, DIRECTIONS
from hifill.evaluation.networks import SET_DIRECTIONS
from hifill.evaluation.summary import ALL, short

# The columns of each size and of each share: name in the summary -> name in the table.
_OF_SIZE = {
    "l1_percent_of_255": "L1 %",
    "ms_ssim": "MS-SSIM",
    "fid": "FID",
    "inception_score": "IS",
    "seconds": "s",
}
_OF_SHARE = {"fid": "FID", "psnr_db": "PSNR", "ssim": "SSIM", "l1_percent_of_255": "L1 %"}
_SHARES = {"0.1-0.2": "10-20 %", "0.4-0.5": "40-50 %"}


def layouts(summary):
    """Yields tables: (title, note, {method: {head: text}}), for those that have anything to show.

    Several sizes beside each other, as in table 2 of the HiFill paper; and for each size, holes of
    10 to 20 % and of 40 to 50 % beside each other, as in papers on irregular holes since Liu et al.
    2018.
    """
    table = {}
    for size, methods in summary.items():
        for method, bins in methods.items():
            cells = _cells(bins[ALL], _OF_SIZE, size)
            table.setdefault(method, {}).update(cells)
    note = (
        "L1 % is l1_percent_of_255, s the median of the seconds for a photo. What is infinite, "
        "undefined or failed is in no mean."
    )
    if len(summary) > 1:
        yield "Sizes beside each other", note, table
    for size, methods in summary.items():
        table, counts = {}, {}
        for method, bins in methods.items():
            for share, name in _SHARES.items():
                if share in bins:
                    table.setdefault(method, {}).update(_cells(bins[share], _OF_SHARE, name))
                    counts[name] = bins[share]["photos"] + bins[share]["failures"]
        numbers = ", ".join(f"{count} of {name}" for name, count in counts.items())
        if table:
            note = f"Photos with holes: {numbers}. L1 % is l1_percent_of_255."
            yield f"{size}: small and large holes", note, table


def set_scores(methods):
    """Scores of whole sets, of one size's part of a summary: {method: {head: text}}.

    By share of the hole too, with the number of pictures; empty if there are none.
    """
    table = {}
    for method, bins in methods.items():
        for bin_name, average in bins.items():
            for name, value in average["scores"].items():
                direction = SET_DIRECTIONS[name.partition("_like_")[0]]
                head = f"{name} {ARROWS[direction]}, {bin_name}"
                text = f"{short(value, 4)} (N = {average['photos']})"
                table.setdefault(method, {})[head] = text
    return table


def markdown(summary):
    """All tables of a summary, in Markdown."""
    names = measured(summary)
    lines = []
    for title, note, table in layouts(summary):
        lines += [f"### {title}", "", *_markdown(table), "", note, ""]
    for size, methods in summary.items():
        table = {}
        for method, bins in methods.items():
            average = bins[ALL]
            cells = {"photos": str(average["photos"]), "failures": str(average["failures"])}
            for name in names:
                cells[f"{name} {ARROWS[DIRECTIONS[name]]}"] = _mean(average, name)
            cells["seconds (median)"] = short(average["seconds"]["median"])
            cells["peak MB"] = short(average["peak_megabytes"]["maximum"])
            table[method] = cells
        lines += [f"### {size}", "", *_markdown(table), ""]
        scores = set_scores(methods)
        if scores:
            lines += [f"### {size}: scores of sets", "", *_markdown(scores), ""]
    return "\n".join(lines)


def measured(summary):
    """Names of the measures that any method has a value of."""
    averages = [b[ALL] for methods in summary.values() for b in methods.values()]
    return [
        name
        for name in DIRECTIONS
        if any(a[name]["mean"] is not None or a[name]["infinite"] for a in averages)
    ]


def _cells(average, columns, group):
    """{head: text} of one method; scores of another graph than that of 2015 keep their names."""
    cells = {}
    for name, column in columns.items():
        if name in SET_DIRECTIONS:
            for score, value in average["scores"].items():
                if score.partition("_like_")[0] == name:
                    head = column if score == name else score
                    cells[f"{group}: {head}"] = f"{short(value, 4)} (N = {average['photos']})"
        elif name == "seconds":
            cells[f"{group}: {column}"] = short(average[name]["median"])
        else:
            cells[f"{group}: {column}"] = _mean(average, name)
    return cells


def _mean(average, name):
    """The mean of a measure, and what is not in it."""
    values = {**average[name], "failed": average["failures"]}
    left_out = [
        f"{values[kind]} {kind}" for kind in ("infinite", "undefined", "failed") if values[kind]
    ]
    text = short(values["mean"], 4)
    return f"{text} (and {', '.join(left_out)})" if left_out else text


def heads(table):
    """The columns of {method: {head: text}}, in the order in which they first stand there."""
    return list(dict.fromkeys(head for cells in table.values() for head in cells))


def _markdown(table):
    columns = heads(table)
    yield f"| {' | '.join(['method', *columns])} |"
    yield "|---" * (1 + len(columns)) + "|"
    for method, cells in table.items():
        yield f"| {' | '.join([method, *(cells.get(head, '-') for head in columns)])} |"
