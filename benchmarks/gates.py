"""What each kind of gate costs: python benchmarks/gates.py

The rows of the paper's Figure 4, gates of the coarse and of the refine network; untrained, for
neither size nor time depends on the weights. Prints a Markdown table: parameters of both networks
and of the gates alone (Table 1), multiply-adds of one 512 x 512 picture, and milliseconds, median
of interleaved runs.
"""

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf

from hifill import Generator

SIZE = 512
PAIRS = [
    ("full", "full"),
    ("depthwise_separable", "depthwise_separable"),
    ("pointwise", "pointwise"),
    ("single_channel", "depthwise_separable"),
    ("single_channel", "pointwise"),
    ("single_channel", "single_channel"),
    ("none", "none"),
]


def parameters(generator):
    """All, and those of gates alone."""
    sizes = {w.path: int(np.prod(w.shape)) for w in generator.trainable_weights}
    return sum(sizes.values()), sum(n for path, n in sizes.items() if "/gate_" in path)


def multiply_adds(function):
    graph = function.get_concrete_function().graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, options=options)
    return profile.total_float_ops / 2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    image = tf.random.stateless_uniform([1, SIZE, SIZE, 3], (1, 2), -1, 1)
    mask = tf.zeros([1, SIZE, SIZE, 1])
    rows = []
    for coarse, refine in PAIRS:
        generator = Generator(coarse_gate=coarse, refine_gate=refine)
        function = tf.function(
            lambda image, mask, generator=generator: generator([image, mask])[1],
            input_signature=[tf.TensorSpec(image.shape), tf.TensorSpec(mask.shape)],
        )
        function(image, mask)
        rows.append((coarse, refine, parameters(generator), multiply_adds(function), function, []))
    for _ in range(arguments.runs):
        for *_, function, seconds in rows:
            start = time.perf_counter()
            function(image, mask).numpy()
            seconds.append(time.perf_counter() - start)
    print("| coarse gates | refine gates | parameters | of gates | G multiply-adds | ms |")
    print("|---|---|---|---|---|---|")
    for coarse, refine, (total, gates), operations, _, seconds in rows:
        print(
            f"| {coarse} | {refine} | {total:,} | {gates:,} | {operations / 1e9:.1f} "
            f"| {1000 * statistics.median(seconds):.0f} |"
        )


if __name__ == "__main__":
    main()
