"""Runs methods on cases: one row of figures for each photo, hole and method."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import hashlib
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import threading
import time

import cv2
import numpy as np

from hifill import image_io
from hifill.evaluation import metrics
from hifill.evaluation.methods import ResultFolder, identity, label, make_method, read_result
from hifill.evaluation.networks import Networks
from hifill.evaluation.protocol import read_case, read_hole
from hifill.evaluation.results import Results

_PREVIEW, _CROP, _STEP = 640, 320, 16  # pixels: largest side; side, and between tried places


def run(
    cases,
    methods,
    folder,
    weights=None,
    results=None,
    networks=None,
    processes=1,
    progress=lambda done: None,
):
    """Fills every case by every method, but for what `results.csv` already holds.

    A method that fails on a photo gets a row with its error; the next run tries it again. Beside
    the figures, the folder gets a small picture of each result, and a piece of it in full size.

    Args:
        cases: list of `protocol.Case`.
        methods: names for `methods.make_method`.
        folder: of the report, with the masks.
        weights: for `methods.make_method`.
        results: dict from name to the folder of another tool's pictures, see
            `methods.ResultFolder`.
        networks: `networks.Networks`, or None.
        processes: how many cases are filled at a time.
        progress: called with the number of cases done.

    Returns:
        List of rows in the order of the cases and methods.

    Raises:
        ValueError: if a method cannot be made, the folder not be written, or it holds
            rows of another model or network of the same name.
    """
    results = {name: ResultFolder(path) for name, path in (results or {}).items()}
    names = [label(name) for name in methods] + list(results)
    if len(set(names)) < len(names):
        raise ValueError(f"two methods of one name: {', '.join(names)}")
    kept, networks = Results(folder), networks or Networks()
    models = {label(name): identity(name, weights) for name in methods}
    _check_models(
        folder, models, networks.identities, {row["method"] for row in kept.rows.values()}
    )
    pending = []
    for case in cases:
        sources = dict.fromkeys(models, "") | {n: _source(results[n], case) for n in results}
        missing = [n for n in names if not kept.has(_key(case, n), sources[n])]
        if missing:
            pending.append((case, missing))
    kept.drop([_key(case, name) for case, missing in pending for name in missing])
    settings = (tuple(methods), weights, results, str(folder), networks)
    done = len(cases) - len(pending)
    with contextlib.closing(_each(pending, settings, processes)) as filled:
        for rows in filled:
            kept.append(rows)
            done += 1
            progress(done)
    return [kept.rows[_key(case, name)] for case in cases for name in names]


def _source(results, case):
    try:
        return hashlib.sha256(results.file(case).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None  # a failure, which is tried again


def _key(case, name):
    return case.photo, case.size, case.mask, name


def _check_models(folder, models, networks, measured):
    """Refuses to mix the rows of two models under one name; remembers those that are new.

    Args:
        models, networks: dicts from name to SHA-256 or "".
        measured: names of the methods that have rows.
    """
    path = pathlib.Path(folder) / "models.json"
    known = {"methods": {}, "networks": networks}
    if path.exists() and measured:
        known = json.loads(path.read_text())
    if known["networks"] != networks:
        raise ValueError(
            f"{folder}: holds rows measured with other --lpips or --inception files; choose "
            "another --report"
        )
    for name, value in models.items():
        if name in measured and known["methods"].get(name, value) != value:
            raise ValueError(
                f"{folder}: holds rows of another model called {name}; choose another --report"
            )
    known["methods"] |= models
    image_io.replace_file(path, json.dumps(known, indent=1).encode())


def _each(pending, settings, processes):
    """Yields the rows of each pending case, in the order in which they are done."""
    if processes == 1 or len(pending) < 2:
        worker = _Worker(settings)
        for case, names in pending:
            yield worker.fill(case, names)
        return
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        processes, spawn, initializer=_start_worker, initargs=(settings,)
    ) as pool:
        waiting = {pool.submit(_fill_in_worker, case, names) for case, names in pending}
        try:
            for future in concurrent.futures.as_completed(waiting):
                yield future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise ValueError(
                "a process ended before its work, perhaps for lack of memory; use fewer --processes"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_worker = None


def _start_worker(settings):
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(settings)


def _end_with_parent():
    """A worker whose parent was killed would wait for work for ever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _fill_in_worker(case, names):
    return _worker.fill(case, names)


class _Worker:
    """Holds the methods of one process; each is made, and warmed up, at its first use."""

    def __init__(self, settings):
        methods, self._weights, self._results, self._folder, self._networks = settings
        self._specifications = {label(name): name for name in methods}
        self._made = {}

    def _method(self, name):
        if name not in self._made:
            method = make_method(self._specifications[name], self._weights)
            method(np.zeros((512, 512, 3), np.uint8), np.eye(512, dtype=bool))
            self._made[name] = method
        return self._made[name]

    def fill(self, case, names):
        rows = []
        base = {"photo": case.photo, "size": case.size, "mask": case.mask}
        base |= {"hole_share": case.hole_share, "hole_bin": case.hole_bin}
        for name in names:
            if name in self._specifications:
                self._method(name)  # cannot be made: that is no fault of the photo's
        try:
            photo, hole = read_case(case), read_hole(self._folder, case)
        except ValueError as error:
            return [{**base, "method": name, "error": _one_line(error)} for name in names]
        base |= {"width": hole.shape[1], "height": hole.shape[0]}
        self._networks.keep_features(self._folder, case.mask, None, photo)
        for name in names:
            row = {**base, "method": name}
            try:
                result, cost = self._timed(name, case, photo, hole)
                row |= cost
                row |= metrics.measure(photo, hole, result, self._networks)
                filled = metrics.composite(photo, hole, result)
                self._networks.keep_features(self._folder, case.mask, name, filled)
                self._keep_pictures(case, name, hole, filled)
            except Exception as error:  # others' code may raise anything; the row says what
                row["error"] = _one_line(f"{type(error).__name__}: {error}")
            rows.append(row)
        return rows

    def _timed(self, name, case, photo, hole):
        if name in self._results:
            path = self._results[name].file(case)
            source = hashlib.sha256(path.read_bytes()).hexdigest()
            return read_result(path, hole.shape), {"source": source}
        blanked = np.where(hole[..., None], np.uint8(0), photo)
        before = _reset_peak()
        start = time.perf_counter()
        result = self._made[name](blanked, hole)
        seconds = time.perf_counter() - start
        return np.asarray(result), {"seconds": seconds, "peak_megabytes": _peak() - before}

    def _keep_pictures(self, case, name, hole, result):
        small, crop = picture_paths(self._folder, case.mask, name)
        scale = min(1, _PREVIEW / max(hole.shape))
        size = [max(1, round(side * scale)) for side in hole.shape[::-1]]
        _write_jpeg(small, cv2.resize(result, size, interpolation=cv2.INTER_AREA))
        _write_jpeg(crop, result[crop_of(hole)])


def picture_paths(folder, mask, method):
    """Where the small picture of a row's result and the piece in full size are."""
    stem = pathlib.Path(mask).stem
    folder = pathlib.Path(folder) / "pictures"
    return folder / f"{stem}_{method}.jpg", folder / f"{stem}_{method}_piece.jpg"


def crop_of(hole):
    """The piece of a picture that is shown in full size: two slices, half hole if there is such."""
    height, width = (min(_CROP, length) for length in hole.shape)
    sums = cv2.integral(hole.astype(np.uint8))  # [H + 1, W + 1]
    rows = sums[height::_STEP] - sums[: len(sums) - height : _STEP]
    areas = rows[:, width::_STEP] - rows[:, : sums.shape[1] - width : _STEP]
    distance = np.abs(areas / (height * width) - 0.5)
    top, left = (_STEP * i for i in np.unravel_index(distance.argmin(), areas.shape))
    return slice(top, top + height), slice(left, left + width)


def _write_jpeg(path, pixels):
    _, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    image_io.replace_file(path, content.tobytes())


def _one_line(error):
    return " ".join(str(error).split())[:300]


def _reset_peak():
    """Forgets the most memory that this process had; returns what it has, in MB. Linux only."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak():
    return _status("VmHWM")


def _status(name):
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1000
    return math.nan
