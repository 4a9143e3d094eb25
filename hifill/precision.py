"""Which floating-point type the generator is fastest in, on the machine at hand."""

import functools
import pathlib
import time

_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}
_GAIN = 0.7  # of float32's time, below which bfloat16's rounding is worth it


@functools.cache
def fastest_dtype_policy():
    """A Keras dtype policy for inference: "float32" or "mixed_bfloat16".

    bfloat16 is tried on CPUs that have instructions for it, and chosen if one of the generator's
    convolutions takes less than 0.7 of float32's time. GPUs compute in float32, that is in
    TensorFloat-32 where they have it.
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU") or not _CPU_FLAGS & _cpu_flags():
        return "float32"
    seconds = [convolution_seconds(dtype) for dtype in (tf.float32, tf.bfloat16)]
    return "mixed_bfloat16" if seconds[1] < _GAIN * seconds[0] else "float32"


def convolution_seconds(dtype):
    """The least of five times of a 3x3 convolution of 64 x 64 pixels with 128 channels."""
    import tensorflow as tf

    pixels = tf.cast(tf.random.stateless_normal([1, 64, 64, 128], [1, 2]), dtype)
    kernel = tf.cast(tf.random.stateless_normal([3, 3, 128, 128], [3, 4]), dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        tf.nn.conv2d(pixels, kernel, 1, "SAME").numpy()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _cpu_flags():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return set()
    lines = [line for line in text.splitlines() if line.startswith("flags")]
    return set(lines[0].split()) if lines else set()
