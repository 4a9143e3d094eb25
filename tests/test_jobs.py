"""Which files the commands pair."""

import dataclasses

import pytest

from hifill import jobs


@pytest.fixture
def tree(tmp_path):
    """Makes empty files and returns a function: arguments of the command -> names of its jobs."""

    def plan(files, photos, masks, output, comparisons=None):
        for name in files.split():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        paths = [path and str(tmp_path / path) for path in (photos, masks, output, comparisons)]
        planned = jobs.plan_jobs(paths[0], paths[1], paths[2], paths[3])
        return [
            tuple(path and str(path.relative_to(tmp_path)) for path in dataclasses.astuple(job))
            for job in planned
        ]

    return plan


def test_same_stems_beside_each_other(tree):
    assert tree("d/a.jpg d/a.png d/a_mask.png", "d", "d", "out") == [
        ("d/a.jpg", "d/a_mask.png", "out/a.jpg", None),
        ("d/a.png", "d/a_mask.png", "out/a.png", None),
    ]


def test_a_photo_called_mask_is_still_a_photo(tree):
    assert tree("d/gas_mask.jpg d/gas_mask_mask.png", "d", "d", "out") == [
        ("d/gas_mask.jpg", "d/gas_mask_mask.png", "out/gas_mask.jpg", None)
    ]


def test_masks_and_results_inside_the_photos_folder_are_no_photos(tree):
    files = "d/a.jpg d/masks/a.png d/out/a.jpg d/shown/a.png"
    assert tree(files, "d", "d/masks", "d/out", "d/shown") == [
        ("d/a.jpg", "d/masks/a.png", "d/out/a.jpg", "d/shown/a.png")
    ]


def test_masks_keep_to_their_subfolders(tree):
    assert tree("d/a.jpg d/sub/a.jpg m/a.png", "d", "m", "out") == [
        ("d/a.jpg", "m/a.png", "out/a.jpg", None),
        ("d/sub/a.jpg", None, "out/sub/a.jpg", None),
    ]


def test_comparisons_of_one_stem_get_names_of_their_own(tree):
    jobs = tree("d/a.jpg d/a.png d/sub/a.png m.png", "d", "m.png", "out", "shown")
    assert [job[3] for job in jobs] == ["shown/a.jpg.png", "shown/a.png.png", "shown/sub/a.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.png m.png", "a.png", "m.png", "m.png"),
        ("d/a.png m.png", "d", "m.png", "d"),
        ("d/a.png m.png", "d", "m.png", "out", "out"),
        ("d/a.png m.png", "d", "m.png", "out", "d"),
    ],
    ids=["mask", "photo", "result by comparison", "photo by comparison"],
)
def test_nothing_is_overwritten(tree, arguments):
    with pytest.raises(ValueError, match="would overwrite"):
        tree(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("d/a.png m.png", "d", "m.png", "out.png"), "is no folder"),
        (("d/a.png m.png o", "d", "m.png", "o"), "is no folder"),
        (("a.png m.png", "a.png", "m.png", "a.gif"), "unknown output format"),
        (("a.png m.png", "a.png", "", "b.png"), "--mask is empty"),
        (("a.png m.png", "a.png", "m.png", ""), "--output is empty"),
    ],
)
def test_plans_that_make_no_sense(tree, arguments, message):
    with pytest.raises(ValueError, match=message):
        tree(*arguments)
