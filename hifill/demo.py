"""A page in the browser to paint holes on: `hifill-demo`."""

import os
import signal
import tempfile
import threading

USAGE = """
hifill-demo
hifill-demo --model=MODEL
hifill-demo --server=HOST:PORT

Serves a page on which to open a photo, paint over what is to vanish, and fill it, in full
resolution. The page needs no internet. Photos stay in this process; they are forgotten, and their
files deleted, when the page is closed.
"""


class Refusal:
    """An ASGI middleware that refuses addresses: gradio would fetch them for the browser."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        path = scope.get("path", "").lower()
        if "=http:" in path or "=https:" in path or "/proxy=" in path:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"addresses are not fetched"})
        else:
            await self._app(scope, receive, send)


def main(arguments, flags):
    """The command: positional arguments and parsed flags -> exit code."""
    from absl import app

    if len(arguments):
        raise app.UsageError(f"takes no arguments, got {arguments[0]!r}")
    if flags.model and flags.server:
        raise app.UsageError("--model and --server do not go together")
    # Or a SIGTERM would leave the folder behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="hifill-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = os.path.realpath(folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nor does it ask for its latest version
        try:
            serve(flags, os.environ["GRADIO_TEMP_DIR"])
        except KeyboardInterrupt:
            return 0
        finally:
            signal.signal(signal.SIGTERM, before)


def serve(flags, folder):
    """Serves the page until it is interrupted; files of photos lie in a folder."""
    try:
        import gradio as gr
        from starlette.middleware import Middleware
    except ImportError as error:
        raise ValueError(f"{error}: pip install 'hifill[demo]'") from error
    from hifill import demo_page

    photos = os.path.join(folder, "photos")
    os.mkdir(photos)
    visitors = demo_page.Visitors(make_inpainter(flags), int(flags.max_megapixels * 1e6), photos)
    page = demo_page.make_page(visitors)
    page.queue(max_size=32)
    try:
        _, address, _ = page.launch(
            server_name=flags.host,
            server_port=flags.port,
            prevent_thread_lock=True,
            quiet=True,
            theme=gr.themes.Default(font="system-ui", font_mono="monospace"),
            max_file_size=f"{flags.max_megabytes}mb",
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            share=False,
            pwa=False,
            app_kwargs={"middleware": [Middleware(Refusal)]},
        )
    except OSError as error:
        raise ValueError(f"cannot listen on {flags.host}:{flags.port}: choose another") from error
    print(f"hifill-demo: {address} (Ctrl-C stops it)", flush=True)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)


def make_inpainter(flags):
    """What fills: a model of this process, already compiled, or a server's."""
    if flags.server:
        from hifill.client import RemoteInpainter

        return RemoteInpainter(flags.server)
    import numpy as np

    from hifill.inpaint import Inpainter

    inpainter = Inpainter(flags.model)
    inpainter(np.zeros((64, 64, 3), np.uint8), np.eye(64, dtype=bool))
    return inpainter


def run():
    """Entry point of `hifill-demo`."""
    from absl import flags

    from hifill import command_line

    values = flags.FlagValues()
    string, integer, real, _, _ = command_line.definers(values)
    string(
        "model",
        None,
        "Weights, training run, frozen graph or SavedModel; not set, the shipped weights.",
    )
    string("server", None, "HOST:PORT of a TensorFlow Serving that fills instead.")
    string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in.")
    integer("port", 7860, "Port to listen on.", 1, 65535)
    real("max_megapixels", 64, "Refuse photos larger than this.", lower_bound=0.001)
    integer("max_megabytes", 128, "Refuse files larger than this.", 1)
    command_line.run(main, values, USAGE)
