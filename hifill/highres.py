"""Contextual residual aggregation: any generator, photos of any size (HiFill paper, section 3.2).

The photo is averaged down to the generator's size, filled there, and the missing detail is copied
from the photo itself: equation 4, with the attention that the generator returns.
"""

import os

import tensorflow as tf

from hifill.attention import join_cells, split_cells, usable_cells
from hifill.generator_files import GeneratorFile
from hifill.membrane import meet_rim

FIDELITIES = ("improved", "plain", "original")
_CELL = 16  # low-resolution pixels along one side of an attention cell
_CHUNK_BYTES = 64 * 2**20  # float32 context held at a time
_WHITE = {tf.uint8: 255, tf.uint16: 65535, tf.float32: 1}  # the dtypes of photos


class HighResolutionInpainter(tf.Module):
    """Fills holes in photos of any size: `inpainted = wrapper(image, mask)`.

    Args:
        generator: a `hifill.Generator`, anything called like one, or the path of a frozen graph
            (ours, or one with the authors' nodes) or of our SavedModel.
        fidelity: "improved", "plain" or "original".
            "plain" resamples nothing: known pixels come back bit for bit, every hole pixel is
            replaced, and nothing of a hole's old content has any influence. The photo is covered
            by size/16 x size/16 rectangular cells of equal size, mirrored beyond its border by the
            few pixels that this needs; photos smaller than `size` are mirrored up to it.
            "improved" does the same, has the fill meet the photo's colours at the hole's rim, see
            `hifill.membrane`, and counts the finest octave of the low-resolution picture, which
            generators leave blurred, as detail to be copied from the surroundings too.
            "original" does what the authors' script does: the photo is squashed to a square of
            size * multiple and back, and the hole is pasted with a soft rim.
        multiple: with "original", how many times `size` the square is.
        size: height and width of the generator's picture, a multiple of 64; None is that of the
            file, and 512 otherwise.

    Raises:
        ValueError: for an unknown fidelity, or a file that is no generator or of another size.
    """

    def __init__(self, generator, fidelity="improved", multiple=6, size=None):
        super().__init__()
        if isinstance(generator, (str, os.PathLike)):
            generator = GeneratorFile(generator)
            if size not in (None, generator.size):
                raise ValueError(f"the generator's pictures have size {generator.size}, not {size}")
            size = generator.size
        if fidelity not in FIDELITIES:
            raise ValueError(f"unknown fidelity {fidelity!r}, choose of {', '.join(FIDELITIES)}")
        self.generator = generator
        self.fidelity = fidelity
        self.multiple = multiple
        self.size = size or 512
        self._fill_one, mask_dtype = (
            (self._fill_original, tf.float32) if fidelity == "original" else (self._fill, tf.bool)
        )
        # One photo does without a batch's copies, which are most of the memory it would take.
        self._functions = {
            f"{dtype.name}_{rank}": tf.function(
                function,
                input_signature=[
                    tf.TensorSpec([None] * (rank - 1) + [3], dtype),
                    tf.TensorSpec([None] * (rank - 1) + [1], mask_dtype),
                ],
            )
            for dtype in _WHITE
            for rank, function in ((3, self._inpaint_one), (4, self._inpaint_batch))
        }

    def __call__(self, image, mask):
        """Fills the holes.

        Args:
            image: uint8, uint16 or float32 (0 to 1) [H, W, 3] or [B, H, W, 3], RGB, any H and W.
            mask: [H, W], [H, W, 1] or [B, H, W, 1]; True, above 127 in uint8 or above 0.5 in
                float32 is a hole. One mask may serve a batch.

        Returns:
            Tensor of the image's shape and dtype.

        Raises:
            ValueError: if shapes or dtypes are none of these.
        """
        image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
        if image.dtype not in _WHITE:
            raise ValueError(f"image has dtype {image.dtype.name}, not uint8, uint16 or float32")
        if image.shape.rank not in (3, 4) or image.shape[-1] != 3:
            raise ValueError(f"image has shape {image.shape}, not [H, W, 3] or [B, H, W, 3]")
        mask = self._checked_mask(mask, image.shape)
        return self._functions[f"{image.dtype.name}_{image.shape.rank}"](image, mask)

    def _checked_mask(self, mask, image_shape):
        """Bool, or float32 0..1 for the original; of the image's rank, with one channel."""
        shape, rank = mask.shape, image_shape.rank
        if shape.rank == 2:
            mask = tf.expand_dims(mask, -1)
        if mask.shape.rank == 3 and rank == 4:
            mask = tf.expand_dims(mask, 0)
        elif mask.shape.rank == 4 and rank == 3 and mask.shape[0] == 1:
            mask = tf.squeeze(mask, 0)
        if mask.shape.rank != rank or mask.shape[-1] != 1:
            raise ValueError(f"mask has shape {shape}, not [H, W], [H, W, 1] or [B, H, W, 1]")
        one_each = rank == 3 or mask.shape[0] in (1, None, image_shape[0])
        if not (one_each and mask.shape[-3:-1].is_compatible_with(image_shape[-3:-1])):
            raise ValueError(f"mask has shape {shape}, the image {image_shape}")
        if mask.dtype not in (tf.bool, tf.uint8, tf.float32):
            raise ValueError(f"mask has dtype {mask.dtype.name}, not bool, uint8 or float32")
        if self.fidelity == "original":
            return tf.cast(mask, tf.float32) / (255 if mask.dtype == tf.uint8 else 1)
        return hole_of(mask)

    def _inpaint_one(self, image, mask):
        touched = tf.reduce_any(tf.cast(mask, tf.bool))
        return tf.cond(touched, lambda: self._fill_one(image, mask), lambda: image)

    def _inpaint_batch(self, images, masks):
        masks = tf.broadcast_to(masks, tf.concat([tf.shape(images)[:3], [1]], axis=0))
        return tf.map_fn(
            lambda photo_and_mask: self._inpaint_one(*photo_and_mask),
            (images, masks),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([None, None, 3], images.dtype),
        )

    def _generate(self, image, mask, white):
        """Low resolution: [S, S, 3] in 0..white and [S, S, 1] -> refined, attention [N, N].

        N = (S/16)^2 cells in raster order; the picture may hold anything under the mask.
        """
        masks = tf.ensure_shape(mask[None], [1, self.size, self.size, 1])
        images = tf.ensure_shape(image[None], [1, self.size, self.size, 3])
        masked = (images * (2 / white) - 1) * (1 - masks)
        _, refined, attention = self.generator([masked, masks])
        cells = (self.size // _CELL) ** 2
        return (refined[0] + 1) * (white / 2), tf.reshape(attention, [cells, cells])

    # Not inlined, so that it is optimised alike, and rounds alike, wherever it is called: here or
    # in a SavedModel, for one photo or many.
    @tf.function(experimental_attributes={"_noinline": True})
    def _fill(self, image, hole):
        grid = self.size // _CELL
        white = float(_WHITE[image.dtype])
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        # Cells are patch_height x patch_width pixels, at least as many as at low resolution.
        patch_height = tf.maximum(_CELL, -(-height // grid))
        patch_width = tf.maximum(_CELL, -(-width // grid))
        if patch_height * grid != height or patch_width * grid != width:
            rows = _mirrored(patch_height * grid, height)
            columns = _mirrored(patch_width * grid, width)
            image = tf.gather(tf.gather(image, rows), columns, axis=1)
            hole = tf.gather(tf.gather(hole, rows), columns, axis=1)
        image = tf.reshape(image, [grid, patch_height, grid, patch_width, 3])
        hole = tf.reshape(hole, [grid, patch_height, grid, patch_width, 1])

        low, low_mask = _average_known(image, hole)
        refined, attention = self._generate(low, low_mask, white)
        blurred_low = low
        if self.fidelity == "improved":
            refined = meet_rim(refined[None], low[None], low_mask[None])[0]
            blurred_low = _without_finest_octave(low)  # far from holes wherever it is used
        hole_cells = tf.where(tf.reduce_any(hole, axis=[1, 3, 4]))
        hole_cells = tf.cast(hole_cells[:, 0] * grid + hole_cells[:, 1], tf.int32)
        usable = tf.reshape(usable_cells(low_mask[None]), [-1])
        context_cells = tf.cast(tf.where(usable > 0)[:, 0], tf.int32)
        attention = tf.gather(tf.gather(attention, hole_cells), context_cells, axis=1)

        # The residual is photo - up(blurred_low) and the result up(refined) + attention @ residual.
        # Both upsamplings are linear and the same in every cell, so they are one, of the
        # difference, and only for cells with a hole.
        difference = tf.gather(_with_rim(refined), hole_cells)
        context = tf.gather(_with_rim(blurred_low), context_cells)  # [K, 18, 18, 3]
        side = _CELL + 2
        context = tf.reshape(context, [-1, side * side * 3])
        difference -= tf.reshape(tf.matmul(attention, context), [-1, side, side, 3])
        difference = tf.einsum("pk,qjkc->qjpc", _upsampling(patch_width), difference)

        filled = self._fill_cells(image, context_cells, attention, difference, white)
        position = tf.scatter_nd(
            hole_cells[:, None], tf.range(1, 1 + tf.size(hole_cells)), [grid * grid]
        )
        return _paste_cells(image, hole, filled, tf.reshape(position, [grid, grid]), height, width)

    def _fill_cells(self, image, context_cells, attention, difference, white):
        """Adds aggregated detail: -> [patch_height, Q, patch_width, 3] in the photo's dtype."""
        grid = self.size // _CELL
        patch_height, patch_width = tf.shape(image)[1], tf.shape(image)[3]
        upsampling = _upsampling(patch_height)
        # Not the product of all, which could overflow.
        rows = tf.maximum(1, _CHUNK_BYTES // (4 * 3 * grid * grid) // patch_width)
        chunks = tf.TensorArray(image.dtype, -(-patch_height // rows), infer_shape=False)
        for i in tf.range(-(-patch_height // rows)):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            start, stop = i * rows, tf.minimum((i + 1) * rows, patch_height)
            context = tf.transpose(image[:, start:stop], [0, 2, 1, 3, 4])
            context = tf.reshape(context, [grid * grid, -1])
            context = tf.cast(tf.gather(context, context_cells), tf.float32)
            detail = tf.reshape(tf.matmul(attention, context), [-1, stop - start, patch_width, 3])
            base = tf.einsum("rj,qjpc->qrpc", upsampling[start:stop], difference)
            chunk = tf.clip_by_value(base + detail, 0.0, white)
            if image.dtype.is_integer:
                chunk = tf.round(chunk)
            chunks = chunks.write(i, tf.transpose(tf.cast(chunk, image.dtype), [1, 0, 2, 3]))
        return chunks.concat()

    def _fill_original(self, image, mask):
        dtype, white = image.dtype, float(_WHITE[image.dtype])
        shape = tf.shape(image)[:2]
        small_size = [self.size, self.size]
        large_size = [self.size * self.multiple] * 2
        image = tf.cast(image, tf.float32)
        large = tf.image.resize(image, large_size)
        small = tf.reduce_mean(split_cells(large[None], self.multiple, self.multiple), [3, 4])[0]
        large_mask, small_mask = (
            # TensorFlow 1's and OpenCV's nearest neighbour: corners, not centres, are scaled.
            tf.raw_ops.ResizeNearestNeighbor(images=mask[None], size=size)[0]
            for size in (large_size, small_size)
        )
        refined, attention = self._generate(small, small_mask, white)
        residual = (large - tf.image.resize(small, large_size)) * (1 - large_mask)
        patch = _CELL * self.multiple
        grid = self.size // _CELL
        residual = tf.reshape(split_cells(residual[None], patch, patch), [grid * grid, -1])
        residual = tf.matmul(attention, residual)
        residual = join_cells(tf.reshape(residual, [1, grid, grid, patch, patch, 3]))[0]
        result = tf.clip_by_value(tf.image.resize(refined, large_size) + residual, 0.0, white)
        weight = tf.image.resize(blurred(small_mask), shape)
        result = tf.image.resize(result, shape) * weight + image * (1 - weight)
        return tf.cast(result, dtype)


def hole_of(mask):
    """Bool, True in the hole: a bool mask, or uint8 above 127, or float32 above 0.5."""
    if mask.dtype == tf.bool:
        return mask
    return mask > (127 if mask.dtype == tf.uint8 else 0.5)


def _mirrored(length, given):
    """Indices 0..given-1, then back, then forth again, up to `length` of them."""
    position = tf.range(length) % (2 * given)
    return tf.minimum(position, 2 * given - 1 - position)


def _averaging(patch):
    """[16, patch] float32: the share of each of `patch` pixels in each of 16 equal intervals."""
    scale = tf.cast(patch, tf.float32) / _CELL
    start = tf.range(float(_CELL))[:, None] * scale
    pixel = tf.range(tf.cast(patch, tf.float32))[None]
    overlap = tf.minimum(start + scale, pixel + 1) - tf.maximum(start, pixel)
    return tf.maximum(overlap, 0.0) / scale


def _upsampling(patch):
    """[patch, 18] float32: bilinear weights of a cell's 16 pixels and one on either side."""
    centre = (tf.range(tf.cast(patch, tf.float32)) + 0.5) * _CELL / tf.cast(patch, tf.float32)
    distance = tf.abs(centre[:, None] + 0.5 - tf.range(float(_CELL + 2)))
    return tf.maximum(1 - distance, 0.0)


def _average_known(image, hole):
    """The low-resolution picture, of known pixels only, and its mask, of every hole.

    Args:
        image: [grid, patch_height, grid, patch_width, 3], any dtype.
        hole: bool [grid, patch_height, grid, patch_width, 1].

    Returns:
        (low, mask): float32 [S, S, 3] on the photo's scale, 0 where nothing is known, and float32
        [S, S, 1], 1 where any pixel is a hole.
    """
    grid, patch_height, _, patch_width, _ = tf.unstack(tf.shape(image))
    vertical, horizontal = _averaging(patch_height), _averaging(patch_width)

    def average_row(i):
        # Not a product, which would let a NaN through.
        known = tf.where(hole[i], 0.0, tf.cast(image[i], tf.float32))
        row = tf.concat([known, tf.cast(hole[i], tf.float32)], axis=-1)
        row = tf.matmul(vertical, tf.reshape(row, [patch_height, -1]))
        row = tf.reshape(row, [_CELL * grid, patch_width, 4])
        row = tf.matmul(tf.tile(horizontal[None], [_CELL * grid, 1, 1]), row)
        return tf.reshape(row, [_CELL, grid * _CELL, 4])

    rows = tf.map_fn(
        average_row, tf.range(grid), parallel_iterations=1, fn_output_signature=tf.float32
    )
    low = tf.reshape(rows, [grid * _CELL, grid * _CELL, 4])
    known = 1 - low[..., 3:]
    # Less than the smallest share that one known pixel can have, more than rounding.
    low_image = tf.where(known > 1e-5, low[..., :3] / tf.maximum(known, 1e-5), 0.0)
    return low_image, tf.cast(low[..., 3:] > 0, tf.float32)


def _without_finest_octave(low):
    """[S, S, C] -> [S, S, C]: halved by averaging, and doubled again."""
    halved = tf.nn.avg_pool2d(low[None], 2, 2, "VALID")
    return tf.image.resize(halved, low.shape[:2])[0]


def _with_rim(low):
    """[S, S, C] -> [N, 18, 18, C]: every cell with the pixels around it, the border repeated."""
    low = tf.pad(low, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    side = _CELL + 2
    starts = tf.range(0, tf.shape(low)[0] - 2, _CELL)
    indices = starts[:, None] + tf.range(side)
    low = tf.gather(tf.gather(low, indices), indices, axis=2)  # [grid, 18, grid, 18, C]
    return tf.reshape(tf.transpose(low, [0, 2, 1, 3, 4]), [-1, side, side, low.shape[-1]])


def _paste_cells(image, hole, filled, position, height, width):
    """Puts filled cells where the holes are.

    Args:
        image, hole: as for `_average_known`.
        filled: [patch_height, Q, patch_width, 3], the photo's dtype.
        position: int32 [grid, grid], 1 + index into `filled`, or 0 for cells without a hole.
        height, width: of the photo without its mirrored border.

    Returns:
        [height, width, 3] in the photo's dtype.
    """
    grid, patch_height, _, patch_width, _ = tf.unstack(tf.shape(image))
    strips = tf.TensorArray(image.dtype, grid, infer_shape=False)
    for i in tf.range(grid):
        tf.autograph.experimental.set_loop_options(parallel_iterations=1)
        strip = image[i]
        if tf.reduce_any(position[i] > 0):
            cells = tf.gather(filled, tf.maximum(position[i] - 1, 0), axis=1)
            strip = tf.where(hole[i], cells, strip)  # [patch_height, grid, patch_width, 3]
        strip = tf.reshape(strip, [patch_height, grid * patch_width, 3])[:, :width]
        strips = strips.write(i, strip)
    return strips.concat()[:height]


def blurred(mask):
    """A 7x7 Gaussian blur of sigma 1, zero padded: [S, S, 1] -> [S, S, 1]."""
    kernel = tf.exp(-0.5 * tf.square(tf.range(-3.0, 4.0)))
    kernel /= tf.reduce_sum(kernel)
    kernel = kernel[:, None] * kernel[None]
    return tf.nn.conv2d(mask[None], kernel[..., None, None], 1, "SAME")[0]
