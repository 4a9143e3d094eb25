"""Fills a photo larger than memory: python -m benchmarks.mapped_photo [SIDE]

Writes a photo of SIDE x SIDE pixels (30,000: 2.7 GB) as a .npy file, strip by strip, with a hole
over 2 % of it, fills it in a fresh process as `hifill-inpaint --mapped` does, and prints the
seconds, copying included, loading TensorFlow not, and the peak of resident memory.
"""

import argparse
import multiprocessing
import pathlib
import tempfile
import time

import cv2
import numpy as np

from benchmarks.highres import peak_gigabytes


def write_photo(path, side):
    random = np.random.default_rng(0)
    tile = cv2.resize(random.random((40, 40, 3)), (1000, 1000), interpolation=cv2.INTER_CUBIC)
    tile = np.clip(255 * tile + random.normal(0, 6, tile.shape), 0, 255).astype(np.uint8)
    strip = np.tile(tile, (1, -(-side // 1000), 1))[:, :side]
    header = {"descr": "|u1", "fortran_order": False, "shape": (side, side, 3)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for top in range(0, side, 1000):
            file.write(np.ascontiguousarray(strip[: side - top]))


def fill(photo, mask, output):
    import hifill
    from hifill.mapped_photos import fill_mapped

    inpainter = hifill.Inpainter()
    start = time.perf_counter()
    fill_mapped(inpainter, photo, mask, output)
    seconds = time.perf_counter() - start
    size, peak = photo.stat().st_size / 1e9, peak_gigabytes()
    print(f"{size:.1f} GB in {seconds:.1f} s, peak memory {peak:.2f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", nargs="?", type=int, default=30_000)
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        photo, mask, output = (
            pathlib.Path(folder) / name for name in ("photo.npy", "mask.png", "filled.npy")
        )
        write_photo(photo, side)
        hole = np.zeros((side // 10, side // 10), np.uint8)
        cv2.circle(
            hole, (side // 30, side // 30), round(side / 10 * (0.02 / np.pi) ** 0.5), 255, -1
        )
        cv2.imwrite(str(mask), hole)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=fill, args=(photo, mask, output))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
