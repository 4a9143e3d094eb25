"""Encoded photos and masks to pixels, with TensorFlow's own operations: for use inside a graph.

What `image_io` does for files, as far as a graph can: JPEG and PNG. Both give the same pixels, but
the orientation is taken from an EXIF block before the pixels alone, and not from XMP.
"""

import tensorflow as tf

_ADVICE = "send JPEG or PNG"
# The first bytes of pictures that are refused by name.
_OTHER_FORMATS = {
    "a GIF": b"GIF8",
    "a BMP": b"BM",
    "a WebP": b"RIFF",
    "a TIFF": b"II*\x00",
    "a big-endian TIFF": b"MM\x00*",
}
_MOST_SEGMENTS = 500  # before the picture; more are not looked at


def check(condition, *message):
    """An InvalidArgument error with this message unless `condition`: -> an op to depend on.

    Args:
        condition: scalar bool.
        message: strings and scalars, joined without a space.
    """
    parts = [tf.convert_to_tensor(part) for part in message]
    parts = [part if part.dtype == tf.string else tf.as_string(part) for part in parts]
    return tf.debugging.Assert(condition, [tf.strings.join(parts)])


def read_header(content, name, max_pixels):
    """Looks at an encoded picture before anything is decoded, and refuses what cannot be.

    Args:
        content: scalar string, what the file holds.
        name: scalar string, what messages call it.
        max_pixels: height x width above this is refused.

    Returns:
        Dict of scalars: `content`, which now depends on the checks; `is_jpeg`, bool; `height` and
        `width` of the upright picture, `channels` (1 to 4), `orientation` (EXIF's, 1 to 8) and
        `bits` a sample (1 to 16), int32.

    Raises:
        InvalidArgumentError: when it runs; the picture is no JPEG or PNG, has no pixels or too
            many.
    """
    is_jpeg = _starts_with(content, b"\xff\xd8\xff")
    is_png = _starts_with(content, b"\x89PNG\r\n\x1a\n")
    kind = tf.constant("no JPEG or PNG")
    for other, magic in _OTHER_FORMATS.items():
        kind = tf.where(_starts_with(content, magic), other, kind)
    kind = tf.where(tf.strings.length(content) == 0, "empty", kind)
    with tf.control_dependencies([check(is_jpeg | is_png, name, " is ", kind, "; ", _ADVICE)]):
        content = tf.identity(content)
    data = tf.io.decode_raw(content, tf.uint8)
    height, width, channels, bits, orientation = tf.cond(
        is_jpeg, lambda: _jpeg_header(content, data), lambda: _png_header(data)
    )
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    size = [name, " of ", width, " x ", height, " pixels "]
    checks = [
        check((height > 0) & (width > 0), *size, "is empty or damaged"),
        check(pixels <= max_pixels, *size, "is over the limit of ", max_pixels, "; shrink it"),
    ]
    with tf.control_dependencies(checks):
        content = tf.identity(content)
    return {
        "content": content,
        "is_jpeg": is_jpeg,
        "height": height,
        "width": width,
        "channels": channels,
        "bits": bits,
        "orientation": orientation,
    }


def decode_pixels(header, channels, dtype):
    """Decodes a picture, upright.

    Args:
        header: from `read_header`.
        channels: 1, 3 or 4. JPEG has at most 3; a fourth is then opaque.
        dtype: tf.uint8 or tf.uint16; JPEG is for uint8 only.

    Returns:
        [H, W, channels] of that dtype.

    Raises:
        InvalidArgumentError: when it runs, if the picture is truncated or damaged.
    """

    def from_png():
        image = tf.io.decode_png(header["content"], channels, dtype)
        return _upright(image, header["orientation"])

    if dtype == tf.uint16:
        return from_png()

    def from_jpeg():
        # The transform that other decoders use; TensorFlow's default is another, less exact one.
        image = tf.io.decode_jpeg(
            header["content"], min(channels, 3), dct_method="INTEGER_ACCURATE"
        )
        if channels == 4:
            image = tf.concat([image, tf.ones_like(image[..., :1]) * 255], axis=-1)
        return _upright(image, header["orientation"])

    return tf.cond(header["is_jpeg"], from_jpeg, from_png)


def decode_hole(header):
    """Decodes a mask: bool [H, W, 1], True where it is white, or opaque if its alpha varies.

    Args:
        header: from `read_header`.

    Raises:
        InvalidArgumentError: when it runs, if the picture is truncated or damaged.
    """
    return tf.cond(
        header["bits"] == 16,
        lambda: _white(decode_pixels(header, 4, tf.uint16)),
        lambda: tf.cond(
            header["channels"] == 1,
            lambda: decode_pixels(header, 1, tf.uint8) > 127,
            lambda: _white(decode_pixels(header, 4, tf.uint8)),
        ),
    )


def _white(rgba):
    """`image_io.white_of`: luminance (BT.601), rounded, in the upper half of its range."""
    # The weights sum to 2^16, so that 32 bits are enough for 16 of a sample.
    wide = tf.int32 if rgba.dtype == tf.uint8 else tf.uint32
    middle = (rgba.dtype.max + 1) // 2
    alpha = rgba[..., 3:]

    def is_bright():
        weighed = [
            tf.cast(rgba[..., i : i + 1], wide) * tf.constant(weight, wide)
            for i, weight in enumerate((19595, 38470, 7471))
        ]
        return tf.add_n(weighed) >= tf.constant((middle << 16) - 2**15, wide)

    return tf.cond(
        tf.reduce_any(alpha != alpha[:1, :1]),
        lambda: alpha >= tf.constant(middle, alpha.dtype),
        is_bright,
    )


def _starts_with(content, magic):
    return tf.strings.substr(content, 0, len(magic)) == magic


def _integer(data, position, size, big_endian=True):
    """An unsigned integer of `size` bytes at a position of uint8 [N]; beyond the end are zeros."""
    position = tf.convert_to_tensor(position, tf.int64)
    places = position[..., None] + tf.range(size, dtype=tf.int64)
    inside = (places >= 0) & (places < tf.size(data, tf.int64))
    taken = tf.cast(tf.gather(data, tf.where(inside, places, 0)), tf.int64)
    taken = tf.where(inside, taken, 0)
    weights = [256**i for i in range(size)]
    little, big = (
        tf.reduce_sum(taken * tf.constant(order, tf.int64), axis=-1)
        for order in (weights, weights[::-1])
    )
    return tf.where(big_endian, big, little)


def _png_header(data):
    # By colour type: 0 is grey, 2 RGB, 3 a palette, 4 grey and alpha, 6 RGB and alpha.
    colour_type = _integer(data, 25, 1) % 8
    channels = tf.gather([1, 3, 3, 3, 2, 3, 4, 3], colour_type)
    numbers = [_integer(data, 16, 4), _integer(data, 20, 4), _integer(data, 24, 1)]
    width, height, bits = (tf.cast(tf.minimum(n, 2**31 - 1), tf.int32) for n in numbers)
    orientation, transparent = _png_chunks(data)
    channels = tf.where(transparent & (channels % 2 == 1), channels + 1, channels)
    height, width = _turned(height, width, orientation)
    return height, width, channels, bits, orientation


def _png_chunks(data):
    """What the chunks before the picture say: the orientation, and whether there is a tRNS."""
    orientation = tf.constant(1, tf.int64)
    transparent = tf.constant(False)
    position = tf.constant(8, tf.int64)  # after the signature
    for _ in tf.range(_MOST_SEGMENTS):
        length, kind = _integer(data, position, 4), _integer(data, position + 4, 4)
        if position + 8 > tf.size(data, tf.int64) or kind == int.from_bytes(b"IDAT", "big"):
            break
        if kind == int.from_bytes(b"eXIf", "big"):
            orientation = _tiff_orientation(data, position + 8)
        transparent |= kind == int.from_bytes(b"tRNS", "big")
        position += 12 + length
    return _valid(orientation), transparent


def _jpeg_header(content, data):
    with tf.name_scope("size_of_jpeg"):
        shape = tf.io.extract_jpeg_shape(content)
    orientation = _jpeg_orientation(data)
    height, width = _turned(shape[0], shape[1], orientation)
    # The four channels of CMYK are decoded to three.
    return height, width, tf.minimum(shape[2], 3), tf.constant(8), orientation


def _jpeg_orientation(data):
    """The orientation that a JPEG's EXIF block says, 1 if there is none: uint8 [N] -> int32."""
    found = tf.constant(1, tf.int64)
    position = tf.constant(2, tf.int64)  # after the start-of-image marker
    for _ in tf.range(_MOST_SEGMENTS):
        marker, length = _integer(data, position + 1, 1), _integer(data, position + 2, 2)
        outside = position + 4 > tf.size(data, tf.int64)
        # The picture itself follows the start-of-scan marker.
        if outside or _integer(data, position, 1) != 0xFF or marker == 0xDA:
            break
        if marker == 0xFF:  # a byte to fill with
            position += 1
        else:
            is_exif = _integer(data, position + 4, 6) == int.from_bytes(b"Exif\0\0", "big")
            if marker == 0xE1 and is_exif:
                found = _tiff_orientation(data, position + 10)
            position += 2 + tf.maximum(length, 2)
    return _valid(found)


def _tiff_orientation(data, start):
    """The value of tag 274 in the first directory of the TIFF stream at `start`, or 1."""
    order = _integer(data, start, 2)
    big_endian = order == int.from_bytes(b"MM", "big")
    directory = start + _integer(data, start + 4, 4, big_endian)
    count = _integer(data, directory, 2, big_endian)
    # A damaged block may claim thousands that are not there.
    count = tf.clip_by_value((tf.size(data, tf.int64) - directory) // 12, 0, count)
    entries = directory + 2 + 12 * tf.range(count)
    tags = _integer(data, entries, 2, big_endian)
    last = tf.reduce_max(tf.where(tags == 274, entries, -1))
    kind = _integer(data, last + 2, 2, big_endian)
    # 3 is a SHORT of two bytes, 4 a LONG of four.
    short, long = (_integer(data, last + 8, size, big_endian) for size in (2, 4))
    known = (last >= 0) & (big_endian | (order == int.from_bytes(b"II", "big")))
    return tf.where(known, tf.where(kind == 4, long, short), 1)


def _valid(orientation):
    inside = (orientation >= 1) & (orientation <= 8)
    return tf.cast(tf.where(inside, orientation, 1), tf.int32)


def _turned(height, width, orientation):
    turned = orientation > 4
    return tf.where(turned, width, height), tf.where(turned, height, width)


def _upright(image, orientation):
    """[H, W, C] as stored -> as seen, for the EXIF orientations 1 to 8."""

    def is_one_of(*orientations):
        return tf.reduce_any(orientation == tf.constant(orientations))

    # Without branches: each would be several functions more in the graph of whoever decodes.
    turned = tf.transpose(image, tf.where(orientation > 4, [1, 0, 2], [0, 1, 2]))
    turned = tf.ensure_shape(turned, [None, None, image.shape[-1]])
    reversed_axes = tf.where([is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7)])[:, 0]
    return tf.reverse(turned, tf.cast(reversed_axes, tf.int32))
