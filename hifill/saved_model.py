"""A SavedModel that fills holes by itself: encoded files or arrays in, and out, in one graph."""

import itertools
import math

import tensorflow as tf
from tensorflow.python.saved_model import save_context

from hifill import image_ops
from hifill.highres import NOT_INLINED, HighResolutionInpainter, hole_of
from hifill.inpaint import FULLEST

_PNG_COMPRESSION = 1  # a fifth of the time of the default, and files 5 to 30 % larger


class ServedInpainter(tf.Module):
    """What is saved: the root is callable, and `named_signatures` gives the signatures.

    The root is called like `HighResolutionInpainter`: `model(image, mask)`, image uint8 or float32
    (0 to 1), [H, W, 3] with a mask [H, W] or [H, W, 1], or [B, H, W, 3] with a mask [B, H, W, 1] or
    [1, H, W, 1]; the mask uint8 (above 127 is a hole), bool or float32 (above 0.5).

    Args:
        generator: a `hifill.Generator`.
        metadata: path of a file that is saved along.
        max_pixels: larger photos are refused, height x width.
        size: as for `HighResolutionInpainter`.

    The signatures and the root raise InvalidArgumentError for values that do not fit.
    """

    def __init__(self, generator, metadata, max_pixels, size=512):
        super().__init__()
        self.metadata = tf.saved_model.Asset(str(metadata))
        # One variable instead of a hundred, which would be handed on to each loop and branch of the
        # graph: TensorFlow would take half as long again to load it, and to prepare its first run.
        self.generator_weights = tf.Variable(_flattened(generator), name="generator_weights")
        self._max_pixels = max_pixels
        self._size = size
        generate = tf.function(
            lambda inputs: _called_with(generator, self.generator_weights, inputs),
            experimental_attributes=NOT_INLINED,
        )
        # Functions that are attributes would be traced and saved once more each: these are hidden
        # behind a lambda and a bound method.
        self._generate = lambda inputs: generate(inputs)
        self._fill = HighResolutionInpainter(generate, size=size).__call__
        self._trace()

    def named_signatures(self):
        """Dict from the name of each signature to its function, for `tf.saved_model.save`."""

        def batch(dtype, channels, name):
            return tf.TensorSpec([None, None, None, channels], dtype, name)

        def picture(channels, name):
            return tf.TensorSpec([None, self._size, self._size, channels], tf.float32, name)

        def files(name):
            return tf.TensorSpec([None], tf.string, name)

        signatures = {
            "serving_default": (self._inpaint_bytes, files("image_bytes"), files("mask_bytes")),
            "inpaint": (
                self._inpaint_arrays,
                batch(tf.uint8, 3, "image"),
                batch(tf.uint8, 1, "mask"),
            ),
            "inpaint_float": (
                self._inpaint_arrays,
                batch(tf.float32, 3, "image"),
                batch(tf.float32, 1, "mask"),
            ),
            "generator": (self._run_generator, picture(3, "image"), picture(1, "mask")),
        }
        return {
            name: tf.function(function, input_signature=specs)
            for name, (function, *specs) in signatures.items()
        }

    @tf.function(autograph=False)
    def __call__(self, image, mask):
        if mask.shape.rank == 2:
            mask = mask[..., None]
        return self._checked(image, mask)

    def _trace(self):
        # What is traced elsewhere is traced, and saved, once more when the model is saved.
        with save_context.save_context(tf.saved_model.SaveOptions()):
            self._trace_root()

    def _trace_root(self):
        for image, mask in itertools.product(("uint8", "float32"), ("uint8", "bool", "float32")):
            photo, photos = ([None, None, 3], image), ([None, None, None, 3], image)
            for photo_spec, mask_shape in (
                (photo, [None, None]),
                (photo, [None, None, 1]),
                (photos, [None, None, None, 1]),
            ):
                self.__call__.get_concrete_function(
                    tf.TensorSpec(*photo_spec, name="image"),
                    tf.TensorSpec(mask_shape, mask, name="mask"),
                )

    def _checked(self, image, mask):
        """Fills the holes of arrays of one rank, if they fit."""
        size, mask_size = tf.shape(image)[-3:-1], tf.shape(mask)[-3:-1]
        checks = [
            *self._check_size("image", size),
            _check_mask_size("mask", mask_size, "image", size),
        ]
        if image.shape.rank == 4:
            count, masks = tf.shape(image)[0], tf.shape(mask)[0]
            wrong = ("mask has a batch of ", masks, ", image one of ", count)
            checks.append(image_ops.check((masks == count) | (masks == 1), *wrong))
            checks.append(image_ops.check(count > 0, "image holds no photos"))
        with tf.control_dependencies(checks):
            image = tf.identity(image)
        if image.dtype == tf.float32:
            # NaN is outside too.
            inside = tf.reduce_all((image >= 0) & (image <= 1) | hole_of(mask))
            wrong = "image holds known values outside 0 to 1; divide 8-bit values by 255"
            with tf.control_dependencies([image_ops.check(inside, wrong)]):
                image = tf.identity(image)
        return self._fill(image, mask)

    def _check_size(self, name, size):
        height, width = tf.unstack(tf.cast(size, tf.int64))
        about = (name, " of ", width, " x ", height, " pixels is ")
        return [
            image_ops.check(height * width > 0, *about, "empty"),
            image_ops.check(
                height * width <= self._max_pixels, *about, "over the limit of ", self._max_pixels
            ),
            self._check_sides(name, size),
        ]

    def _check_sides(self, name, size):
        height, width = tf.unstack(tf.cast(size, tf.int64))
        # What is smaller than the generator's picture is mirrored up to it.
        filled = tf.maximum(height, self._size) * tf.maximum(width, self._size)
        fits = filled <= max(self._max_pixels, self._size**2)
        wrong = (name, " of ", width, " x ", height, " pixels is too long for its other side")
        return image_ops.check(fits, *wrong)

    def _inpaint_arrays(self, image, mask):
        return {"inpainted": self._checked(image, mask)}

    def _run_generator(self, image, mask):
        coarse, refined, attention = self._generate([image, mask])
        return {"coarse": coarse, "refined": refined, "attention": attention}

    def _inpaint_bytes(self, image_bytes, mask_bytes):
        count, masks = tf.size(image_bytes), tf.size(mask_bytes)
        fits = image_ops.check(
            count == masks, count, " image_bytes do not go with ", masks, " mask_bytes"
        )
        with tf.control_dependencies([fits]):
            image_bytes = tf.identity(image_bytes)
        # Once in the graph for both files.
        read_header = tf.function(
            lambda content, name: image_ops.read_header(content, name, self._max_pixels)
        )
        inpainted = tf.map_fn(
            lambda each: self._inpaint_file(*each, read_header),
            (image_bytes, mask_bytes, tf.range(count)),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([], tf.string),
        )
        return {"inpainted_bytes": inpainted}

    def _inpaint_file(self, image_bytes, mask_bytes, index, read_header):
        """Encoded photo and mask, scalar strings -> PNG, with the photo's alpha and bit depth."""
        image_name, mask_name = (
            tf.strings.join([name, "[", tf.as_string(index), "]"])
            for name in ("image_bytes", "mask_bytes")
        )
        with tf.name_scope("image_bytes"):
            photo = read_header(image_bytes, image_name)
        with tf.name_scope("mask_bytes"):
            mask = read_header(mask_bytes, mask_name)
        size, mask_size = ([header["height"], header["width"]] for header in (photo, mask))
        fits = [
            self._check_sides(image_name, size),
            _check_mask_size(mask_name, mask_size, image_name, size),
        ]
        with tf.control_dependencies(fits):
            mask["content"] = tf.identity(mask["content"])
        with tf.name_scope("mask_bytes"):
            hole = image_ops.decode_hole(mask)
        share = tf.reduce_mean(tf.cast(hole, tf.float32))
        percent = tf.as_string(100 * share, precision=1)
        fits = image_ops.check(
            share <= FULLEST, mask_name, " marks ", percent, " % as hole; white is the hole"
        )
        with tf.control_dependencies([fits]):
            photo["content"] = tf.identity(photo["content"])

        has_alpha = photo["channels"] % 2 == 0

        def fill(dtype):
            def decode(channels):
                with tf.name_scope("image_bytes"):
                    return image_ops.decode_pixels(photo, channels, dtype)

            pixels = tf.cond(has_alpha, lambda: decode(4), lambda: decode(3))
            inpainted = self._fill(tf.ensure_shape(pixels[..., :3], [None, None, 3]), hole)
            inpainted = tf.cond(
                has_alpha,
                lambda: tf.concat([inpainted, pixels[..., 3:]], axis=-1),
                lambda: inpainted,
            )
            return tf.io.encode_png(inpainted, compression=_PNG_COMPRESSION)

        return tf.cond(photo["bits"] == 16, lambda: fill(tf.uint16), lambda: fill(tf.uint8))


def _flattened(generator):
    weights = (*generator.trainable_variables, *generator.non_trainable_variables)
    return tf.concat([tf.reshape(weight.value, [-1]) for weight in weights], axis=0)


def _called_with(generator, flat, inputs):
    """Calls a generator with other weights, those of `_flattened`."""
    kinds = generator.trainable_variables, generator.non_trainable_variables
    sizes = [math.prod(weight.shape) for weights in kinds for weight in weights]
    parts = iter(tf.split(flat, sizes))
    values = [[tf.reshape(next(parts), w.shape) for w in weights] for weights in kinds]
    outputs, _ = generator.stateless_call(*values, inputs)
    return outputs


def _check_mask_size(mask_name, mask_size, image_name, size):
    height, width = tf.unstack(size)
    mask_height, mask_width = tf.unstack(mask_size)
    return image_ops.check(
        (mask_height == height) & (mask_width == width),
        *(mask_name, " is ", mask_width, " x ", mask_height, " pixels, "),
        *(image_name, " ", width, " x ", height),
    )
