"""Masks stay within their bounds, repeat by seed, and vary in kind, shape and place."""

import cv2
import numpy as np
import pytest

from hifill import masks, silhouettes

SIZES = [(64, 64), (64, 200), (33, 900), (900, 33), (256, 256), (300, 517)]


@pytest.fixture(scope="module")
def templates():
    return silhouettes.generated_templates(np.random.default_rng(0), 24)


@pytest.fixture
def ell():
    """A shape that differs from each of its rotations and reflections."""
    shape = np.zeros((60, 30), np.uint8)
    shape[:, :10] = 1
    shape[50:] = 1
    return shape


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("stroke_share", [0.0, 0.5, 1.0])
def test_share_stays_within_default_bounds(height, width, stroke_share, templates):
    rng = np.random.default_rng(height + width)
    for _ in range(40):
        mask = masks.random_mask(rng, height, width, templates, stroke_share)
        assert mask.shape == (height, width, 1)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
        assert 0.01 <= mask.mean() <= 0.25


@pytest.mark.parametrize("bounds", [(0.2, 0.2001), (0.6, 0.9), (0.0, 0.001), (0.25, 0.25), (1, 1)])
@pytest.mark.parametrize("stroke_share", [0.0, 1.0])
def test_bounds_missed_by_chance_are_still_met(bounds, stroke_share, templates):
    rng = np.random.default_rng(3)
    for _ in range(10):
        mask = masks.random_mask(rng, 100, 120, templates, stroke_share, *bounds)
        assert mask.any()
        assert bounds[0] <= mask.mean() <= bounds[1]


def test_largest_size_is_within_bounds(templates):
    mask = masks.random_mask(np.random.default_rng(5), 2048, 1500, templates)
    assert 0.01 <= mask.mean() <= 0.25


@pytest.mark.parametrize("bounds", [(0.3, 0.2), (-0.1, 0.2), (0.5, 1.5), (0.0, 0.0001)])
def test_impossible_bounds_are_refused(bounds, templates):
    with pytest.raises(ValueError, match="no hole in 64 x 64"):
        masks.random_mask(np.random.default_rng(0), 64, 64, templates, 0.5, *bounds)


def test_a_hole_gets_the_exact_area_and_keeps_its_place():
    rng = np.random.default_rng(1)
    square = np.pad(np.ones((20, 20), np.uint8), 20)
    for pixels in (1, 100, 401, 2000, 3600):
        changed = masks.with_area(rng, square, pixels)
        assert changed.sum() == pixels
        overlap = (changed & square).sum()
        assert overlap == min(pixels, 400)
    assert square.sum() == 400
    blank = np.zeros((50, 70), np.uint8)
    grown = [masks.with_area(rng, blank, 30) for _ in range(20)]
    assert not blank.any()
    assert {int(mask.sum()) for mask in grown} == {30}
    assert len({mask.tobytes() for mask in grown}) > 15


@pytest.mark.parametrize(
    ("shares", "limits"),
    [((0.1, 0.3), (1, 3)), ((0, 0.25), (1, 2)), ((0.11, 0.29), (2, 2)), ((1, 1), (10, 10))],
)
def test_limits_in_pixels_are_rounded_inwards(shares, limits):
    assert masks.pixel_limits(2, 5, *shares) == limits


def test_stroke_share_outside_0_to_1_is_refused(templates):
    with pytest.raises(ValueError, match="stroke_share"):
        masks.random_mask(np.random.default_rng(0), 64, 64, templates, 1.5)


def test_shapes_need_a_template_and_strokes_do_not():
    rng = np.random.default_rng(0)
    assert masks.random_mask(rng, 64, 64, [], stroke_share=1.0).any()
    with pytest.raises(ValueError, match="at least one template"):
        masks.random_mask(rng, 64, 64, [], stroke_share=0.0)
    with pytest.raises(ValueError, match="not blank"):
        masks.object_shape(rng, 64, 64, [np.zeros((9, 9), np.uint8)])


def test_same_seed_repeats_and_another_differs(templates):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return np.stack([masks.random_mask(rng, 96, 128, templates) for _ in range(12)])

    np.testing.assert_array_equal(draw(7), draw(7))
    assert (draw(7) != draw(8)).any()


def test_both_kinds_occur_alone_and_together(templates, monkeypatch):
    drawn = []
    for name in ("brush_strokes", "object_shape"):
        original = getattr(masks, name)

        def noted(*args, name=name, original=original, **options):
            drawn.append(name)
            return original(*args, **options)

        monkeypatch.setattr(masks, name, noted)
    rng = np.random.default_rng(11)
    kinds = []
    for _ in range(200):
        drawn.clear()
        masks.random_mask(rng, 64, 64, templates)
        kinds.append(frozenset(drawn))
    strokes, shapes = frozenset({"brush_strokes"}), frozenset({"object_shape"})
    assert set(kinds) == {strokes, shapes, strokes | shapes}
    assert 60 <= kinds.count(strokes) <= 120
    assert 60 <= kinds.count(shapes) <= 120


@pytest.mark.parametrize("stroke_share", [0.0, 1.0])
def test_masks_vary_in_look_and_size(stroke_share, templates):
    rng = np.random.default_rng(2)
    drawn = [masks.random_mask(rng, 128, 128, templates, stroke_share) for _ in range(150)]
    shares = np.array([mask.mean() for mask in drawn])
    assert len({mask.tobytes() for mask in drawn}) == 150
    assert shares.min() < 0.05
    assert shares.max() > 0.15
    # Over many masks no region is favoured so much that another is never a hole.
    often = np.mean(drawn, axis=0)[..., 0].reshape(4, 32, 4, 32).mean(axis=(1, 3))
    assert often.min() > 0.01
    assert often.max() < 0.45


def test_strokes_respect_their_limit():
    rng = np.random.default_rng(4)
    for _ in range(60):
        mask = masks.brush_strokes(rng, 80, 120, max_share=0.1)
        assert mask.shape == (80, 120)
        assert mask.dtype == np.uint8
        assert mask.max() <= 1
        assert mask.mean() <= 0.1


def test_shape_is_rotated_mirrored_scaled_and_moved(ell):
    rng = np.random.default_rng(6)
    angles, middles, areas, skews, cut = [], [], [], [], 0
    for _ in range(150):
        mask = masks.object_shape(rng, 400, 400, [ell], max_share=0.04)
        assert mask.any()
        if mask[[0, -1]].any() or mask[:, [0, -1]].any():
            cut += 1
            continue
        moments = cv2.moments(mask, binaryImage=True)
        middles.append((moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]))
        areas.append(moments["m00"])
        angle = 0.5 * np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])
        angles.append(angle)
        rows, columns = np.nonzero(mask)
        x, y = columns - middles[-1][0], rows - middles[-1][1]
        along, across = (
            x * np.cos(angle) + y * np.sin(angle),
            y * np.cos(angle) - x * np.sin(angle),
        )
        # The sign of this product survives rotation by half a turn and flips in a mirror.
        skews.append(np.sign((along**3).mean() * (across**3).mean()))
    assert cut > 0
    assert np.histogram(angles, 6, (-np.pi / 2, np.pi / 2))[0].min() > 0
    assert np.ptp(middles, axis=0).min() > 200
    assert max(areas) > 4 * min(areas)
    assert {-1.0, 1.0} <= set(skews)
    assert 0.25 < np.mean(np.array(skews) > 0) < 0.75


def test_shape_accepts_bool_white_and_tiny_templates(ell):
    for template in (ell.astype(bool), ell * np.uint8(255), np.ones((1, 1), bool)):
        mask = masks.object_shape(np.random.default_rng(9), 100, 100, [template])
        assert set(np.unique(mask)) == {0, 1}
    same = [
        masks.object_shape(np.random.default_rng(9), 100, 100, [template])
        for template in (ell.astype(bool), ell * np.uint8(255))
    ]
    np.testing.assert_array_equal(*same)


def test_hairline_shrunk_to_a_small_mask_mostly_stays_visible():
    frame = np.zeros((512, 512), np.uint8)
    cv2.rectangle(frame, (0, 0), (511, 511), 1, 1)
    drawn = [
        masks.object_shape(np.random.default_rng(seed), 64, 64, [frame], max_share=0.01)
        for seed in range(20)
    ]
    assert np.mean([mask.any() for mask in drawn]) > 0.5


def test_shrinking_does_not_fray_a_shape():
    rng = np.random.default_rng(12)
    speckled = (rng.random((400, 400)) > 0.1).astype(np.uint8)
    for _ in range(20):
        mask = masks.object_shape(rng, 128, 128, [speckled], max_share=0.2)
        pieces, _ = cv2.connectedComponents(1 - mask)
        assert pieces <= 5  # the shape and at most four corners of the mask cut off by it


def test_loads_pictures_sorted_thresholded_cropped_and_reduced(tmp_path):
    (tmp_path / "inner").mkdir()
    small = np.zeros((40, 50), np.uint8)
    small[5:15, 20:40] = 128
    small[30:35, 2:6] = 127
    large = np.zeros((900, 1400), np.uint8)
    large[100:400, 100:1300] = 255
    cv2.imwrite(str(tmp_path / "a.png"), small)
    cv2.imwrite(str(tmp_path / "inner" / "b.JPG"), cv2.merge([large] * 3))
    (tmp_path / "notes.txt").write_text("not a picture")
    first, second = masks.load_templates(tmp_path)
    np.testing.assert_array_equal(first, np.ones((10, 20), np.uint8))
    assert second.shape == (128, 512)
    assert second.dtype == np.uint8
    assert second.min() == second.max() == 1


def test_hairline_survives_the_reduction(tmp_path):
    hairline = np.zeros((2000, 2000), np.uint8)
    hairline[:, 700] = 255
    cv2.imwrite(str(tmp_path / "hair.png"), hairline)
    (shape,) = masks.load_templates(str(tmp_path))
    assert shape.shape == (512, 1)
    assert shape.all()


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_unusable_folders_and_files_are_named_in_one_line(tmp_path, content):
    name = tmp_path
    if content is not None:
        name = tmp_path / "broken.png"
        name.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        masks.load_templates(tmp_path)
    assert str(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blank_template_file_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(ValueError, match=r"no white shape.*black\.png"):
        masks.load_templates(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no PNG or JPEG"):
        masks.load_templates(tmp_path / "nowhere")
