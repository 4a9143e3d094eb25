"""The critics: that of the WGAN-GP loss (HiFill paper, appendix), and SN-PatchGAN."""

import keras
import tensorflow as tf

HEADS = ("dense", "patch")

_FILTERS = (64, 128, 256, 256, 256, 256)


# keras.layers.SpectralNormalization writes the normalised kernel over the trained one: sigma then
# has no part in the gradient, and the optimizer's steps are rescaled afterwards.
@keras.saving.register_keras_serializable("hifill")
class SpectralConv2D(keras.layers.Layer):
    """Stride-2 convolution whose kernel is divided by its largest singular value, sigma.

    Miyato et al. 2018, "Spectral normalization for generative adversarial networks", section 2 and
    algorithm 1. The kernel counts as a matrix W of one column per filter. Its singular vector u
    [filters] is kept and brought closer by one step of power iteration in every call with
    training=True; sigma is |W u|, through which the gradient flows. Sigma is float32 whatever the
    dtype policy (float64 in a float64 layer).

    In a tf.distribute strategy every replica keeps a u of its own. They stay equal, since the
    kernels are, and the first is saved.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the kernel, an int.
        kernel_initializer: a Keras initializer. The bias starts at 0.

    Input [B, H, W, C], output [B, ceil(H / 2), ceil(W / 2), filters]. SAME padding with zeros.
    """

    def __init__(self, filters, kernel_size, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer, autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        # add_weight has no `synchronization`; "on_read" lets a replica assign without the others,
        # which XLA could not compile.
        self.singular_vector = keras.Variable(
            keras.initializers.Constant(self.filters**-0.5),
            shape=(self.filters,),
            dtype=keras.backend.result_type(self.variable_dtype, "float32"),
            trainable=False,
            autocast=False,
            synchronization="on_read",
            aggregation="only_first_replica",
            name="singular_vector",
        )

    def call(self, x, training=False):
        u = tf.convert_to_tensor(self.singular_vector)
        kernel = tf.cast(self.kernel, u.dtype)
        matrix = tf.reshape(kernel, [-1, self.filters])
        if training:
            u = tf.stop_gradient(_unit(tf.linalg.matvec(matrix, u)))
            u = tf.stop_gradient(_unit(tf.linalg.matvec(matrix, u, transpose_a=True)))
            self.singular_vector.assign(u)
        kernel /= _norm(tf.linalg.matvec(matrix, u))
        x = tf.nn.conv2d(x, tf.cast(kernel, self.compute_dtype), 2, "SAME")
        return tf.nn.bias_add(x, self.bias)

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        halves = (None if side is None else -(-side // 2) for side in sides)
        return (batch, *halves, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _norm(vector):
    # The floor keeps the kernel of zeros, and the gradient there, finite.
    return tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(vector)), 1e-12))


def _unit(vector):
    return vector / _norm(vector)


@keras.saving.register_keras_serializable("hifill")
class Discriminator(keras.Model):
    """Scores pictures: six stride-2 convolutions with leaky ReLU 0.2, then one of two heads.

    Input [B, height, width, 3], RGB in [-1, 1]. Output float32, any real number: [B, 1] of the
    "dense" head, or [B, height / 64, width / 64, 256] of the "patch" head.

    Args:
        kernel_size: 3 as in the paper, or 5 as in the authors' checkpoint and in SN-PatchGAN.
        image_size: (height, width) of the pictures, multiples of 64. The dense layer depends on it;
            the patch head takes other multiples of 64 too.
        spectral_normalisation: if True, the convolutions are `SpectralConv2D`, whose singular
            vectors a call with training=True brings closer. The dense layer stays as it is.
        head: "dense", a dense layer from all features to one score; or "patch", the sixth
            convolution itself, without activation, every value of it a score. With spectral
            normalisation this is SN-PatchGAN: Yu et al. 2019, "Free-form image inpainting with
            gated convolution", section 3.2, whose critic is shown the mask too, this one not.

    Raises:
        ValueError: if a side of image_size is no multiple of 64, or the head unknown.
    """

    def __init__(
        self,
        kernel_size=3,
        image_size=(512, 512),
        spectral_normalisation=False,
        head="dense",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if any(side % 64 or side <= 0 for side in image_size):
            raise ValueError(f"image_size {tuple(image_size)} must be multiples of 64")
        if head not in HEADS:
            raise ValueError(f"unknown head {head!r}, choose one of {', '.join(HEADS)}")
        self.kernel_size = kernel_size
        self.image_size = tuple(image_size)
        self.spectral_normalisation = spectral_normalisation
        self.head = head
        channels = 3
        for i, filters in enumerate(_FILTERS, start=1):
            layer = self._convolution(filters, f"conv{i}")
            layer.build((None, None, None, channels))
            setattr(self, layer.name, layer)
            channels = filters
        if head == "dense":
            cells = (self.image_size[0] // 64) * (self.image_size[1] // 64)
            self.linear = keras.layers.Dense(1, name="linear", dtype="float32")
            self.linear.build((None, cells * channels))
        self.build()

    def _convolution(self, filters, name):
        settings = {
            "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.05),
            "name": name,
            "dtype": self.dtype_policy,
        }
        if self.spectral_normalisation:
            return SpectralConv2D(filters, self.kernel_size, **settings)
        return keras.layers.Conv2D(filters, self.kernel_size, strides=2, padding="same", **settings)

    def build(self, input_shape=None):
        self.built = True

    def call(self, x, training=False):
        return self.features(x, training)[1]

    def features(self, x, training=False):
        """The scores and what they were computed from, for feature matching.

        Args:
            x: as the model's input.
            training: bring the singular vectors closer, where there are any.

        Returns:
            Features and scores. The features are a list of tensors [B, height / 2^i, width / 2^i,
            C] in the compute dtype, after each convolution's activation, six, or five of the
            patch head, whose sixth is the scores. The scores are the model's output.
        """
        features = []
        for i in range(1, len(_FILTERS) + 1):
            layer = getattr(self, f"conv{i}")
            x = layer(x, training=training) if self.spectral_normalisation else layer(x)
            if self.head == "patch" and i == len(_FILTERS):
                return features, keras.ops.cast(x, "float32")
            x = keras.ops.leaky_relu(x, negative_slope=0.2)
            features.append(x)
        # Not -1 for the batch: larger pictures would pass as more pictures.
        length = self.linear.kernel.shape[0]
        x = keras.ops.reshape(x, (keras.ops.shape(x)[0], length))  # [B, rows * columns * C]
        return features, self.linear(x)

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "kernel_size": self.kernel_size,
            "image_size": self.image_size,
            "spectral_normalisation": self.spectral_normalisation,
            "head": self.head,
        }
