"""Measures by networks through the whole command, with small networks of seeded weights."""

import csv
import json

import cv2
import numpy as np
import pytest
from network_files import seeded_lpips, write_inception

from hifill.evaluation import networks, protocol, report, runs, summary, tables
from hifill.evaluation.inception_features import InceptionFeatures
from hifill.evaluation.lpips import Lpips

COUNT = 24


@pytest.fixture(scope="module")
def finished(tmp_path_factory, textured_photo):
    """A report's folder, its files of networks, cases, rows, and pictures of one tool."""
    folder = tmp_path_factory.mktemp("networks")
    photos, results = folder / "photos", folder / "tool"
    photos.mkdir()
    results.mkdir()
    for i in range(COUNT):
        photo = textured_photo(120, 140, seed=i)
        cv2.imwrite(str(photos / f"{i:02d}.png"), photo)
        if i != 5:
            cv2.imwrite(str(results / f"{i:02d}.png"), cv2.GaussianBlur(photo, (0, 0), 3))
    np.savez(folder / "alex.npz", **seeded_lpips("alex"))
    write_inception(folder / "inception.pb")
    files = networks.Networks([folder / "alex.npz"], folder / "inception.pb")
    cases = protocol.draw_protocol(photos, "random", ["native"], 0, folder)
    rows = runs.run(cases, ["mean-colour"], folder, None, {"tool": results}, files, processes=2)
    report.write_report(folder, cases, rows, {}, files)
    return folder, cases, rows, files


def fills(folder, cases):
    """The photos and the tool's composites, in the order of the cases, but for the missing one."""
    photos, filled = [], []
    for case in cases:
        path = folder / "tool" / case.photo
        if path.exists():
            photo, hole = cv2.imread(str(case.path)), protocol.read_hole(folder, case)
            result = np.where(hole[..., None], cv2.imread(str(path)), photo)
            photos.append(photo[..., ::-1])
            filled.append(result[..., ::-1])
    return np.array(photos), np.array(filled)


@pytest.mark.slow
def test_lpips_is_a_column_of_composites(finished):
    folder, cases, rows, _ = finished
    distance = Lpips(folder / "alex.npz")
    expected = [distance(*pair) for pair in zip(*fills(folder, cases), strict=True)]
    actual = [row["lpips_alex"] for row in rows if row["method"] == "tool" and not row["error"]]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert min(expected) > 0
    assert all(np.isnan(row["lpips_vgg"]) for row in rows)
    text = (folder / "report.md").read_text()
    assert "lpips_alex ↓" in text and "lpips_vgg" not in text


def test_scores_of_sets(finished):
    """Against the textbook formula, of features computed anew."""
    folder, cases, rows, files = finished
    extractor = InceptionFeatures(folder / "inception.pb")
    suffix = extractor.sha256[:8]
    photos, results = (np.float64(extractor(pictures)[0]) for pictures in fills(folder, cases))
    c1, c2 = np.cov(photos, rowvar=False), np.cov(results, rowvar=False)
    root = np.sqrt(np.maximum(np.linalg.eigvals(c1 @ c2).real, 0)).sum()
    expected = np.square(photos.mean(0) - results.mean(0)).sum() + np.trace(c1 + c2) - 2 * root

    content = json.loads((folder / "summary.json").read_text())
    average = content["summary"]["native"]["tool"]["all"]
    assert (average["photos"], average["failures"]) == (COUNT - 1, 1)
    scores = average["scores"]
    assert list(scores) == [f"{name}_like_{suffix}" for name in networks.SET_DIRECTIONS]
    assert scores[f"fid_like_{suffix}"] == pytest.approx(expected, rel=1e-3)
    assert scores[f"inception_score_like_{suffix}"] >= 1
    assert 0 <= scores[f"u_ids_percent_like_{suffix}"] <= 50
    few = content["summary"]["native"]["tool"]["0.1-0.2"]
    assert few["photos"] == 4 and few["scores"][f"inception_score_like_{suffix}"] is None
    assert content["about"]["models_sha256"] == files.identities

    averages = summary.summarise(rows, lambda rows: files.scores(folder, rows))
    cells = tables.set_scores(averages["native"])["tool"]
    assert cells[f"fid_like_{suffix} ↓, all"].endswith(f"(N = {COUNT - 1})")
    two_sizes = {**averages, "again": averages["native"]}
    title, _, table = next(tables.layouts(two_sizes))
    assert title == "Sizes beside each other"
    assert f"again: fid_like_{suffix}" in table["tool"] and "again: FID" not in table["tool"]
    assert title not in [title for title, *_ in tables.layouts(averages)]
    page = (folder / "report.html").read_text()
    assert "Scores of whole sets" in page and "small and large holes" in page


def test_a_failure_is_tried_again_and_others_are_kept(finished):
    folder, cases, rows, files = finished
    before = (folder / "results.csv").read_text()
    arguments = cases, ["mean-colour"], folder, None, {"tool": folder / "tool"}, files
    again = runs.run(*arguments)
    assert str(again) == str(rows)  # NaN is not NaN
    (failed,) = (row for row in rows if row["error"])
    assert "no result named 05" in failed["error"]
    path = folder / "tool" / "05.png"
    cv2.imwrite(str(path), cv2.imread(str(folder / "photos" / failed["photo"])))
    try:
        mended = runs.run(*arguments)
    finally:
        path.unlink()
    assert not any(row["error"] for row in mended)
    (row,) = (row for row in mended if row["photo"] == failed["photo"] and row["method"] == "tool")
    assert row["lpips_alex"] == row["hole_l1_grey_levels"] == 0
    lines = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert len(lines) == 2 * COUNT
    (folder / "results.csv").write_text(before)


def test_other_files_are_refused(finished, tmp_path):
    folder, cases, _, _ = finished
    with pytest.raises(ValueError, match="other --lpips or --inception files"):
        runs.run(cases, ["mean-colour"], folder)
    with pytest.raises(ValueError, match=r"a second file of lpips_alex"):
        networks.Networks([folder / "alex.npz"] * 2)
    with pytest.raises(ValueError, match="LPIPS needs weights"):
        networks.Networks(["missing.npz"])
    with pytest.raises(ValueError, match="classify_image_graph_def"):
        networks.Networks(inception="missing.pb")
    files = networks.Networks(inception=folder / "inception.pb")
    rows = [{"mask": "masks/00000_native.png", "method": "tool", "error": ""}]
    with pytest.raises(ValueError, match="missing or damaged"):
        files.scores(tmp_path, rows)
