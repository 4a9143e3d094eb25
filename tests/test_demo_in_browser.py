"""hifill-demo as its visitors have it: in a browser."""

import pathlib
import shutil
import time

import cv2
import numpy as np
import pytest
from demo_command import demo
from PIL import Image

import hifill
from hifill import image_io
from hifill.demo_page import EXAMPLES

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
STATUS = "text => document.querySelector('#status').innerText.includes(text)"
WRITTEN = "() => !document.querySelector('#photo_file').disabled"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with demo(tmp_path_factory.mktemp("demo")) as address:
        yield address


@pytest.fixture(scope="module")
def inpainter():
    return hifill.Inpainter()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-background-networking", "--disable-sync"]
        options += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # no GPU
        with driver.chromium.launch(executable_path=CHROMIUM, args=options) as browser:
            yield browser


class Visit:
    """The page in one browser window."""

    def __init__(self, browser, address):
        context = browser.new_context(viewport={"width": 900, "height": 800})
        self.page = context.new_page()
        self.page.set_default_timeout(120_000)
        self.addresses = []
        self.page.on("request", lambda request: self.addresses.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("#examples img")

    def wait_for_status(self, text):
        """Waits for a text, and until the editor shows what belongs to it."""
        self.page.wait_for_function(STATUS, arg=text)
        self.page.wait_for_timeout(1500)

    def open_example(self, index, text):
        self.page.locator("#examples button").nth(index).click()
        self.wait_for_status(text)

    def open(self, button, path):
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name=button).click()
        chooser.value.set_files(path)

    def stroke(self, start, end):
        """Paints a line; points are shares of the editor's width and height."""
        editor = self.page.locator("#editor canvas").first
        editor.scroll_into_view_if_needed()
        box = editor.bounding_box()
        points = [
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
        ]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move(*points[1], steps=4)
        self.page.mouse.up()

    def press_fill(self):
        self.page.evaluate("document.querySelector('#fill').click()")

    def fill(self, number=1):
        """Presses the button for the first, second ... time: -> seconds until the result is shown,
        and until it can be fetched."""
        start = time.monotonic()
        self.press_fill()
        self.page.wait_for_function(STATUS, arg=f"Fill {number}:")
        shown = time.monotonic() - start
        self.page.wait_for_function(WRITTEN)
        return shown, time.monotonic() - start

    def fetch(self, button):
        """Downloads a file: -> its name and its path."""
        with self.page.expect_download() as download:
            self.page.click(f"#{button}")
        return download.value.suggested_filename, download.value.path()

    def complaint(self):
        """What an error says."""
        toast = self.page.locator(".toast-body.error").last
        toast.wait_for()
        text = toast.inner_text()
        toast.locator("button").last.click()
        toast.wait_for(state="hidden")
        return text


@pytest.fixture
def visit(browser, address):
    """Returns a function that opens a window; closes all of them, which loaded nothing from
    elsewhere."""
    visits = []

    def open_window():
        visits.append(Visit(browser, address))
        return visits[-1]

    yield open_window
    for each in visits:
        each.page.context.close()
        assert {
            url for url in each.addresses if not url.startswith((address, "blob:", "data:"))
        } == set()


def expected_file(inpainter, photo, masks, folder):
    """What the Python API gives: bytes of a photo's file, filled by one mask after the other."""
    photo = image_io.read_photo(photo)
    pixels = photo.pixels
    for mask in masks:
        pixels = inpainter(pixels, image_io.read_mask(mask, pixels.shape[:2]))
    output = pathlib.Path(folder, "expected.jpg")
    image_io.write_photo(output, pixels, photo)
    return output.read_bytes()


def test_a_stroke_is_filled_as_by_the_python_api(visit, inpainter, tmp_path):
    visited = visit()
    visited.open_example(1, "2560 x 1440")
    visited.stroke((0.6, 0.35), (0.7, 0.35))
    visited.fill()
    name, file = visited.fetch("photo_file")
    mask_name, mask = visited.fetch("mask_file")
    assert (name, mask_name) == ("colosseum_filled.jpg", "colosseum_mask.png")

    hole, given = (image_io.read_mask(path, (1440, 2560)) for path in (mask, _mask_of("colosseum")))
    assert (hole & given).sum() == given.sum()
    rows, columns = np.nonzero(hole & ~given)
    assert 20 < np.ptp(rows) < 120 and 150 < np.ptp(columns) < 500
    assert 300 < rows.mean() < 700 and 1500 < columns.mean() < 2000
    photo = EXAMPLES / "colosseum.jpg"
    assert file.read_bytes() == expected_file(inpainter, photo, [mask], tmp_path)

    # On with the result.
    first = shutil.copy(mask, tmp_path / "first.png")
    visited.page.wait_for_timeout(1500)
    visited.stroke((0.3, 0.6), (0.35, 0.65))
    visited.fill(2)
    _, second = visited.fetch("mask_file")
    _, file = visited.fetch("photo_file")
    assert file.read_bytes() == expected_file(inpainter, photo, [first, second], tmp_path)

    visited.page.click("#undo")
    visited.wait_for_status("2560 x 1440")
    visited.page.wait_for_function(WRITTEN)
    _, file = visited.fetch("photo_file")
    assert file.read_bytes() == expected_file(inpainter, photo, [first], tmp_path)


def _mask_of(name):
    return EXAMPLES / f"{name}_mask.png"


def test_what_makes_no_sense_is_answered_in_sentences(visit, tmp_path):
    visited = visit()
    visited.press_fill()
    assert "no photo is open" in visited.complaint()
    garbage = tmp_path / "garbage.jpg"
    garbage.write_bytes(b"no picture " * 1000)
    visited.open("Open a photo", garbage)
    assert "garbage.jpg: is not a JPEG, PNG, WebP, TIFF or BMP image" in visited.complaint()
    visited.open("Open a photo", EXAMPLES / "launch.jpg")
    visited.wait_for_status("640 x 427")
    visited.press_fill()
    assert "nothing is painted" in visited.complaint()
    visited.open("Open a mask", _mask_of("launch"))
    visited.wait_for_status("its mask a hole over 2")
    visited.page.get_by_role("button", name="Clear").click()  # the photo stays
    visited.page.wait_for_function(f"() => !({STATUS})('its mask')")
    visited.page.wait_for_timeout(1500)
    visited.press_fill()
    assert "nothing is painted" in visited.complaint()


@pytest.mark.slow
def test_a_photo_of_24_megapixels(visit, inpainter, textured_photo, tmp_path):
    pixels = cv2.resize(textured_photo(1000, 1500), (6000, 4000), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x010E] = "a title"
    photo, mask = tmp_path / "large.jpg", tmp_path / "mask.png"
    profile = Image.open(EXAMPLES / "dunes.jpg").info.get("icc_profile") or b""
    Image.fromarray(pixels).save(photo, quality=90, exif=exif, icc_profile=profile)
    hole = np.zeros((4000, 6000), np.uint8)
    hole[1501:1999, 2003:3001] = 255
    cv2.imwrite(str(mask), hole)

    visited = visit()
    visited.open("Open a photo", photo)
    visited.wait_for_status("6000 x 4000")
    visited.open("Open a mask", mask)
    visited.wait_for_status("its mask")
    shown, written = visited.fill()
    print(f"24 megapixels: shown after {shown:.1f} s, to be fetched after {written:.1f} s")
    assert written < 10  # half of it on two cores that do nothing else
    _, file = visited.fetch("photo_file")
    assert file.read_bytes() == expected_file(inpainter, photo, [mask], tmp_path)
    assert Image.open(file).getexif()[0x010E] == "a title"


@pytest.mark.slow
def test_two_visitors_get_their_own_results(visit, inpainter, tmp_path):
    names = {"launch": visit(), "colosseum": visit()}
    for name, visited in names.items():
        visited.open("Open a photo", EXAMPLES / f"{name}.jpg")
        visited.wait_for_status("pixels")
        visited.open("Open a mask", _mask_of(name))
        visited.wait_for_status("its mask")
    for visited in names.values():
        visited.press_fill()
    for name, visited in names.items():
        visited.page.wait_for_function(WRITTEN)
        given, file = visited.fetch("photo_file")
        assert given == f"{name}_filled.jpg"
        photo = EXAMPLES / f"{name}.jpg"
        assert file.read_bytes() == expected_file(inpainter, photo, [_mask_of(name)], tmp_path)
