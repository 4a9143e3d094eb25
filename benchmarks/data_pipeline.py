"""Whether the data keep up with training: python benchmarks/data_pipeline.py PHOTOS

Prints where the time of a sample goes, in one thread; the photos per second of `data.batches` by
the number of its threads, with nothing else running; and those of training steps, each in a process
of its own, with the ratio. Beside a GPU a ratio above 1 will do. A CPU has to do both: there the
photos take 1 / ratio of the time of the steps, on top of it.
"""

import argparse
import os
import statistics
import time
import types

import tensorflow as tf
import training_step

from hifill import data
from hifill.photo_sources import open_photos
from hifill.training_config import TrainingConfig, build_masks

STEPS = "iteration, one call", "both networks, reconstruction"
_WARM_UP_SECONDS = 5  # tf.data finds out how many calls to run at once.


def timed(function, seconds):
    """The function; of each call it appends the seconds to a list."""

    def call(*arguments):
        start = time.perf_counter()
        result = function(*arguments)
        seconds.append(time.perf_counter() - start)
        return result

    return call


def print_parts(samples, count):
    """Prints where the time of a sample goes."""
    parts = {name: [] for name in ("read and decode", "crop and flip", "mask", "all")}
    samples.photos.read = timed(samples.photos.read, parts["read and decode"])
    samples._crop = timed(samples._crop, parts["crop and flip"])
    samples.masks = types.SimpleNamespace(draw=timed(samples.masks.draw, parts["mask"]))
    sample = timed(samples.sample, parts["all"])
    for number in range(count):
        sample(number)
    del samples.photos.read  # Back to that of the class, for the photos are used again.
    means = {name: 1000 * sum(seconds) / count for name, seconds in parts.items()}
    total = means.pop("all")
    means["rest"] = total - sum(means.values())
    print("| part of a sample | ms | share |\n|---|---|---|")
    for name, value in means.items():
        print(f"| {name} | {value:.2f} | {value / total:.0%} |")
    print(f"| all | {total:.2f} | |\n", flush=True)


def photos_per_second(samples, batch_size, steps, threads, seconds):
    """Of `data.batches` after warming up, with so many threads."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    elements = iter(data.batches(samples, batch_size, steps).with_options(options))

    def run(limit):
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < limit:
            next(elements)
            count += 1
        return count * steps * batch_size / elapsed

    run(_WARM_UP_SECONDS)
    return run(seconds)


def print_scaling(make_samples, batch_size, steps, seconds):
    """Prints the speed by the number of threads; returns that with one for each core."""
    cores = os.cpu_count()
    print("| threads | photos per second |\n|---|---|")
    for threads in [*(n for n in (1, 2, 4, 8, 16, 32) if n < cores), cores]:
        speed = photos_per_second(make_samples(), batch_size, steps, threads, seconds)
        print(f"| {threads} | {speed:.1f} |", flush=True)
    return speed


def print_ratios(speed, arguments):
    print("\n| step | its photos per second | ratio |\n|---|---|---|")
    for kind in STEPS:
        result = training_step.measure_apart(
            arguments.image_size,
            arguments.dtype_policy,
            arguments.jit_compile,
            kind,
            arguments.batch_size,
            3,
        )
        if isinstance(result, str):
            print(f"| {kind} | {result} | |", flush=True)
            continue
        used = result["photos"] / statistics.median(result["seconds"])
        print(f"| {kind} | {used:.2f} | {speed / used:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="anything that train.py takes as --train_data")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--dtype_policy", default="float32", help="of the training steps")
    parser.add_argument("--jit_compile", action="store_true", help="of the training steps")
    parser.add_argument("--count", type=int, default=500, help="samples to take apart")
    parser.add_argument("--seconds", type=float, default=20, help="to run each pipeline")
    arguments = parser.parse_args()
    # The GPU is for the steps.
    tf.config.set_visible_devices([], "GPU")
    config = TrainingConfig(arguments.photos, "", image_size=arguments.image_size)
    photos, masks = open_photos(config.train_data), build_masks(config)

    def make_samples():
        return data.Samples(photos, masks, config.image_size)

    print(f"{len(photos)} photos, crops of {config.image_size} px, {os.cpu_count()} CPU cores\n")
    print_parts(make_samples(), arguments.count)
    steps = config.critic_steps + 1
    speed = print_scaling(make_samples, arguments.batch_size, steps, arguments.seconds)
    print_ratios(speed, arguments)


if __name__ == "__main__":
    main()
