"""Time and memory around the generator, beside the authors' procedure: python -m benchmarks.highres

For each size and share of the hole, on the same photo and interleaved in one process: our generator
alone, `Inpainter` with the generator's result given ("rest"), `Inpainter` as it is ("total"), and
benchmarks/official_procedure.py with the same result given. Medians. The peak of resident memory is
that of a fresh process each, TensorFlow, generator, photo and result included. "x floor" is the
total over the least that this machine could take: the generator's multiplications at the measured
rate of a large matrix product, plus the photo read twice and written once, and the mask read once,
at the measured rate of copying.
"""

import argparse
import multiprocessing
import pathlib
import statistics
import time

import cv2
import numpy as np

from benchmarks import official_procedure

SIZES = ["1024x1024", "2048x2048", "4096x4096", "8192x8192", "3000x4000", "4320x7680"]
HOLES = [2, 10, 25]
MULTIPLE = 6  # the script's
PHOTO = pathlib.Path(__file__).parents[1] / "hifill" / "demo_photos" / "dunes.jpg"


def photo_and_hole(size, percent):
    """uint8 [H, W, 3], the demo's photo enlarged and grained, and uint8 [H, W], an ellipse."""
    height, width = (int(side) for side in size.split("x"))
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).integers(0, 9, (512, 512, 3), np.uint8)
    for top in range(0, height, 512):
        for left in range(0, width, 512):
            tile = photo[top : top + 512, left : left + 512]
            cv2.add(tile, grain[: tile.shape[0], : tile.shape[1]], dst=tile)
    hole = np.zeros((height, width), np.uint8)
    radius = (height * width * percent / 100 / np.pi / 0.6) ** 0.5
    axes = round(radius), round(0.6 * radius)
    cv2.ellipse(hole, (width * 9 // 20, height * 11 // 20), axes, 30, 0, 360, 255, -1)
    return photo, hole


class Given:
    """A generator that returns what it is given."""

    def __init__(self, refined, attention):
        self.results = None, refined, attention

    def __call__(self, inputs):
        return self.results


def run_generator(generator, photo, hole):
    prepared = official_procedure.before_network(photo, hole, MULTIPLE)
    small, small_hole = (array.astype(np.float32)[None] for array in prepared[2:])
    inputs = [(small / 127.5 - 1) * (1 - small_hole), small_hole]
    _, refined, attention = generator(inputs)
    return inputs, refined, attention


def official(photo, hole, refined, attention):
    prepared = official_procedure.before_network(photo, hole, MULTIPLE)
    return official_procedure.after_network(photo, prepared, refined, attention)


def medians(functions, repeats):
    """Median seconds of each, interleaved; the first call does not count."""
    seconds = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def measure(size, percent, repeats, inpainter, generator):
    from hifill.array_inpainting import ArrayInpainter
    from hifill.highres import HighResolutionInpainter

    photo, hole = photo_and_hole(size, percent)
    inputs, refined, attention = run_generator(generator, photo, hole)
    fill = ArrayInpainter(HighResolutionInpainter(Given(refined, attention)))
    refined, attention = (refined[0].numpy() + 1) * 127.5, attention.numpy()

    def rest():
        result = photo.copy()
        fill(photo, hole > 127, result)

    return medians(
        [
            lambda: generator(inputs)[1].numpy(),
            rest,
            lambda: inpainter(photo, hole),
            lambda: official(photo, hole, refined, attention),
        ],
        repeats,
    )


def peak_memory(kind, size, percent, queue):
    import tensorflow as tf

    import hifill

    photo, hole = photo_and_hole(size, percent)
    if kind == "ours":
        hifill.Inpainter()(photo, hole)
    else:
        generator = hifill.Generator()
        hifill.load_weights(generator)
        _, refined, attention = run_generator(tf.function(generator), photo, hole)
        official(photo, hole, (refined[0].numpy() + 1) * 127.5, attention.numpy())
    queue.put(peak_gigabytes())


def peak_gigabytes():
    """The most resident memory of this process so far (Linux)."""
    # Not resource.getrusage, in which a process starts with the peak of the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def peak_in_fresh_process(*arguments):
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    process = spawn.Process(target=peak_memory, args=(*arguments, queue))
    process.start()
    peak = queue.get()
    process.join()
    return peak


def machine_rates():
    """Floating-point operations and copied bytes (read and written) a second, best of seven."""
    import tensorflow as tf

    matrix, pixels = tf.random.normal([2048, 2048]), np.zeros(2**28, np.uint8)
    copy = pixels.copy()

    def best(function):
        return min(medians([function], 1)[0] for _ in range(7))

    product = best(lambda: tf.matmul(matrix, matrix).numpy())
    return 2 * 2048**3 / product, 2 * pixels.nbytes / best(lambda: np.copyto(copy, pixels))


def operations(generator):
    import tensorflow as tf

    pictures = [tf.TensorSpec([1, 512, 512, channels]) for channels in (3, 1)]
    graph = generator.get_concrete_function(pictures).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=SIZES, help="HEIGHTxWIDTH")
    parser.add_argument("--holes", nargs="*", type=int, default=HOLES, help="percent")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    import tensorflow as tf

    import hifill

    network = hifill.Generator()
    hifill.load_weights(network)
    generator, inpainter = tf.function(network), hifill.Inpainter()
    rate, bandwidth = machine_rates()
    count = operations(generator)
    print(f"matrix product {rate / 1e9:.0f} GFLOP/s, copying {bandwidth / 1e9:.1f} GB/s")
    print(f"generator {count / 1e9:.1f} GFLOP, at that rate {count / rate:.2f} s\n")
    print(
        "| photo | hole | generator | rest | total | x floor | the script's rest | ratio ", end=""
    )
    print("| memory | the script's |")
    print("|---" * 10 + "|")
    for size in arguments.sizes:
        height, width = (int(side) for side in size.split("x"))
        floor = count / rate + 10 * height * width / bandwidth
        for percent in arguments.holes:
            times = measure(size, percent, arguments.repeats, inpainter, generator)
            alone, rest, total, script = times
            peaks = [peak_in_fresh_process(kind, size, percent) for kind in ("ours", "script")]
            print(
                f"| {size} | {percent} % | {alone:.2f} s | {rest:.3f} s | {total:.2f} s "
                f"| {total / floor:.1f} | {script:.2f} s | {script / rest:.0f} "
                f"| {peaks[0]:.2f} GB | {peaks[1]:.2f} GB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
