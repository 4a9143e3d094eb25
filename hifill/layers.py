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
    batch, height, width, channels = keras.ops.shape(x)
    below = _next(x, axis=1)
    x = tf.stack([x, (x + below) * 0.5], axis=2)  # [B, H, 2, W, C]
    x = tf.reshape(x, [batch, 2 * height, width, channels])
    right = _next(x, axis=2)
    x = tf.stack([x, (x + right) * 0.5], axis=3)  # [B, 2H, W, 2, C]
    return tf.reshape(x, [batch, 2 * height, 2 * width, channels])


def _next(x, axis):
    """Every element's successor along an axis, the last one repeated."""
    # Splits, as the gradient of a slice is several times as slow.
    _, rest = tf.split(x, [1, -1], axis=axis)
    _, last = tf.split(x, [-1, 1], axis=axis)
    return tf.concat([rest, last], axis=axis)


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
        if self.upsample:
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

    def _convolve(self, x, kernel):
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
        return tf.nn.conv2d(x, self.gate_kernel, 1, "SAME")

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
