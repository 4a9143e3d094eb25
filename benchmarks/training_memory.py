"""Whether a long training run keeps its memory: python benchmarks/training_memory.py PHOTOS

Trains small pictures in a temporary folder, with summaries, validation and checkpoints, and prints
the resident memory of the process as it goes, and what of it is in use, that is, what is left when
the free parts have gone back to the system. The growth is the slope of the line through the second
half of the latter; the exit code is 1 where it is above --limit. For Linux with glibc only.
"""

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import tracemalloc

import numpy as np

EVERY = 100


def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def megabytes_in_use():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return megabytes()


def growth(readings):
    """MB per 1000 iterations over the second half of {iteration: MB}."""
    iterations, sizes = np.array(list(readings.items())[len(readings) // 2 :]).T
    return 1000 * np.polyfit(iterations, sizes, 1)[0]


def print_python_growth(before, count=10):
    """Prints the lines of Python that hold more memory than before."""
    print("held by Python, more than at half time:")
    for line in tracemalloc.take_snapshot().compare_to(before, "lineno")[:count]:
        print(f"  {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="anything that train.py takes as --train_data")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--critic_steps", type=int, default=1)
    parser.add_argument("--jit_compile", action="store_true")
    parser.add_argument("--limit", type=float, default=10, help="MB per 1000 iterations")
    parser.add_argument("--trace", action="store_true", help="show what Python holds; slower")
    arguments = parser.parse_args()
    if arguments.iterations < 6 * EVERY:
        parser.error(f"--iterations must be at least {6 * EVERY}, for three readings to judge by")
    from hifill.training import Trainer, TrainingConfig

    if arguments.trace:
        tracemalloc.start()
    readings, before = {}, None
    with tempfile.TemporaryDirectory() as workdir:
        config = TrainingConfig(
            arguments.photos,
            workdir,
            val_data=arguments.photos,
            image_size=arguments.image_size,
            batch_size=arguments.batch_size,
            critic_steps=arguments.critic_steps,
            iterations=arguments.iterations,
            jit_compile=arguments.jit_compile,
            summary_every=20,
            validate_every=200,
            validation_photos=8,
            save_every=200,
        )
        print(f"{'iteration':>9} {'resident':>11} {'in use':>11}")
        for iteration, _ in Trainer(config).train():
            if iteration % EVERY == 0:
                resident, readings[iteration] = megabytes(), megabytes_in_use()
                print(f"{iteration:9} {resident:8.1f} MB {readings[iteration]:8.1f} MB", flush=True)
            if arguments.trace and iteration == arguments.iterations // 2:
                before = tracemalloc.take_snapshot()
    if arguments.trace:
        print_python_growth(before)
    grown = growth(readings)
    print(f"growth {grown:.1f} MB per 1000 iterations, limit {arguments.limit:g}")
    return 1 if grown > arguments.limit else 0


if __name__ == "__main__":
    sys.exit(main())
