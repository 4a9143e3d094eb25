"""Fills holes in photos that are arrays: `Inpainter`."""

import logging

import cv2
import numpy as np

FULLEST = 0.95
_DTYPES = (np.uint8, np.uint16, np.float32)

_log = logging.getLogger(__name__)


class MaskError(ValueError):
    """A mask that marks nearly everything. The message is one line."""


class Inpainter:
    """Fills holes in photos of any size: `inpainted = Inpainter()(image, mask)`.

    Args:
        weights: a `.weights.h5` file, a training run's folder, a frozen graph (`.pb`), an exported
            SavedModel's folder, or None for the shipped weights.
        fidelity: "improved", "plain" or "original", see `HighResolutionInpainter`.
        dtype_policy: "float32", "mixed_bfloat16" or another Keras dtype policy for the generator;
            None is `precision.fastest_dtype_policy()`. Files of TensorFlow's own have theirs.

    Attributes:
        arrays: an `array_inpainting.ArrayInpainter`; None with fidelity "original".

    Raises:
        ValueError: if the weights or the file are missing or do not fit.
    """

    def __init__(self, weights=None, fidelity="improved", dtype_policy=None):
        from hifill.array_inpainting import ArrayInpainter
        from hifill.generator_files import is_generator_file
        from hifill.highres import HighResolutionInpainter
        from hifill.precision import fastest_dtype_policy
        from hifill.weights import load_generator

        if weights is None or not is_generator_file(weights):
            weights = load_generator(weights, dtype_policy or fastest_dtype_policy())
        elif dtype_policy is not None:
            raise ValueError(f"{weights}: has a dtype of its own; leave dtype_policy away")
        self._wrapper = HighResolutionInpainter(weights, fidelity)
        self.arrays = None if fidelity == "original" else ArrayInpainter(self._wrapper)

    def __call__(self, image, mask):
        """Fills the holes of one photo.

        Args:
            image: uint8, uint16 or float32 (0 to 1) array [H, W, 3], RGB.
            mask: [H, W] or [H, W, 1]; True, above 127 in uint8 or above 0.5 in float is a hole.

        Returns:
            Array of the image's shape and dtype. Without a hole it is a copy of the image, with a
            logged warning.

        Raises:
            ValueError: if shapes or dtypes do not fit, or the hole covers more than 95 %.
            MemoryError: if the photo is too large for the device.
        """
        import tensorflow as tf

        image, mask = np.asarray(image), np.asarray(mask)
        if mask.dtype.kind == "f":
            mask = mask.astype(np.float32)
        hole = hole_of(mask)
        if image.dtype not in _DTYPES:
            raise ValueError(f"image has dtype {image.dtype}, not uint8, uint16 or float32")
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image has shape {image.shape}, not [H, W, 3]")
        if hole.shape not in (image.shape[:2], (*image.shape[:2], 1)):
            raise ValueError(f"mask has shape {hole.shape}, the image {image.shape}")
        hole = hole.reshape(image.shape[:2])
        if not hole.any():
            return image.copy()
        if image.dtype.kind == "f":
            outside = ~((image >= 0) & (image <= 1)).all(axis=-1)  # NaN is
            if (outside & ~hole).any():
                raise ValueError("image holds known values outside 0 to 1; divide 8 bits by 255")
        try:
            if self.arrays is None:
                return self._wrapper(image, mask).numpy()
            out = image.copy()
            self.arrays(image, hole, out)
            return out
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError("the photo does not fit in memory") from error


def hole_of(mask):
    """Where a mask marks the hole; logs a warning if that is nowhere.

    Args:
        mask: array; True, above 127 in uint8 or above 0.5 in float is a hole.

    Returns:
        Bool array of its shape.

    Raises:
        MaskError: if the hole covers more than 95 %.
    """
    hole = mask > {"b": False, "u": 127}.get(mask.dtype.kind, 0.5)
    share = np.count_nonzero(hole) / max(hole.size, 1)
    check_share(share)
    if share == 0:
        _log.warning("the mask marks no hole: the photo stays as it is")
    return hole


def check_share(share):
    """Raises MaskError if a hole covers more than 95 %, `share` of 1."""
    if share > FULLEST:
        raise MaskError(
            f"the mask marks {share:.1%} as hole; is it inverted? "
            "White is the hole; --invert_mask for the other habit"
        )


def dilate(hole, pixels):
    """Grows a hole by a radius: bool [H, W] -> bool [H, W]."""
    if pixels <= 0 or not hole.any():
        return hole
    known = (~hole).astype(np.uint8)
    return cv2.distanceTransform(known, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= pixels


def comparison(image, hole, inpainted):
    """Input, input with its hole in white, and result, side by side.

    Args:
        image, inpainted: [H, W, 3] of one dtype.
        hole: bool [H, W].

    Returns:
        [H, 3 * W, 3] of that dtype.
    """
    white = np.iinfo(image.dtype).max
    return np.concatenate([image, np.where(hole[..., None], white, image), inpainted], axis=1)
