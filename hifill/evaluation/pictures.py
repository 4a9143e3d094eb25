"""The pictures of a report: the best, the median and the worst cases, as JPEG within the page."""

import base64
import html

import cv2
import numpy as np

from hifill.evaluation import runs
from hifill.evaluation.charts import CHARTED
from hifill.evaluation.protocol import read_case, read_hole
from hifill.evaluation.summary import short

_RANKED = "hole_l1_grey_levels"  # by which the best and the worst pictures are chosen
_SMALL = 480  # pixels, largest side of the pictures of a whole photo
_HOLE = (230, 0, 126)  # a colour that photos seldom have


def pictures(folder, cases, rows):
    """The best, the median and the worst cases of one size, by the first method's error.

    Args:
        folder: of the report.
        cases: list of `protocol.Case`.
        rows: of one size, from `runs.run`.

    Returns:
        HTML. What cannot be read any more is said in its place.
    """
    # A method of which nothing was measured has no best.
    first = next((row["method"] for row in rows if not row["error"]), None)
    if first is None:
        return ""
    measured = [row for row in rows if row["method"] == first and not row["error"]]
    ranked = [row["mask"] for row in sorted(measured, key=lambda row: row[_RANKED])]
    middle, last = len(ranked) // 2, len(ranked) - 1
    places = {}
    for word, i in (
        *(("Best", 0), ("Second best", 1), ("Worst", last), ("Second worst", last - 1)),
        *(("Median", middle), ("Median", middle - 1)),
    ):
        if 0 <= i <= last:
            places.setdefault(i, word)
    text = (
        f"Chosen by {CHARTED[_RANKED][0]} of {first}, from the best to the worst. Below each whole "
        "picture is a piece of it in full size, which is framed in the photo with its hole."
    )
    parts = [f'<h3>Pictures</h3><p class="note">{html.escape(text)}</p>']
    for i, word in sorted(places.items()):
        case = next(case for case in cases if case.mask == ranked[i])
        title = f"{word}: {case.photo}, hole {100 * case.hole_share:.1f} %"
        strip = "".join(_strip(folder, case, [row for row in rows if row["mask"] == case.mask]))
        parts.append(f'<h4>{html.escape(title)}</h4><div class="strip">{strip}</div>')
    return "".join(parts)


def _strip(folder, case, rows):
    """Yields the figures of a case: the photo, its hole, and what each method made of it."""
    try:
        photo, hole = read_case(case), read_hole(folder, case)
        piece = runs.crop_of(hole)
    except ValueError as error:
        yield _figure("photo", [], str(error))
    else:
        holed = np.where(hole[..., None], np.uint8(_HOLE), photo)
        for name, picture in (("photo", photo), ("photo with hole", holed)):
            small = _shrunk(picture)
            if picture is holed:
                _frame(small, piece, hole.shape)
            images = [_encoded(small), _encoded(picture[piece])]
            yield _figure(name, images, f"{hole.shape[1]} x {hole.shape[0]} pixels")
    for row in rows:
        if row["error"]:
            yield _figure(row["method"], [], row["error"])
            continue
        images = []
        for path in runs.picture_paths(folder, case.mask, row["method"]):
            try:
                content = path.read_bytes()
                pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
            except (OSError, cv2.error):
                continue
            if pixels is not None:
                # The piece comes as it is: encoded again, it would not show what was measured.
                images.append(_encoded(_shrunk(pixels)) if not images else _tag(content, pixels))
        figures = [f"{CHARTED[name][0]} {short(row[name])}" for name in CHARTED]
        missing = "" if len(images) == 2 else "A picture is missing. "
        yield _figure(row["method"], images, missing + ", ".join(figures))


def _figure(name, images, text):
    name, text = html.escape(name), html.escape(text)
    images = "".join(image.replace("<img", f'<img alt="{name}"', 1) for image in images)
    return f"<figure><figcaption>{name}</figcaption>{images}<p><small>{text}</small></p></figure>"


def _shrunk(pixels):
    scale = min(1, _SMALL / max(pixels.shape))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _frame(small, piece, shape):
    """Draws the outline of a piece of a picture of this shape into its small version."""
    scales = [side / whole for side, whole in zip(small.shape, shape, strict=False)]
    (top, bottom), (left, right) = (
        (round(part.start * scale), round(min(part.stop, whole) * scale) - 1)
        for part, scale, whole in zip(piece, scales, shape, strict=True)
    )
    cv2.rectangle(small, (left, top), (right, bottom), (0, 0, 0), 3)
    cv2.rectangle(small, (left, top), (right, bottom), (255, 255, 255), 1)


def _encoded(pixels):
    _, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return _tag(content.tobytes(), pixels)


def _tag(jpeg, pixels):
    data = base64.b64encode(jpeg).decode()
    height, width = pixels.shape[:2]
    return f'<img width="{width}" height="{height}" src="data:image/jpeg;base64,{data}">'
