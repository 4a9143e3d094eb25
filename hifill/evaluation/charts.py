"""The charts of a report, as SVG, and its style sheet.

A method has the same colour, dashes and marker in every chart, so that it is told apart in print
too.
"""

import html
import math
import statistics

from hifill.evaluation.metrics import DIRECTIONS, ONE
from hifill.evaluation.protocol import BINS
from hifill.evaluation.summary import bin_name, short

# The main measures: name -> short name, unit.
CHARTED = {
    "hole_l1_grey_levels": ("hole L1", "grey levels"),
    "hole_psnr_db": ("hole PSNR", "dB"),
    "ms_ssim": ("MS-SSIM", "no unit, at most 1"),
    "sharpness_ratio": ("sharpness", "ratio to the surroundings"),
    "seam_ratio": ("seam", "ratio to the photo"),
}

_LIGHT = ("#1f6fb4", "#c8500a", "#1a8a5a", "#a8479a", "#8a6d00", "#5b5bd6", "#b3273a", "#4d5963")
_DARK = ("#6db3f2", "#ff9a5c", "#5fd3a0", "#e79adf", "#e3c34d", "#a5a5ff", "#ff7d8a", "#b8c2cc")
_MARKERS = (
    '<circle r="4.5"/>',
    '<path d="M-4-4h8v8h-8z"/>',
    '<path d="M0-5.5 5 4h-10z"/>',
    '<path d="M0-5.5 5.5 0 0 5.5-5.5 0z"/>',
    '<path d="M0 5.5 5-4h-10z"/>',
)
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 2")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 270, 46, 10, 24, 58
_STYLE = """
body{margin:0 auto;max-width:88rem;padding:1rem;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1,h2,h3,h4{line-height:1.25;margin:1.6em 0 .5em} h1{margin-top:0}
h2{border-bottom:1px solid var(--line);padding-bottom:.2em}
a{color:inherit;text-decoration-color:var(--quiet)} small{display:block;color:var(--quiet)}
.note{color:var(--quiet);font-size:.875rem;max-width:50rem} summary{cursor:pointer}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.875rem}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right;
vertical-align:top;font-variant-numeric:tabular-nums}
thead th{vertical-align:bottom;font-weight:600} tbody th{font-weight:600;white-space:nowrap}
tr>:first-child{text-align:left} .text td,.text th{text-align:left}
.wide:not(.text) tr>:first-child{position:sticky;left:0;background:var(--page)}
.best{background:var(--mark);font-weight:600} .best,.bad{white-space:nowrap}
.bad{color:var(--bad);font-weight:700}
figure{margin:0} figcaption{font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));
gap:1.5rem 2rem;margin-bottom:1rem} .time{max-width:34rem}
.strip{display:flex;flex-wrap:wrap;gap:1rem} .strip figure{width:320px}
.strip img{display:block;outline:1px solid var(--line);max-width:100%;height:auto;margin:.3rem 0}
.strip p{margin:.2rem 0}
.about{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
.about dt,.about dd{margin:0;min-width:0}
dt{font-weight:600;margin-top:.6rem} dd{margin:0 0 0 1.2rem;max-width:60rem}
@media screen and (max-width:700px){.strip{flex-wrap:nowrap;overflow-x:auto}
.strip figure{flex:0 0 320px}}
@media print{body{max-width:none;padding:0;font-size:10pt} .wide{overflow:visible}
table{font-size:6.5pt} th,td{padding:.15rem .25rem} figure,tr{break-inside:avoid}
h2,h3,h4{break-after:avoid} .strip{gap:2%} .strip figure{width:23%}
.strip small{font-size:6.5pt} details table{font-size:8pt} .charts{grid-template-columns:1fr 1fr}
details::details-content{content-visibility:visible;display:block;height:auto}}
svg{display:block;width:100%;height:auto}
svg text{fill:currentColor;font-size:12.5px}
svg .grid{stroke:var(--line)} svg .one{stroke:currentColor;stroke-dasharray:3 3}
svg .line{fill:none;stroke:var(--c);stroke-width:2} svg .mark{fill:var(--c)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.85rem}
.legend svg{display:inline;width:2.2em;height:.8em;margin-right:.3em}
"""
_DODGE = 4  # pixels between methods of one bin, so that equal ones do not hide each other


def style():
    """The style sheet of the page."""

    def colours(values):
        return ":root{" + "".join(f"--c{i}:{value};" for i, value in enumerate(values)) + "}"

    classes = "".join(f".c{i}{{--c:var(--c{i})}}" for i in range(len(_LIGHT)))
    return f"""
:root{{--page:#fff;--text:#1b1f24;--quiet:#59636e;--line:#d5dae0;--mark:#e2f3e6;--bad:#b3273a}}
{colours(_LIGHT)}
@media screen and (prefers-color-scheme:dark){{
:root{{color-scheme:dark;--page:#15181c;--text:#e4e8ec;--quiet:#9da7b3;--line:#363d46;
--mark:#1d3d2a;--bad:#ff7d8a}}
{colours(_DARK)}}}
{classes}{_STYLE}"""


def legend(methods):
    """What line belongs to which method: HTML."""
    items = []
    for i, method in enumerate(methods):
        line = f'<path class="line" d="M0 6h34"{_dash(i)}/>{_marker(i, 17, 6)}'
        picture = f'<svg viewBox="0 0 34 12" aria-hidden="true" class="{_colour(i)}">{line}</svg>'
        items.append(f"<span>{picture}{html.escape(method)}</span>")
    return f'<div class="legend">{"".join(items)}</div>'


def share_bins(methods):
    """(name, share in percent, number of photos) of every bin that occurs in a size's summary."""
    found = []
    for index in range(-1, len(BINS) + 1):
        name = bin_name(index)
        averages = [bins[name] for bins in methods.values() if name in bins]
        if not averages:
            continue
        if index < 0:
            label = f"to {100 * BINS[0][0]:g}"
        elif index == len(BINS):
            label = f"over {100 * BINS[-1][1]:g}"
        else:
            label = "-".join(f"{100 * edge:g}" for edge in BINS[index])
        count = max(average["photos"] + average["failures"] for average in averages)
        found.append((name, label, count))
    return found


def share_chart(methods, bins, measure):
    """One of `CHARTED` against the share of the hole: SVG.

    Args:
        methods: a size's part of the summary.
        bins: from `share_bins`.
        measure: its name.
    """
    means = {
        method: [averages.get(name, {}).get(measure, {}).get("mean") for name, _, _ in bins]
        for method, averages in methods.items()
    }
    short_name, unit = CHARTED[measure]
    name = f"{short_name} by share of the hole"
    labels = [(label, count) for _, label, count in bins]
    return line_chart(labels, means, unit, name, around_one=DIRECTIONS[measure] == ONE)


def times(rows):
    """The seconds of each method at one size: HTML."""
    seconds = {row["method"]: [] for row in rows}
    for row in rows:
        if not row["error"] and math.isfinite(row["seconds"]):
            seconds[row["method"]].append(row["seconds"])
    spreads = {
        method: (min(values), statistics.median(values), max(values)) if values else None
        for method, values in seconds.items()
    }
    chart = dot_chart(spreads, "seconds for a photo", "Seconds for a photo by method")
    note = (
        "Median, least and most; of the fill alone, on the machine that is named at the end, "
        "after a first fill that is not counted."
    )
    return f'<figure class="time">{chart}</figure><p class="note">{note}</p>'


def line_chart(bins, series, unit, name, around_one=False):
    """A line for each method over bins of the hole's share.

    Args:
        bins: (label, number of photos) of each.
        series: dict from method to a value for each bin, None where there is none.
        unit: above the vertical axis.
        name: for those who cannot see the chart.
        around_one: marks 1, and makes the axis logarithmic where values are many times apart: a
            half and two are equally far from 1.

    Returns:
        SVG; "" if there is no value at all.
    """
    values = [value for line in series.values() for value in line if value is not None]
    if not values:
        return ""
    if around_one:
        values.append(1)
    low, high = min(values), max(values)
    log = around_one and low > 0 and high > 8 * low
    ticks = _log_ticks(low, high) if log else _ticks(low, high)
    scale = _scale(ticks[0], ticks[-1], _HEIGHT - _BOTTOM, _TOP, log)
    step = (_WIDTH - _LEFT - _RIGHT) / len(bins)
    parts = []
    for tick in ticks:
        y = scale(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}", "end"))
    if around_one:
        parts.append(f'<path class="one" d="M{_LEFT} {scale(1):.1f}H{_WIDTH - _RIGHT}"/>')
    for i, (label, count) in enumerate(bins):
        middle = _LEFT + (i + 0.5) * step
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 17, label, "middle"))
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 32, f"n = {count}", "middle"))
    parts.append(_text(0, 11, f"{unit}, log scale" if log else unit, "start"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 5, "hole, % of the picture; n photos", "middle"))
    dodge = min(_DODGE, 0.6 * step / len(series))
    for i, (method, line) in enumerate(series.items()):
        start = _LEFT + 0.5 * step + dodge * (i - (len(series) - 1) / 2)
        parts.append(f'<g class="{_colour(i)}">')
        path, pen, marks = "", "M", []
        for j, value in enumerate(line):
            if value is None:
                pen = "M"
                continue
            x, y = start + j * step, scale(value)
            path += f"{pen}{x:.1f} {y:.1f}"
            pen = "L"
            marks.append(_marker(i, x, y, f"{method}, {bins[j][0]} %: {value:.4g}"))
        parts.append(f'<path class="line" d="{path}"{_dash(i)}/>{"".join(marks)}</g>')
    return _svg(parts, _HEIGHT, name)


def dot_chart(series, unit, name):
    """A row for each method: a dot at the median, a line from the least to the most; log scale.

    Args:
        series: dict from method to (least, median, most), or None where there is none.
        unit: below the axis.
        name: for those who cannot see the chart.

    Returns:
        SVG; "" if there is no value at all.
    """
    values = [value for three in series.values() if three for value in three if value > 0]
    if not values:
        return ""
    ticks = _log_ticks(min(values), max(values), steps=(1,))
    left, right, row, bottom = 128, 70, 26, 34
    height = row * len(series) + bottom
    scale = _scale(ticks[0], ticks[-1], left, _WIDTH - right, log=True)
    parts = []
    for tick in ticks:
        x = scale(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} 0V{height - bottom}"/>')
        parts.append(_text(x, height - bottom + 15, f"{tick:g}", "middle"))
    middle = (left + _WIDTH - right) / 2
    parts.append(_text(middle, height - 3, f"{unit}, log scale", "middle"))
    for i, (method, three) in enumerate(series.items()):
        y = row * (i + 0.5)
        label = method if len(method) <= 18 else method[:17] + "…"
        parts.append(_text(left - 8, y + 4, label, "end"))
        text = "not measured"
        if three:
            least, median, most = (scale(max(value, ticks[0])) for value in three)
            text = short(three[1])
            line = f'<path class="line" d="M{least:.1f} {y}H{most:.1f}"/>'
            mark = _marker(i, median, y, f"{method}: {text} {unit}")
            parts.append(f'<g class="{_colour(i)}">{line}{mark}</g>')
        parts.append(_text(_WIDTH, y + 4, text, "end"))
    return _svg(parts, height, name)


def _svg(parts, height, name):
    label = html.escape(name)
    view = f"0 0 {_WIDTH} {height}"
    return f'<svg viewBox="{view}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _colour(i):
    return f"c{i % len(_LIGHT)}"


def _dash(i):
    return f' stroke-dasharray="{_DASHES[i % len(_DASHES)]}"'


def _marker(i, x, y, title=""):
    title = f"<title>{html.escape(title)}</title>" if title else ""
    shape = _MARKERS[i % len(_MARKERS)]
    return f'<g class="mark" transform="translate({x:.1f} {y:.1f})">{title}{shape}</g>'


def _text(x, y, text, anchor):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _scale(low, high, start, end, log):
    """Function from a value between low and high to a place between start and end."""
    bend = math.log if log else float
    span = bend(high) - bend(low)
    return lambda value: start + (end - start) * (bend(value) - bend(low)) / span


def _ticks(low, high):
    """Four to eight round numbers around both; from 0 if that is not far below."""
    if 0 <= low < 0.4 * high:
        low = 0
    span = (high - low) or abs(high) or 1
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _log_ticks(low, high, steps=(1, 2, 5)):
    """Those of 1, 2, 5, 10, 20 ... that lie between two values, and one on either side."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [step * 10.0**power for power in powers for step in steps]
    first = max(i for i, tick in enumerate(ticks) if tick <= low)
    last = min(i for i, tick in enumerate(ticks) if tick >= high)
    return ticks[first : max(last, first + 1) + 1]
