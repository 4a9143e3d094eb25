"""Contextual residual aggregation: any generator, photos of any size (HiFill paper, section 3.2).

The photo is averaged down to the generator's size, filled there, and the missing detail is copied
from the photo itself: equation 4, with the attention that the generator returns.
"""

import os

import tensorflow as tf

from hifill import cells
from hifill.attention import usable_cells
from hifill.generator_files import GeneratorFile
from hifill.membrane import meet_rim
from hifill.original_procedure import fill_original

FIDELITIES = ("improved", "plain", "original")
# So that a function is optimised alike, and rounds alike, whatever graph calls it: here or in a
# SavedModel, for one photo or many, for tensors or arrays.
NOT_INLINED = {"_noinline": True}
WHITE = {tf.uint8: 255, tf.uint16: 65535, tf.float32: 1}  # the dtypes of photos
_LEVELS = {tf.uint8: 255, tf.uint16: 65535, tf.float32: 65535}


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
        ValueError: for an unknown fidelity, a size or multiple that cannot be, or a file that is no
            generator or of another size.
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
        size = 512 if size is None else size
        if size <= 0 or size % 64 or multiple <= 0:
            raise ValueError(f"{size=} is no multiple of 64, or {multiple=} not above 0")
        self.generator = generator
        self.fidelity = fidelity
        self.multiple = multiple
        self.size = size
        self.grid = self.size // cells.CELL
        self._fill_one, mask_dtype = (
            (self._fill_as_the_script, tf.float32)
            if fidelity == "original"
            else (self._fill, tf.bool)
        )
        self.plans = {dtype: self._plan_function(dtype) for dtype in WHITE}
        # One photo does without a batch's copies, which are most of the memory it would take.
        self._functions = {
            f"{dtype.name}_{rank}": tf.function(
                function,
                input_signature=[
                    tf.TensorSpec([None] * (rank - 1) + [3], dtype),
                    tf.TensorSpec([None] * (rank - 1) + [1], mask_dtype),
                ],
            )
            for dtype in WHITE
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
        if image.dtype not in WHITE:
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

    def _fill_as_the_script(self, image, mask):
        white = float(WHITE[image.dtype])
        return fill_original(image, mask, self._generate, self.size, self.multiple, white)

    def _generate(self, image, mask, white):
        """Low resolution: [S, S, 3] in 0..white and [S, S, 1] -> refined, attention [N, N].

        N = (S/16)^2 cells in raster order; the picture may hold anything under the mask.
        """
        masks = tf.ensure_shape(mask[None], [1, self.size, self.size, 1])
        images = tf.ensure_shape(image[None], [1, self.size, self.size, 3])
        masked = (images * (2 / white) - 1) * (1 - masks)
        _, refined, attention = self.generator([masked, masks])
        count = self.grid**2
        return (refined[0] + 1) * (white / 2), tf.reshape(attention, [count, count])

    def _plan_function(self, dtype):
        return tf.function(
            lambda low, patch_width: self._plan(low, patch_width, dtype),
            input_signature=[
                tf.TensorSpec([self.size, self.size, 4]),
                tf.TensorSpec([], tf.int32),
            ],
            experimental_attributes=NOT_INLINED,
        )

    def _plan(self, low, patch_width, dtype):
        """Runs the generator, and says what is to be copied where.

        Args:
            low: float32 [S, S, 4], of `cells.average_columns`.
            patch_width: int32 scalar, width of a cell in the photo.
            dtype: of the photo.

        Returns:
            (hole_cells, context_cells, attention, base): int32 [Q], the cells with a hole; int32
            [K], the cells that they copy from; float32 [Q, K]; and float32
            [Q, 18, patch_width * 3], rows of what is copied to, still to be upsampled: with U of
            `cells.upsampling`, U @ base + attention @ context is the result. Cells are counted in
            raster order.
        """
        white = float(WHITE[dtype])
        low, low_mask = cells.normalized(low)
        refined, attention = self._generate(low, low_mask, white)
        blurred_low = low
        if self.fidelity == "improved":
            refined = meet_rim(refined[None], low[None], low_mask[None], trained=False)[0]
            blurred_low = _without_finest_octave(low)  # far from holes wherever it is used
        touched = tf.nn.max_pool2d(low_mask[None], cells.CELL, cells.CELL, "SAME")
        hole_cells = _where(tf.reshape(touched, [-1]) > 0)
        context_cells = _where(tf.reshape(usable_cells(low_mask[None]), [-1]) > 0)
        attention = tf.gather(tf.gather(attention, hole_cells), context_cells, axis=1)
        # Weights that together move no pixel by more than half a level: nearly all of them.
        count = tf.cast(tf.maximum(tf.size(context_cells), 1), tf.float32)
        attention = tf.where(attention > 0.5 / _LEVELS[dtype] / count, attention, 0.0)
        used = _where(tf.reduce_any(attention > 0, axis=0))
        context_cells, attention = (
            tf.gather(context_cells, used),
            tf.gather(attention, used, axis=1),
        )

        # The residual is photo - up(blurred_low) and the result up(refined) + attention @ residual.
        # Both upsamplings are linear and the same in every cell, so they are one, of the
        # difference, and only for cells with a hole.
        base = tf.gather(cells.with_rim(refined), hole_cells)
        context = tf.gather(cells.with_rim(blurred_low), context_cells)  # [K, 18, 18, 3]
        side = cells.CELL + 2
        context = tf.reshape(context, [-1, side * side * 3])
        base -= tf.reshape(tf.matmul(attention, context), [-1, side, side, 3])
        base = tf.einsum("pk,qjkc->qjpc", cells.upsampling(0, patch_width, patch_width), base)
        base = tf.reshape(base, [-1, side, patch_width * 3])
        return hole_cells, context_cells, attention, base

    @tf.function(experimental_attributes=NOT_INLINED)
    def _fill(self, image, hole):
        geometry = cells.geometry_of(tf.shape(image)[0], tf.shape(image)[1], self.grid)
        low = self._average(image, hole, geometry)
        _, _, patch_height, patch_width = geometry
        hole_cells, context_cells, attention, base = self.plans[image.dtype](low, patch_width)
        most = tf.maximum(tf.size(hole_cells), tf.size(context_cells))
        step = cells.rows_at_once(geometry, most)
        result, white = image, float(WHITE[image.dtype])
        for i in tf.range(-(-patch_height // step)):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            rows = tf.minimum(i * step + tf.stack([0, step]), patch_height)
            context = self._context_rows(image, context_cells, rows, geometry)
            filled = cells.aggregate_rows(
                attention, context, base, rows, patch_height, white, image.dtype.is_integer
            )
            result = self._paste_rows(result, hole, hole_cells, filled, rows, geometry)
        return result

    def _average(self, image, hole, geometry):
        """-> float32 [S, S, 4], see `cells.average_columns`."""
        strips = tf.TensorArray(tf.float32, self.grid, element_shape=[cells.CELL, self.size, 4])
        for strip in tf.range(self.grid):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            sums = cells.sum_strip(image, hole, strip, geometry)
            strips = strips.write(strip, cells.average_columns(*sums, geometry, self.grid))
        return strips.concat()

    # Slices, casts and gathers of floats: there are no gathers of uint8 on GPUs.

    def _context_rows(self, image, context_cells, rows, geometry):
        """Some rows of some cells: -> float32 [K, n, patch_width, 3]."""
        height, width, patch_height, patch_width = geometry
        ends = self._strip_ends(context_cells)
        parts = tf.TensorArray(tf.float32, self.grid, infer_shape=False)
        count = rows[1] - rows[0]
        for strip in tf.range(self.grid):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            part = tf.zeros([0, count, patch_width, 3])
            if ends[strip] < ends[strip + 1]:
                columns = context_cells[ends[strip] : ends[strip + 1]] % self.grid
                columns = columns[:, None] * patch_width + tf.range(patch_width)
                columns = cells.mirror(columns, width)
                start = strip * patch_height
                lines = cells.mirror(start + tf.range(rows[0], rows[1]), height)
                first = tf.reduce_min(lines)
                part = tf.cast(image[first : tf.reduce_max(lines) + 1], tf.float32)
                part = tf.gather(part, columns, axis=1)
                part = tf.gather(part, lines - first)  # [n, k, patch_width, 3]
                part = tf.transpose(part, [1, 0, 2, 3])
            parts = parts.write(strip, part)
        return parts.concat()

    def _paste_rows(self, image, hole, hole_cells, filled, rows, geometry):
        """Puts some rows of filled cells where the hole is: -> the image's shape and dtype."""
        height, width, patch_height, patch_width = geometry
        ends = self._strip_ends(hole_cells)
        for strip in tf.range(self.grid):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            top = strip * patch_height + rows[0]
            bottom = tf.minimum(strip * patch_height + rows[1], height)
            if ends[strip] < ends[strip + 1] and top < bottom:
                columns = hole_cells[ends[strip] : ends[strip + 1]] % self.grid
                left, right = columns[0] * patch_width, (columns[-1] + 1) * patch_width
                right = tf.minimum(right, width)
                if left < right:
                    # Cells between them that have no hole are filled with anything.
                    between = tf.range(columns[0], columns[-1] + 1)
                    before = tf.cast(columns < between[:, None], tf.int32)
                    indices = ends[strip] + tf.reduce_sum(before, axis=1)
                    part = tf.gather(filled[:, : bottom - top], indices)
                    part = tf.transpose(part, [1, 0, 2, 3])
                    part = tf.reshape(part, [bottom - top, -1, 3])[:, : right - left]
                    known = image[top:bottom, left:right]
                    part = tf.raw_ops.Select(
                        condition=tf.reshape(hole[top:bottom, left:right], [-1]),
                        x=tf.reshape(part, [-1, 3]),
                        y=tf.reshape(tf.cast(known, tf.float32), [-1, 3]),
                    )
                    part = tf.cast(tf.reshape(part, tf.shape(known)), image.dtype)
                    # In place, but for the first time.
                    image = tf.raw_ops.TensorStridedSliceUpdate(
                        input=image,
                        begin=[top, left],
                        end=[bottom, right],
                        strides=[1, 1],
                        value=part,
                    )
        return image

    def _strip_ends(self, sorted_cells):
        """int32 [grid + 1]: where in a list of cells each row of the grid starts, and ends."""
        starts = tf.range(self.grid + 1) * self.grid
        return tf.reduce_sum(tf.cast(sorted_cells < starts[:, None], tf.int32), axis=1)


def hole_of(mask):
    """Bool, True in the hole: a bool mask, or uint8 above 127, or float32 above 0.5."""
    if mask.dtype == tf.bool:
        return mask
    return mask > (127 if mask.dtype == tf.uint8 else 0.5)


def _where(condition):
    """Bool [N] -> int32: the indices where it holds."""
    return tf.cast(tf.where(condition)[:, 0], tf.int32)


def _without_finest_octave(low):
    """[S, S, C] -> [S, S, C]: halved by averaging, and doubled again."""
    halved = tf.nn.avg_pool2d(low[None], 2, 2, "VALID")
    return tf.image.resize(halved, low.shape[:2])[0]
