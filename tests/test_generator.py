"""The generator's layer tables, shapes, precisions and files."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import hifill
from hifill.generator import COARSE, REFINE, CoarseNetwork, RefineNetwork
from hifill.layers import GATES

# The appendix of the paper, layer by layer; clips and the outer resizes are not in the tables.
PAPER_COARSE = """
    K5S2C32 - K3S1C32 - K3S2C64 - K3S1C64 - K3S1C64 - K3S1C64 - K3S1C64 - K3S1C64 - K3S1C64D2 -
    K3S1C64D2 - K3S1C64D2 - K3S1C64D2 - K3S1C64D2 - K3S1C64D2 - K3S1C64D4 - K3S1C64D4 - K3S1C64D4 -
    K3S1C64D4 - K3S1C64D4 - K3S1C64D8 - K3S1C64D8 - K3S1C64 - K3S1C64 - K3S1C64 - K3S1C64 -
    upsample - K3S1C32 - upsample - K3S1C3
"""
PAPER_REFINE_TRUNK = """
    K5S2C32 - K3S1C32 - K3S2C64 - K3S1C64 - K3S2C128 - K3S1C128 - K3S1C128D2 - K3S1C128D4 -
    K3S1C128D8 - K3S1C128D16 - K3S1C128 - upsample - K3S1C64 - K3S1C64 - upsample - K3S1C32 -
    K3S1C32 - upsample - K3S1C3
"""
# The authors' checkpoint: name, kernel, stride, dilation, channels.
RELEASED_COARSE = """
    c_en_down_128 5 2 1 32, c_en_conv_128 3 1 1 32, c_en_down_64 3 2 1 64,
    c_en_conv1_64 3 1 1 64, c_en_conv2_64 3 1 1 64, c_en_conv3_64 3 1 1 64,
    c_dil_d1 3 1 1 64, c_dil_d2 3 1 1 64, c_dil_d3 3 1 1 64,
    c_dil_d4 3 1 2 64, c_dil_d5 3 1 2 64, c_dil_d6 3 1 2 64, c_dil_d7 3 1 2 64, c_dil_d8 3 1 2 64,
    c_dil_d9 3 1 4 64, c_dil_d10 3 1 4 64, c_dil_d11 3 1 4 64, c_dil_d12 3 1 4 64,
    c_dil_d13 3 1 8 64, c_dil_d14 3 1 8 64,
    c_de_conv1_64 3 1 1 64, c_de_conv2_64 3 1 1 64, c_de_conv3_64 3 1 1 64,
    c_de_up_128 3 1 1 32 up, c_de_conv_128 3 1 1 32, c_de_toRGB 3 1 1 3 up
"""
RELEASED_REFINE = """
    re_en_down_256 3 2 1 32, re_en_conv_256 3 1 1 32, re_en_down_128 3 2 1 64,
    re_en_conv_128 3 1 1 64, re_en_down_64 3 2 1 128, re_en_conv_64 3 1 1 128,
    re_dil_d1 3 1 1 128, re_dil_d2 3 1 2 128, re_dil_d4 3 1 4 128, re_dil_d8 3 1 8 128,
    re_dil_d16 3 1 16 128, re_att_64_att1 3 1 1 128,
    re_de_att_128_1 3 1 1 64, re_de_att_128_2 3 1 2 64,
    re_de_att_256_1 3 1 1 32, re_de_att_256_2 3 1 2 32,
    re_att_64_att3 3 1 1 128, re_de_up__128 3 1 1 64 up, re_de_conv_128 3 1 1 64,
    re_de_up__256 3 1 1 32 up, re_de_conv_256 3 1 1 32, re_de_toRGB__256 3 1 1 3 up
"""


def _words(rows):
    """Rows of a table in the paper's words."""
    words = []
    for row in rows:
        words += ["upsample"] if row.up else []
        words.append(f"K{row.k}S{row.s}C{row.c}" + (f"D{row.d}" if row.d > 1 else ""))
    return words


def _lines(rows):
    return [f"{r.name} {r.k} {r.s} {r.d} {r.c}{' up' if r.up else ''}" for r in rows]


def _split(text, separator):
    return [re.sub(r"\s+", " ", part).strip() for part in text.split(separator)]


def _max_difference(results, expected):
    return [np.abs(np.subtract(a, b)).max() for a, b in zip(results, expected, strict=True)]


@pytest.fixture(scope="module")
def inputs(picture, hole):
    """Two pictures of 64 x 128 and their one mask."""
    mask = hole(64, 128)
    return tf.constant(picture(2, 64, 128) * (1 - mask)), tf.constant(mask)


@pytest.fixture(scope="module")
def outputs(generator, inputs):
    return [tensor.numpy() for tensor in generator(inputs)]


def test_coarse_table_is_the_papers():
    assert _words(COARSE["paper"]) == _split(PAPER_COARSE, " -")


def test_refine_table_is_the_papers():
    table = REFINE["paper"]
    trunk = [
        *table["encoder_256"],
        *table["encoder_128"],
        *table["encoder_64"],
        *table["decoder_128"],
        *table["decoder_256"],
        *table["decoder_512"],
    ]
    assert _words(trunk) == _split(PAPER_REFINE_TRUNK, " -")
    assert _words(table["attention_64"]) == ["K3S1C128"]
    assert _words(table["attention_128"]) == ["K3S1C64", "K3S1C64D2"]
    assert _words(table["attention_256"]) == ["K3S1C32", "K3S1C32D2"]


def test_released_tables_are_the_authors():
    assert _lines(COARSE["released"]) == _split(RELEASED_COARSE, ",")
    rows = [row for branch in REFINE["released"].values() for row in branch]
    assert _lines(rows) == _split(RELEASED_REFINE, ",")


def test_released_architecture_has_the_authors_parameters(generator):
    assert generator.coarse_network.count_params() == 811_489
    assert generator.refine_network.count_params() == 1_911_302
    assert generator.count_params() == 2_722_791
    assert len(generator.trainable_variables) == 192


@pytest.mark.parametrize("architecture", ["released", "paper"])
def test_layers_are_built_from_the_tables(architecture):
    generator = hifill.Generator(architecture)
    rows = [row for branch in REFINE[architecture].values() for row in branch]
    for network, table in (
        (generator.coarse_network, COARSE[architecture]),
        (generator.refine_network, rows),
    ):
        for row in table:
            layer = getattr(network, row.name)
            built = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.filters)
            assert (*built, layer.upsample) == (row.k, row.s, row.d, row.c, row.up), row.name
            assert layer.kernel.shape[0] == row.k and layer.kernel.shape[-1] == row.c


def test_shapes_and_ranges(outputs):
    coarse, refined, attention = outputs
    assert coarse.shape == refined.shape == (2, 64, 128, 3)
    assert attention.shape == (2, 4, 8, 32)
    for result in outputs:
        assert result.dtype == np.float32
        # The seeded weights neither fade nor saturate, so the other tests compare something.
        assert result.std() > 0.02
        assert np.abs(result).max() < 1
    assert attention.min() == 0 and attention.sum(-1).max() <= 1 + 1e-6


def test_outputs_are_clipped(generator, inputs):
    loud = hifill.Generator()
    loud.set_weights([2 * array for array in generator.get_weights()])
    coarse, refined, _ = loud(inputs)
    for result in (coarse, refined):
        assert np.abs(result).max() == 1
        assert np.all(np.isfinite(result))


def test_coarse_result_enters_the_refine_network_in_the_hole_only(generator, inputs, outputs):
    image, mask = inputs
    whole_mask = tf.repeat(mask, 2, axis=0)
    coarse = generator.coarse_network(tf.concat([image, whole_mask], axis=-1))
    pasted = coarse * whole_mask + image * (1 - whole_mask)
    refined, attention = generator.refine_network([pasted, whole_mask])
    assert _max_difference((coarse, refined, attention), outputs) < [1e-6, 1e-5, 1e-5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "attended"),
    [
        ("re_att_64_att3", slice(128, 256)),
        ("re_de_up__256", slice(0, 64)),
        ("re_de_toRGB__256", slice(0, 32)),
    ],
)
def test_attended_features_come_second_at_64_and_first_after(name, attended, inputs):
    network = RefineNetwork(kernel_initializer=keras.initializers.VarianceScaling(2.0, seed=1))
    image = inputs[0][:1, :, :64]
    # With no usable source and biases of 0, the attended features are exactly 0.
    no_source = tf.ones((1, 64, 64, 1))
    before, _ = network([image, no_source])
    layer = getattr(network, name)
    kernel, gate_kernel = np.array(layer.kernel), np.array(layer.gate_kernel)
    others = np.ones(kernel.shape[2], bool)
    others[attended] = False
    for changed, same in ((~others, True), (others, False)):
        layer.kernel.assign(np.where(changed[:, None], kernel + 1, kernel))
        layer.gate_kernel.assign(np.where(changed[:, None], gate_kernel + 1, gate_kernel))
        after, _ = network([image, no_source])
        assert np.allclose(after, before, atol=1e-5) == same


def test_eager_graph_and_xla_agree(generator, inputs, outputs):
    for options in ({}, {"jit_compile": True}):
        run = tf.function(lambda image, mask: generator([image, mask]), **options)
        assert max(_max_difference(run(*inputs), outputs)) < 1e-5


def test_one_mask_serves_the_batch(generator, inputs, outputs):
    image, mask = inputs
    each = generator([image, tf.repeat(mask, 2, axis=0)])
    assert max(_max_difference(each, outputs)) < 1e-6
    alone = generator([image[1:], mask])
    assert max(_max_difference(alone, [result[1:] for result in outputs])) < 1e-5


def test_unknown_sizes_can_be_traced_once(generator, inputs, outputs, picture, hole):
    run = tf.function(
        lambda image, mask: generator([image, mask]),
        input_signature=[
            tf.TensorSpec((None, None, None, 3)),
            tf.TensorSpec((None, None, None, 1)),
        ],
    )
    assert max(_max_difference(run(*inputs), outputs)) < 1e-5
    mask = hole(128, 64)
    results = run(picture(1, 128, 64) * (1 - mask), mask)
    assert [result.shape for result in results] == [
        (1, 128, 64, 3),
        (1, 128, 64, 3),
        (1, 8, 4, 32),
    ]


@pytest.mark.parametrize(
    ("policy", "coarse_limit", "refined_limit"),
    [("mixed_bfloat16", 0.03, 0.02), ("mixed_float16", 0.003, 0.003)],
)
def test_mixed_precision_stays_near_float32(
    policy, coarse_limit, refined_limit, generator, inputs, outputs
):
    mixed = hifill.Generator(dtype=policy)
    mixed.set_weights(generator.get_weights())
    assert mixed.refine_network.re_en_conv_256.compute_dtype == policy.removeprefix("mixed_")
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    results = mixed(inputs)
    for result in results:
        assert result.dtype == tf.float32
        assert np.all(np.isfinite(result))
    coarse, refined, attention = (
        np.abs(np.subtract(result, exact)) for result, exact in zip(results, outputs, strict=True)
    )
    assert 0 < coarse.max() < coarse_limit
    assert 0 < refined.mean() < refined_limit / 2
    assert attention.mean() < 0.01


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_runs_in_both_networks(gate, inputs):
    # Each gate once per network; the pair changes nothing else.
    partner = GATES[(GATES.index(gate) + 2) % len(GATES)]
    generator = hifill.Generator(coarse_gate=gate, refine_gate=partner)
    assert generator.coarse_network.c_dil_d5.gate == gate
    assert generator.refine_network.re_dil_d8.gate == partner
    image, mask = inputs
    variables = generator.trainable_variables
    with tf.GradientTape() as tape:
        coarse, refined, attention = generator([image[:1, :, :64], mask[:, :, :64]])
        loss = tf.reduce_sum(coarse**2) + tf.reduce_sum((refined + 1) ** 2)
    assert coarse.shape == refined.shape == (1, 64, 64, 3)
    assert attention.shape == (1, 4, 4, 16)
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert np.all(np.isfinite(gradient)), variable.path


@pytest.mark.parametrize("gate", GATES)
def test_gate_parameters_add_up(gate):
    coarse = _rows_with_inputs([COARSE["released"]], [4])
    refine_inputs = [4, 32, 64, 128, 64, 32, 256, 128, 64]
    refine = _rows_with_inputs(REFINE["released"].values(), refine_inputs)
    for network, rows in ((CoarseNetwork(gate=gate), coarse), (RefineNetwork(gate=gate), refine)):
        expected = sum(_row_parameters(channels, row, gate) for channels, row in rows)
        assert network.count_params() == expected


def _rows_with_inputs(branches, inputs):
    for rows, channels in zip(branches, inputs, strict=True):
        for row in rows:
            yield channels, row
            channels = row.c


def _row_parameters(channels, row, gate):
    kernel = row.k**2 * channels
    gates = {
        "none": 0,
        "full": (kernel + 1) * row.c,
        "single_channel": kernel + 1,
        "pointwise": (channels + 1) * row.c,
        "depthwise_separable": kernel + (channels + 1) * row.c,
    }
    return (kernel + 1) * row.c + gates[gate]


@pytest.mark.parametrize("architecture", ["released", "paper"])
def test_keras_file_brings_back_the_generator(architecture, seed_weights, inputs, tmp_path):
    generator = seed_weights(hifill.Generator(architecture))
    generator.save(tmp_path / "generator.keras")
    loaded = keras.saving.load_model(tmp_path / "generator.keras")
    assert loaded.get_config() == generator.get_config()
    assert loaded.architecture == architecture
    for result, expected in zip(loaded(inputs), generator(inputs), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_config_rebuilds_the_same_generator():
    generator = hifill.Generator(
        "paper",
        coarse_gate="full",
        refine_gate="none",
        kernel_initializer=keras.initializers.VarianceScaling(2.0),
        name="renamed",
        dtype="mixed_bfloat16",
    )
    twin = hifill.Generator.from_config(generator.get_config())
    assert twin.get_config() == generator.get_config()
    assert [tuple(w.shape) for w in twin.weights] == [tuple(w.shape) for w in generator.weights]
    assert twin.refine_network.re_dil_d8.compute_dtype == "bfloat16"
    for network in (generator.coarse_network, generator.refine_network):
        twin = type(network).from_config(network.get_config())
        assert twin.get_config() == network.get_config()
        assert twin.count_params() == network.count_params()


def test_unknown_architecture_and_gate_are_refused():
    with pytest.raises(ValueError, match=r"unknown architecture 'hifi', .*released.*paper"):
        hifill.Generator("hifi")
    with pytest.raises(ValueError, match="unknown gate 'ds'"):
        hifill.Generator(refine_gate="ds")
