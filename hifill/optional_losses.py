"""Loss terms that HiFill does without: hinge loss, features, style and total variation.

Every term is a mean over the pictures of a batch, so that the mean over equal parts of a batch is
the whole batch's.
"""

import itertools
import pathlib
import re
import zipfile

import h5py
import keras
import numpy as np
import tensorflow as tf

# Of keras.applications.VGG16, one tuple of filters per block; a block ends in a 2x2 max pooling.
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Means of ImageNet in BGR, which the network's "caffe" preprocessing subtracts.
_IMAGENET_MEANS = np.array([103.939, 116.779, 123.68], np.float32)


def total_variation(image, mask):
    """Mean absolute difference of neighbouring pixels in and just around the holes.

    Liu et al. 2018, "Image inpainting for irregular holes using partial convolutions", section 3.3
    (L_tv); Johnson et al. 2016, "Perceptual losses for real-time style transfer and
    super-resolution", section 3.2.

    Args:
        image: float tensor [B, H, W, C], the composite.
        mask: float tensor [B or 1, H, W, 1], 1 = hole. Pairs count where both pixels lie in the
            hole grown by one pixel on all sides, diagonals included.

    Returns:
        float32 scalar: the differences along both axes, divided by the number of elements of
        `image`, as in the paper; small holes therefore count little.
    """
    image = tf.cast(image, tf.float32)
    region = tf.nn.max_pool2d(tf.cast(mask, tf.float32), 3, 1, "SAME")
    vertical = tf.abs(image[:, 1:] - image[:, :-1]) * region[:, 1:] * region[:, :-1]
    horizontal = tf.abs(image[:, :, 1:] - image[:, :, :-1]) * region[:, :, 1:] * region[:, :, :-1]
    total = tf.reduce_sum(vertical) + tf.reduce_sum(horizontal)
    return total / tf.cast(tf.size(image), tf.float32)


def feature_matching(real_features, fake_features):
    """Mean absolute difference of the critic's features, for the generator.

    Wang et al. 2018, "High-resolution image synthesis and semantic manipulation with conditional
    GANs" (pix2pixHD), section 3.2, equation 4; for inpainting in Nazeri et al. 2019, "EdgeConnect".
    The papers sum over the layers.

    Args:
        real_features, fake_features: lists of tensors of equal shapes, as `Discriminator.features`
            returns for photos and for inpainted pictures. No gradient flows to the real ones.

    Returns:
        float32 scalar.
    """
    errors = _absolute_errors(real_features, fake_features)
    return tf.add_n(errors) / len(errors)


def hinge_critic(real_scores, fake_scores):
    """The critic's hinge loss: mean(relu(1 - real)) + mean(relu(1 + fake)).

    The generator's part, -mean(fake), is that of WGAN-GP.

    Miyato et al. 2018, "Spectral normalization for generative adversarial networks", section 4; Yu
    et al. 2019, "Free-form image inpainting with gated convolution", section 3.2, whose published
    code takes half of it.

    Args:
        real_scores, fake_scores: float tensors of any shape, batch first.

    Returns:
        Scalar.
    """
    return tf.reduce_mean(tf.nn.relu(1 - real_scores)) + tf.reduce_mean(tf.nn.relu(1 + fake_scores))


def perceptual(real_features, fake_features):
    """Sum over layers of the mean absolute difference of features.

    Johnson et al. 2016, section 3.2, in the L1 form of Liu et al. 2018, section 3.3, of which this
    is the half for one picture.

    Args:
        real_features, fake_features: lists of float tensors of equal shapes, batch first, as
            `features` returns. No gradient flows to the real ones.

    Returns:
        float32 scalar.
    """
    return tf.add_n(_absolute_errors(real_features, fake_features))


def style(real_features, fake_features):
    """Sum over layers of the mean absolute difference of Gram matrices.

    Gatys et al. 2016, "Image style transfer using convolutional neural networks", section 2.2;
    Johnson et al. 2016, section 3.2; in the L1 form of Liu et al. 2018, section 3.3 (L_style), of
    which this is the half for one picture.

    Args:
        real_features, fake_features: as of `perceptual`, each [B, H, W, C].

    Returns:
        float32 scalar.
    """
    real, fake = ([gram(x) for x in layers] for layers in (real_features, fake_features))
    return tf.add_n(_absolute_errors(real, fake))


def gram(layer):
    """Gram matrices F^T F / (H W C), F of H W rows: [B, H, W, C] -> float32 [B, C, C]."""
    shape = tf.shape(layer)
    rows = tf.reshape(tf.cast(layer, tf.float32), [shape[0], -1, layer.shape[-1]])
    return tf.matmul(rows, rows, transpose_a=True) / tf.cast(tf.reduce_prod(shape[1:]), tf.float32)


def perceptual_and_style(extractor, image, refined, inpainted):
    """Both terms with the features computed once: of the output and the composite, added.

    Liu et al. 2018, section 3.3. Their weights, 0.05 and 120, belong to the scale of their
    network's input. Keras' VGG16 takes grey levels: look at the terms' size before choosing.

    Args:
        extractor: as `load_feature_extractor` returns.
        image: float tensor [B, H, W, 3] in [-1, 1], the photo.
        refined, inpainted: the same of the generator's output, and composited with the photo.

    Returns:
        (perceptual, style): float32 scalars.
    """
    real = features(extractor, image)
    both = features(extractor, tf.concat([refined, inpainted], axis=0))
    parts = [tf.split(layer, 2) for layer in both]
    pairs = [(real, [part[i] for part in parts]) for i in range(2)]
    return tf.add_n([perceptual(*p) for p in pairs]), tf.add_n([style(*p) for p in pairs])


def features(extractor, image):
    """A list of float32 tensors: all outputs of a Keras model for float pictures in [-1, 1]."""
    outputs = extractor(tf.cast(image, tf.float32), training=False)
    return [tf.cast(output, tf.float32) for output in tf.nest.flatten(outputs)]


def load_feature_extractor(path):
    """The network whose features the perceptual and style terms compare. Nothing is downloaded.

    Args:
        path: one of
            a `.keras` file: any Keras model from RGB in [-1, 1], float32 [B, H, W, 3] of any size,
            to one or more feature maps [B, h, w, C], which are all used. Its preprocessing must be
            part of it. It computes in the dtype policy it was saved with.
            a `.h5` file: weights of keras.applications.VGG16, with or without its dense layers, as
            Keras distributes or saves them. The features are those after the pooling of blocks 1
            to 3, as Liu et al. 2018 take them, in float32.

    Returns:
        A Keras model that is not trainable.

    Raises:
        ValueError: one line saying which file is missing, damaged or of another network.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".keras", ".h5"):
        raise ValueError(f"{path}: name VGG16 weights (.h5) or a Keras model (.keras)")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; nothing is downloaded, so put it there first")
    extractor = _saved_model(path) if path.suffix == ".keras" else _vgg16(path)
    extractor.trainable = False
    return extractor


def _absolute_errors(real_features, fake_features):
    return [
        tf.reduce_mean(tf.abs(tf.cast(tf.stop_gradient(r), tf.float32) - tf.cast(f, tf.float32)))
        for r, f in zip(real_features, fake_features, strict=True)
    ]


def _saved_model(path):
    # In safe mode, Keras runs no code that comes with the file.
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, AttributeError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"{path}: not a Keras model that can be loaded ({reason})") from error
    for side in (96, 128):
        try:
            shapes = [output.shape for output in features(model, tf.zeros([1, side, side, 3]))]
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"{path}: does not take a picture of [1, {side}, {side}, 3]; save it with "
                "keras.Input((None, None, 3)) as its only input"
            ) from error
        if any(shape.rank != 4 for shape in shapes):
            raise ValueError(
                f"{path}: outputs of {' and '.join(map(str, shapes))}, not feature maps [B, h, w, "
                "C]; save a model that ends in convolutions"
            )
    return model


def _vgg16(path):
    kernels = _vgg16_kernels(path)
    x = image = keras.Input((None, None, 3), dtype="float32")
    x = (x[..., ::-1] + 1) * 127.5 - _IMAGENET_MEANS
    outputs = []
    for block in _VGG16[:3]:
        for filters in block:
            layer = keras.layers.Conv2D(filters, 3, 1, "same", activation="relu", dtype="float32")
            x = layer(x)
            layer.set_weights(kernels.pop(0))
        x = keras.layers.MaxPooling2D(dtype="float32")(x)
        outputs.append(x)
    return keras.Model(image, outputs, name="vgg16")


def _vgg16_kernels(path):
    """[(kernel, bias)] of all convolutions in a weights file, in order, checked to be VGG16's."""
    arrays = {}

    def keep(name, entry):
        # The dense layers' kernels, of two dimensions, can be 400 MB.
        if isinstance(entry, h5py.Dataset) and entry.ndim in (1, 4):
            arrays.setdefault(name.rpartition("/")[0], {})[entry.ndim] = entry[...]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a weights file (HDF5), or truncated") from error
    # Layers are named block1_conv1 or, by the newer format, conv2d, conv2d_1, .. conv2d_12.
    layers = [arrays[name] for name in sorted(arrays, key=_by_number) if 4 in arrays[name]]
    channels = (3, *(filters for block in _VGG16 for filters in block))
    expected = [(3, 3, *pair) for pair in itertools.pairwise(channels)]
    if [layer[4].shape for layer in layers] != expected or any(
        1 not in layer or len(layer[1]) != layer[4].shape[3] for layer in layers
    ):
        raise ValueError(
            f"{path}: {len(layers)} convolutions that are not the 13 of VGG16; name the weights of "
            "keras.applications.VGG16, or save another network as a .keras model"
        )
    if not all(np.isfinite(array).all() for layer in layers for array in layer.values()):
        raise ValueError(f"{path}: holds values that are not finite; fetch it again")
    return [(layer[4], layer[1]) for layer in layers]


def _by_number(name):
    """A key that sorts conv2d_10 behind conv2d_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
