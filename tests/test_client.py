"""`RemoteInpainter` and hifill-client against servers in processes of their own."""

import base64
import concurrent.futures
import contextlib
import http.server
import io
import json
import pathlib
import runpy
import shutil
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms
from serving.relay import relay

from hifill import client, image_io
from hifill.client import RemoteInpainter

pytest_plugins = ["serving.stand_ins"]

HEIGHT, WIDTH = 90, 131


def photo(dtype=np.uint8, height=HEIGHT, width=WIDTH):
    top = np.iinfo(dtype).max
    return np.random.default_rng(3).integers(0, top, (height, width, 3), dtype, endpoint=True)


def hole():
    marked = np.zeros((HEIGHT, WIDTH), bool)
    marked[20:50, 40:90] = True
    return marked


def encoded(pixels, format="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def b64(pixels):
    return {"b64": base64.b64encode(encoded(pixels)).decode()}


def one_line(error):
    message = str(error.value)
    assert "\n" not in message and "node" not in message and "assertion" not in message
    return message


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equals_the_saved_model(server, protocol, saved_model, dtype):
    image = photo(dtype)
    inpainted = RemoteInpainter(server, protocol)(image, hole()[..., None])
    assert inpainted.dtype == dtype
    np.testing.assert_array_equal(inpainted[~hole()], image[~hole()])
    expected = saved_model.signatures["serving_default"](
        image_bytes=tf.io.encode_png(image)[None],
        mask_bytes=tf.constant([encoded(hole().astype(np.uint8) * 255)]),
    )["inpainted_bytes"][0]
    np.testing.assert_array_equal(inpainted, tf.io.decode_png(expected, dtype=dtype))
    assert (inpainted[hole()] != image[hole()]).mean() > 0.9


def test_encoded_files(server, protocol, saved_model):
    files = encoded(photo(), "JPEG"), encoded(hole())
    remote = RemoteInpainter(server, protocol, version=1)
    expected = saved_model.signatures["serving_default"](
        image_bytes=tf.constant(files[:1]), mask_bytes=tf.constant(files[1:])
    )
    assert remote.inpaint_bytes(*files) == expected["inpainted_bytes"].numpy()[0]


@pytest.mark.parametrize(
    ("image_bytes", "mask_bytes", "message"),
    [
        (b"GIF89a", encoded(hole()), r"image_bytes\[0\] is a GIF; send JPEG or PNG$"),
        (encoded(photo()), b"", r"mask_bytes\[0\] is empty; send JPEG or PNG$"),
        (encoded(photo(), "JPEG")[:3000], encoded(hole()), r"image_bytes: jpeg::\w+ failed"),
        (encoded(photo()), encoded(hole())[:60], "mask_bytes: Invalid PNG"),
        (encoded(photo()), encoded(hole()[:, :90]), r"is 90 x 90 pixels, image_bytes\[0\] 131 x"),
        (encoded(photo()), encoded(np.full((HEIGHT, WIDTH), 255, np.uint8)), r"100\.0 % as hole"),
        (encoded(photo(height=1500, width=1400)), encoded(hole()), "limit of 2000000; shrink it$"),
    ],
    ids=["GIF", "empty mask", "cut", "cut mask", "mask of another size", "full mask", "too large"],
)
def test_what_the_server_refuses(server, protocol, image_bytes, mask_bytes, message):
    with pytest.raises(ValueError, match=message) as error:
        RemoteInpainter(server, protocol).inpaint_bytes(image_bytes, mask_bytes)
    assert server in one_line(error)


def test_what_is_never_sent(protocol):
    remote = RemoteInpainter("localhost:1", protocol, retries=0)
    np.testing.assert_array_equal(remote(photo(), np.zeros((HEIGHT, WIDTH))), photo())
    with pytest.raises(ValueError, match="inverted"):
        remote(photo(), np.ones((HEIGHT, WIDTH), bool))
    with pytest.raises(ValueError, match="float32"):
        remote(photo().astype(np.float32), hole())
    with pytest.raises(ValueError, match="131, 90"):
        remote(photo(), hole().T)
    with pytest.raises(ValueError, match="int64"):
        remote(photo(), hole().astype(np.int64))


def test_unknown_model_and_version(server, protocol):
    for options, named in (({"model": "lama"}, "'lama'"), ({"version": 7}, "version 7")):
        with pytest.raises(ConnectionError, match=f"has no model .*{named}") as error:
            RemoteInpainter(server, protocol, **options)(photo(), hole())
        assert "--model_name" in one_line(error)


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ValueError, match="pip install tensorflow-serving-api grpcio"):
        RemoteInpainter("localhost:8500", "grpc")


def test_nobody_listens(protocol):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"localhost:1 .*unavailable, tries: 3") as error:
        RemoteInpainter("localhost:1", protocol, retries=2)(photo(), hole())
    assert 0.7 < time.monotonic() - start < 3
    assert "check that" in one_line(error)


def test_arguments_that_make_no_sense():
    for options, message in (
        ({"protocol": "soap"}, "unknown protocol 'soap'"),
        ({"timeout": 0}, "timeout=0"),
        ({"server": "ftp://x"}, "ftp://x: is no http or https URL"),
    ):
        with pytest.raises(ValueError, match=message):
            RemoteInpainter(**{"server": "localhost:1", **options})
    for server in ("localhost:99999", "localhost:x"):
        with pytest.raises(ValueError, match=rf"^{server}: Port "):
            RemoteInpainter(server, "grpc")


@pytest.mark.parametrize(
    ("server", "protocol"),
    [
        ("http://me:secret@localhost:1", "rest"),
        ("me:secret@localhost:1", "rest"),
        ("http://me:secret@localhost:99999", "rest"),
        ("ftp://me:secret@localhost:1", "rest"),
        ("http://me:secret@localhost:1", "grpc"),
    ],
)
def test_no_error_shows_a_password(server, protocol):
    with pytest.raises((ConnectionError, ValueError)) as error:
        RemoteInpainter(server, protocol, retries=0)(photo(), hole())
    assert "secret" not in one_line(error) and "localhost:" in one_line(error)


def test_a_refused_password_is_not_shown():
    with http_server(401, b"<html>who?</html>") as (server, _), pytest.raises(ValueError) as error:
        RemoteInpainter(f"http://me:secret@{server}")(photo(), hole())
    assert "secret" not in one_line(error) and f"http://{server}/v1" in one_line(error)


def test_a_server_that_never_answers(protocol):
    with socket.create_server(("localhost", 0)) as silent:
        server = f"localhost:{silent.getsockname()[1]}"
        with pytest.raises(ValueError, match=r"no answer within 0\.3 s.*--timeout") as error:
            RemoteInpainter(server, protocol, timeout=0.3)(photo(), hole())
    assert server in one_line(error)


def test_a_host_that_takes_no_connection():
    """It may be another address than meant: that is no photo which takes too long."""
    with socket.create_server(("localhost", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        server = f"localhost:{full.getsockname()[1]}"
        for _ in range(4):  # more than the queue of connections holds
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(ConnectionError, match="unavailable, tries: 2") as error:
            RemoteInpainter(server, timeout=0.3, retries=1)(photo(), hole())
    assert server in one_line(error)


def test_a_server_without_a_free_thread():
    """What gRPC answers when all its threads are at work."""
    tries = []

    def refuse(request, context):
        tries.append(request)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")

    class Handler(grpc.GenericRpcHandler):
        def service(self, call):
            return grpc.unary_unary_rpc_method_handler(refuse)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        busy = grpc.server(threads, [Handler()])
        port = busy.add_insecure_port("localhost:0")
        busy.start()
        with pytest.raises(ConnectionError, match=r"tries: 2 \(Server Threadpool Exhausted"):
            RemoteInpainter(f"localhost:{port}", "grpc", retries=1)(photo(), hole())
        busy.stop(None).wait()
    assert len(tries) == 2


@contextlib.contextmanager
def http_server(status, content):
    """Answers every POST alike: gives HOST:PORT and a list that grows with each request."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"localhost:{server.server_address[1]}", requests
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "content", "message", "tries"),
    [
        (200, b"<html>hello</html>", "200 OK, but not as TensorFlow Serving", 1),
        (200, b'{"outputs": "done"}', "200 OK, but not as TensorFlow Serving", 1),
        (200, b'{"outputs": [{"b64": "AAAA"}]}', "the answer is no PNG", 1),
        (200, json.dumps({"outputs": [b64(photo(height=9))]}).encode(), "than the photo", 1),
        (302, b"", "302 Found, but not as TensorFlow Serving", 1),
        (404, b"<html>no such page</html>", "404 Not Found, but not as TensorFlow Serving", 1),
        (400, b'{"error": "Missing named input: x"}', "not one that export.py wrote", 1),
        (429, b'{"error": "OOM when allocating"}', "out of memory", 1),
        (500, b'{"error": "lost"}', "failed with 500 Internal Server Error .lost", 1),
        (500, b'{"error": "wrong signature of x.pem"}', "failed with 500 .*wrong signature", 1),
        (200, b"[" * 100_000, "200 OK, but not as TensorFlow Serving", 1),
        (429, b'{"error": "timeout exceeded while waiting in batching queue"}', "tries: 2 ", 2),
        (503, b"<html>busy</html>", "unavailable, tries: 2 .503 Service Unavailable", 2),
        (503, b'{"error": "loading"}', "unavailable, tries: 2 .loading", 2),
        (504, b'{"error": "Timed out"}', "--rest_api_timeout_in_ms", 1),
    ],
)
def test_other_answers(status, content, message, tries):
    with http_server(status, content) as (server, requests):
        kind = ConnectionError if "tries: " in message else ValueError
        with pytest.raises(kind, match=message) as error:
            RemoteInpainter(f"http://{server}/", retries=1)(photo(), hole())
        assert server in one_line(error) and len(requests) == tries
    sent = json.loads(requests[0])["inputs"]["image_bytes"][0]["b64"]
    pixels = image_io.decode_photo(base64.b64decode(sent), "sent").pixels
    assert not pixels[hole()].any()


def test_several_root_errors():
    """Sessions report them like this when an assertion stops more than one output."""
    root = "INVALID_ARGUMENT: {}\n\t [[{{{{node map/while/mask_bytes/x}}}}]]\n\t [[map/_3]]\n"
    for sentence, essence in (
        ("assertion failed: [mask_bytes[0] is empty]", "mask_bytes[0] is empty"),
        ("jpeg::Uncompress failed.", "mask_bytes: jpeg::Uncompress failed."),
    ):
        both = "".join(f"  ({i}) {root.format(sentence)}" for i in range(2))
        body = json.dumps({"error": f"2 root error(s) found.\n{both}0 successful operations."})
        with http_server(400, body.encode()) as (server, _), pytest.raises(ValueError) as error:
            RemoteInpainter(server)(photo(), hole())
        assert one_line(error) == f"{server} (rest): {essence}"


def test_rest_to_a_server_that_speaks_grpc(servers):
    with pytest.raises(ConnectionError, match=r"\(the answer is not HTTP\)") as error:
        RemoteInpainter(servers["grpc"], retries=0)(photo(), hole())
    assert "port for the protocol" in one_line(error)


def test_grpc_to_a_server_that_speaks_http():
    with http_server(200, b"hello") as (server, _), pytest.raises(ConnectionError) as error:
        RemoteInpainter(server, "grpc", timeout=5, retries=0)(photo(), hole())
    assert "port for the protocol" in one_line(error)


def test_a_server_that_comes_up_later(server, protocol, tmp_path):
    """For the first second nobody listens at a port; then it leads to the server."""
    with socket.create_server(("localhost", 0)) as reserved:
        later = reserved.getsockname()[1]

    def relay_later():
        time.sleep(1)
        with socket.create_server(("localhost", later)) as listening:
            relay(listening, server)

    threading.Thread(target=relay_later, daemon=True).start()
    remote = RemoteInpainter(f"localhost:{later}", protocol)
    expected = RemoteInpainter(server, protocol)(photo(), hole())
    np.testing.assert_array_equal(remote(photo(), hole()), expected)


@pytest.fixture
def command(server, protocol, run_command):
    """Runs hifill-client in this process: arguments -> (exit code, what it wrote to stderr)."""

    def run(*arguments):
        given = [*arguments, f"--server={server}", f"--protocol={protocol}"]
        return run_command(client.run, "hifill-client", *given)[::2]

    return run


@pytest.fixture
def mask(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(hole()).save(path)
    return path


def test_command_on_a_photo(command, mask, tmp_path):
    rgba = np.dstack([photo(), np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)])
    source, output = tmp_path / "photo.png", tmp_path / "filled.png"
    exif, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[0x10E] = "a title"
    Image.fromarray(rgba).save(source, exif=exif, icc_profile=profile)
    code, stderr = command(source, f"--mask={mask}", "-o", output, "--dilate=3")
    assert code == 0, stderr
    filled = Image.open(output)
    assert filled.getexif()[0x10E] == "a title" and filled.info["icc_profile"] == profile
    changed = (np.asarray(filled) != rgba).any(-1)
    assert changed[17:53, 40:90].mean() > 0.9 and not changed[:17].any()
    np.testing.assert_array_equal(np.asarray(filled)[..., 3], rgba[..., 3])


def test_command_on_a_folder_with_a_bad_file(command, mask, tmp_path):
    photos, output = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(photo()).save(photos / "a.png")
    shutil.copy(photos / "a.png", photos / "c.png")
    (photos / "b.png").write_bytes(b"no photo")
    code, stderr = command(photos, f"--mask={mask}", f"--output={output}")
    assert code == 1 and "1 of 3 photos failed" in stderr and "b.png" in stderr
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "c.png"]


def test_command_gives_a_folder_up_when_there_is_no_server(mask, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abc":
        Image.fromarray(photo()).save(photos / f"{name}.png")
    flags = [f"--mask={mask}", f"--output={tmp_path / 'out'}", "--server=localhost:1"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from hifill.client import run; run()",
            photos,
            *flags,
            "--retries=0",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.count("unavailable, tries: 1") == 1
    assert "3 of 3 photos failed" in done.stderr


def test_command_blames_the_server(command, mask, tmp_path):
    source = tmp_path / "photo.png"
    Image.fromarray(photo()).save(source)
    code, stderr = command(source, f"--mask={mask}", "-o", tmp_path / "o.png", "--model_name=no")
    complaint = stderr.splitlines()[-1]
    assert code == 1 and "localhost" in complaint and "has no model 'no'" in complaint


def test_rest_needs_no_tensorflow(servers, mask, tmp_path):
    source, output = tmp_path / "photo.png", tmp_path / "out.png"
    Image.fromarray(photo()).save(source)
    script = (
        "import sys; sys.modules['tensorflow'] = None; from hifill.client import run;"
        "sys.argv[0] = 'hifill-client'; run()"
    )
    given = [source, f"--mask={mask}", "-o", output, f"--server={servers['rest']}"]
    for arguments, said in ((["--help"], "--server"), (given, "")):
        arguments = [sys.executable, "-c", script, *map(str, arguments)]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 0 and said in done.stdout, done.stderr
    assert output.exists()


def test_load(servers):
    script = pathlib.Path(__file__).parents[1] / "benchmarks" / "serving_load.py"
    measure = runpy.run_path(str(script))["measure"]
    report = measure(servers["grpc"], requests=24, sizes=[(90, 60), (150, 100), (40, 200)])
    assert report["wrong"] == 0 and report["refused"] > 0 and len(report["seconds"]) == 24


@pytest.mark.slow
def test_memory_under_load(export_folder):
    """The benchmark fails if an answer is wrong or the server's memory grows."""
    script = pathlib.Path(__file__).parents[1] / "benchmarks" / "serving_load.py"
    command = [sys.executable, script, export_folder / "hifill", "--requests=80"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "p95" in done.stdout and "\n0 wrong answers" in done.stdout
