"""What a run leaves for its readers: curves, pictures and tables for TensorBoard, and JSON lines.

`RunLog` writes them. `picture_grid`, `attention_flow` and `flags_table` draw what it is given.
"""

import json
import math
import os
import pathlib
import socket
import time

import cv2
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from hifill.image_io import replace_file

_NO_FLOW = 160  # Grey, for white is the centre of the colour wheel.


class RunLog:
    """Writes `workdir/summaries` for TensorBoard and `workdir/metrics.jsonl` for everything else.

    A resumed run repeats the iterations between its checkpoint and its end. They are dropped here,
    so that none appears twice: in `metrics.jsonl` by removing the lines, a half-written one
    included; in TensorBoard by an event that tells it where the run starts again. A run opened at
    iteration 0 starts anew, and nothing of an earlier one is kept.

    What a method has written is kept if the program is killed right after it.

    Args:
        workdir: the run's folder, made if missing; None: nothing is written, by any method. Of
            several workers only one may write.
        iteration: the last iteration that counts, 0 for a new run.

    Raises:
        OSError: if a file cannot be written, a full disk included; from every method.
        ImageError: if `metrics.jsonl` cannot be replaced by a shorter one.
    """

    def __init__(self, workdir, iteration=0):
        self._events = self._metrics = None
        if workdir is None:
            return
        summaries = pathlib.Path(workdir, "summaries")
        summaries.mkdir(parents=True, exist_ok=True)
        metrics = pathlib.Path(workdir, "metrics.jsonl")
        first = iteration + 1 if iteration else 0
        _drop_lines(metrics, first)
        self._metrics = open(metrics, "a", encoding="utf-8")  # noqa: SIM115, closed by `close`
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        try:
            self._events = tf.io.TFRecordWriter(str(summaries / name))
        except tf.errors.OpError as error:
            raise OSError(error.message) from error
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, iteration, values):
        """Writes one point of each curve, and one line of JSON.

        The line is {"iteration": ..., "time": seconds since 1970, name: value, ...}, with null for
        values that are not finite.

        Args:
            iteration: int.
            values: dict of name -> float or scalar tensor; no name is "iteration" or "time".
        """
        if self._metrics is None:
            return
        values = {name: float(value) for name, value in values.items()}
        finite = {name: x if math.isfinite(x) else None for name, x in values.items()}
        line = {"iteration": int(iteration), "time": round(time.time(), 3), **finite}
        self._metrics.write(json.dumps(line, allow_nan=False) + "\n")
        self._metrics.flush()
        points = [Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
        self._write_summary(iteration, Summary(value=points))

    def histogram(self, iteration, name, values):
        """Writes the distribution of the finite elements of an array or tensor of any shape."""
        if self._events is None:
            return
        values = np.asarray(values, np.float64)
        self._write_summary(iteration, histogram_pb(name, values[np.isfinite(values)]))

    def text(self, name, markdown, iteration=0):
        """Writes a text."""
        if self._events is not None:
            self._write_summary(iteration, text_pb(name, markdown))

    def image(self, iteration, name, image):
        """Writes a picture, losslessly: uint8 array or tensor [H, W, 3]."""
        if self._events is None:
            return
        height, width, channels = image.shape
        png = tf.io.encode_png(image).numpy()
        picture = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=png
        )
        self._write_summary(iteration, Summary(value=[Summary.Value(tag=name, image=picture)]))

    def close(self):
        """Closes the files. Nothing can be written afterwards."""
        if self._events is not None:
            self._events.close()
            self._metrics.close()

    def _write_summary(self, iteration, summary):
        self._write(Event(step=int(iteration), summary=summary))

    def _write(self, event):
        event.wall_time = time.time()
        try:
            self._events.write(event.SerializeToString())
            self._events.flush()
        except tf.errors.OpError as error:
            raise OSError(error.message) from error


def _drop_lines(path, first):
    """Rewrites a file of JSON lines without those of iteration `first` and later."""
    if not path.exists():
        return

    def counts(line):
        try:
            return json.loads(line)["iteration"] < first
        except ValueError:  # A killed run's last line may be half a line.
            return False

    content = path.read_bytes()
    kept = b"".join(line + b"\n" for line in content.split(b"\n") if counts(line))
    if kept != content:
        replace_file(path, kept)


def picture_grid(images, masks, coarse, refined, filled, attention):
    """Pictures in rows: photo, photo with its hole, both results, the paste, and the attention.

    Args:
        images: float32 [B, S, S, 3] in [-1, 1].
        masks: float32 [B, S, S, 1], 1 = hole.
        coarse, refined: the generator's results as they are, like `images`; clipped to [-1, 1].
        filled: what is pasted into the holes, like `refined` or equal to it.
        attention: float32 [B, S/16, S/16, (S/16)^2], from the generator.

    Returns:
        uint8 array [B * S, 6 * S, 3]. Columns: photo; photo with a white hole; coarse result;
        refined result; `filled` pasted into the photo; `attention_flow`.
    """
    images, masks, coarse, refined, filled = (
        np.asarray(x, np.float32) for x in (images, masks, coarse, refined, filled)
    )
    hole = masks > 0
    masked, pasted = np.where(hole, 1, images), np.where(hole, filled, images)
    columns = [images, masked, coarse, refined, pasted]
    columns = [np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8) for x in columns]
    flow = attention_flow(attention, masks)
    size = images.shape[1] // flow.shape[1]
    columns.append(flow.repeat(size, axis=1).repeat(size, axis=2))
    return np.concatenate(np.concatenate(columns, axis=2), axis=0)


def attention_flow(attention, masks):
    """Where each cell of a hole copies from, drawn like optical flow.

    After Yu et al., "Generative Image Inpainting with Contextual Attention" (CVPR 2018):
    the offset from a cell to the one that it attends to most is a colour. Its hue is the direction:
    red to the right, yellow-green downwards, cyan to the left, violet upwards. Its saturation is
    the square root of the length over the picture's longest offset: white is no offset at all, and
    short ones keep a visible hue. Grey are the cells outside the hole, and those that attend to
    none.

    Args:
        attention: float32 [B, h, w, h * w], the last axis in raster order.
        masks: float32 [B, H, W, 1], 1 = hole, H / h = W / w an integer. A cell with any hole in
            it is of the hole.

    Returns:
        uint8 array [B, h, w, 3], RGB.
    """
    attention, masks = np.asarray(attention, np.float32), np.asarray(masks)
    batch, rows, columns, _ = attention.shape
    size = masks.shape[1] // rows
    hole = masks.reshape(batch, rows, size, columns, size).max(axis=(2, 4)) > 0
    shown = hole & (attention.max(axis=-1) > 0)
    key_y, key_x = np.divmod(attention.argmax(axis=-1), columns)
    y, x = np.mgrid[:rows, :columns]
    dy, dx = np.where(shown, [key_y - y, key_x - x], 0)  # [B, h, w] each
    length = np.hypot(dy, dx)
    longest = np.maximum(length.max(axis=(1, 2), keepdims=True), 1)
    hue = np.degrees(np.arctan2(dy, dx)) % 360
    hsv = np.stack([hue, np.sqrt(length / longest), np.ones_like(hue)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(hsv.reshape(batch * rows, columns, 3), cv2.COLOR_HSV2RGB)
    rgb = np.rint(rgb * 255).astype(np.uint8).reshape(batch, rows, columns, 3)
    return np.where(shown[..., None], rgb, np.uint8(_NO_FLOW))


def flags_table(config):
    """A Markdown table of a dict, such as `dataclasses.asdict` gives: one row for each item."""
    # As code, a value may hold any of Markdown's own characters.
    rows = [f"| {name} | `{value}` |" for name, value in config.items()]
    return "\n".join(["| flag | value |", "|---|---|", *rows])
