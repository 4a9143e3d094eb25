"""Kinds of masks come in the shares asked for, within their limits, the same for the same seed."""

import concurrent.futures
import math

import cv2
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from hifill import image_io, mask_mix, masks, silhouettes
from hifill.mask_mix import MaskMix

SIZES = [(64, 64), (33, 900), (512, 512), (300, 170)]
TEMPLATES = tuple(silhouettes.generated_templates(np.random.default_rng(0), 12))
ONLY_BOXES = {"strokes": 0, "objects": 0, "boxes": 1}
ONLY_FILES = {"strokes": 0, "objects": 0, "files": 1}
properties = hypothesis.settings(max_examples=150, deadline=None, derandomize=True)


def save(path, hole):
    Image.fromarray(np.asarray(hole, np.uint8) * 255).save(path)
    return path


def ell(height, width):
    """About a tenth of the mask; differs from each of its rotations and reflections."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 8] = 1
    mask[: height // 8, : width // 3] = 1
    return mask


def frame(size):
    """The outline of a square, the same in all its rotations and reflections."""
    mask = np.ones((size, size), np.uint8)
    mask[1:-1, 1:-1] = 0
    return mask


def is_rectangle(mask):
    return masks.crop(mask[..., 0] if mask.ndim == 3 else mask).all()


def variants(mask):
    """The 8 rotations and reflections."""
    return [np.rot90(way, k) for way in (mask, mask[:, ::-1]) for k in range(4)]


@pytest.fixture
def folder(tmp_path):
    """Mask files of several sizes with holes of 2 to 40 %."""
    rng = np.random.default_rng(1)
    for i, (height, width) in enumerate([(64, 64), (200, 150), (600, 600), (30, 31), (128, 128)]):
        hole = masks.random_mask(rng, height, width, [], 1.0, 0.02 + 0.08 * i, 0.4)
        save(tmp_path / f"{i}.png", hole[..., 0])
    return tmp_path


def everything(folder, **options):
    paths = mask_mix.find_masks(folder)
    return MaskMix(1, 1, 1, 1, templates=TEMPLATES, mask_paths=paths, **options)


def test_kinds_come_in_the_shares_asked_for(tmp_path, monkeypatch):
    def row(index):
        mask = np.zeros((64, 64), np.uint8)
        mask[index] = 1
        return mask

    monkeypatch.setattr(masks, "brush_strokes", lambda *_: row(0))
    monkeypatch.setattr(masks, "object_shape", lambda *_: row(-1))
    mix = MaskMix(
        strokes=1,
        objects=3,
        boxes=4,
        files=2,
        templates=TEMPLATES,
        mask_paths=(save(tmp_path / "frame.png", frame(64)),),
    )
    known = {row(0).tobytes(): "strokes", row(-1).tobytes(): "objects"}
    known |= {(row(0) | row(-1)).tobytes(): "both", frame(64).tobytes(): "files"}
    rng, kinds = np.random.default_rng(3), []
    for _ in range(3000):
        mask = mix.draw(rng, 64, 64)
        kinds.append(known.get(mask.tobytes()) or ("boxes" if is_rectangle(mask) else "unknown"))
    both = 0.6 * 0.25 * 0.75
    expected = {"boxes": 0.4, "files": 0.2, "both": 0.4 * both}
    expected |= {"strokes": 0.4 * 0.25 * (1 - both), "objects": 0.4 * 0.75 * (1 - both)}
    assert set(kinds) == set(expected)
    for kind, share in expected.items():
        error = 4 * math.sqrt(share * (1 - share) / 3000)
        assert kinds.count(kind) / 3000 == pytest.approx(share, abs=error)


@pytest.mark.parametrize("kind", ["strokes", "objects", "boxes", "files"])
def test_a_kind_without_share_never_occurs(kind, folder, monkeypatch):
    functions = {
        "strokes": (masks, "brush_strokes"),
        "objects": (masks, "object_shape"),
        "boxes": (mask_mix, "box"),
        "files": (mask_mix, "mask_from_files"),
    }
    calls = set()
    for name, (module, function) in functions.items():
        original = getattr(module, function)

        def noted(*args, name=name, original=original):
            calls.add(name)
            return original(*args)

        monkeypatch.setattr(module, function, noted)
    weights = {name: float(name != kind) for name in functions}
    paths = mask_mix.find_masks(folder) if kind != "files" else ()
    mix = MaskMix(**weights, templates=TEMPLATES if kind != "objects" else (), mask_paths=paths)
    rng = np.random.default_rng(5)
    for _ in range(60):
        mix.draw(rng, 32, 32)
    assert calls == set(functions) - {kind}


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("limits", [(0.01, 0.25), (0.2, 0.205), (0.5, 0.6)])
def test_holes_keep_to_their_limits(height, width, limits, folder):
    mix = everything(folder, min_share=limits[0], max_share=limits[1])
    rng = np.random.default_rng(height)
    for _ in range(20):
        mask = mix.draw(rng, height, width)
        assert mask.shape == (height, width, 1)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
        assert limits[0] <= mask.mean() <= limits[1]


def test_without_boxes_and_files_it_draws_the_random_masks():
    for seed in range(20):
        mask = MaskMix(1, 3, templates=TEMPLATES).draw(np.random.default_rng(seed), 64, 80)
        same = masks.random_mask(np.random.default_rng(seed), 64, 80, TEMPLATES, 0.25)
        np.testing.assert_array_equal(mask, same)


def test_same_seed_gives_the_same_masks_in_any_thread(folder):
    mix = everything(folder)

    def draw(seed):
        return mix.draw(np.random.default_rng(seed), 72, 96).tobytes()

    alone = [draw(seed) for seed in range(80)]
    assert len(set(alone)) > 60
    mask_mix._packed_mask.cache_clear()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(80))) == alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strokes": -1}, "share of strokes"),
        ({"objects": math.nan}, "share of objects"),
        ({"boxes": math.inf}, "share of boxes"),
        ({"files": -0.1}, "share of files"),
        ({"strokes": 0, "objects": 0}, "must be above 0"),
        ({"min_share": 0.3}, "0.3 to 0.25"),
        ({"min_share": -0.1}, "-0.1 to"),
        ({"max_share": 1.1}, "to 1.1"),
        ({"max_share": math.nan}, "to nan"),
        ({"min_share": 0, "max_share": 0}, "0 to 0"),
        ({"templates": ()}, "need templates"),
        ({"files": 1}, "need mask files"),
        ({"mask_paths": ("a.png",)}, "would not be used"),
    ],
)
def test_impossible_mixes_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        MaskMix(**({"templates": TEMPLATES} | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("only", [ONLY_BOXES, {"strokes": 1, "objects": 0}])
def test_a_size_without_room_for_the_limits_is_refused(only):
    mix = MaskMix(**only, min_share=0.001, max_share=0.002)
    assert mix.draw(np.random.default_rng(0), 64, 64).any()
    with pytest.raises(ValueError, match="no hole in 9 x 9"):
        mix.draw(np.random.default_rng(0), 9, 9)


# --------------------------------------------------------------------------------------------------
# Boxes
# --------------------------------------------------------------------------------------------------


@properties
@hypothesis.given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    limits=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    narrow=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_boxes_are_rectangles_wherever_one_fits(size, limits, narrow, seed):
    if narrow:
        limits = (limits[0], min(1.0, limits[0] + 1.5 / (size[0] * size[1])))
    try:
        least, most = masks.pixel_limits(*size, *limits)
    except ValueError:
        hypothesis.reject()
    mask = mask_mix.box(np.random.default_rng(seed), *size, *limits)
    assert mask.shape == size
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}
    assert least <= int(mask.sum()) <= most
    areas = np.outer(np.arange(1, size[0] + 1), np.arange(1, size[1] + 1))
    if ((least <= areas) & (areas <= most)).any():
        assert is_rectangle(mask)


def test_boxes_vary_in_area_aspect_and_place():
    rng = np.random.default_rng(2)
    drawn = [mask_mix.box(rng, 128, 128, 0.05, 0.25) for _ in range(1000)]
    shares = np.array([mask.mean() for mask in drawn])
    assert np.histogram(shares, 4, (0.05, 0.25))[0].min() > 200
    sides = [masks.crop(mask).shape for mask in drawn]
    slimness = np.array([math.log(height / width, 3) for height, width in sides])
    assert np.abs(slimness).max() < 1.1
    assert np.histogram(slimness, 4, (-1, 1))[0].min() > 180
    often = np.mean(drawn, axis=0)
    # Nothing prefers a side, and the corners are the rarest.
    assert np.abs(often - often[::-1]).max() < 0.07
    assert np.abs(often - often[:, ::-1]).max() < 0.07
    assert 0 < often[:16, :16].mean() < 0.05 < often[64, 64] < 0.5


# --------------------------------------------------------------------------------------------------
# Mask files
# --------------------------------------------------------------------------------------------------


def test_a_file_comes_in_all_rotations_and_reflections_alike(tmp_path):
    mix = MaskMix(**ONLY_FILES, mask_paths=(save(tmp_path / "ell.png", ell(96, 96)),))
    rng, found = np.random.default_rng(8), []
    expected = [np.ascontiguousarray(way).tobytes() for way in variants(ell(96, 96))]
    for _ in range(800):
        found.append(expected.index(mix.draw(rng, 96, 96).tobytes()))
    assert np.bincount(found, minlength=8).min() > 60


def test_a_file_of_another_size_and_aspect_is_fitted(tmp_path):
    mix = MaskMix(**ONLY_FILES, mask_paths=(save(tmp_path / "ell.png", ell(400, 300)),))
    upright = [np.ascontiguousarray(way) for way in variants(ell(400, 300))]
    rng, found = np.random.default_rng(8), set()
    for _ in range(100):
        mask = mix.draw(rng, 100, 150)[..., 0]
        errors = [
            (cv2.resize(way, (150, 100), interpolation=cv2.INTER_AREA) != mask).mean()
            for way in upright
        ]
        assert min(errors) < 0.01
        found.add(int(np.argmin(errors)))
    assert found == set(range(8))


def grey_of_three(path, hole):
    Image.fromarray(np.where(hole, 128, 127).astype(np.uint8)).save(path)


def palette(path, hole):
    image = Image.fromarray(1 - hole, "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(path)


def bilevel(path, hole):
    Image.fromarray(hole.astype(bool)).save(path)


def sixteen_bits(path, hole):
    Image.fromarray(np.where(hole, 40000, 20000).astype(np.uint16)).save(path)


def colour(path, hole):
    Image.fromarray(np.where(hole[..., None], (250, 240, 230), (90, 20, 30)).astype("uint8")).save(
        path
    )


def transparent(path, hole):
    pixels = np.zeros((*hole.shape, 4), np.uint8)
    pixels[..., 3] = hole * 200
    Image.fromarray(pixels).save(path)


def opaque(path, hole):
    pixels = np.full((*hole.shape, 4), 255, np.uint8)
    pixels[..., :3] = hole[..., None] * 255
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    "written", [grey_of_three, palette, bilevel, sixteen_bits, colour, transparent, opaque]
)
def test_files_of_any_mode_are_read(written, tmp_path):
    hole = frame(61)
    written(tmp_path / "mask.png", hole)
    mask = MaskMix(**ONLY_FILES, mask_paths=mask_mix.find_masks(tmp_path)).draw(
        np.random.default_rng(0), 61, 61
    )
    np.testing.assert_array_equal(mask[..., 0], hole)


def test_files_outside_the_limits_give_way_to_others(tmp_path):
    fitting = np.pad(np.ones((29, 29), np.uint8), 30)
    tiny = np.pad(np.ones((9, 9), np.uint8), 40)
    for i, hole in enumerate([fitting, *[tiny] * 5, *[1 - tiny] * 6]):
        save(tmp_path / f"{i:02}.png", hole)
    paths = mask_mix.find_masks(tmp_path)
    mix = MaskMix(**ONLY_FILES, mask_paths=paths, min_share=0.05)
    rng = np.random.default_rng(4)
    drawn = [mix.draw(rng, 89, 89)[..., 0] for _ in range(500)]
    untouched = [np.array_equal(mask, fitting) for mask in drawn]
    assert np.mean(untouched) == pytest.approx(5 / 12, abs=0.09)
    # The others have been shrunk or grown just as far as they must be.
    adjusted = {int(mask.sum()) for mask, same in zip(drawn, untouched, strict=True) if not same}
    assert adjusted == set(masks.pixel_limits(89, 89, 0.05, 0.25))
    few = MaskMix(**ONLY_FILES, mask_paths=(paths[0], *paths[-4:]), min_share=0.05)
    for _ in range(100):
        np.testing.assert_array_equal(few.draw(rng, 89, 89)[..., 0], fitting)


def test_blank_files_are_passed_over_and_named_where_there_are_no_others(tmp_path):
    save(tmp_path / "black.png", np.zeros((20, 20)))
    save(tmp_path / "white.png", np.ones((20, 20)))
    paths = mask_mix.find_masks(tmp_path)
    with pytest.raises(ValueError, match=r"(black|white)\.png: the mask is all black or all white"):
        MaskMix(**ONLY_FILES, mask_paths=paths).draw(np.random.default_rng(0), 20, 20)
    wide = save(tmp_path / "wide.png", np.pad(np.ones((16, 16), np.uint8), 2))
    mix = MaskMix(**ONLY_FILES, mask_paths=(*paths, wide))
    rng = np.random.default_rng(1)
    for _ in range(100):
        # Shrunk from the wide one: a round hole grown from nothing would be anywhere.
        mask = mix.draw(rng, 20, 20)[..., 0]
        assert mask.sum() == 100
        assert mask[6:-6, 6:-6].all()


@properties
@hypothesis.given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    density=st.sampled_from([0.002, 0.03, 0.3]),
    seed=st.integers(0, 1000),
)
def test_no_hole_pixel_vanishes_or_strays(size, target, density, seed):
    hole = (np.random.default_rng(seed).random(size) < density).astype(np.uint8)
    resized = mask_mix._resized(hole, *target)
    assert resized.shape == target
    assert resized.dtype == np.uint8
    assert set(np.unique(resized)) <= {0, 1}
    scale = np.array(target) / size
    before = (np.argwhere(hole) + 0.5) * scale
    after = np.argwhere(resized) + 0.5
    assert (len(before) == 0) == (len(after) == 0)
    if len(before):
        apart = np.abs(before[:, None] - after[None])
        # A pixel of the result, and beside it half of whichever pixel is larger.
        near = (apart <= 1.0 + np.maximum(1.0, scale)).all(axis=2)
        assert near.any(axis=1).all()
        assert near.any(axis=0).all()


def test_resizing_keeps_broad_areas_and_thin_lines_unbroken():
    broad = np.zeros((400, 400), np.uint8)
    cv2.circle(broad, (210, 190), 120, 1, cv2.FILLED)
    for size in (100, 130, 399, 700):
        assert mask_mix._resized(broad, size, size).mean() == pytest.approx(broad.mean(), rel=0.015)
    line = np.zeros((800, 800), np.uint8)
    cv2.line(line, (30, 50), (760, 420), 1)
    for size in (64, 100, 400, 512, 700):
        small = mask_mix._resized(line, size, size)
        assert cv2.connectedComponents(small, connectivity=8)[0] == 2
        assert small.sum() < 2.1 * size
    np.testing.assert_array_equal(mask_mix._resized(broad, 400, 400), broad)


def test_masks_are_found_recursively_and_sorted(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("b.png", "inner/a.JPG", "c.tif", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found = mask_mix.find_masks(str(tmp_path))
    assert found == (tmp_path / "b.png", tmp_path / "c.tif", tmp_path / "inner" / "a.JPG")


@pytest.mark.parametrize("name", ["empty", "missing", "file.png"])
def test_folders_without_masks_are_named_in_one_line(name, tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "file.png", frame(8))
    with pytest.raises(ValueError, match=name) as caught:
        mask_mix.find_masks(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(save(tmp_path / "whole.png", ell(64, 64)).read_bytes()[:60])
    mix = MaskMix(**ONLY_FILES, mask_paths=(broken,))
    with pytest.raises(image_io.ImageError, match=r"broken\.png") as caught:
        mix.draw(np.random.default_rng(0), 32, 32)
    assert "\n" not in str(caught.value)
