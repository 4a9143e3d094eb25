"""The rows of a report, one for each photo, hole and method, kept in a CSV file."""

import csv
import io
import math
import os
import pathlib

from hifill import image_io
from hifill.evaluation import metrics

KEY = ("photo", "size", "mask", "method")  # what a row is known by
ABOUT = ("width", "height", "hole_share", "hole_bin", "seconds", "peak_megabytes")
# `source` is the SHA-256 of another tool's picture.
COLUMNS = (*KEY, *ABOUT, *metrics.DIRECTIONS, "source", "error")
_ERRORS = "surrogateescape"  # names of files may be no text


class Results:
    """`results.csv` in a report's folder: rows are appended as they come, and read back.

    Args:
        folder: of the report.

    Raises:
        ValueError: if the file is there and has other columns.
    """

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "results.csv"
        self.rows = {}
        if not self.path.exists():
            image_io.replace_file(self.path, (",".join(COLUMNS) + "\r\n").encode())
            return
        # What was being written when the power went is no whole line.
        text = self.path.read_bytes().decode(errors=_ERRORS)
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            image_io.replace_file(self.path, whole.encode(errors=_ERRORS))
        reader = csv.DictReader(io.StringIO(whole, newline=""))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{self.path}: has other columns; choose another --report")
        for row in reader:
            self._add(row)

    def has(self, key, source=""):
        """Whether the row is there, tells of no failure, and is of this source."""
        row = self.rows.get(key)
        return row is not None and not row["error"] and row["source"] == source

    def drop(self, keys):
        """Removes the rows of these keys that are there."""
        if not set(keys) & set(self.rows):
            return
        self.rows = {key: row for key, row in self.rows.items() if key not in set(keys)}
        text = ",".join(COLUMNS) + "\r\n" + _csv(self.rows.values())
        image_io.replace_file(self.path, text.encode(errors=_ERRORS))

    def append(self, rows):
        """Adds rows, dicts with the keys `COLUMNS`, and writes them at once."""
        text = _csv(rows)
        with open(self.path, "a", encoding="utf-8", errors=_ERRORS, newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        for row in csv.DictReader(io.StringIO(text, newline=""), COLUMNS):
            self._add(row)

    def _add(self, row):
        for name in (*ABOUT, *metrics.DIRECTIONS):
            row[name] = float(row[name]) if row[name] else math.nan
        self.rows[tuple(row[name] for name in KEY)] = row


def _csv(rows):
    text = io.StringIO(newline="")
    csv.DictWriter(text, COLUMNS).writerows(rows)
    return text.getvalue()
