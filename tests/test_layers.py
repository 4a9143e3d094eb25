"""Gated convolutions and resizes against TensorFlow's own operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hifill.layers import GATES, GatedConv2D, downsample_by_two, upsample_by_two


def _random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _legacy_resize(x, height, width):
    return tf.compat.v1.image.resize_bilinear(
        x, (height, width), align_corners=False, half_pixel_centers=False
    )


def _layer(gate, channels=3, filters=4, kernel_size=3, **options):
    """A built layer with all its variables random, biases too."""
    layer = GatedConv2D(filters, kernel_size, gate=gate, **options)
    layer.build((None, None, None, channels))
    for i, variable in enumerate(layer.weights):
        variable.assign(0.5 * np.random.default_rng(i).standard_normal(variable.shape))
    return layer


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (8, 6), (7, 4), (16, 9)])
def test_upsampling_is_tensorflow1s_bilinear_resize(height, width):
    x = _random(2, height, width, 3)
    doubled = upsample_by_two(tf.constant(x))
    assert doubled.shape == (2, 2 * height, 2 * width, 3)
    np.testing.assert_allclose(doubled, _legacy_resize(x, 2 * height, 2 * width), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (8, 6), (4, 18)])
def test_downsampling_is_tensorflow1s_bilinear_resize(height, width):
    x = _random(2, height, width, 4)
    np.testing.assert_array_equal(
        downsample_by_two(tf.constant(x)), _legacy_resize(x, height // 2, width // 2)
    )


def test_upsampling_keeps_the_dtype_and_takes_unknown_sizes():
    x = _random(2, 3, 5, 4)
    assert upsample_by_two(tf.constant(x, tf.float16)).dtype == tf.float16
    unknown = tf.function(
        upsample_by_two, input_signature=[tf.TensorSpec((None, None, None, None), tf.float32)]
    )
    np.testing.assert_array_equal(unknown(x), upsample_by_two(tf.constant(x)))


@pytest.mark.parametrize(
    ("gate", "parameters"),
    [
        ("full", 9216),
        ("depthwise_separable", 1312),
        ("pointwise", 1024),
        ("single_channel", 288),
        ("none", 0),
    ],
)
def test_gates_have_the_parameters_of_the_papers_table_1(gate, parameters):
    layer = _layer(gate, channels=32, filters=32)
    kernels = [w for w in layer.weights if w.name.startswith("gate") and "bias" not in w.name]
    assert sum(np.prod(w.shape) for w in kernels) == parameters
    gate_biases = {"none": 0, "single_channel": 1}.get(gate, 32)
    assert layer.count_params() == 9216 + 32 + parameters + gate_biases


def _expected(layer, x):
    """The layer's formula, in separate operations of TensorFlow."""

    def convolve(x, kernel, dilation):
        return tf.nn.conv2d(x, kernel, layer.strides, "SAME", dilations=dilation)

    if layer.upsample:
        x = _legacy_resize(x, 2 * x.shape[1], 2 * x.shape[2])
    features = tf.nn.elu(convolve(x, layer.kernel, layer.dilation_rate) + layer.bias)
    if layer.gate == "none":
        return features
    if layer.gate == "depthwise_separable":
        depthwise = layer.gate_depthwise_kernel
        x = tf.concat(
            [
                convolve(x[..., c : c + 1], depthwise[:, :, c : c + 1], layer.dilation_rate)
                for c in range(x.shape[-1])
            ],
            axis=-1,
        )
        gate = tf.nn.conv2d(x, layer.gate_kernel, 1, "SAME")
    elif layer.gate == "pointwise":
        # Stride 2 included: the layer itself must not use this operation, but may be compared.
        gate = convolve(x, layer.gate_kernel, 1)
    else:
        gate = convolve(x, layer.gate_kernel, layer.dilation_rate)
    return tf.sigmoid(gate + layer.gate_bias) * features


OPTIONS = [
    {},
    {"strides": 2},
    {"dilation_rate": 2},
    {"dilation_rate": 4},
    {"kernel_size": 5, "strides": 2},
    {"upsample": True},
]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(16, 12), (15, 11)])
def test_output_is_sigmoid_of_gate_times_elu_of_features(gate, options, height, width):
    layer = _layer(gate, **options)
    x = _random(2, height, width, 3)
    result = layer(x)
    np.testing.assert_allclose(result, _expected(layer, tf.constant(x)), atol=2e-5)
    assert layer.compute_output_shape(x.shape) == tuple(result.shape)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_agree_with_finite_differences(gate, options):
    layer = _layer(gate, dtype="float64", **options)
    rng = np.random.default_rng(0)
    x = tf.Variable(rng.standard_normal((2, 10, 8, 3)))
    weighting = rng.standard_normal(layer.compute_output_shape(x.shape))
    variables = [x, *(variable.value for variable in layer.trainable_variables)]

    @tf.function
    def loss_and_gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) * weighting)
        return loss, tape.gradient(loss, variables)

    _, gradients = loss_and_gradients()
    for variable, gradient in zip(variables, gradients, strict=True):
        direction = rng.standard_normal(variable.shape)
        start, step = variable.numpy(), 1e-5
        variable.assign(start + step * direction)
        above, _ = loss_and_gradients()
        variable.assign(start - step * direction)
        below, _ = loss_and_gradients()
        variable.assign(start)
        slope = float(above - below) / (2 * step)
        assert slope != 0
        # ELU's second derivative jumps at 0, hence a margin above rounding.
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(slope, rel=1e-4)


def test_initial_kernels_are_truncated_normal_and_biases_zero():
    keras.utils.set_random_seed(0)
    layer = GatedConv2D(64, 3, gate="full")
    layer.build((None, None, None, 32))
    kernel, gate_kernel = np.array(layer.kernel), np.array(layer.gate_kernel)
    # Cut at two sigma; what remains of 0.05 is 0.88 times as wide.
    assert np.abs(kernel).max() <= 0.1
    assert kernel.std() == pytest.approx(0.05 * 0.8796, rel=0.05)
    assert not np.array_equal(kernel, gate_kernel)
    assert not np.any(layer.bias) and not np.any(layer.gate_bias)


def test_initializer_reaches_every_kernel_and_no_bias():
    layer = GatedConv2D(4, 3, gate="depthwise_separable", kernel_initializer="ones")
    layer.build((None, None, None, 3))
    for variable in layer.weights:
        assert np.all(np.array(variable) == (0 if "bias" in variable.name else 1)), variable.name


def test_config_rebuilds_the_same_layer():
    layer = GatedConv2D(
        6,
        5,
        strides=2,
        dilation_rate=1,
        gate="single_channel",
        upsample=True,
        kernel_initializer=keras.initializers.VarianceScaling(2.0),
        name="renamed",
    )
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert twin.get_config() == layer.get_config()
    for twin_layer in (twin, GatedConv2D.from_config(layer.get_config())):
        twin_layer.build((None, 8, 8, 3))
        assert [tuple(w.shape) for w in twin_layer.weights] == [
            (5, 5, 3, 6),
            (6,),
            (5, 5, 3, 1),
            (1,),
        ]
        assert twin_layer.strides == 2 and twin_layer.upsample


def test_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="unknown gate 'slice', choose one of single_channel,"):
        GatedConv2D(4, 3, gate="slice")


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_policies_compute_in_half_precision(gate, policy):
    layer = _layer(gate, dtype=policy, strides=2)
    x = _random(1, 8, 8, 3)
    result = layer(x)
    assert result.dtype == policy.removeprefix("mixed_")
    assert {variable.dtype for variable in layer.weights} == {"float32"}
    expected = _expected(_layer(gate, strides=2), tf.constant(x))
    np.testing.assert_allclose(tf.cast(result, tf.float32), expected, atol=0.1)
