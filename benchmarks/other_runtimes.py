"""LiteRT and ONNX against Keras: python benchmarks/other_runtimes.py PHOTOS

Converts the shipped weights at 512 x 512 and runs every model on the middle of each photo with one
random hole, in turns. Prints a Markdown table: the refined picture's absolute difference from Keras
and from the photo, over all hole pixels, in grey levels of 255; and the median time of a run on all
cores.
"""

import argparse
import os
import pathlib
import tempfile
import time

import cv2
import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from hifill import masks, silhouettes
from hifill.generator_function import generator_function
from hifill.litert_model import WEIGHTS, litert_model
from hifill.onnx_model import onnx_model
from hifill.photo_sources import open_photos
from hifill.weights import load_generator

SIZE = 512


def middle(pixels):
    scale = max(1, SIZE / min(pixels.shape[:2]))
    height, width = (max(SIZE, round(side * scale)) for side in pixels.shape[:2])
    if scale > 1:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    return np.ascontiguousarray(pixels[top : top + SIZE, left : left + SIZE])


def keras_run(generator):
    function = generator_function(generator, SIZE)
    return lambda image, mask: function(image, mask)["refined"].numpy()


def litert_run(path):
    runner = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner("generator")
    return lambda image, mask: runner(image=image, mask=mask)["refined"]


def onnx_run(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image, mask: session.run(["refined"], {"image": image, "mask": mask})[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="a folder of photos, for example")
    parser.add_argument("--count", type=int, default=20, help="photos to take, evenly spaced")
    arguments = parser.parse_args()
    photos = open_photos(arguments.photos)
    count = min(arguments.count, len(photos))
    templates = silhouettes.generated_templates(np.random.default_rng(0))
    generator = load_generator()
    runs = {"Keras": keras_run(generator)}
    with tempfile.TemporaryDirectory() as folder:
        for weights in WEIGHTS:
            path = pathlib.Path(folder, f"hifill_{weights}.tflite")
            path.write_bytes(litert_model(generator, SIZE, weights))
            runs[path.name] = litert_run(path)
        path = pathlib.Path(folder, "hifill.onnx")
        path.write_bytes(onnx_model(generator, SIZE))
        runs[path.name] = onnx_run(path)
        files = pathlib.Path(folder).iterdir()
        megabytes = {path.name: f"{path.stat().st_size / 1e6:.1f}" for path in files}

        differences, errors, seconds = ({name: [] for name in runs} for _ in range(3))
        for i in [0, *range(count)]:  # the first round warms up
            photo = middle(photos.read(i * len(photos) // count))[None] / np.float32(127.5) - 1
            mask = masks.random_mask(np.random.default_rng(i), SIZE, SIZE, templates)
            mask = mask[None].astype(np.float32)
            inside = np.broadcast_to(mask > 0, photo.shape)
            expected = None
            for name, run in runs.items():
                start = time.perf_counter()
                refined = run(photo * (1 - mask), mask)
                seconds[name].append(time.perf_counter() - start)
                expected = refined if expected is None else expected
                differences[name].append(127.5 * np.abs(refined - expected)[inside])
                errors[name].append(127.5 * np.abs(refined - photo)[inside])

    print("| model | MB | largest difference | mean difference | error | ms |")
    print("|---|---|---|---|---|---|")
    for name in runs:
        difference = np.concatenate(differences[name][1:])
        print(
            f"| {name} | {megabytes.get(name, '')} | {difference.max():.3g} "
            f"| {difference.mean():.3g} | {np.concatenate(errors[name][1:]).mean():.2f} "
            f"| {1000 * np.median(seconds[name][1:]):.0f} |"
        )


if __name__ == "__main__":
    main()
