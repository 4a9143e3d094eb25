"""The page of `hifill-demo`: what stands on it, and what its buttons do.

The editor shows a preview. Of what it hands back, the painted layer is looked at and nothing else.
"""

import contextlib
import pathlib
import threading
import time

import cv2
import gradio as gr
import numpy as np

from hifill import image_io
from hifill.painted_photo import PaintedPhoto

EXAMPLES = pathlib.Path(__file__).parent / "demo_photos"
_NAMES = ("dunes", "colosseum", "launch")
_RED = (225, 29, 72)
_MOST_PHOTOS = 16  # open at a time
_LONGEST_REST = 3600  # seconds until a photo that nobody touches may be closed

# Only a function of the browser's may take the editor as its input. Of the inputs of any other,
# gradio asks the values at each step of each progress bar, and the editor then uploads all layers.
_UPLOAD = "value => [[value.background, value.composite, ...value.layers].filter(file => file)]"


class Visitors:
    """The photos that are open, one for each page.

    Args:
        inpainter: a `hifill.Inpainter`, or anything called like one.
        max_pixels: larger photos are refused.
        folder: a folder for the files of open photos.
    """

    def __init__(self, inpainter, max_pixels, folder):
        self.inpainter, self._max_pixels = inpainter, max_pixels
        self.folder = pathlib.Path(folder)
        self._photos, self._lock = {}, threading.Lock()

    def open(self, visitor, content, name):
        """Opens a photo in place of the one that a visitor had: -> a `PaintedPhoto`."""
        painted = PaintedPhoto(content, name, self.folder, self._max_pixels)
        with self._lock:
            rested = time.monotonic() - _LONGEST_REST
            closed = [each for each, (_, since) in self._photos.items() if since < rested]
            closed += [*self._photos][: max(0, len(self._photos) + 1 - _MOST_PHOTOS)]
        for each in {visitor, *closed}:
            self.close(each)
        with self._lock:
            self._photos[visitor] = painted, time.monotonic()
        return painted

    def photo(self, visitor):
        """The `PaintedPhoto` that a visitor has open.

        Raises:
            ValueError: there is none.
        """
        with self._lock:
            painted, _ = self._photos.pop(visitor, (None, None))
            if painted is None:
                raise ValueError("no photo is open, or it has been closed: open one")
            self._photos[visitor] = painted, time.monotonic()  # now the last to be closed
        return painted

    def take(self, path):
        """Reads an uploaded file, and deletes it unless it lies in the folder: path -> bytes."""
        path = pathlib.Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:  # another page uploaded the same file, and it has been taken
            raise ValueError(f"{path.name}: got lost on the way; open it once more") from error
        if self.folder not in path.parents:
            path.unlink(missing_ok=True)
        return content

    def close(self, visitor):
        """Forgets the photo of a visitor, if there is one, and deletes its files."""
        with self._lock:
            painted, _ = self._photos.pop(visitor, (None, None))
        if painted is not None:
            painted.close()


def _only_uploads(component):
    """Has a component take nothing but files that a browser uploaded.

    Gradio sees to that for paths, but would fetch what lies at an address.
    """
    take = component.async_move_resource_to_block_cache

    async def take_upload(path):
        if "://" in str(path):
            raise gr.Error("addresses are not fetched: open a file", print_exception=False)
        return await take(path)

    component.async_move_resource_to_block_cache = take_upload


def _painted(paths, visitors):
    """What is painted in an editor: files of its pictures -> bool [h, w], None if nothing is."""
    files = {pathlib.PurePath(path).name: visitors.take(path) for path in paths or ()}
    layer = next((files[name] for name in files if name.startswith("layer")), None)
    if layer is None:
        return None
    picture = cv2.imdecode(np.frombuffer(layer, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        raise ValueError("what was painted did not arrive; press Fill once more")
    return picture[..., 3] > 0


@contextlib.contextmanager
def _told():
    """Shows what a visitor can mend as a sentence on the page."""
    try:
        yield
    except MemoryError as error:
        message = "the photo does not fit in memory: shrink it"
        raise gr.Error(message, print_exception=False) from error
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from error


def make_page(visitors):
    """Lays out the page: `Visitors` -> gr.Blocks, not launched."""
    types = list(image_io.SUFFIXES)
    # Files whose upload nobody waited for are deleted sooner or later.
    old = 600, _LONGEST_REST
    with gr.Blocks(title="HiFill", analytics_enabled=False, delete_cache=old) as page:
        gr.Markdown(
            "# HiFill\nPaint over what is to vanish and press *Fill*. Pixels that you do not paint"
            " stay as they are, in full resolution."
        )
        with gr.Row():
            photo_button = gr.UploadButton("Open a photo", file_types=types, variant="primary")
            mask_button = gr.UploadButton("Open a mask", file_types=types)
            black = gr.Checkbox(label="In masks, black is the hole", elem_id="black")
        gr.set_static_paths([EXAMPLES])
        examples = gr.Gallery(
            [str(EXAMPLES / f"{name}.jpg") for name in _NAMES],
            label="Or begin with an example and its mask",
            columns=2 * len(_NAMES),
            fit_columns=False,
            height=130,
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="examples",
        )
        editor = gr.ImageEditor(
            label="Paint here",
            sources=[],
            transforms=None,
            layers=False,
            brush=gr.Brush(colors=["#{:02x}{:02x}{:02x}".format(*_RED)], color_mode="fixed"),
            buttons=["fullscreen"],
            height=600,
            elem_id="editor",
        )
        layers = gr.File(file_count="multiple", visible=False)
        growth = gr.Slider(0, 100, 0, step=1, label="Grow the hole by so many pixels of the photo")
        with gr.Row():
            undo_button = gr.Button("Undo the last fill", interactive=False, elem_id="undo")
            fill_button = gr.Button("Fill", variant="primary", elem_id="fill")
        status = gr.Markdown("No photo is open.", container=True, elem_id="status")
        compared = gr.ImageSlider(label="Before and after", buttons=["fullscreen"])
        with gr.Row():
            photo_file = gr.DownloadButton(
                "Download the photo", interactive=False, elem_id="photo_file"
            )
            mask_file = gr.DownloadButton(
                "Download the hole as a mask", interactive=False, elem_id="mask_file"
            )

        def shown(painted):
            """What shows a photo as it is now."""
            layers = [painted.layer(_RED)] if painted.mask is not None else []
            return {
                editor: {"background": painted.now, "layers": layers, "composite": None},
                compared: (painted.before, painted.now) if painted.fills else None,
                undo_button: gr.update(interactive=painted.undoable > 0),
                photo_file: gr.update(value=None, interactive=False),
                mask_file: gr.update(value=None, interactive=False),
            }

        def offered(path):
            return gr.update(value=str(path), interactive=True)

        def opened(painted):
            height, width = painted.pixels.shape[:2]
            name = painted.name.replace("`", "")
            text = f"`{name}`: {width} x {height} pixels"
            if painted.mask is not None:
                text += f", its mask a hole over {painted.mask.mean():.2%}"
            return {status: text, **shown(painted)}

        def open_photo(file, request: gr.Request):
            with _told():
                name = pathlib.PurePath(file).name
                return opened(visitors.open(request.session_hash, visitors.take(file), name))

        def open_example(chosen: gr.SelectData, request: gr.Request):
            files = [EXAMPLES / f"{_NAMES[chosen.index]}{end}" for end in (".jpg", "_mask.png")]
            with _told():
                painted = visitors.open(request.session_hash, files[0].read_bytes(), files[0].name)
                painted.read_mask(files[1].read_bytes(), files[1].name, invert=False)
                return opened(painted)

        def open_mask(file, black, request: gr.Request):
            with _told(), visitors.photo(request.session_hash).in_use() as painted:
                painted.read_mask(visitors.take(file), pathlib.PurePath(file).name, black)
                return opened(painted)

        def fill(files, growth, request: gr.Request, progress=gr.Progress()):  # noqa: B008
            with _told(), visitors.photo(request.session_hash).in_use() as painted:
                progress(0.1, desc="Reading what is painted")
                hole = painted.hole(_painted(files, visitors), growth)
                progress(0.3, desc="Filling")
                start = time.perf_counter()
                painted.fill(visitors.inpainter, hole)
                seconds = time.perf_counter() - start
                share = f"{hole.mean():.2%} of the photo"
                text = f"Fill {painted.fills}: {share} in {seconds:.1f} s."
                # The editor comes last: it takes longest to show a picture.
                yield {status: text, compared: (painted.before, painted.now)}
                progress(0.8, desc="Writing the file")
                yield {
                    **shown(painted),
                    photo_file: offered(painted.write()),
                    mask_file: offered(painted.write_mask(hole)),
                }

        def undo(request: gr.Request):
            with _told(), visitors.photo(request.session_hash).in_use() as painted:
                painted.undo()
                updates = opened(painted)
                if painted.fills:
                    updates[photo_file] = offered(painted.write())
                return updates

        def clear(request: gr.Request):
            """The editor's bin empties it of the photo as well."""
            with _told(), visitors.photo(request.session_hash).in_use() as painted:
                painted.mask = None
                return opened(painted)

        def close(request: gr.Request):
            visitors.close(request.session_hash)

        changed = [editor, compared, undo_button, photo_file, mask_file, status]
        event = {"outputs": changed, "show_progress_on": status, "api_visibility": "private"}
        photo_button.upload(open_photo, photo_button, **event)
        mask_button.upload(open_mask, [mask_button, black], **event)
        examples.select(open_example, None, **event)
        undo_button.click(undo, None, **event)
        editor.clear(clear, None, **event)
        fill_button.click(None, editor, layers, js=_UPLOAD).then(fill, [layers, growth], **event)
        for receiver in (photo_button, mask_button, layers):
            _only_uploads(receiver)
        page.unload(close)
    return page
