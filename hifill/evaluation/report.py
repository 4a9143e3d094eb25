"""What a run found, to be read: `report.html` and `report.md`, and `summary.json` for programs."""

import contextlib
import datetime
import html
import importlib.metadata
import json
import math
import os
import pathlib
import platform

from hifill import image_io
from hifill.evaluation import charts, pictures, summary, tables
from hifill.evaluation.definitions import DEFINITIONS, SET_DEFINITIONS
from hifill.evaluation.metrics import ARROWS, DIRECTIONS, HIGHER, LOWER, ONE
from hifill.evaluation.networks import SET_DIRECTIONS, Networks
from hifill.evaluation.protocol import fingerprint

_WORDS = {HIGHER: "higher is better", LOWER: "lower is better", ONE: "1 is best"}
_TITLE = "Evaluation of hole filling"
_MOST_FAILURES = 100  # listed in the page
# Those that figures can depend on, as far as they are installed.
_PACKAGES = ("hifill", "keras", "numpy", "pillow", "opencv-python", "opencv-python-headless")
_PACKAGES += ("PyPatchMatch", "scikit-image")


def about(cases, arguments):
    """What is needed to repeat a run, beside the photos.

    Args:
        cases: list of `protocol.Case`.
        arguments: dict, such as the command line and the seed; goes into the result as it is.

    Returns:
        Dict of texts, numbers, lists and dicts.
    """
    import tensorflow as tf

    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "number_of_photos": len({case.photo for case in cases}),
        "number_of_holes": len(cases),
        "sizes": list(dict.fromkeys(case.size for case in cases)),
        "protocol_sha256": fingerprint(cases),
        **arguments,
        "versions": versions,
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpus": gpus,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_report(folder, cases, rows, about, networks=None):
    """Writes `summary.json`, `report.md` and `report.html`, each whole or not at all.

    Args:
        folder: of the report, with the masks and pictures.
        cases: list of `protocol.Case`.
        rows: from `runs.run`.
        about: dict, from the function of this name. The hashes of the models, which `runs.run`
            left in the folder, are added.
        networks: `networks.Networks`, as for `runs.run`.

    Raises:
        image_io.ImageError: if a file cannot be written.
    """
    folder = pathlib.Path(folder)
    models = folder / "models.json"
    if models.exists():
        models = json.loads(models.read_text())
        models = models["methods"] | models["networks"]
        about = {**about, "models_sha256": {name: value for name, value in models.items() if value}}
    networks = networks or Networks()
    averages = summary.summarise(rows, lambda rows: networks.scores(folder, rows))
    content = {"about": about, "summary": averages}
    content = json.dumps(content, indent=1, allow_nan=False, default=str)
    foot = "".join(f"    {name}: {_plain(value)}\n" for name, value in about.items())
    measured = _measured(cases, rows)
    plain = f"# {_TITLE}\n\n{measured}\n\n{tables.markdown(averages)}\n### About\n\n{foot}"
    page = _page(folder, cases, rows, averages, about, measured, networks)
    for name, text in (("summary.json", content), ("report.md", plain), ("report.html", page)):
        # A name that is no text, which a file may have, is shown with question marks.
        image_io.replace_file(folder / name, text.encode("utf-8", "replace"))


def _cpu():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_gb():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def _plain(value):
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return "not known" if value is None else " ".join(str(value).split())


def _measured(cases, rows):
    """What was measured, in two sentences, or three if there are failures."""
    sizes = ", ".join(_size(rows, size) for size in dict.fromkeys(case.size for case in cases))
    shares = [100 * case.hole_share for case in cases]
    failures, photos = sum(bool(row["error"]) for row in rows), len({c.photo for c in cases})
    text = (
        f"{photos} photo{'s' * (photos > 1)}, {sizes} pixels, with holes of "
        f"{min(shares):.1f} to {max(shares):.1f} % of the picture, filled by "
        f"{', '.join(dict.fromkeys(row['method'] for row in rows))}. Photos, sizes and holes "
        f"together have the SHA-256 {fingerprint(cases)}; compare equal ones only."
    )
    if failures:
        text += f" {failures} of {len(rows)} fills failed and are in no average."
    return text


def _size(rows, size):
    """As in "512 x 512", or "native from 481 x 321 to 4000 x 3000"."""
    read = [row for row in rows if row["size"] == size and row["width"] > 0]  # else not known
    sides = sorted(((row["width"], row["height"]) for row in read), key=math.prod)
    if not sides:
        return size
    least, most = (f"{width:.0f} x {height:.0f}" for width, height in (sides[0], sides[-1]))
    return least if size.isdecimal() else f"{size} from {least} to {most}"


def _page(folder, cases, rows, averages, about, measured, networks):
    parts = [f"<h1>{_TITLE}</h1><p>{html.escape(measured)}</p>"]
    for title, note, table in tables.layouts(averages):
        parts += [f"<h2>{html.escape(title)}</h2>", _text_table(table)]
        parts.append(f'<p class="note">{html.escape(note)}</p>')
    names = tables.measured(averages)
    for size, methods in averages.items():
        here = [row for row in rows if row["size"] == size]
        parts += [f"<h2>{html.escape(_size(rows, size))}</h2>", _overall(methods, names)]
        scores = tables.set_scores(methods)
        if scores:
            parts += ["<h3>Scores of whole sets</h3>", _text_table(scores)]
        parts += ["<h3>By share of the hole</h3>", _by_share(methods, names), "<h3>Time</h3>"]
        parts += [charts.times(here), pictures.pictures(folder, cases, here)]
    parts.append(_failures([row for row in rows if row["error"]]))
    parts.append("<h2>The measures</h2><dl>")
    definitions = {name: (DEFINITIONS[name], DIRECTIONS[name]) for name in names}
    if networks.has_scores:
        definitions |= {n: (text, SET_DIRECTIONS[n]) for n, text in SET_DEFINITIONS.items()}
    for name, (text, direction) in definitions.items():
        parts.append(f'<dt id="{name}"><code>{name}</code>, {_WORDS[direction]}</dt>')
        parts.append(f"<dd>{html.escape(text)}</dd>")
    parts.append('</dl><h2>About this run</h2><dl class="about">')
    parts += [
        f"<dt>{html.escape(k)}</dt><dd>{html.escape(_plain(v))}</dd>" for k, v in about.items()
    ]
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_TITLE}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{charts.style()}</style></head>\n<body>\n{body}</dl></body></html>\n"
    )


def _overall(methods, names):
    """The table of a size: over all holes."""
    averages = {method: bins[summary.ALL] for method, bins in methods.items()}

    def cells(value):
        return {method: f"<td>{value(average)}</td>" for method, average in averages.items()}

    columns = {
        "photos": cells(lambda a: a["photos"]),
        "failures": cells(lambda a: a["failures"] and f'<b class="bad">{a["failures"]}</b>'),
        **{_head(name): _column(averages, name) for name in names},
        "seconds, median": cells(lambda a: summary.short(a["seconds"]["median"])),
        "MB, most": cells(lambda a: summary.short(a["peak_megabytes"]["maximum"])),
    }
    note = (
        "★ marks the best in the digits shown, of the methods that were measured on most photos, "
        "and if no other has more infinite values. Infinite and undefined values are in no mean."
    )
    return f'{_table(methods, columns)}<p class="note">{note}</p>'


def _by_share(methods, names):
    """A chart of each main measure, and tables of all."""
    bins = charts.share_bins(methods)
    figures, rest = [], []
    for name in names:
        columns = {}
        for bin_, label, count in bins:
            averages = {method: b[bin_] for method, b in methods.items() if bin_ in b}
            cells = _column(averages, name, ("infinite", "undefined", "failed"))
            columns[f"{label}&nbsp;%<br>n = {count}"] = cells
        table = _table(methods, columns)
        if name in charts.CHARTED:
            figures.append(
                f"<figure><figcaption>{_head(name)}, {_WORDS[DIRECTIONS[name]]}</figcaption>"
                f"{charts.share_chart(methods, bins, name)}{charts.legend(methods)}"
                f"<details><summary>As a table</summary>{table}</details></figure>"
            )
        else:
            rest.append(f"<h4>{_head(name)}</h4>{table}")
    return (
        f'<div class="charts">{"".join(figures)}</div><details><summary>The other measures by '
        f"share of the hole</summary>{''.join(rest)}</details>"
    )


def _column(averages, name, kinds=("infinite", "undefined")):
    """The cells of one measure: dict from method to HTML. What is not in the mean is counted."""
    means = [average[name]["mean"] for average in averages.values()]
    largest = max((abs(mean) for mean in means if mean is not None), default=0)
    # The largest gets four.
    digits = min(4, max(0, 3 - math.floor(math.log10(largest)))) if largest else 3
    best = _best(averages, name, digits)
    cells = {}
    for method, average in averages.items():
        values = {**average[name], "failed": average["failures"]}
        text = "" if values["mean"] is None else f"{values['mean']:.{digits}f}"
        text += "".join(f"<small>{values[kind]} {kind}</small>" for kind in kinds if values[kind])
        cells[method] = f"<td>{text or '-'}</td>"
        if method in best:
            cells[method] = f'<td class="best">★ {text}</td>'
    return cells


def _best(averages, name, digits):
    """The methods whose mean is the best, as rounded; none if that cannot be said."""
    direction = DIRECTIONS[name]
    scores = {}  # the less, the better: values that are missing, infinite ones, error
    for method, average in averages.items():
        if average["photos"] > average[name]["undefined"]:
            mean, infinite = average[name]["mean"], average[name]["infinite"]
            mean = math.inf if mean is None else mean
            error = {HIGHER: -mean, LOWER: mean, ONE: abs(mean - 1)}[direction]
            missing = average["failures"] + average[name]["undefined"]
            infinite = -infinite if direction == HIGHER else infinite
            scores[method] = (missing, infinite, round(error, digits))
    # Means over different photos do not say which is better.
    least = min((score[0] for score in scores.values()), default=0)
    scores = {method: score for method, score in scores.items() if score[0] == least}
    best = tuple(map(min, zip(*scores.values(), strict=True)))
    return [method for method, score in scores.items() if score == best]


def _table(methods, columns):
    """A line for each method, of a dict from head to a dict from method to cell: HTML."""
    heads = "".join(f'<th scope="col">{head}</th>' for head in columns)
    lines = []
    for method in methods:
        cells = "".join(column.get(method, "<td></td>") for column in columns.values())
        lines.append(f'<tr><th scope="row">{html.escape(method)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><thead><tr><th scope="col">method</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _text_table(table):
    """{method: {head: text}} as HTML."""
    columns = {
        html.escape(head): {
            method: f"<td>{html.escape(cells.get(head, '-'))}</td>"
            for method, cells in table.items()
        }
        for head in tables.heads(table)
    }
    return _table(table, columns)


def _head(name):
    """The name of a measure, linked to its definition, with an arrow to the better side."""
    direction = DIRECTIONS[name]
    text = f"{name.replace('_', '_<wbr>')}&nbsp;{ARROWS[direction].replace(' ', '&nbsp;')}"
    return f'<a href="#{name}" title="{_WORDS[direction]}">{text}</a>'


def _failures(rows):
    names = ("method", "photo", "size", "error")
    lines = ["<tr>" + "".join(f"<th>{name}</th>" for name in names)]
    for row in rows[:_MOST_FAILURES]:
        lines.append("<tr>" + "".join(f"<td>{html.escape(row[name])}</td>" for name in names))
    table = f'<div class="wide text"><table>{"</tr>".join(lines)}</tr></table></div>'
    more = f"<p>All {len(rows)} are in results.csv.</p>" * (len(rows) > _MOST_FAILURES)
    return f"<h2>Failures</h2>{table if rows else '<p>None.</p>'}{more}"
