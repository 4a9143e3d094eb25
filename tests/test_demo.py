"""hifill-demo as a program may call it: what it fills on a server, and what it refuses."""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import socket
import time

import pytest
import requests
from demo_command import demo
from PIL import Image

import hifill
from hifill import demo as command
from hifill import image_io
from hifill.client import RemoteInpainter
from hifill.demo_page import EXAMPLES

pytest_plugins = ["serving.stand_ins"]

OPEN_PHOTO, OPEN_MASK, UNDO, FILL = 0, 1, 3, 6  # the page's events


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page keeps its files."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def address(servers, folder):
    flags = f"--server={servers['rest']}", "--max_megabytes=20", "--max_megapixels=30"
    with demo(folder, *flags) as address:
        yield address


class Visitor:
    """A page that is open, of which a program plays the browser."""

    def __init__(self, address):
        self._routes, self._session = f"{address}gradio_api", secrets.token_hex(6)
        # The page counts as closed when this connection ends.
        self._heartbeat = requests.get(f"{self._routes}/heartbeat/{self._session}", stream=True)

    def upload(self, path):
        """Uploads a file: -> gradio's description of it."""
        with open(path, "rb") as content:
            files = {"files": (pathlib.Path(path).name, content)}
            answer = requests.post(f"{self._routes}/upload", files=files)
        answer.raise_for_status()
        return described(answer.json()[0])

    def call(self, function, *data):
        """Calls an event of the page: -> all that it answers, a text."""
        body = {"data": data, "fn_index": function, "session_hash": self._session}
        requests.post(f"{self._routes}/queue/join", json=body).raise_for_status()
        url, asked = f"{self._routes}/queue/data", {"session_hash": self._session}
        text = ""
        with requests.get(url, asked, stream=True) as events:
            for line in events.iter_lines():
                text += line.decode()
                if b'"process_completed"' in line:
                    return text

    def open(self, function, path, *data):
        return self.call(function, self.upload(path), *data)

    def close(self):
        self._heartbeat.close()


def described(path):
    return {"path": str(path), "orig_name": "photo.jpg", "meta": {"_type": "gradio.FileData"}}


def paths_in(answer, name):
    """Paths of the files of a name that an answer speaks of."""
    return re.findall(rf'"(/[^"]*/{name})"', answer)


@pytest.fixture
def visitor(address):
    visitor = Visitor(address)
    yield visitor
    visitor.close()


def files_in(folder):
    """Those that are not empty, of a folder from which another process may be deleting."""
    found = []
    for place, _, names in os.walk(folder):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if os.path.getsize(path):
                    found.append(path)
    return found


def test_visitors_get_what_the_server_fills_and_nothing_of_it_stays(
    address, folder, servers, tmp_path
):
    mask = EXAMPLES / "launch_mask.png"
    turned = tmp_path / "turned.jpg"
    Image.open(EXAMPLES / "launch.jpg").rotate(180).save(turned, quality=90)
    visitors = {turned: Visitor(address), EXAMPLES / "launch.jpg": Visitor(address)}
    layers = {}
    for photo, visitor in visitors.items():
        assert "640 x 427 pixels" in visitor.open(OPEN_PHOTO, photo)
        answer = visitor.open(OPEN_MASK, mask, False)
        assert "its mask a hole over 2.75%" in answer
        layers[photo] = [described(path) for path in paths_in(answer, "layer.png")[:1]]
    model = RemoteInpainter(servers["rest"])
    for photo, visitor in visitors.items():
        answer = visitor.call(FILL, layers[photo], 0)
        (file, *_) = paths_in(answer, f"{photo.stem}_filled.jpg")
        given = requests.get(f"{address}gradio_api/file={file}").content
        opened = image_io.read_photo(photo)
        hole = image_io.read_mask(mask, (427, 640))
        output = tmp_path / "expected.jpg"
        image_io.write_photo(output, model(opened.pixels, hole), opened)
        assert given == output.read_bytes()

    assert [*folder.rglob("*filled.jpg")]
    for visitor in visitors.values():
        visitor.close()
    deadline = time.monotonic() + 30
    while left := files_in(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_it_reads_no_path_and_no_address_that_the_browser_names(address, visitor, tmp_path):
    photo = pathlib.Path(shutil.copy(EXAMPLES / "launch.jpg", tmp_path))
    assert "640 x 427" in visitor.open(OPEN_PHOTO, photo)
    assert "640 x 427" not in visitor.call(OPEN_PHOTO, described(photo))
    assert photo.exists()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        other = f"http://127.0.0.1:{listener.getsockname()[1]}/photo.jpg"
        assert "addresses are not fetched" in visitor.call(OPEN_PHOTO, described(other))
        assert "addresses are not fetched" in visitor.call(FILL, [described(other)], 0)
        for route in ("file", "proxy"):
            assert requests.get(f"{address}gradio_api/{route}={other}").status_code == 403
        with pytest.raises(TimeoutError):
            listener.accept()
    for path in ("/etc/passwd", photo, pathlib.Path(hifill.__file__)):
        assert requests.get(f"{address}gradio_api/file={path}").status_code == 403


def test_uploads_are_limited_in_bytes_and_in_pixels(visitor, tmp_path):
    heavy, large = tmp_path / "heavy.jpg", tmp_path / "large.png"
    heavy.write_bytes(bytes(21_000_000))
    with pytest.raises(requests.HTTPError, match="413"):
        visitor.upload(heavy)
    Image.new("1", (6000, 5001)).save(large)
    assert "over the limit of 30000000 pixels" in visitor.open(OPEN_PHOTO, large)


def test_what_makes_no_sense_is_answered_in_sentences(visitor, tmp_path):
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes((EXAMPLES / "launch.jpg").read_bytes()[:30_000])
    assert "truncated.jpg: is truncated" in visitor.open(OPEN_PHOTO, truncated)
    mask = EXAMPLES / "launch_mask.png"
    assert "no photo is open" in visitor.open(OPEN_MASK, mask, False)
    assert "640 x 427" in visitor.open(OPEN_PHOTO, EXAMPLES / "launch.jpg")
    other = visitor.open(OPEN_MASK, EXAMPLES / "colosseum_mask.png", False)
    assert "make a mask of the photo's aspect" in other
    answer = visitor.open(OPEN_MASK, mask, True)
    assert "its mask a hole over 97.25%" in answer
    layers = [described(path) for path in paths_in(answer, "layer.png")[:1]]
    assert "leave more of it to copy from" in visitor.call(FILL, layers, 0)


def test_what_is_painted_must_be_a_picture(visitor, tmp_path):
    assert "640 x 427" in visitor.open(OPEN_PHOTO, EXAMPLES / "launch.jpg")
    layer = tmp_path / "layer_0.png"
    for content, answer in (
        (b"no picture", "what was painted did not arrive"),
        ((EXAMPLES / "launch_mask.png").read_bytes(), "what was painted did not arrive"),
    ):
        layer.write_bytes(content)
        assert answer in visitor.call(FILL, [visitor.upload(layer)], 0)
    assert "nothing is painted" in visitor.call(FILL, [], 0)


def test_a_photo_is_for_the_page_that_opened_it(visitor, address):
    visitor.open(OPEN_PHOTO, EXAMPLES / "launch.jpg")
    other = Visitor(address)
    assert "no photo is open" in other.call(UNDO)
    other.close()


def test_it_listens_on_this_machine_alone(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass


def test_mistakes_on_the_command_line_are_one_line(run_command, servers):
    port = servers["rest"].rpartition(":")[2]
    for flags, code, message in (
        (["--model=nowhere"], 1, "nowhere: no such weights file"),
        (["--model=a", "--server=b"], 2, "--model and --server do not go together"),
        (["photo.jpg"], 2, "takes no arguments, got 'photo.jpg'"),
        (["--server=localhost:1", f"--port={port}"], 1, f"cannot listen on 127.0.0.1:{port}"),
    ):
        given, _, error = run_command(command.run, "hifill-demo", *flags)
        assert given == code
        assert error.startswith(f"hifill-demo: {message}")
        assert "Traceback" not in error
