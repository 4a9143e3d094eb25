"""Light-weight gated convolutions and the x2 resizes around them (HiFill paper, section 3.4)."""

import keras
import tensorflow as tf

GATES = ("single_channel", "pointwise", "depthwise_separable", "full", "none")


def downsample_by_two(x):
    """Halves height and width as TensorFlow 1's bilinear resize does: every second pixel.

    Args:
        x: tensor [B, H, W, C], H and W even.

    Returns:
        Tensor [B, H/2, W/2, C] of the same dtype.
    """
    return x[:, ::2, ::2, :]


def upsample_by_two(x):
    """Doubles height and width as TensorFlow 1's bilinear resize does (corners not aligned).

    Output pixel 2i is input pixel i; output pixel 2i+1 is the mean of inputs i and i+1, the last
    one repeated. The result is therefore shifted by half an input pixel towards the origin.

    Args:
        x: tensor [B, H, W, C].

    Returns:
        Tensor [B, 2H, 2W, C] of the same dtype.
    """
    return _doubled(_doubled(x, axis=1), axis=2)


def _doubled(x, axis):
    shape = list(keras.ops.shape(x))
    shape[axis] *= 2
    return tf.reshape(tf.stack([x, (x + _next(x, axis)) * 0.5], axis=axis + 1), shape)


def _next(x, axis):
    """Every element's successor along an axis, the last one repeated."""
    # Splits, as the gradient of a slice is several times as slow.
    _, rest = tf.split(x, [1, -1], axis=axis)
    _, last = tf.split(x, [-1, 1], axis=axis)
    return tf.concat([rest, last], axis=axis)


# Which share pixels i-1, i and i+1 (rows) have, by way of the doubled picture, in what the taps of
# a kernel of 3 (columns) see around its pixels 2i and 2i+1.
_TAPS = [
    [[0.5, 0, 0], [0.5, 1, 0.5], [0, 0, 0.5]],
    [[0, 0, 0], [1, 0.5, 0], [0, 0.5, 1]],
]


def upsampled_convolution(x, kernel):
    """A 3x3 convolution of the doubled input, without doubling it.

    Equal, but for rounding, to `tf.nn.conv2d(upsample_by_two(x), kernel, 1, "SAME")`: both are
    linear, so that each of the four pixels that one becomes has a 3x3 kernel of its own. The
    convolution then reads a quarter of the pixels, for four times the channels.

    Args:
        x: tensor [B, H, W, C].
        kernel: tensor [3, 3, C, F].

    Returns:
        Tensor [B, 2H, 2W, F] of the same dtype.
    """
    taps = tf.constant(_TAPS, kernel.dtype)
    kernels = tf.einsum("pak,qbl,klcf->abcpqf", taps, taps, kernel)
    kernels = tf.reshape(kernels, [3, 3, kernel.shape[2], 4 * kernel.shape[3]])
    # Beyond its first pixel the doubled picture is 0, half of which is -x[0] + x[0]; before the
    # padding at its end, the last pixel is repeated.
    padded = tf.concat([-x[:, :1], x, x[:, -1:]], axis=1)
    padded = tf.concat([-padded[:, :, :1], padded, padded[:, :, -1:]], axis=2)
    doubled = tf.nn.depth_to_space(tf.nn.conv2d(padded, kernels, 1, "VALID"), 2)
    # Its last row and column see that padding, not a third repetition.
    row = tf.nn.conv2d(_doubled(x[:, -1:], axis=2), kernel[:1] + kernel[1:2], 1, "SAME")
    column = tf.nn.conv2d(_doubled(x[:, :, -1:], axis=1), kernel[:, :1] + kernel[:, 1:2], 1, "SAME")
    doubled = tf.concat([doubled[:, :-1, :-1], column[:, :-1]], axis=2)
    return tf.concat([doubled, row], axis=1)


@keras.saving.register_keras_serializable("hifill")
class GatedConv2D(keras.layers.Layer):
    """Gated convolution: sigmoid(gate(x)) * ELU(features(x)), equations 5 to 8 of the paper.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the feature kernel, an int.
        strides: 1 or 2, the same for features and gate. SAME padding with zeros.
        dilation_rate: dilation of the feature kernel (and of a gate that has the same kernel).
        gate: how the gate is computed:
            "single_channel": a kernel like the features' with one output, shared by all channels;
            "pointwise": a 1x1 kernel to `filters` channels;
            "depthwise_separable": a depthwise kernel of the features' size, then 1x1;
            "full": a kernel like the features' own, the original gated convolution;
            "none": no gate, a plain convolution with ELU.
        upsample: if True, the input is first doubled in size, see `upsample_by_two`.
        kernel_initializer: a Keras initializer for every kernel. None is the original's:
            truncated normal with sigma 0.05. Biases start at 0.

    Input [B, H, W, C_in], output [B, H', W', filters] with H' = H * (2 if upsample) / strides.

    Raises:
        ValueError: for an unknown gate.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        dilation_rate=1,
        gate="pointwise",
        upsample=False,
        kernel_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if gate not in GATES:
            raise ValueError(f"unknown gate {gate!r}, choose one of {', '.join(GATES)}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.gate = gate
        self.upsample = upsample
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.TruncatedNormal(stddev=0.05)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        channels = input_shape[-1]
        size = self.kernel_size
        self.kernel = self._kernel("kernel", (size, size, channels, self.filters))
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        if self.gate == "none":
            return
        gate_channels = 1 if self.gate == "single_channel" else self.filters
        if self.gate == "depthwise_separable":
            self.gate_depthwise_kernel = self._kernel(
                "gate_depthwise_kernel", (size, size, channels, 1)
            )
        gate_size = size if self.gate in ("single_channel", "full") else 1
        self.gate_kernel = self._kernel(
            "gate_kernel", (gate_size, gate_size, channels, gate_channels)
        )
        self.gate_bias = self.add_weight(
            name="gate_bias", shape=(gate_channels,), initializer="zeros"
        )

    def _kernel(self, name, shape):
        # Keras warns when one initializer object without a seed fills several variables alike.
        return self.add_weight(name=name, shape=shape, initializer=self.kernel_initializer.clone())

    def call(self, x):
        if self.upsample and not self._upsamples_itself():
            x = upsample_by_two(x)
        if self.gate == "none":
            return tf.nn.elu(self._convolve(x, self.kernel) + self.bias)
        if self.gate in ("single_channel", "full"):
            # One convolution for both reads x once; the gate's few channels are then almost free.
            both = self._convolve(x, tf.concat([self.kernel, self.gate_kernel], axis=-1))
            features, gate = tf.split(both, [self.filters, -1], axis=-1)
        else:
            features = self._convolve(x, self.kernel)
            gate = self._pointwise_gate(x)
        features = tf.nn.elu(features + self.bias)
        return tf.sigmoid(gate + self.gate_bias) * features

    def _upsamples_itself(self):
        """Whether convolutions take care of it, the gate's being like the features' or 1x1."""
        plain = (self.kernel_size, self.strides, self.dilation_rate) == (3, 1, 1)
        return self.upsample and plain and self.gate != "depthwise_separable"

    def _convolve(self, x, kernel):
        if self._upsamples_itself():
            return upsampled_convolution(x, kernel)
        # tf.nn.conv2d takes dilations too, but has no gradient for them on a CPU.
        return tf.nn.convolution(x, kernel, self.strides, "SAME", dilations=self.dilation_rate)

    def _pointwise_gate(self, x):
        if self.gate == "depthwise_separable":
            x = tf.nn.depthwise_conv2d(
                x,
                self.gate_depthwise_kernel,
                [1, self.strides, self.strides, 1],
                "SAME",
                dilations=[self.dilation_rate, self.dilation_rate],
            )
        elif self.strides == 2:
            # The same function as a 1x1 convolution of stride 2, whose gradient corrupts memory
            # in TensorFlow's CPU build (seen with 2.19 and 2.21).
            x = downsample_by_two(x)
        gate = tf.nn.conv2d(x, self.gate_kernel, 1, "SAME")
        return upsample_by_two(gate) if self._upsamples_itself() else gate

    def compute_output_shape(self, input_shape):
        def resized(length):
            if length is None:
                return None
            return -(-length * (2 if self.upsample else 1) // self.strides)

        batch, height, width, _ = input_shape
        return (batch, resized(height), resized(width), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation_rate": self.dilation_rate,
            "gate": self.gate,
            "upsample": self.upsample,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
