"""A photo, the hole painted on it, and what has been filled: one visitor of `hifill-demo`.

The visitor paints on a preview. The hole is scaled to the photo, the preview's pixels never are.
"""

import collections
import contextlib
import pathlib
import tempfile
import threading

import cv2
import numpy as np

from hifill import image_encoding, image_io
from hifill.inpaint import MaskError, check_share, dilate

PREVIEW = 1280  # longer side of the preview, in pixels, at most
UNDO = 8  # fills that can be taken back, each of which keeps what it replaced


class PaintedPhoto:
    """A photo whose holes are filled one after the other.

    Args:
        content: bytes of a photo's file.
        name: the file's name, whose extension says how results are written.
        folder: where to make a folder for the photo's files.
        max_pixels: larger photos are refused.

    Attributes:
        photo: an `image_io.Photo`, as it was opened.
        pixels: [H, W, 3] of the photo's dtype, as it is now.
        fills: how many have been made and not undone.
        mask: bool [H, W], the hole of an uploaded mask; None if there is none.
        before, now: JPEG files of at most PREVIEW pixels a side, their paths: the photo as it was
            opened, and as it is now.

    Raises:
        image_io.ImageError: one line, if this is no photo that can be read.
    """

    def __init__(self, content, name, folder, max_pixels):
        self.photo = image_io.decode_photo(content, name, max_pixels)
        self.name, self._max_pixels = name, max_pixels
        self.pixels, self.mask = self.photo.pixels, None
        self.fills, self._undo = 0, collections.deque(maxlen=UNDO)
        self._lock = threading.Lock()
        self._folder, self._files = tempfile.TemporaryDirectory(dir=folder), 0
        self.before = self.now = self._preview()

    @property
    def undoable(self):
        """How many fills can be undone."""
        return len(self._undo)

    @contextlib.contextmanager
    def in_use(self):
        """A context in which nobody else works on the photo: gives the photo."""
        with self._lock:
            yield self

    def close(self):
        """Deletes the photo's files, once nobody works on it."""
        with self._lock:
            self._folder.cleanup()

    def read_mask(self, content, name, invert):
        """Takes the hole from what a mask's file holds; see `image_io.read_mask`.

        Raises:
            ValueError: one line, if it is no mask for this photo.
        """
        picture = image_io.decode_photo(content, name, self._max_pixels)
        self.mask = image_io.hole_in(picture, name, self.pixels.shape[:2], invert)

    def layer(self, colour):
        """Writes the mask as a picture of the preview's size: RGB values -> path."""
        opaque = np.array([*reversed(colour), 255], np.uint8)
        return self._write_picture("layer.png", self._shown_mask()[..., None] * opaque)

    def hole(self, painted, growth=0):
        """The hole in the photo: the mask, with what was painted, without what was erased.

        Args:
            painted: bool [h, w], what is painted on the preview; an editor may give it in another
                size. None if nothing is.
            growth: pixels of the photo by which the hole is grown.

        Returns:
            bool [H, W].

        Raises:
            ValueError: one line, if the hole is empty or nearly everything.
        """
        size = self.pixels.shape[:2]
        shape = self._preview_size()
        painted = np.zeros(shape, bool) if painted is None else image_io.cover(painted, shape)
        if self.mask is None:
            hole = image_io.cover(painted, size)
        else:
            # Where the visitor left the mask alone it keeps the photo's resolution.
            shown = self._shown_mask()
            kept = self.mask & ~image_io.cover(shown & ~painted, size)
            hole = kept | image_io.cover(painted & ~shown, size)
        hole = dilate(hole, growth)
        if not hole.any():
            raise ValueError("nothing is painted: paint over what is to vanish, or open a mask")
        try:
            check_share(hole.mean())
        except MaskError as error:
            raise ValueError(
                f"the hole covers {hole.mean():.1%} of the photo: leave more of it to copy from,"
                " or tell that black is the hole before opening the mask"
            ) from error
        return hole

    def fill(self, inpainter, hole):
        """Fills a hole; the mask is used up.

        Args:
            inpainter: a `hifill.Inpainter`, or anything called like one.
            hole: bool [H, W].
        """
        filled = inpainter(self.pixels, hole)
        left, top, width, height = cv2.boundingRect(hole.astype(np.uint8))
        place = np.s_[top : top + height, left : left + width]
        self._undo.append((place, self.pixels[place].copy()))
        self.pixels, self.mask, self.fills = filled, None, self.fills + 1
        self.now = self._preview()

    def undo(self):
        """Takes the last fill back."""
        place, pixels = self._undo.pop()
        self.pixels = self.pixels.copy()
        self.pixels[place] = pixels
        self.fills -= 1
        self.now = self._preview()

    def write(self):
        """Writes the photo as it is now, in its own format: -> path."""
        name, formats = pathlib.PurePath(self.name), image_encoding.FORMATS
        fitting = [suffix for suffix in formats if formats[suffix] == self.photo.format]
        suffix = name.suffix if name.suffix.lower() in fitting else fitting[0]
        path = self._new_file(f"{name.stem}_filled{suffix}")
        image_io.write_photo(path, self.pixels, self.photo)
        return path

    def write_mask(self, hole):
        """Writes a hole as a mask of the photo's size, white in the hole: bool [H, W] -> path."""
        name = f"{pathlib.PurePath(self.name).stem}_mask.png"
        return self._write_picture(name, hole * np.uint8(255), cv2.IMWRITE_PNG_BILEVEL, 1)

    def _preview(self):
        size = self._preview_size()
        small = cv2.resize(self.pixels, size[::-1], interpolation=cv2.INTER_AREA)
        small = image_encoding.to_8bit(small)
        if self.photo.alpha is not None:
            alpha = cv2.resize(self.photo.alpha, size[::-1], interpolation=cv2.INTER_AREA)
            alpha = image_encoding.to_8bit(alpha)[..., None] / np.float32(255)
            small = (small * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
        return self._write_picture("preview.jpg", small[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, 90)

    def _preview_size(self):
        height, width = self.pixels.shape[:2]
        scale = min(1, PREVIEW / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _shown_mask(self):
        return image_io.cover(self.mask, self._preview_size())

    def _write_picture(self, name, pixels, *options):
        path = self._new_file(name)
        encoded = cv2.imencode(path.suffix, pixels, options)[1]
        image_io.replace_file(path, encoded.tobytes())
        return path

    def _new_file(self, name):
        """A path that no file had before: browsers keep what they fetched."""
        self._files += 1
        folder = pathlib.Path(self._folder.name, str(self._files))
        folder.mkdir()
        return folder / name
