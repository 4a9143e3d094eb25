"""The high-resolution wrapper: its promises, and its arithmetic against plain NumPy and OpenCV."""

import unittest.mock

import cv2
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from conftest import REFERENCE

from hifill import Generator, HighResolutionInpainter, cells, convert, highres
from hifill.array_inpainting import ArrayInpainter
from hifill.attention import usable_cells
from hifill.membrane import meet_rim
from hifill.weights import load_generator

OFFICIAL = REFERENCE.parent / "photos" / "official"


@pytest.fixture(scope="module")
def wrappers(generator):
    """Those of both fidelities: each is traced at its first call, which takes long."""
    fidelities = "improved", "plain"
    return {name: HighResolutionInpainter(generator, name, size=128) for name in fidelities}


@pytest.fixture(scope="module")
def inpaint(wrappers):
    return wrappers["improved"]


@pytest.fixture(scope="module")
def fill_array(inpaint):
    return ArrayInpainter(inpaint)


def random_photo(seed, height, width, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    photo = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255)
    return (photo * (np.iinfo(dtype).max / 255)).astype(dtype)


def random_hole(seed, height, width):
    """Some rectangles, of any size from a pixel on, at any place."""
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 5)):
        top, left = rng.integers(height), rng.integers(width)
        bottom = top + 1 + rng.integers(max(1, height // 2))
        right = left + 1 + rng.integers(max(1, width // 2))
        hole[top:bottom, left:right] = True
    return hole


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(
    height=st.integers(33, 900), width=st.integers(33, 900), seed=st.integers(0, 2**32)
)
def test_promises_hold_at_any_size(inpaint, fill_array, height, width, seed):
    photo, hole = random_photo(seed, height, width), random_hole(seed, height, width)
    first = inpaint(photo, hole).numpy()
    # Each hole pixel now holds another value, so one that were kept would show.
    other = np.where(hole[..., None], 255 - photo, photo)
    second = inpaint(other, hole).numpy()
    assert first.shape == photo.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first[~hole], photo[~hole])
    np.testing.assert_array_equal(first, second)
    out = photo.copy()
    fill_array(photo, hole, out)
    np.testing.assert_array_equal(out, first)


def test_arrays_give_what_the_graph_gives():
    """Photos, of 254 tried, that once came out differently in one pixel."""
    wrapper = HighResolutionInpainter(load_generator(), size=128)
    fill = ArrayInpainter(wrapper)
    for seed in (160, 189, 202, 250):
        rng = np.random.default_rng(seed)
        height, width = rng.integers(400, 900, 2)
        if seed % 2:
            photo = rng.integers(0, 256, (height, width, 3), np.int64)
        else:
            photo = np.clip(rng.normal(0, 5, (height, width, 3)).cumsum(1) + 128, 0, 255)
        photo, hole = photo.astype(np.uint8), rng.random((height, width)) < 0.3
        if seed % 3 == 0:
            hole = np.zeros((height, width), bool)
            hole[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = True
        out = photo.copy()
        fill(photo, hole, out)
        np.testing.assert_array_equal(out, wrapper(photo, hole).numpy())


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (900, 20), (129, 127)])
def test_extreme_sizes(inpaint, shape):
    photo = random_photo(0, *shape)
    hole = np.zeros(shape, bool)
    hole[: (shape[0] + 1) // 2, : (shape[1] + 1) // 2] = True
    result = inpaint(photo, hole).numpy()
    assert result.shape == photo.shape
    np.testing.assert_array_equal(result[~hole], photo[~hole])


def test_real_size(generator):
    photo, hole = random_photo(3, 700, 1100), random_hole(3, 700, 1100)
    result = HighResolutionInpainter(generator)(photo, hole).numpy()
    np.testing.assert_array_equal(result[~hole], photo[~hole])
    assert result[hole].std() > 1


@pytest.mark.parametrize("fidelity", ["plain", "improved"])
@pytest.mark.parametrize(("height", "width"), [(128, 128), (256, 384), (296, 136)])
def test_fills_with_upsampled_result_plus_aggregated_residual(
    generator, wrappers, height, width, fidelity
):
    """Equation 4 as it reads: full-size residual, all cells, OpenCV's bilinear upsampling."""
    photo, hole = random_photo(5, height, width), np.zeros((height, width), bool)
    hole[height // 3 : height // 2, width // 4 : width // 2] = True
    result = wrappers[fidelity](photo, hole).numpy()

    low, low_mask = brute_force_average(photo, hole, 128)
    masked = (low / 127.5 - 1) * (1 - low_mask)
    _, refined, attention = generator([masked[None], low_mask[None]])

    def upsample(x):
        return cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR)

    refined, base = (refined[0].numpy() + 1) * 127.5, low
    if fidelity == "improved":
        refined = meet_rim(*(tf.constant(t[None]) for t in (refined, low, low_mask)))[0].numpy()
        base = cv2.resize(cv2.resize(low, (64, 64), interpolation=cv2.INTER_AREA), (128, 128))
    residual = photo - upsample(base)
    rows, columns = height // 8, width // 8
    cells = residual.reshape(8, rows, 8, columns, 3).transpose(0, 2, 1, 3, 4).reshape(64, -1)
    cells = attention.numpy().reshape(64, 64) @ cells
    detail = cells.reshape(8, 8, rows, columns, 3).transpose(0, 2, 1, 3, 4).reshape(photo.shape)
    expected = np.clip(upsample(refined) + detail, 0, 255)
    # Half a level, and rounding of the network.
    assert np.abs(result[hole] - expected[hole]).max() <= 0.6
    np.testing.assert_array_equal(result[~hole], photo[~hole])


@pytest.fixture(scope="module")
def drawing():
    """A generator with variables for its attention and picture, and two inpainters around it: one
    that drops weights, and one that drops none. Each is to be called with its `_LEVELS`."""
    logits = tf.Variable(tf.zeros((1, 8, 8, 64)))
    drawn = tf.Variable(tf.zeros((1, 128, 128, 3)))

    def generator(inputs):
        usable = tf.reshape(usable_cells(inputs[1]), [1, 1, 1, 64])
        return None, drawn, tf.nn.softmax(logits) * usable

    fills = [ArrayInpainter(HighResolutionInpainter(generator, size=128)) for _ in range(2)]
    levels = highres._LEVELS, dict.fromkeys(highres.WHITE, 1e30)
    return logits, drawn, list(zip(levels, fills, strict=True))


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(
    height=st.integers(100, 500),
    width=st.integers(100, 500),
    seed=st.integers(0, 2**32),
    peaked=st.floats(0, 30),
)
def test_weights_that_are_dropped_move_nothing(drawing, height, width, seed, peaked):
    logits, drawn, fills = drawing
    photo, hole = random_photo(seed, height, width), random_hole(seed, height, width)
    rng = np.random.default_rng(seed)
    logits.assign(peaked * rng.normal(size=(1, 8, 8, 64)))
    drawn.assign(rng.uniform(-1, 1, (1, 128, 128, 3)))

    results = []
    for levels, fill in fills:
        with unittest.mock.patch.object(highres, "_LEVELS", levels):
            out = photo.copy()
            fill(photo, hole, out)
            results.append(out.astype(int))
    difference = np.abs(results[0] - results[1])
    assert difference.max() <= 1 and difference.mean() < 0.01


def brute_force_average(photo, hole, size):
    """Low-resolution picture of known pixels and mask of every hole, by the definition."""
    rows, columns = shares(hole.shape[0], size), shares(hole.shape[1], size)

    def weigh(x):
        return np.einsum("iy,jx,yxc->ijc", rows, columns, x, optimize=True)

    known = weigh(~hole[..., None] * 1.0)
    low = weigh(photo * ~hole[..., None]) / np.maximum(known, 1e-12)
    mask = (rows > 0).astype(int) @ hole @ (columns > 0).astype(int).T > 0
    low = np.where(known > 1e-9, low, 0)
    return low.astype(np.float32), mask[..., None].astype(np.float32)


def shares(length, size):
    """[size, length]: which share of each of `size` equal intervals each pixel fills."""
    edges = np.arange(size + 1)[:, None] * (length / size)
    pixel = np.arange(length)
    overlap = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    return np.maximum(overlap, 0) / (length / size)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("height", "width"), [(148, 144), (141, 133), (40, 700)])
def test_low_resolution_averages_known_pixels_and_masks_every_hole(height, width, dtype):
    size = 64  # 4 x 4 cells, 148 x 144: of 37 x 36, no whole number of pixels an interval
    photo = random_photo(9, height, width, np.uint8 if dtype == np.float32 else dtype)
    if dtype == np.float32:
        photo = photo / np.float32(255)
    hole = np.zeros((height, width), bool)
    hole[height // 3, width // 2] = True  # one pixel
    hole[height // 2 : height * 7 // 8, width // 7 : width * 5 // 8] = True
    geometry = cells.geometry_of(height, width, 4)
    mirrored = [
        (0, 4 * patch - length) for patch, length in zip(geometry[2:], geometry, strict=False)
    ]
    mirrored_photo = np.pad(photo, [*mirrored, (0, 0)], "symmetric")
    expected_low, expected_mask = brute_force_average(
        mirrored_photo, np.pad(hole, mirrored, "symmetric"), size
    )
    if dtype == np.float32:
        photo = np.where(hole[..., None], np.nan, photo)
    wrapper = HighResolutionInpainter(None, size=size)
    in_graph = tf.function(wrapper._average)(photo, hole[..., None], geometry)
    of_arrays = ArrayInpainter(wrapper).average(photo, hole, geometry)
    np.testing.assert_allclose(in_graph, of_arrays, atol=1e-6 * highres.WHITE[tf.as_dtype(dtype)])
    for sums in (in_graph, of_arrays):
        low, mask = cells.normalized(sums)
        np.testing.assert_array_equal(mask, expected_mask)
        scale = np.iinfo(dtype).max if dtype != np.float32 else 1
        np.testing.assert_allclose(low / scale, expected_low / scale, atol=1e-4)


def test_sixteen_bits(inpaint):
    photo, hole = random_photo(11, 200, 160, np.uint16), random_hole(11, 200, 160)
    result = inpaint(photo, hole).numpy()
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[~hole], photo[~hole])
    eight = inpaint((photo // 257).astype(np.uint8), hole).numpy()
    assert np.abs(result[hole] / 257 - eight[hole]).mean() < 2
    assert np.any(result[hole] % 257)  # more than 8-bit levels


def test_batches_and_masks(inpaint):
    photos = np.stack([random_photo(i, 90, 150) for i in range(2)])
    hole = random_hole(1, 90, 150)
    both = inpaint(photos, hole).numpy()
    for photo, result in zip(photos, both, strict=True):
        np.testing.assert_array_equal(inpaint(photo, hole), result)
    for mask in (
        hole[..., None],
        hole[None, ..., None],
        hole.astype(np.uint8) * 200,
        hole.astype(np.float32) * 0.6,
        np.stack([hole, hole])[..., None],
    ):
        np.testing.assert_array_equal(inpaint(photos, mask), both)


def test_no_hole_returns_the_photo(inpaint):
    photo = random_photo(2, 70, 90)
    np.testing.assert_array_equal(inpaint(photo, np.full((70, 90), 127, np.uint8)), photo)


def test_all_hole_ignores_the_photo(inpaint):
    hole = np.ones((70, 90), bool)
    first, second = (inpaint(random_photo(i, 70, 90), hole).numpy() for i in range(2))
    np.testing.assert_array_equal(first, second)


def test_chunks_do_not_change_the_result(generator, inpaint, monkeypatch):
    photo, hole = random_photo(4, 450, 333), random_hole(4, 450, 333)
    monkeypatch.setattr(cells, "FILLED_BYTES", 50_000)
    monkeypatch.setattr(cells, "_AVERAGED_BYTES", 20_000)
    chunked = HighResolutionInpainter(generator, size=128)(photo, hole).numpy()
    monkeypatch.undo()
    difference = np.abs(chunked.astype(int) - inpaint(photo, hole).numpy())
    assert difference.max() <= 1 and difference.mean() < 1e-3


def test_float_photos_are_not_rounded(inpaint):
    photo, hole = random_photo(7, 200, 300), random_hole(7, 200, 300)
    given = photo.astype(np.float32) / 255
    given[~hole] += 1e-4  # between two grey levels
    result = inpaint(given, hole).numpy()
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[~hole], given[~hole])
    difference = np.abs(result[hole] * 255 - inpaint(photo, hole).numpy()[hole])
    assert difference.max() < 1 and len(np.unique(result[hole])) > 256

    given[hole] = np.nan
    np.testing.assert_array_equal(inpaint(given, hole).numpy(), result)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((64, 64, 3), np.float64), np.zeros((64, 64), bool), "float64"),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), bool), "64, 64"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 60), bool), "64, 60"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int64), "int64"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), bool), "64, 64, 3"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((2, 64, 64, 1), bool), "2, 64, 64, 1"),
        (np.zeros((2, 64, 64, 3), np.uint8), np.zeros((3, 64, 64, 1), bool), "3, 64, 64, 1"),
    ],
)
def test_bad_input(inpaint, image, mask, message):
    with pytest.raises(ValueError, match=message):
        inpaint(image, mask)


@pytest.mark.parametrize("settings", [{"size": 100}, {"size": -64}, {"size": 0}, {"multiple": 0}])
def test_sizes_that_cannot_be(generator, settings):
    with pytest.raises(ValueError, match="is no multiple of 64, or"):
        HighResolutionInpainter(generator, **settings)


def test_unknown_fidelity(generator):
    with pytest.raises(ValueError, match="improved, plain, original"):
        HighResolutionInpainter(generator, fidelity="best")


def test_original_against_opencv(generator):
    """The official script's steps, in NumPy and OpenCV, at a small size."""
    size, multiple, height, width = 64, 2, 100, 150
    photo = random_photo(6, height, width)
    mask = np.zeros((height, width), np.uint8)
    mask[30:60, 40:90] = 255
    mask[60, 40:90] = 90  # greys stay greys

    large_size = (size * multiple, size * multiple)
    large = cv2.resize(photo.astype(np.float32), large_size, interpolation=cv2.INTER_LINEAR)
    small = large.reshape(size, multiple, size, multiple, 3).mean((1, 3))
    known = 1 - mask.astype(np.float32) / 255
    large_known = cv2.resize(known, large_size, interpolation=cv2.INTER_NEAREST)[..., None]
    small_hole = 1 - cv2.resize(known, (size, size), interpolation=cv2.INTER_NEAREST)
    masked = (small / 127.5 - 1) * (1 - small_hole[..., None])
    _, refined, attention = generator([masked[None], small_hole[None, ..., None]])
    refined = (refined[0].numpy() + 1) * 127.5
    residual = (large - cv2.resize(small, large_size, interpolation=cv2.INTER_LINEAR)) * large_known
    patch = 16 * multiple
    cells = residual.reshape(4, patch, 4, patch, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1)
    cells = (attention.numpy().reshape(16, 16) @ cells).reshape(4, 4, patch, patch, 3)
    residual = cells.transpose(0, 2, 1, 3, 4).reshape(large.shape)
    result = cv2.resize(refined, large_size, interpolation=cv2.INTER_LINEAR) + residual
    result = cv2.resize(np.clip(result, 0, 255), (width, height), interpolation=cv2.INTER_LINEAR)
    weight = cv2.GaussianBlur(small_hole, (7, 7), 1, borderType=cv2.BORDER_CONSTANT)
    weight = cv2.resize(weight, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    expected = (result * weight + photo * (1 - weight)).astype(np.uint8)

    wrapper = HighResolutionInpainter(generator, "original", multiple=multiple, size=size)
    actual = wrapper(photo, mask).numpy()
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01
    untouched = weight[..., 0] == 0
    assert untouched.any()
    np.testing.assert_array_equal(actual[untouched], photo[untouched])


@pytest.mark.skipif(
    not (REFERENCE / "highres.npz").exists() or not OFFICIAL.exists(),
    reason="no reference data of the original network beside the repository",
)
@pytest.mark.parametrize("multiple", [2, 6])
def test_original_against_the_official_pipeline(multiple):
    generator = Generator()
    convert.load_variables(generator, np.load(REFERENCE / "weights.npz"))
    photo = cv2.imread(str(OFFICIAL / "images" / "14.jpg"))[..., ::-1]
    known = cv2.imread(str(OFFICIAL / "masks" / "14.jpg"), cv2.IMREAD_GRAYSCALE)
    wrapper = HighResolutionInpainter(generator, "original", multiple=multiple)
    actual = wrapper(np.ascontiguousarray(photo), 255 - known).numpy()
    expected = np.load(REFERENCE / "highres.npz")[f"official_x{multiple}"][..., ::-1]
    difference = np.abs(actual.astype(int) - expected)
    assert (difference <= 1).mean() >= 0.999
    far = cv2.dilate(255 - known, np.ones((25, 25), np.uint8)) == 0  # all known, to the last bit
    assert far.any()
    np.testing.assert_array_equal(actual[far], photo[far])
    np.testing.assert_array_equal(expected[far], photo[far])
