"""The report of an evaluation, of a small run with a failure and of rows made up."""

import base64
import html.parser
import json
import math

import cv2
import numpy as np
import pytest

from hifill.evaluation import protocol, report, runs
from hifill.evaluation.definitions import DEFINITIONS, SET_DEFINITIONS
from hifill.evaluation.metrics import DIRECTIONS
from hifill.evaluation.networks import SET_DIRECTIONS

ODD = "a<b>&c.png"
VOID = {"meta", "img", "wbr", "br"}


class Page(html.parser.HTMLParser):
    """Checks that tags are balanced; collects attributes, text and the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.text, self.best = [], [], "", []
        self.row, self.rows = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag == "tr":
            self.row = []
            self.rows.append(self.row)
        if tag in ("td", "th"):
            self.row.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" not in self.open:
            self.text += text
        if {"td", "th"} & set(self.open):
            self.row[-1] += text

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's folder, cases and rows; the method "other" has no picture of one photo."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    (folder / "other").mkdir()
    for i, name in enumerate((ODD, "b.png", "c.png")):
        coarse = rng.uniform(0, 255, (6, 7, 3)).astype(np.float32)
        photo = cv2.resize(coarse, (400 + i, 340)).astype(np.uint8)
        cv2.imwrite(str(folder / "photos" / name), photo)
        if name != ODD:
            cv2.imwrite(str(folder / "other" / name), photo)
    cases = protocol.draw_protocol(folder / "photos", "random", ["native", "170"], 3, folder)
    rows = runs.run(
        cases, ["telea", "mean-colour"], folder, results={"other": str(folder / "other")}
    )
    return folder, cases, rows


@pytest.fixture(scope="module")
def page(finished):
    folder, cases, rows = finished
    report.write_report(folder, cases, rows, report.about(cases, {"command": "x --y='<i>'"}))
    return Page((folder / "report.html").read_text())


def test_definitions_are_of_all_measures():
    assert list(DEFINITIONS) == list(DIRECTIONS)
    assert list(SET_DEFINITIONS) == list(SET_DIRECTIONS)


def test_page_stands_alone(finished, page):
    text = (finished[0] / "report.html").read_text()
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert page.values("src")
    for name in ("src", "href", "srcset", "data", "xlink:href"):
        assert all(
            value.startswith(("data:image/jpeg;base64,", "#")) for value in page.values(name)
        )
    assert not {tag for tag, *_ in page.attributes} & {"script", "link", "iframe", "object"}


def test_links_within_the_page_lead_somewhere(page):
    assert set(page.values("href")) <= {f"#{name}" for name in page.values("id")}


def test_pictures_decode(page):
    sources = page.values("src")
    # Of both sizes, three cases with a photo, a hole and the three methods, but for the failures:
    # all of "other" at 170 pixels, and one at the native size.
    assert len(sources) == 2 * (3 * 4 + 2 + 3 * 4)
    for source in sources:
        content = base64.b64decode(source.partition(",")[2], validate=True)
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None


def test_failures_are_named_and_counted(finished, page):
    folder, _, rows = finished
    failed = [row for row in rows if row["error"]]
    assert len(failed) == 4
    photos = {row["photo"] for row in rows}
    listed = [row for row in page.rows if len(row) == 4 and row[1] in photos]
    assert listed == [[row["method"], row["photo"], row["size"], row["error"]] for row in failed]
    text = (folder / "report.html").read_text()
    assert "a&lt;b&gt;&amp;c" in text and "a<b>" not in text
    assert "4 of 18 fills failed" in page.text


def test_every_method_is_in_every_table(page):
    names = [row[0] for row in page.rows if row[0] in ("telea", "mean-colour", "other")]
    assert names.count("telea") == names.count("mean-colour")
    assert {"telea", "mean-colour", "other"} <= set(names)


def test_summary_is_strict_json(finished, page):
    def refuse(name):
        raise AssertionError(name)

    folder, cases, _ = finished
    content = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    assert content["about"]["protocol_sha256"] == protocol.fingerprint(cases)
    assert content["summary"]["native"]["other"]["all"]["psnr_db"]["infinite"] == 2
    text = (folder / "report.md").read_text()
    assert "| telea | 3 | 0 |" in text and protocol.fingerprint(cases) in text


def test_perfect_fills_are_counted_and_not_best_if_some_are_missing(page):
    first = next(i for i, row in enumerate(page.rows) if "failures" in row)
    heads, other = page.rows[first], page.rows[first + 3]
    assert other[0] == "other"
    psnr = next(i for i, head in enumerate(heads) if head.startswith("psnr_db"))
    assert other[psnr] == "2 infinite"
    assert other[heads.index("failures")] == "1"
    assert not any("★" in cell for cell in other)
    by_share = [row for row in page.rows if row[0] == "other" and "1 failed" in row]
    names = [name for name in DIRECTIONS if not name.startswith("lpips")]  # not measured
    assert len(by_share) == 2 * len(names)  # of both sizes


def test_same_rows_same_files(finished):
    folder, cases, rows = finished
    about = report.about(cases, {})
    names = ("summary.json", "report.md", "report.html")
    contents = []
    for date in ("2000-01-01", "2000-01-01", "2001-01-01"):
        report.write_report(folder, cases, rows, {**about, "date": date})
        contents.append([(folder / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    assert contents[0] == [text.replace(b"2001-01-01", b"2000-01-01") for text in contents[2]]


def test_photo_that_is_gone_stops_nothing(finished, tmp_path):
    folder, cases, rows = finished
    for case in cases:
        (tmp_path / case.mask).parent.mkdir(exist_ok=True)
        (tmp_path / case.mask).write_bytes((folder / case.mask).read_bytes())
    hidden = folder / "photos" / "b.png"
    content = hidden.read_bytes()
    hidden.unlink()
    try:
        report.write_report(tmp_path, cases, rows, {})
    finally:
        hidden.write_bytes(content)
    page = Page((tmp_path / "report.html").read_text())
    assert "b.png: cannot be read" in page.text
    assert "A picture is missing" in page.text  # the new folder has none


def _rows(**values):
    """Rows of three photos; values: dict from method to measure to three figures."""
    base = {"size": "512", "width": 512.0, "height": 512.0, "hole_share": 0.15, "hole_bin": 1.0}
    base |= {name: math.nan for name in (*DIRECTIONS, "seconds", "peak_megabytes")}
    return [
        {**base, "photo": f"{i}.png", "mask": f"masks/{i}.png", "method": method, "error": ""}
        | {name: figures[i] for name, figures in measures.items()}
        for i in range(3)
        for method, measures in values.items()
    ]


def _table(rows, tmp_path):
    cases = [protocol.Case("", f"{i}.png", "512", f"masks/{i}.png", "", "", 0.15) for i in range(3)]
    report.write_report(tmp_path, cases, rows, {})
    page = Page((tmp_path / "report.html").read_text())
    first = next(i for i, row in enumerate(page.rows) if "failures" in row)
    heads, count = page.rows[first], len({row["method"] for row in rows})
    lines = {row[0]: row for row in page.rows[first + 1 : first + 1 + count]}

    def cell(method, name):
        return lines[method][next(i for i, head in enumerate(heads) if head.startswith(name))]

    return cell


@pytest.mark.parametrize(
    ("name", "best", "other"),
    [
        ("hole_l1_grey_levels", (1, 2, 3), (2, 3, 4)),
        ("hole_psnr_db", (21, 22, 23), (20, 21, 22)),
        ("seam_ratio", (0.8, 0.9, 1.0), (1.2, 1.2, 1.2)),
        ("sharpness_ratio", (1.1, 1.1, 1.1), (0.7, 0.8, 0.9)),
        ("hole_psnr_db", (21, 22, math.inf), (20, 21, 22)),
    ],
)
def test_best_is_marked(name, best, other, tmp_path):
    cell = _table(_rows(first={name: other}, second={name: best}), tmp_path)
    assert "★" in cell("second", name)
    assert "★" not in cell("first", name)


def test_equal_ones_are_both_best(tmp_path):
    figures = {"ssim": (0.5, 0.6, 0.7)}
    cell = _table(_rows(first=figures, second=figures), tmp_path)
    assert cell("first", "ssim") == cell("second", "ssim") == "★ 0.6000"


def test_no_best_where_photos_differ(tmp_path):
    """A better mean with fewer infinite values, or over fewer photos, is not better."""
    first = {"hole_psnr_db": (30, 30, 30), "ms_ssim": (0.9, 0.9, math.nan)}
    second = {"hole_psnr_db": (20, 20, math.inf), "ms_ssim": (0.8, 0.8, 0.8)}
    cell = _table(_rows(first=first, second=second), tmp_path)
    assert cell("first", "hole_psnr_db") == "30.00"
    assert cell("second", "hole_psnr_db") == "20.001 infinite"
    assert cell("first", "ms_ssim") == "0.90001 undefined"
    assert cell("second", "ms_ssim") == "★ 0.8000"


def test_everything_failed(tmp_path):
    rows = _rows(only={})
    for row in rows:
        row["error"] = "ValueError: <no>"
    cell = _table(rows, tmp_path)
    assert cell("only", "failures") == "3"
