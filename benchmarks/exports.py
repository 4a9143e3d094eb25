"""What the exports cost: python benchmarks/exports.py EXPORT

EXPORT is a folder that export.py wrote. Every artefact fills square photos with a hole over a tenth
of each; each of its sizes in a fresh process. Prints a Markdown table: megabytes on disk; seconds
to load ("load", without importing TensorFlow); of the first photo ("first"); of the next ones
("next", median of three); and the most memory that the process had, TensorFlow included ("peak").
Of the 512 x 512 formats, "other_runtimes.py" tells more.
"""

import argparse
import multiprocessing
import pathlib
import resource
import statistics
import time

import cv2
import numpy as np

SIDES = (512, 2048, 4096, 8192)


def photo_and_hole(side):
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    photo = cv2.resize(photo, (side, side), interpolation=cv2.INTER_LINEAR)
    hole = np.zeros((side, side), np.uint8)
    start, end = round(side * 0.34), round(side * 0.66)
    hole[start:end, start:end] = 255
    return photo, hole


def latest(export):
    from hifill.generator_files import version_folders

    return version_folders(export / "hifill")[0]


def load_root(export):
    import tensorflow as tf

    model = tf.saved_model.load(str(latest(export)))
    return lambda photo, hole: model(photo, hole).numpy()


def load_bytes(export):
    import tensorflow as tf

    fill = tf.saved_model.load(str(latest(export))).signatures["serving_default"]

    def run(photo, hole):
        files = tf.constant([photo]), tf.constant([hole])
        return fill(image_bytes=files[0], mask_bytes=files[1])["inpainted_bytes"].numpy()

    return run


def load_frozen(export):
    from hifill import HighResolutionInpainter

    wrapper = HighResolutionInpainter(export / "hifill.pb")
    return lambda photo, hole: wrapper(photo, hole).numpy()


def load_keras(export):
    from hifill import Inpainter

    return Inpainter()


ARTEFACTS = {
    "Python, Keras (shipped weights)": (load_keras, None),
    "SavedModel, arrays": (load_root, latest),
    "SavedModel, JPEG to PNG": (load_bytes, latest),
    "frozen graph in the wrapper": (load_frozen, lambda export: export / "hifill.pb"),
}


def megabytes(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def measure(export, name, side, results):
    import tensorflow as tf

    tf.zeros([1]) + 1  # TensorFlow's own start
    photo, hole = photo_and_hole(side)
    load = ARTEFACTS[name][0]
    if load is load_bytes:
        photo = cv2.imencode(".jpg", photo)[1].tobytes()
        hole = cv2.imencode(".png", hole)[1].tobytes()
    start = time.perf_counter()
    fill = load(export)
    loaded = time.perf_counter() - start
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        fill(photo, hole)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    results.put((loaded, seconds[0], statistics.median(seconds[1:]), peak))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=pathlib.Path)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print("| artefact | MB | side | load | first | next | peak MB |\n|---|---|---|---|---|---|---|")
    for name, (_, artefact) in ARTEFACTS.items():
        size = f"{megabytes(artefact(arguments.export)):.1f}" if artefact else ""
        for side in arguments.sides:
            results = spawn.SimpleQueue()
            process = spawn.Process(target=measure, args=(arguments.export, name, side, results))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{name} at {side}: failed with exit code {process.exitcode}")
            loaded, first, following, peak = results.get()
            print(
                f"| {name} | {size} | {side} | {loaded:.1f} | {first:.2f} | {following:.2f} "
                f"| {peak:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
