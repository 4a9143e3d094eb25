"""LPIPS 0.1: the distance of deep features, weighted by what people find different.

The weights come as a file that the user makes once, on a machine with PyTorch:

    import lpips, numpy, torch

    model = lpips.LPIPS(net="alex", version="0.1")  # or "vgg"
    convolutions = [m for m in model.net.modules() if isinstance(m, torch.nn.Conv2d)]
    arrays = {}
    for i, convolution in enumerate(convolutions):
        arrays[f"kernel{i}"] = convolution.weight.detach().numpy().transpose(2, 3, 1, 0)
        arrays[f"bias{i}"] = convolution.bias.detach().numpy()
    for i, linear in enumerate(model.lins):
        arrays[f"linear{i}"] = linear.model[-1].weight.detach().numpy().ravel()
    numpy.savez("lpips_alex.npz", **arrays)

The file holds float32 arrays: kernel0, kernel1 ... [height, width, in, out] and bias0 ... [out] of
the 5 convolutions of AlexNet or the 13 of VGG16, and linear0 ... linear4 [channels].
"""

import pathlib
import zipfile

import numpy as np
import tensorflow as tf

# One list per layer whose features count: (side, filters, stride, padding) of each of its
# convolutions. A pooling lies between the layers of VGG16, and between the first three of AlexNet.
_LAYERS = {
    "alex": [
        [(11, 64, 4, 2)],
        [(5, 192, 1, 2)],
        [(3, 384, 1, 1)],
        [(3, 256, 1, 1)],
        [(3, 256, 1, 1)],
    ],
    "vgg": [
        [(3, filters, 1, 1)] * n for filters, n in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    ],
}
_POOLING = {"alex": (3, 2), "vgg": (2, 4)}  # side of the window (its stride is 2), and how many
_SHIFT = np.float32([-0.030, -0.088, -0.188])
_SCALE = np.float32([0.458, 0.448, 0.450])


class Lpips:
    """The LPIPS distance of two pictures: `lpips = Lpips("lpips_alex.npz"); lpips(photo, result)`.

    With x = (picture / 127.5 - 1 - shift) / scale by channel, features f_l(x) after the ReLU of
    five layers, each pixel's feature vector divided by its length, and the layers' weights w_l,

        LPIPS = sum over l of the mean over pixels of sum over channels of w_l (f_l(x) - f_l(y))^2

    0 upwards, about 0.7 at most in practice; lower is better, 0 for equal pictures. Values of
    AlexNet and of VGG16 cannot be compared with each other, nor those of different picture sizes:
    the networks look at the same number of pixels whatever they show. Computed in float32.

    Source: Zhang, Isola, Efros, Shechtman and Wang 2018, "The unreasonable effectiveness of deep
    features as a perceptual metric", equation 1; version 0.1 of the authors' package.

    Args:
        path: the weights; see the module's description.

    Attributes:
        name: "lpips_alex" or "lpips_vgg", the name for tables.

    Raises:
        ValueError: one line, if the file is missing or holds anything else.
    """

    MIN_SIDE = 64  # of pictures, in pixels

    def __init__(self, path):
        self._network, self._kernels, self._biases, self._linear = _read_weights(path)
        self.name = f"lpips_{self._network}"

    def __call__(self, photo, result):
        """-> float, for uint8 [H, W, 3] RGB.

        Memory is some 0.1 kB (AlexNet) or 1.3 kB (VGG16) per pixel.

        Raises:
            ValueError: if a side is shorter than 64 pixels, or the shapes differ.
        """
        if photo.shape != result.shape or min(photo.shape[:2]) < self.MIN_SIDE:
            raise ValueError(
                f"LPIPS of {list(photo.shape)} and {list(result.shape)}: takes two pictures of one "
                f"size with sides of {self.MIN_SIDE} pixels or more"
            )
        total = 0.0
        for x, y, weight in zip(
            self._features(photo), self._features(result), self._linear, strict=True
        ):
            total += float(layer_distance(x, y, weight))
        return total

    def _features(self, picture):
        """Yields the features of one layer after the other, each [1, h, w, C]."""
        x = (tf.cast(picture[None], tf.float32) / 127.5 - 1 - _SHIFT) / _SCALE
        weights = iter(zip(self._kernels, self._biases, strict=True))
        side, poolings = _POOLING[self._network]
        for number, layer in enumerate(_LAYERS[self._network]):
            if 0 < number <= poolings:
                x = tf.nn.max_pool2d(x, side, 2, "VALID")
            for _, _, stride, pad in layer:
                kernel, bias = next(weights)
                padding = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
                x = tf.nn.relu(tf.nn.conv2d(x, kernel, stride, padding) + bias)
            yield x


def layer_distance(x, y, weight):
    """One layer's part of LPIPS.

    Args:
        x, y: float tensors [B, h, w, C], features of two pictures.
        weight: [C].

    Returns:
        Scalar, the mean over pictures.
    """
    difference = tf.square(_unit(x) - _unit(y))
    return tf.reduce_mean(tf.reduce_sum(difference * weight, axis=-1))


def _unit(features):
    # The 1e-10 is the authors' and keeps pixels without any feature at 0.
    return features / (tf.norm(features, axis=-1, keepdims=True) + 1e-10)


def _read_weights(path):
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; LPIPS needs weights, hifill/evaluation/lpips.py says how to "
            "make them"
        )
    try:
        with np.load(path) as file:
            arrays = {name: np.float32(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an .npz file, or truncated") from error
    given = {name: array.shape for name, array in arrays.items()}
    network = next((name for name, layers in _LAYERS.items() if _shapes(layers) == given), None)
    if network is None:
        raise ValueError(f"{path}: its arrays are not those of LPIPS with AlexNet or VGG16")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"{path}: holds values that are not finite; make it again")
    count = sum(len(layer) for layer in _LAYERS[network])
    kernels, biases = ([arrays[f"{kind}{i}"] for i in range(count)] for kind in ("kernel", "bias"))
    return network, kernels, biases, [arrays[f"linear{i}"] for i in range(len(_LAYERS[network]))]


def _shapes(layers):
    """{name: shape} of the arrays of a network's file."""
    shapes = {f"linear{i}": (layer[-1][1],) for i, layer in enumerate(layers)}
    channels = 3
    for i, (side, filters, _, _) in enumerate(c for layer in layers for c in layer):
        shapes |= {f"kernel{i}": (side, side, channels, filters), f"bias{i}": (filters,)}
        channels = filters
    return shapes
