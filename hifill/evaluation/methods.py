"""What is compared: ways of filling a hole, ours and others', behind one call.

A method is a function of a photo, uint8 [H, W, 3] RGB, and a hole, bool [H, W], and returns uint8
[H, W, 3]. What the photo holds under the hole must not influence it; it is blanked before.
"""

import functools
import hashlib
import pathlib

import cv2
import numpy as np

from hifill import image_io
from hifill.evaluation.operators import DOWN, UP, operator_method
from hifill.evaluation.protocol import NATIVE, read_photo

_RADIUS = 3  # of OpenCV's two, in pixels, as in its documentation


def make_method(name, weights=None):
    """Makes a method by its name.

    Args:
        name: one of `METHODS`; or NAME=PATH, a model: weights, a training run, a SavedModel or a
            frozen graph, run by our high-resolution wrapper.
        weights: of the methods that begin with "hifill" or "cra", as for `hifill.Inpainter`.

    Raises:
        ValueError: if there is no such method, or a file or a package for it is missing.
    """
    if "=" in name:
        return _hifill(name.split("=", 1)[1])
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; choose of {', '.join(METHODS)}, or NAME=MODEL")
    return METHODS[name](weights)


def label(name):
    """How a method is called in tables: itself, or NAME of NAME=PATH."""
    return name.split("=", 1)[0]


def identity(name, weights=None):
    """What a method's figures depend on beside its name: the SHA-256 of its model's files, or "".

    Raises:
        ValueError: if the model is missing.
    """
    from hifill.weights import weights_file

    model = name.split("=", 1)[1] if "=" in name else weights
    if "=" not in name and not name.startswith(("hifill", "cra")):
        return ""
    path = pathlib.Path(model) if model else weights_file(None)
    if not path.exists():
        raise ValueError(f"{path}: no such model")
    if path.is_dir() and (path / "generator.weights.h5").exists():
        path = weights_file(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


class ResultFolder:
    """The pictures that another tool made.

    Args:
        folder: each has its photo's path and name, with any suffix, in `folder` or in a folder in
            it named as the size.
    """

    def __init__(self, folder):
        self._folder, self._tree = pathlib.Path(folder), {}
        for path in image_io.list_photos(folder):
            path = pathlib.PurePosixPath(path.relative_to(folder).as_posix())
            self._tree.setdefault(path.with_suffix(""), []).append(path)

    def file(self, case):
        """The path of the picture of a `protocol.Case`.

        Raises:
            ValueError: if there is none, or more than one.
        """
        photo = pathlib.PurePosixPath(case.photo)
        for place in (pathlib.PurePosixPath(case.size, photo), photo):
            found = self._tree.get(place.with_suffix(""), [])
            if place in found:
                return self._folder / place
            # Of another suffix, but not another photo's.
            found = [path for path in found if not case.path.with_name(path.name).exists()]
            if len(found) > 1:
                names = f"{len(found)} results named {place.with_suffix('')}"
                raise ValueError(f"{self._folder}: {names}")
            if found:
                return self._folder / found[0]
        raise ValueError(f"{self._folder}: no result named {photo.with_suffix('')}")


def read_result(path, shape):
    """Another tool's picture: uint8 [H, W, 3].

    Args:
        path: any format that `image_io` reads.
        shape: (H, W) that it must have.

    Raises:
        ValueError: if it is unreadable or of another size.
    """
    pixels = read_photo(path, NATIVE)
    if pixels.shape[:2] != tuple(shape):
        (height, width), (wanted_height, wanted_width) = pixels.shape[:2], shape
        raise ValueError(
            f"{path}: is {width} x {height} pixels, the photo {wanted_width} x {wanted_height}"
        )
    return pixels


def _hifill(weights, fidelity="improved"):
    from hifill import Inpainter

    return Inpainter(weights, fidelity)


def _upscaled(weights, interpolation):
    """The generator's own picture, enlarged: what aggregation of residuals improves on."""
    from hifill.weights import load_generator

    generator = load_generator(weights)
    size = 512

    def fill(photo, hole):
        height, width = hole.shape
        known = (~hole).astype(np.float32)
        shrink = functools.partial(cv2.resize, dsize=(size, size), interpolation=cv2.INTER_AREA)
        if min(height, width) < size:
            shrink = functools.partial(cv2.resize, dsize=(size, size))
        low_known = shrink(known)[..., None]
        low = shrink(photo * known[..., None]) / np.maximum(low_known, 1e-5)
        mask = (low_known < 1 - 1e-5).astype(np.float32)
        image = (low / 127.5 - 1) * (1 - mask)
        _, refined, _ = generator([image[None].astype(np.float32), mask[None]])
        refined = (refined[0].numpy() + 1) * 127.5
        large = cv2.resize(refined, (width, height), interpolation=interpolation)
        return np.clip(np.rint(large), 0, 255).astype(np.uint8)

    return fill


def _opencv(flag):
    def fill(photo, hole):
        return cv2.inpaint(photo, hole.astype(np.uint8), _RADIUS, flag)

    return fill


def _patchmatch(_):
    try:
        import patchmatch
    except ImportError as error:
        raise ValueError("patchmatch needs PyPatchMatch: pip install PyPatchMatch") from error
    if not patchmatch.patchmatch_available:
        raise ValueError("patchmatch: PyPatchMatch is installed without its native library")

    def fill(photo, hole):
        return np.asarray(patchmatch.inpaint(photo, hole.astype(np.uint8) * 255, patch_size=5))

    return fill


def _biharmonic(_):
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise ValueError("biharmonic needs scikit-image: pip install scikit-image") from error

    def fill(photo, hole):
        filled = inpaint_biharmonic(photo, hole, split_into_regions=True, channel_axis=-1)
        return np.rint(np.clip(filled, 0, 1) * 255).astype(np.uint8)

    return fill


def _mean(_):
    def fill(photo, hole):
        colour = np.rint(photo[~hole].mean(axis=0)) if not hole.all() else np.zeros(3)
        return np.where(hole[..., None], colour.astype(np.uint8), photo)

    return fill


def _operators(weights, down, up):
    from hifill.weights import load_generator

    return operator_method(load_generator(weights), down, up)


METHODS = {
    "hifill": _hifill,
    "hifill-plain": functools.partial(_hifill, fidelity="plain"),
    "hifill-original": functools.partial(_hifill, fidelity="original"),
    "hifill-bilinear": functools.partial(_upscaled, interpolation=cv2.INTER_LINEAR),
    "hifill-lanczos": functools.partial(_upscaled, interpolation=cv2.INTER_LANCZOS4),
    "telea": lambda _: _opencv(cv2.INPAINT_TELEA),
    "navier-stokes": lambda _: _opencv(cv2.INPAINT_NS),
    "patchmatch": _patchmatch,
    "biharmonic": _biharmonic,
    "mean-colour": _mean,
    **{
        f"cra-{down}-{up}": functools.partial(_operators, down=down, up=up)
        for down in DOWN
        for up in UP
    },
}
