"""Time and memory of the high-resolution wrapper by photo size: python benchmarks/highres.py

Each size runs in a process of its own with the shipped weights, a photo of smoothed noise and a
hole over 4 % of it. "memory" is what the process grew by from the first photo of 64 x 64 pixels on,
beyond the input itself; "seconds" is the second call.
"""

import argparse
import multiprocessing
import resource
import time

import cv2
import numpy as np

SIZES = ["200x300", "512x512", "1333x2000", "3000x4000", "8192x8192"]


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(size):
    from hifill import Inpainter

    height, width = (int(side) for side in size.split("x"))
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR)
    hole = np.zeros((height, width), bool)
    hole[height // 3 : height // 3 + height // 5, width // 4 : width // 4 + width // 5] = True
    inpainter = Inpainter()
    inpainter(photo[:64, :64], np.eye(64, dtype=bool))
    before = peak_megabytes()
    result = inpainter(photo, hole)
    grown = peak_megabytes() - before
    assert np.array_equal(result[~hole], photo[~hole])
    del result
    start = time.perf_counter()
    inpainter(photo, hole)
    seconds = time.perf_counter() - start
    both = 2 * photo.nbytes / 1e6
    print(f"{size:>10} {seconds:8.2f} s {grown:8.0f} MB {both:8.0f} MB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=SIZES, help="HEIGHTxWIDTH")
    print(f"{'size':>10} {'seconds':>10} {'memory':>11} {'in + out':>11}")
    spawn = multiprocessing.get_context("spawn")
    for size in parser.parse_args().sizes:
        process = spawn.Process(target=measure, args=(size,))
        process.start()
        process.join()
