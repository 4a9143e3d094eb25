"""Contextual attention against plain NumPy loops over its definition."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from hifill.attention import (
    AttentionTransfer,
    ContextualAttention,
    extract_patches,
    fuse_scores,
    join_cells,
    overlap_add,
    overlap_attention,
    split_cells,
    transfer_patches,
    usable_cells,
)

# (size, stride, padding) of every use in the network.
PATCHES = [(3, 1, (1, 1)), (3, 2, (0, 1)), (8, 4, (2, 2)), (16, 8, (4, 4))]


def _random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _random_attention(batch, rows, columns):
    scores = np.exp(2 * _random(batch, rows, columns, rows * columns))
    return scores / scores.sum(-1, keepdims=True)


def _overlap_add_loop(patches, size, stride, padding):
    batch, rows, columns, _, channels = patches.shape
    canvas = np.zeros(
        (batch, rows * stride + 2 * size, columns * stride + 2 * size, channels), patches.dtype
    )
    for row, column, dy, dx in itertools.product(
        range(rows), range(columns), range(size), range(size)
    ):
        canvas[:, row * stride + dy, column * stride + dx] += patches[
            :, row, column, dy * size + dx
        ]
    before = padding[0]
    return canvas[:, before : before + rows * stride, before : before + columns * stride]


def _fuse_loop(scores, rows, columns):
    def add_neighbours(scores, order):
        """`order` lists the cells' raster indices in the order that makes them neighbours."""
        fused = np.zeros_like(scores)
        for q, k, step in itertools.product(range(len(order)), range(len(order)), (-1, 0, 1)):
            if 0 <= q + step < len(order) and 0 <= k + step < len(order):
                fused[order[q], order[k]] += scores[order[q + step], order[k + step]]
        return fused

    raster = np.arange(rows * columns)
    scores = add_neighbours(scores, raster)
    return add_neighbours(scores, raster.reshape(rows, columns).T.ravel())


def _attention_loop(features, usable):
    """Steps 2 to 5 of the definition, in float64: features [2h, 2w, C], usable [h, w]."""
    small = features[::2, ::2].astype(np.float64)
    rows, columns, channels = small.shape
    padded = np.zeros((rows + 2, columns + 2, channels))
    padded[1:-1, 1:-1] = small
    queries = np.array(
        [padded[y : y + 3, x : x + 3].ravel() for y in range(rows) for x in range(columns)]
    )
    keys = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-8)
    scores = _fuse_loop(queries @ keys.T, rows, columns) * usable.ravel()
    powers = np.exp(10 * scores - (10 * scores).max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True) * usable.ravel()).reshape(rows, columns, -1)


@pytest.mark.parametrize(("size", "stride", "padding"), PATCHES)
def test_patches_are_tensorflows(size, stride, padding):
    x = tf.constant(_random(2, 4 * stride, 6 * stride, 3))
    patches = extract_patches(x, size, stride, padding)
    assert patches.shape == (2, 4, 6, size * size, 3)
    expected = tf.image.extract_patches(
        x, [1, size, size, 1], [1, stride, stride, 1], [1, 1, 1, 1], "SAME"
    )
    np.testing.assert_array_equal(tf.reshape(patches, expected.shape), expected)


@pytest.mark.parametrize(("size", "stride", "padding"), PATCHES[1:])
def test_overlapping_patches_are_summed(size, stride, padding):
    patches = _random(2, 3, 4, size * size, 2)
    np.testing.assert_allclose(
        overlap_add(tf.constant(patches), size, stride, padding),
        _overlap_add_loop(patches, size, stride, padding),
        atol=1e-5,
    )


def test_cells_are_split_and_joined():
    x = _random(2, 6, 12, 3)
    cells = split_cells(tf.constant(x), 2, 4)
    assert cells.shape == (2, 3, 3, 2, 4, 3)
    np.testing.assert_array_equal(cells[1, 2, 1], x[1, 4:6, 4:8])
    np.testing.assert_array_equal(join_cells(cells), x)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 5), (4, 2), (1, 4)])
def test_scores_are_fused_along_both_orders(rows, columns):
    scores = _random(2, rows * columns, rows * columns)
    expected = [_fuse_loop(one, rows, columns) for one in scores]
    np.testing.assert_allclose(fuse_scores(tf.constant(scores), rows, columns), expected, atol=1e-5)


def test_usable_cells_neither_hold_nor_touch_a_hole():
    mask = np.zeros((2, 64, 96, 1), np.float32)
    mask[0, 31, 0] = 1  # last row of the cells in row 1
    mask[1, 48:, 80:] = 1
    usable = usable_cells(tf.constant(mask))[..., 0]
    np.testing.assert_array_equal(
        usable[0],
        [[0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
    )
    np.testing.assert_array_equal(
        usable[1],
        [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]],
    )


@pytest.fixture(scope="module")
def mask():
    """A hole in the third cell of the first row of 4 x 6: its neighbours are not usable either."""
    mask = np.zeros((1, 64, 96, 1), np.float32)
    mask[0, 3:7, 38:45] = 1
    return mask


USABLE = np.ones((4, 6))
USABLE[:2, 1:4] = 0


@pytest.mark.parametrize("magnitude", [0.01, 0.1, 3.0])
def test_attention_follows_its_definition(mask, magnitude):
    features = magnitude * _random(2, 8, 12, 5)
    attention = ContextualAttention()([tf.constant(features), tf.constant(mask)])
    assert attention.shape == (2, 4, 6, 24)
    expected = [_attention_loop(one, USABLE) for one in features]
    np.testing.assert_allclose(attention, expected, atol=1e-5)


def test_cells_at_a_hole_are_no_source_yet_take_part_in_the_softmax(mask):
    features = 0.05 * _random(2, 8, 12, 5)
    attention = ContextualAttention()([tf.constant(features), tf.constant(mask)]).numpy()
    sums = attention.sum(axis=-1)
    assert np.all(attention[..., USABLE.ravel() == 0] == 0)
    assert np.all(attention[..., USABLE.ravel() == 1] > 0)
    assert sums.max() <= 1 + 1e-6
    assert sums.min() < 0.99
    whole = ContextualAttention()([tf.constant(features), tf.zeros_like(mask)])
    np.testing.assert_allclose(tf.reduce_sum(whole, -1), np.ones((2, 4, 6)), atol=1e-5)


def test_features_of_zero_attend_evenly_and_have_finite_gradients(mask):
    features = tf.Variable(np.zeros((1, 8, 12, 5), np.float32))
    weighting = _random(1, 4, 6, 24)
    with tf.GradientTape() as tape:
        attention = ContextualAttention()([features, tf.constant(mask)])
        loss = tf.reduce_sum(attention * weighting)
    expected = np.broadcast_to(USABLE.ravel() / 24, (1, 4, 6, 24))
    np.testing.assert_allclose(attention, expected, atol=1e-7)
    assert np.all(np.isfinite(tape.gradient(loss, features)))


def test_mask_without_any_usable_cell_gives_zeros():
    attention = ContextualAttention()([tf.constant(_random(2, 8, 12, 5)), tf.ones((1, 64, 96, 1))])
    np.testing.assert_array_equal(attention, np.zeros((2, 4, 6, 24)))


def test_one_mask_serves_the_batch_and_masks_may_differ(mask):
    attend = ContextualAttention()
    features = tf.constant(0.1 * _random(3, 8, 12, 5))
    other = np.flip(mask, axis=(1, 2))
    shared = attend([features, tf.constant(mask)])
    np.testing.assert_array_equal(shared, attend([features, tf.repeat(mask, 3, axis=0)]))
    mixed = attend([features, tf.concat([mask, other, mask], axis=0)])
    np.testing.assert_allclose(mixed[0], shared[0], atol=1e-6)
    np.testing.assert_allclose(mixed[1], attend([features, other])[1], atol=1e-6)
    assert np.abs(mixed[1] - shared[1]).max() > 0.01


def test_softmax_scale_is_applied_and_saved(mask):
    features = tf.constant(0.1 * _random(1, 8, 12, 5))
    sharper = ContextualAttention.from_config(ContextualAttention(softmax_scale=20.0).get_config())
    np.testing.assert_allclose(
        # Scores grow with the queries: twice the features is twice the scale.
        sharper([features, tf.constant(mask)]),
        ContextualAttention()([2 * features, tf.constant(mask)]),
        atol=1e-5,
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_scores_stay_float32_under_mixed_policies(mask, policy):
    features = tf.constant(0.1 * _random(1, 8, 12, 5), policy.removeprefix("mixed_"))
    attention = ContextualAttention(dtype=policy)([features, tf.constant(mask)])
    assert attention.dtype == tf.float32
    exact = ContextualAttention()([tf.cast(features, tf.float32), tf.constant(mask)])
    np.testing.assert_array_equal(attention, exact)


def test_small_patches_are_transferred_as_defined():
    values, attention = _random(2, 6, 10, 3), _random_attention(2, 3, 5)
    padded = np.zeros((2, 7, 11, 3), np.float32)
    padded[:, :6, :10] = values
    sources = np.stack(
        [padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3] for y in range(3) for x in range(5)], 1
    )  # [B, 15, 3, 3, C]
    patches = np.einsum("bhwk,bkyxc->bhwyxc", attention, sources).reshape(2, 3, 5, 9, 3)
    np.testing.assert_allclose(
        AttentionTransfer()([tf.constant(values), tf.constant(attention)]),
        _overlap_add_loop(patches, 3, 2, (0, 1)),
        atol=1e-5,
    )


@pytest.mark.parametrize("cell_size", [4, 8])
def test_patches_of_two_cells_are_transferred_as_defined(cell_size):
    size, half = 2 * cell_size, cell_size // 2
    values = _random(2, 3 * cell_size, 4 * cell_size, 2)
    attention = _random_attention(2, 3, 4)
    padded = np.pad(values, [(0, 0), (half, half), (half, half), (0, 0)])
    sources = np.stack(
        [
            padded[:, y : y + size, x : x + size]
            for y in range(0, 3 * cell_size, cell_size)
            for x in range(0, 4 * cell_size, cell_size)
        ],
        axis=1,
    )
    patches = np.einsum("bhwk,bkyxc->bhwyxc", attention, sources).reshape(2, 3, 4, -1, 2)
    np.testing.assert_allclose(
        transfer_patches(tf.constant(values), tf.constant(attention)),
        _overlap_add_loop(patches, size, cell_size, (half, half)),
        atol=1e-5,
    )


@pytest.mark.parametrize("cell_size", [4, 8])
@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 2)])
def test_transfer_by_cells_equals_transfer_by_patches(cell_size, rows, columns):
    values = tf.constant(_random(2, rows * cell_size, columns * cell_size, 3))
    attention = tf.constant(_random_attention(2, rows, columns))
    weighting = _random(2, rows * cell_size, columns * cell_size, 3)
    results = []
    for transfer in (
        lambda: AttentionTransfer(cell_size)([values, overlap_attention(attention)]),
        lambda: transfer_patches(values, attention),
    ):
        with tf.GradientTape() as tape:
            tape.watch([values, attention])
            transferred = transfer()
            loss = tf.reduce_sum(transferred * weighting)
        results.append([transferred, *tape.gradient(loss, [values, attention])])
    for by_cells, by_patches in zip(*results, strict=True):
        np.testing.assert_allclose(by_cells, by_patches, atol=2e-4)


def test_overlap_attention_sums_over_the_four_patches_of_a_cell():
    attention = _random_attention(1, 2, 3)
    expected = np.zeros((3, 4, 3, 4), np.float32)
    for y, x, v, u, a, b in itertools.product(
        range(2), range(3), range(2), range(3), range(2), range(2)
    ):
        expected[y + a, x + b, v + a, u + b] += attention[0, y, x, v * 3 + u]
    np.testing.assert_allclose(
        overlap_attention(tf.constant(attention))[0], expected.reshape(12, 12), atol=1e-6
    )


def test_attending_to_itself_gives_the_overlap_count():
    values = _random(1, 16, 24, 2)
    itself = np.eye(24, dtype=np.float32).reshape(1, 4, 6, 24)
    transferred = AttentionTransfer(4)([tf.constant(values), overlap_attention(itself)])
    counts = np.full((16, 24, 1), 4.0)
    counts[[0, 1, -2, -1]] /= 2
    counts[:, [0, 1, -2, -1]] /= 2
    np.testing.assert_allclose(transferred[0], values[0] * counts, rtol=1e-5)
