"""Load on a server over gRPC: python benchmarks/serving_load.py EXPORT/hifill

Starts the tests' stand-in for TensorFlow Serving on a folder of versions, or takes --server (and
--pid for its memory). Eight threads send photos of mixed sizes, with some garbage in between. Every
answer must be, byte for byte, the one to the same request sent alone, and garbage be refused; and
the server's memory must not grow by a fifth after the first quarter.
"""

import argparse
import concurrent.futures
import contextlib
import io
import itertools
import pathlib
import random
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# Width x height.
SIZES = [(300, 200), (200, 300), (512, 512), (800, 600), (1000, 1500), (1500, 1000)]
SERVER = pathlib.Path(__file__).parents[1] / "tests" / "serving" / "grpc_server.py"


def encoded(pixels, format):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def distinct_requests(sizes):
    """List of (image_bytes, mask_bytes), the last three of them garbage."""
    pairs = []
    for i, (width, height) in enumerate(sizes):
        noise = np.random.default_rng(i).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        photo = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
        mask = np.zeros((height, width), bool)
        mask[height // 3 : height // 2, width // 4 : width // 2] = True
        pairs.append((encoded(photo, ("JPEG", "PNG")[i % 2]), encoded(mask, "PNG")))
    image, mask = pairs[0]
    return [*pairs, (b"garbage", mask), (image[: len(image) // 2], mask), (image, b"")]


def send(stub, files):
    """The PNG file that comes back, or the name of the gRPC code."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "hifill"
    for name, content in zip(("image_bytes", "mask_bytes"), files, strict=True):
        request.inputs[name].CopyFrom(tf.make_tensor_proto([content]))
    try:
        return stub.Predict(request, timeout=600).outputs["inpainted_bytes"].string_val[0]
    except grpc.RpcError as error:
        return error.code().name


def resident_megabytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def measure(server, requests=200, sizes=SIZES, threads=8, pid=None):
    """Sends the load.

    Returns:
        Dict: `seconds`, the latency of each request; `elapsed`; `wrong`, how many answers differ
        from the one to the same request alone; `refused`, how many were garbage and refused;
        `megabytes`, the server's resident memory after each quarter, if `pid` is its process.
    """
    unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    with grpc.insecure_channel(server, unlimited) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        pairs = distinct_requests(sizes)
        alone = [send(stub, files) for files in pairs]
        expected = [a if i < len(sizes) else "INVALID_ARGUMENT" for i, a in enumerate(alone)]
        assert all(isinstance(answer, bytes) for answer in expected[: len(sizes)]), expected
        order = list(itertools.islice(itertools.cycle(range(len(pairs))), requests))
        random.Random(0).shuffle(order)
        finished, seconds, megabytes, lock = itertools.count(1), [], [], threading.Lock()

        def one(number):
            start = time.perf_counter()
            answer = send(stub, pairs[number])
            with lock:
                seconds.append(time.perf_counter() - start)
                if next(finished) % max(requests // 4, 1) == 0 and pid:
                    megabytes.append(resident_megabytes(pid))
            return answer

        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            answers = list(pool.map(one, order))
        elapsed = time.perf_counter() - start
    right = [answer == expected[number] for answer, number in zip(answers, order, strict=True)]
    return {
        "seconds": seconds,
        "elapsed": elapsed,
        "wrong": right.count(False),
        "refused": sum(ok and i >= len(sizes) for ok, i in zip(right, order, strict=True)),
        "megabytes": megabytes,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="folder of the SavedModel's versions")
    parser.add_argument("--server", help="HOST:PORT of a running server")
    parser.add_argument("--pid", type=int, help="its process, to watch its memory")
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args()
    if not given.model and not given.server:
        parser.error("name a model's folder or a --server")
    with contextlib.ExitStack() as stack:
        if not given.server:
            command = [sys.executable, str(SERVER), given.model, "hifill"]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            given.server, given.pid = f"localhost:{int(process.stdout.readline())}", process.pid
        report = measure(given.server, given.requests, pid=given.pid)
    p50, p95 = np.percentile(report["seconds"], [50, 95])
    print(f"{given.requests / report['elapsed']:.2f} requests/s, p50 {p50:.2f} s, p95 {p95:.2f} s")
    print(f"{report['wrong']} wrong answers, {report['refused']} refused as they should be")
    first, *later = report["megabytes"] or [0]
    grows = max(later, default=0) > 1.2 * first
    if first:
        print("resident memory:", ", ".join(f"{size:.0f} MB" for size in report["megabytes"]))
    if grows:
        print("the memory grows")
    return 1 if report["wrong"] or grows else 0


if __name__ == "__main__":
    sys.exit(main())
