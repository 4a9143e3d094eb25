"""The evaluation as a whole: holes, methods, rows, averages, and runs that are interrupted."""

import math
import os
import pathlib
import shutil

import cv2
import numpy as np
import pytest

from hifill import locks
from hifill.evaluation import command, protocol, runs, summary, tables
from hifill.evaluation.methods import METHODS, ResultFolder, identity, make_method

SETTINGS = {"masks": "random", "sizes": ["96"], "seed": 1, "count": None}


def draw(seed, height=120, width=150):
    random = np.random.default_rng(seed)
    small = random.integers(40, 200, (9, 9, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(7):
        cv2.imwrite(str(folder / f"{i}.png"), draw(i))
    return folder


@pytest.fixture
def cases(photos, tmp_path):
    return protocol.draw_protocol(photos, folder=tmp_path / "report", **SETTINGS)


def without_costs(rows):
    averages = summary.summarise(rows)
    for methods in averages.values():
        for bins in methods.values():
            for average in bins.values():
                for name in summary.COSTS:
                    del average[name]
    return averages


def test_holes_fall_into_the_bins_in_turn_and_stay(cases, photos, tmp_path):
    assert [case.hole_bin for case in cases] == [0, 1, 2, 3, 4, 5, 0]
    for case in cases:
        hole = protocol.read_hole(tmp_path / "report", case)
        assert hole.shape == (96, 96) and hole.mean() == case.hole_share
    again = protocol.draw_protocol(photos, folder=tmp_path / "again", **SETTINGS)
    assert protocol.fingerprint(again) == protocol.fingerprint(cases)
    loaded = protocol.load_protocol(tmp_path / "report", {"photos": photos, **SETTINGS})
    assert loaded == cases
    other = protocol.draw_protocol(photos, folder=tmp_path / "other", **{**SETTINGS, "seed": 2})
    assert protocol.fingerprint(other) != protocol.fingerprint(cases)
    with pytest.raises(ValueError, match="seed=1, not 3; choose another --report"):
        protocol.load_protocol(tmp_path / "report", {"photos": photos, **SETTINGS, "seed": 3})

    mask = tmp_path / "report" / cases[0].mask
    mask.write_bytes(mask.read_bytes() + b" ")
    with pytest.raises(ValueError, match="is not the mask that was drawn"):
        protocol.read_hole(tmp_path / "report", cases[0])
    (tmp_path / "report" / "protocol.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        protocol.load_protocol(tmp_path / "report", {"photos": photos, **SETTINGS})


def test_sizes_share_a_hole(photos, tmp_path):
    sizes = ["64", "192", "native"]
    cases = protocol.draw_protocol(photos, "random", sizes, 0, tmp_path, count=2)
    holes = [protocol.read_hole(tmp_path, case) for case in cases[:3]]
    assert [hole.shape for hole in holes] == [(64, 64), (192, 192), (120, 150)]
    shrunk = cv2.resize(holes[1].astype(np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST)
    assert (shrunk != holes[0]).mean() < 0.05
    assert [pathlib.Path(case.photo).name for case in cases[::3]] == ["0.png", "3.png"]
    assert protocol.read_photo(cases[0].path, "native").shape == (120, 150, 3)
    middle = draw(0)[:, 15:135, ::-1]
    np.testing.assert_array_equal(protocol.read_photo(cases[0].path, "120"), middle)


def test_masks_from_a_folder(photos, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for i in range(3):
        mask = np.zeros((60, 75), np.uint8)
        mask[10 : 20 + 10 * i, 20:40] = 255
        cv2.imwrite(str(masks / f"shape{i}.png"), mask)
    given = {**SETTINGS, "masks": masks, "sizes": ["native"]}
    dealt = protocol.draw_protocol(photos, folder=tmp_path / "dealt", **given)
    assert sorted({round(case.hole_share, 4) for case in dealt}) == [0.0444, 0.0889, 0.1333]
    for i in range(7):
        shutil.copy(masks / f"shape{i % 3}.png", masks / f"{i}_mask.png")
    paired = protocol.draw_protocol(photos, folder=tmp_path / "paired", **given)
    shares = [round(case.hole_share / 0.0444) for case in paired]
    assert shares == [1, 2, 3, 1, 2, 3, 1]
    (masks / "4_mask.png").unlink()
    with pytest.raises(ValueError, match=r"no mask for .*4\.png"):
        protocol.draw_protocol(photos, folder=tmp_path / "some", **given)
    assert not (tmp_path / "some" / "protocol.json").exists()


def offset_results(cases, folder, offset):
    """The photos themselves, so many grey levels brighter, which is then the error in any hole."""
    folder.mkdir()
    for case in cases:
        pixels = protocol.read_case(case)[..., ::-1] + np.uint8(offset)
        cv2.imwrite(str(folder / pathlib.Path(case.photo).name), pixels)
    return folder


def test_a_planted_difference_is_found_and_none_where_there_is_none(cases, tmp_path):
    results = {
        "ten": offset_results(cases, tmp_path / "ten", 10),
        "twenty": offset_results(cases, tmp_path / "twenty", 20),
        "ten again": tmp_path / "ten",
        "perfect": offset_results(cases, tmp_path / "perfect", 0),
    }
    rows = runs.run(cases, [], tmp_path / "report", results=results)
    (averages,) = summary.summarise(rows).values()
    for bin_name, expected in averages["ten"].items():
        assert expected["hole_l1_grey_levels"]["mean"] == 10, bin_name
        assert averages["twenty"][bin_name]["hole_l1_grey_levels"]["mean"] == 20
    assert averages["ten"] == averages["ten again"]
    perfect = averages["perfect"]["all"]
    assert perfect["psnr_db"] == {
        **{"mean": None, "median": None},
        **{"infinite": 7, "undefined": 0},
    }
    assert perfect["hole_l1_grey_levels"]["mean"] == 0
    assert list(averages["ten"]) == ["all", *(summary.bin_name(i) for i in range(6))]
    assert averages["ten"]["0.01-0.1"]["photos"] == 2
    table = tables.markdown(summary.summarise(rows))
    assert "| twenty | 7 | 0 |" in table and "(and 7 infinite)" in table


def test_failures_are_recorded_and_not_averaged(cases, tmp_path):
    results = {"tool": offset_results(cases, tmp_path / "tool", 10)}
    (tmp_path / "tool" / "2.png").unlink()
    cv2.imwrite(str(tmp_path / "tool" / "4.png"), draw(0, 50, 60))
    (tmp_path / "tool" / "5.png").write_text("no picture")
    rows = runs.run(cases, ["mean-colour"], tmp_path / "report", results=results)
    errors = [row["error"] for row in rows if row["method"] == "tool"]
    assert [bool(error) for error in errors] == [False, False, True, False, True, True, False]
    assert "no result named 2" in errors[2] and "is 60 x 50 pixels" in errors[4]
    average = summary.summarise(rows)["96"]["tool"]["all"]
    assert (average["photos"], average["failures"]) == (4, 3)
    assert average["hole_l1_grey_levels"]["mean"] == 10
    assert summary.summarise(rows)["96"]["mean-colour"]["all"]["failures"] == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_run_goes_on_to_the_same_summary(cases, tmp_path, processes):
    whole = runs.run(cases, ["telea", "mean-colour"], tmp_path / "report")
    interrupted = tmp_path / "interrupted"
    shutil.copytree(tmp_path / "report" / "masks", interrupted / "masks")

    def stop(done):
        if done == 3:
            raise KeyboardInterrupt

    arguments = cases, ["telea", "mean-colour"], interrupted
    with pytest.raises(KeyboardInterrupt):
        runs.run(*arguments, processes=processes, progress=stop)
    table = interrupted / "results.csv"
    lines = table.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * 3
    table.write_text("".join(lines)[:-20])  # in the middle of the last one
    done = []
    rows = runs.run(*arguments, processes=processes, progress=done.append)
    assert done == [3, 4, 5, 6, 7]  # the case of the line that was cut off once more
    assert without_costs(rows) == without_costs(whole)
    assert len(table.read_text().splitlines()) == 1 + 2 * 7
    assert str(runs.run(*arguments, progress=pytest.fail)) == str(rows)  # NaN is not NaN


def test_other_weights_under_the_same_name_are_refused(cases, tmp_path):
    weights = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in weights:
        path.write_text(path.name)
    assert identity("hifill", weights[0]) != identity("hifill", weights[1])
    assert identity("x=" + str(weights[0])) == identity("hifill", weights[0])
    assert identity("telea", weights[0]) == ""
    runs._check_models(tmp_path, {"hifill": identity("hifill", weights[0])}, {}, set())
    with pytest.raises(ValueError, match="rows of another model called hifill"):
        runs._check_models(tmp_path, {"hifill": identity("hifill", weights[1])}, {}, {"hifill"})
    with pytest.raises(ValueError, match="other --lpips or --inception files"):
        runs._check_models(tmp_path, {}, {"lpips_alex": "0"}, {"hifill"})
    # What failed before it measured anything binds nobody.
    runs._check_models(tmp_path, {"hifill": "other"}, {"lpips_alex": "0"}, set())
    with pytest.raises(ValueError, match="two methods of one name"):
        runs.run(cases, ["telea", "telea"], tmp_path / "report")


@pytest.mark.parametrize("name", sorted(name for name in METHODS if "cra-" not in name))
def test_methods_fill_what_they_do_not_see(name):
    method = make_method(name)
    photo = draw(3, 70, 90)
    hole = np.zeros((70, 90), bool)
    hole[20:40, 30:60] = True
    filled = method(np.where(hole[..., None], np.uint8(0), photo), hole)
    assert filled.shape == photo.shape and filled.dtype == np.uint8
    error = np.abs(filled.astype(int) - photo)[hole].mean()
    assert 0 < error < 60  # black would be above 100
    if not name.startswith("hifill-"):
        np.testing.assert_array_equal(filled[~hole], photo[~hole])


@pytest.mark.slow
def test_operators():
    """At the paper's choice they are the plain wrapper; others differ; only squares can be had."""
    photo = draw(5, 1024, 1024)
    photo = np.clip(photo + np.random.default_rng(0).normal(0, 9, photo.shape), 0, 255)
    photo, hole = photo.astype(np.uint8), np.zeros((1024, 1024), bool)
    hole[300:500, 400:700] = True
    wrapper = make_method("hifill-plain")(photo, hole)
    chosen = make_method("cra-average-bilinear")(photo, hole)
    difference = np.abs(chosen.astype(int) - wrapper)[hole]
    assert difference.max() <= 1 and difference.mean() < 0.01
    other = make_method("cra-nearest-bicubic")(photo, hole)
    assert np.abs(other.astype(int) - wrapper)[hole].mean() > 0.5
    with pytest.raises(ValueError, match="squares of a multiple of 512, not 1024 x 1000"):
        make_method("cra-average-bilinear")(photo[:1000], hole[:1000])


def test_models_and_unknown_names(export_folder, tmp_path):
    photo, hole = draw(3, 70, 90), np.zeros((70, 90), bool)
    hole[20:40, 30:60] = True
    for path in (export_folder / "hifill", export_folder / "hifill.pb"):
        filled = make_method(f"ours={path}")(photo, hole)
        np.testing.assert_array_equal(filled[~hole], photo[~hole])
        assert identity(f"ours={path}")
    with pytest.raises(ValueError, match="no method 'lama'; choose of hifill, "):
        make_method("lama")
    with pytest.raises(ValueError, match="no such"):
        make_method("x=missing.weights.h5")


def test_results_belong_to_their_photos(photos, tmp_path):
    """By path and name; of another suffix too, if that is not another photo."""
    (photos / "sub").mkdir()
    for name in ("a.png", "a.jpg", "sub/a.png", "b.jpg"):
        cv2.imwrite(str(photos / name), draw(9))
    cases = protocol.draw_protocol(photos, folder=tmp_path / "report", **SETTINGS)
    by_photo = {case.photo: case for case in cases}
    results = tmp_path / "results"
    for name in ("a.png", "b.png", "96/sub/a.png", "sub/a.png", "0.jpg", "0.bmp"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(results / name), draw(9))

    def found(photo):
        return ResultFolder(results).file(by_photo[photo]).relative_to(results).as_posix()

    assert [found(p) for p in ("a.png", "b.jpg", "sub/a.png")] == ["a.png", "b.png", "96/sub/a.png"]
    with pytest.raises(ValueError, match="no result named a"):
        found("a.jpg")
    with pytest.raises(ValueError, match="2 results named 0"):
        found("0.png")


def test_changed_files_are_not_mixed(cases, photos, tmp_path):
    """A photo that changed fails; another tool's picture that changed is measured anew."""
    results = {"tool": offset_results(cases, tmp_path / "tool", 10)}
    arguments = cases, ["mean-colour"], tmp_path / "report", None, results
    before = runs.run(*arguments)
    offset_results(cases[:1], tmp_path / "new", 20)
    shutil.copy(tmp_path / "new" / cases[0].photo, tmp_path / "tool" / cases[0].photo)
    after = runs.run(*arguments)
    assert after[1]["hole_l1_grey_levels"] == 20 and str(after[2:]) == str(before[2:])
    cv2.imwrite(str(photos / cases[0].photo), draw(100))
    rows = runs.run(cases, ["telea"], tmp_path / "report")
    assert "has changed since its hole was drawn" in rows[0]["error"] and not rows[1]["error"]


def test_what_lies_in_the_photos_folder_is_no_photo(photos, tmp_path):
    first = protocol.draw_protocol(photos, folder=photos / "reports" / "first", **SETTINGS)
    again = protocol.draw_protocol(photos, folder=photos / "reports" / "again", **SETTINGS)
    assert [case.photo for case in first] == [case.photo for case in again]
    shutil.copytree(photos / "reports" / "first" / "masks", photos / "holes")
    given = {**SETTINGS, "masks": photos / "holes"}
    assert len(protocol.draw_protocol(photos, folder=tmp_path / "dealt", **given)) == 7
    with pytest.raises(ValueError, match="holds the photos"):
        protocol.draw_protocol(photos, folder=photos, **SETTINGS)


def test_a_mask_stays_where_it_marks_its_photo(tmp_path):
    """Though the middle square alone is measured, and though it is two pixels thin."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    photo, mask = np.full((200, 300, 3), 50, np.uint8), np.zeros((600, 900), np.uint8)
    photo[40:60, 100:200] = 200
    mask[120:180, 300:600] = 255
    mask[331:333] = 255
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), photo)
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), mask)
    given = {**SETTINGS, "sizes": ["100"], "masks": tmp_path / "masks"}
    (case,) = protocol.draw_protocol(tmp_path / "photos", folder=tmp_path / "report", **given)
    hole = protocol.read_hole(tmp_path / "report", case)
    marked = protocol.read_case(case)[..., 0] > 100
    assert marked.sum() == 10 * 50 and hole[marked].all()
    assert hole.sum() == 500 + 100  # and the thin line


def test_inputs_for_other_tools(evaluate, photos, tmp_path):
    """Any tool can fill what is written; here, one that paints its hole grey."""
    flags = [f"--photos={photos}", f"--report={tmp_path / 'report'}", "--sizes=64,native"]
    code, stderr = evaluate(*flags, "--methods=none", f"--inputs={tmp_path / 'inputs'}")
    assert code == 0, stderr
    assert not (tmp_path / "report" / "report.html").exists()
    for path in (tmp_path / "inputs").rglob("?.png"):
        photo = cv2.imread(str(path))
        hole = cv2.imread(str(path.with_name(f"{path.stem}_mask.png")))[..., 0] > 127
        assert hole.any() and not photo[hole].any()
        photo[hole] = 128
        result = tmp_path / "grey" / path.relative_to(tmp_path / "inputs")
        result.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(result), photo)
    code, stderr = evaluate(*flags, "--methods=none", f"--results=grey={tmp_path / 'grey'}")
    assert code == 0, stderr
    assert "| grey | 7 | 0 |" in (tmp_path / "report" / "report.md").read_text()


def test_a_report_is_one_process_s(evaluate, photos, tmp_path):
    flags = [f"--photos={photos}", f"--report={tmp_path}", "--methods=mean-colour"]
    with locks.locked_folder(tmp_path, "--report", "busy"):
        code, stderr = evaluate(*flags)
    assert code == 1 and "another process works on this report" in stderr


def vanish(case, names):
    os._exit(1)


def test_workers_that_are_lost_end_the_run_in_one_line(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_fill_in_worker", vanish)
    arguments = cases, ["mean-colour"], tmp_path / "report"
    with pytest.raises(ValueError, match="use fewer --processes"):
        runs.run(*arguments, processes=2)


@pytest.fixture
def evaluate(run_command):
    """Runs hifill-evaluate in this process: arguments -> (exit code, stderr)."""
    return lambda *arguments: run_command(command.run, "hifill-evaluate", *arguments)[::2]


def test_the_command(evaluate, photos, tmp_path):
    report = tmp_path / "a report"
    flags = [f"--photos={photos}", f"--report={report}", "--methods=telea,mean-colour"]
    code, stderr = evaluate(*flags, "--sizes=64,native", "--count=3", "--processes=2")
    assert code == 0, stderr
    names = {path.name for path in report.iterdir()}
    assert names >= {"report.html", "report.md", "results.csv", "summary.json", "protocol.json"}
    (tmp_path / "none").mkdir()
    results = f"--results=x={tmp_path / 'none'}"
    code, stderr = evaluate(*flags, "--sizes=64,native", "--count=3", results)
    assert code == 1 and "6 of 18 fills failed; they are in no average" in stderr
    assert "no result named 0" in stderr


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--photos=/nowhere"], 1, "/nowhere: no such photo file or folder"),
        (["--photos={photos}", "--methods=lama"], 1, "no method 'lama'"),
        (["--photos={photos}", "--masks=/nowhere"], 1, "/nowhere: no such mask"),
        (["--photos={photos}", "--sizes=large"], 2, "must be native or numbers"),
        (["--photos={photos}", "--sizes=64,064"], 2, "each once"),
        (["--photos={photos}", "--sizes="], 2, "must be native or numbers"),
        (["--photos={photos}", "--methods=none"], 2, "needs --results or --inputs"),
        (["--photos={photos}", "--methods=../x=y"], 2, "names are of letters"),
        (["--photos={photos}", "--masks={photos}/../none"], 1, "no masks in it"),
        (["--photos={photos}", "--results=lama"], 2, "give NAME=FOLDER"),
        (["--photos={photos}", "surplus"], 2, "unexpected argument 'surplus'"),
        ([], 2, "photos"),
    ],
)
def test_bad_input_gets_one_line(evaluate, photos, tmp_path, flags, code, message):
    (tmp_path / "none").mkdir()
    flags = [flag.format(photos=photos) for flag in flags]
    actual, stderr = evaluate(*flags, f"--report={tmp_path / 'report'}")
    assert actual == code and message in stderr and "Traceback" not in stderr


@pytest.mark.parametrize("shape", [(100, 900), (700, 1000), (320, 320)])
def test_the_piece_shows_hole_and_photo(shape):
    """Of one small hole, all; of a large one, its edge."""
    hole = np.zeros(shape, bool)
    hole[20:50, -60:-30] = True
    assert hole[runs.crop_of(hole)].sum() == 900
    hole[:, : shape[1] // 2] = True
    piece = hole[runs.crop_of(hole)]
    assert piece.shape == (min(320, shape[0]), 320)
    assert 0.45 < piece.mean() < 0.56


def test_bins():
    def of(share):
        return protocol.Case("", "", "", "", "", "", share).hole_bin

    shares = [0, 0.01, 0.011, 0.1, 0.10001, 0.6, 0.61]
    assert [of(share) for share in shares] == [-1, -1, 0, 0, 1, 5, 6]
    assert summary.bin_name(-1) == "below 0.01" and summary.bin_name(6) == "above 0.6"
    assert math.isclose(protocol.BINS[0][0], 0.01)
