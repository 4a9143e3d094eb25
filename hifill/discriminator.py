"""The critic of the WGAN-GP loss (HiFill paper, appendix)."""

import keras

_FILTERS = (64, 128, 256, 256, 256, 256)


@keras.saving.register_keras_serializable("hifill")
class Discriminator(keras.Model):
    """Scores pictures: six stride-2 convolutions with leaky ReLU 0.2, then a dense layer to one.

    Input [B, height, width, 3], RGB in [-1, 1]. Output float32 [B, 1], any real number.

    Args:
        kernel_size: 3 as in the paper, or 5 as in the authors' checkpoint.
        image_size: (height, width) of the pictures, multiples of 64; the dense layer depends on it.

    Raises:
        ValueError: if a side of image_size is no multiple of 64.
    """

    def __init__(self, kernel_size=3, image_size=(512, 512), **kwargs):
        super().__init__(**kwargs)
        if any(side % 64 or side <= 0 for side in image_size):
            raise ValueError(f"image_size {tuple(image_size)} must be multiples of 64")
        self.kernel_size = kernel_size
        self.image_size = tuple(image_size)
        channels = 3
        for i, filters in enumerate(_FILTERS, start=1):
            layer = keras.layers.Conv2D(
                filters,
                kernel_size,
                strides=2,
                padding="same",
                kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.05),
                name=f"conv{i}",
                dtype=self.dtype_policy,
            )
            layer.build((None, None, None, channels))
            setattr(self, layer.name, layer)
            channels = filters
        cells = (self.image_size[0] // 64) * (self.image_size[1] // 64)
        self.linear = keras.layers.Dense(1, name="linear", dtype="float32")
        self.linear.build((None, cells * channels))
        self.build()

    def build(self, input_shape=None):
        self.built = True

    def call(self, x):
        for i in range(1, len(_FILTERS) + 1):
            x = keras.ops.leaky_relu(getattr(self, f"conv{i}")(x), negative_slope=0.2)
        # Not -1 for the batch: larger pictures would pass as more pictures.
        features = self.linear.kernel.shape[0]
        x = keras.ops.reshape(x, (keras.ops.shape(x)[0], features))  # [B, rows * columns * C]
        return self.linear(x)

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "kernel_size": self.kernel_size,
            "image_size": self.image_size,
        }
