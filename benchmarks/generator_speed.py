"""The generator beside itself as the paper words it: python -m benchmarks.generator_speed

As it words it: attention is transferred between overlapping patches (equation 3), pictures are
doubled before they are convolved, and features and gates are convolutions of their own. Prints the
milliseconds of the demo's photo at 512 x 512 (median of interleaved runs), their ratio, the
multiplications and additions, the greatest difference of the refined picture (-1 to 1), and the
mean difference in its hole in grey levels; then the same for bfloat16 and, with --xla, compiled.
"""

import argparse
import contextlib
import pathlib
import statistics
import time
import unittest.mock

import cv2
import numpy as np
import tensorflow as tf

import hifill
from hifill import generator as generator_module
from hifill.attention import AttentionTransfer, extract_patches, overlap_add, transfer_patches
from hifill.layers import GatedConv2D, upsample_by_two

PHOTO = pathlib.Path(__file__).parents[1] / "hifill" / "demo_photos" / "dunes.jpg"


def transfer(self, inputs):
    values, attention = inputs
    if self.cell_size is not None:
        return transfer_patches(values, attention)
    batch, rows, columns, cells = attention.shape
    patches = extract_patches(values, 3, 2, (0, 1))
    patches = tf.reshape(patches, [batch, cells, -1])
    patches = tf.matmul(tf.reshape(attention, [batch, cells, cells]), patches)
    return overlap_add(tf.reshape(patches, [batch, rows, columns, 9, -1]), 3, 2, (0, 1))


def gated_convolution(self, x):
    x = upsample_by_two(x) if self.upsample else x
    features = tf.nn.elu(self._convolve(x, self.kernel) + self.bias)
    is_pointwise = self.gate == "pointwise"
    gate = self._pointwise_gate(x) if is_pointwise else self._convolve(x, self.gate_kernel)
    return tf.sigmoid(gate + self.gate_bias) * features


def as_the_paper_words_it():
    patches = contextlib.ExitStack()
    for owner, name, value in (
        (AttentionTransfer, "call", transfer),
        (GatedConv2D, "call", gated_convolution),
        (GatedConv2D, "_upsamples_itself", lambda self: False),
        (generator_module, "overlap_attention", lambda attention: attention),
    ):
        patches.enter_context(unittest.mock.patch.object(owner, name, value))
    return patches


def traced(dtype="float32", xla=False):
    network = hifill.Generator(dtype=dtype)
    hifill.load_weights(network)
    pictures = [tf.TensorSpec([1, 512, 512, channels]) for channels in (3, 1)]
    return tf.function(network, jit_compile=xla).get_concrete_function(pictures)


def operations(function):
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(function.graph, options=options).total_float_ops


def picture_and_mask():
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    photo = cv2.resize(photo, (512, 512), interpolation=cv2.INTER_AREA)
    mask = np.zeros((1, 512, 512, 1), np.float32)
    mask[:, 180:330, 150:330] = 1
    picture = (photo[None] / np.float32(127.5) - 1) * (1 - mask)
    return tf.constant(picture), tf.constant(mask)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--xla", action="store_true")
    arguments = parser.parse_args()
    with as_the_paper_words_it():
        functions = {"as the paper words it": traced()}
    functions |= {"float32": traced(), "bfloat16": traced("mixed_bfloat16")}
    if arguments.xla:
        functions |= {f"{name}, XLA": traced(name, True) for name in ("float32", "mixed_bfloat16")}
    inputs = picture_and_mask()
    results = {name: function(*inputs)[1].numpy() for name, function in functions.items()}
    seconds = {name: [] for name in functions}
    for _ in range(arguments.repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function(*inputs)[1].numpy()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    slowest = medians["as the paper words it"]
    print("| generator | ms | ratio | GFLOP | greatest difference | mean in the hole |")
    print("|---" * 6 + "|")
    for name, function in functions.items():
        difference = np.abs(results[name] - results["as the paper words it"])
        in_hole = 127.5 * difference[inputs[1].numpy()[..., 0] > 0].mean()
        milliseconds, count = 1000 * medians[name], operations(function) / 1e9
        ratio = medians[name] / slowest
        print(
            f"| {name} | {milliseconds:.0f} | {ratio:.2f} | {count:.1f} "
            f"| {difference.max():.1e} | {in_hole:.3f} |"
        )


if __name__ == "__main__":
    main()
