"""Exports: what is written, when it appears, and what stops it."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from hifill import command_line, exporting, locks, weights

SCRIPT = pathlib.Path(__file__).parents[1] / "export.py"
FILES = {
    "assets/hifill.json",
    "fingerprint.pb",
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
}


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(monkeypatch, run_command):
    """Runs export.py in this process: arguments -> (exit code, stdout, lines of stderr)."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import export

    def entry():
        command_line.run(export.main, export.define_flags(), export.__doc__)

    def run(*arguments):
        code, out, error = run_command(entry, "export.py", *arguments)
        return code, out, error.strip().splitlines()

    return run


def test_what_is_written(export_folder, generator):
    assert {path.name for path in export_folder.iterdir()} == {"hifill", "hifill.pb"}
    folder = export_folder / "hifill" / "1"
    assert files_in(folder) == FILES
    assert json.loads((folder / "assets" / "hifill.json").read_text()) == {
        "name": "hifill",
        "version": 1,
        "hifill": "0.1.0",
        "tensorflow": tf.__version__,
        "weights_sha256": weights.fingerprint(generator),
        "training_step": 1234,
        "architecture": "released",
        "coarse_gate": "single_channel",
        "refine_gate": "pointwise",
        "size": 128,
        "max_pixels": 2_000_000,
        "encoded_inputs": ["JPEG", "PNG"],
    }
    # Servers run as other users.
    assert folder.stat().st_mode & 0o055 == 0o055


@contextlib.contextmanager
def watched(versions):
    """Gives a list that gets the files of each version, as they are when it is first seen."""
    seen, stop = {}, threading.Event()

    def watch():
        stopped = False
        while not stopped:
            stopped = stop.wait(0.001)  # and then one look more
            for path in versions.glob("*") if versions.exists() else ():
                if path.name.isdecimal() and path.name not in seen:
                    seen[path.name] = files_in(path)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


class SmallModule(tf.Module):
    """Is saved as a `ServedInpainter` is, but at once."""

    def __init__(self, generator, metadata, max_pixels, size):
        super().__init__()
        self.metadata = tf.saved_model.Asset(str(metadata))
        self.variable = tf.Variable(tf.zeros([size, size]))

    def named_signatures(self):
        specification = tf.TensorSpec([], tf.float32)
        return {"add": tf.function(lambda x: self.variable + x, input_signature=[specification])}


def test_versions_appear_complete(tmp_path, monkeypatch):
    """A watcher sees the next version with all its files, and with warm-up requests if wanted."""
    monkeypatch.setattr(exporting, "ServedInpainter", SmallModule)
    versions = tmp_path / "hifill"
    for name in ("7", "8.tmp", "notes"):
        (versions / name).mkdir(parents=True)
    with watched(versions) as seen:
        written = exporting.export(tmp_path, formats=["saved_model"], warm_up=[64], size=64)
    assert written == [versions / "8"]
    assert seen["8"] == FILES | {"assets.extra/tf_serving_warmup_requests"}
    assert {path.name for path in versions.iterdir()} == {"7", "8", "8.tmp", "notes"}


def test_a_failure_leaves_nothing(tmp_path):
    """The disk is full, as far as this process is told."""
    (tmp_path / "hifill.pb").write_bytes(b"earlier")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"hifill\.pb: cannot be written \(.*\)") as caught:
            exporting.export(tmp_path, size=64, formats=["frozen_graph"])
        with (
            pytest.raises(ValueError, match=r"hifill/1: cannot be written \([\w ]+\); free some"),
            exporting._appearing(tmp_path / "hifill" / "1") as folder,
        ):
            (folder / "half").write_bytes(bytes(1_000_000))
            tf.io.write_file(str(folder / "variables"), "x" * 3_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "hifill").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"hifill", "hifill.pb"}
    assert (tmp_path / "hifill.pb").read_bytes() == b"earlier"


def test_what_a_signal_ends_leaves_nothing(tmp_path):
    script = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import export
from hifill import command_line, exporting

def save(folder, *arguments):
    (folder / "half").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGTERM)

exporting._save = save
command_line.run(export.main, export.define_flags(), export.__doc__)
"""
    flags = [f"--output={tmp_path / 'new' / 'folder'}", "--formats=saved_model"]
    done = subprocess.run([sys.executable, "-c", script, SCRIPT.parent, *flags])
    assert done.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_what_was_left_by_a_kill_is_removed_later(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "ServedInpainter", SmallModule)
    names = ".1-23-0123abcd", ".2-23-0123abcd", ".1-notes"
    for name in names:
        (tmp_path / "hifill" / name).mkdir(parents=True)
        (tmp_path / "hifill" / name / "half").touch()
        if name != names[1]:
            os.utime(tmp_path / "hifill" / name, (0, 0))
    exporting.export(tmp_path, formats=["saved_model"], size=64)
    assert {path.name for path in (tmp_path / "hifill").iterdir()} == {"1", *names[1:]}


def test_nothing_is_computed_before_what_is_asked_for_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "load_generator", None)
    (tmp_path / "hifill" / str(2**63 - 1)).mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    for options, message in (
        ({"version": 0}, "version 0 is not within"),
        ({}, "is not within 1 to"),
        ({"version": 5, "warm_up": [5]}, "--warm_up=5 is not within 8 to 65535"),
        ({"version": 5, "formats": ["onnx"]}, "ONNX needs tf2onnx"),
    ):
        with pytest.raises(ValueError, match=message):
            exporting.export(tmp_path, **options)


def test_one_export_at_a_time(tmp_path):
    with (
        locks.locked_folder(tmp_path, "--output", "busy"),
        pytest.raises(ValueError, match="another export writes here"),
    ):
        exporting.export(tmp_path, formats=["frozen_graph"], size=64)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path):
    command = [sys.executable, str(SCRIPT), f"--output={tmp_path}", "--formats=frozen_graph"]
    done = subprocess.run(command, capture_output=True, text=True)
    # TensorFlow may have remarks on the machine's GPU.
    ours = [line for line in done.stderr.splitlines() if line.startswith("export.py")]
    assert (done.returncode, done.stdout, ours) == (0, f"{tmp_path / 'hifill.pb'}\n", [])
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString((tmp_path / "hifill.pb").read_bytes())
    shapes = {node.name: node.attr["shape"].shape for node in definition.node}
    assert [dim.size for dim in shapes["img"].dim] == [1, 512, 512, 3]


def wrong_weights(tmp_path, generator):
    path = tmp_path / "wrong.weights.h5"
    other = type(generator)("paper")
    weights.save_weights(other, path)
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--output={folder}", "--version=3"], 1, "hifill/3: exists; choose another --version"),
        (["--output={folder}/file"], 1, "file: cannot be written"),
        (["--output={folder}", "--weights={folder}/none.h5"], 1, "none.h5: no such weights file"),
        (
            ["--output={folder}", "--weights={folder}/wrong.weights.h5"],
            1,
            "does not fit: ",
        ),
        (
            ["--output={folder}", "--max_megapixels=1", "--warm_up=64", "--warm_up=1001"],
            1,
            "--warm_up=1001: 1001 x 1001 pixels are over the limit of 1000000",
        ),
        (["--output={folder}", "--version=0"], 2, "version"),
        (["--output={folder}", "--formats=caffe"], 2, "caffe"),
        (["--output={folder}", "--max_megapixels=0"], 2, "--max_megapixels=0.0 is not above 0"),
        (["--output={folder}", "extra"], 2, "unexpected argument 'extra'"),
        ([], 2, "output"),
    ],
)
def test_bad_input_gets_one_line(run, tmp_path, generator, arguments, code, message):
    (tmp_path / "hifill" / "3").mkdir(parents=True)
    (tmp_path / "file").write_text("no folder")
    if "wrong" in str(arguments):
        wrong_weights(tmp_path, generator)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    actual, out, error = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert (actual, out) == (code, "")
    assert len(error) == (1 if code == 1 else 2), error  # the second points at --help
    assert re.search(message, error[0])
    after = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    assert after == before


def test_help(run):
    code, out, _ = run("--help")
    assert code == 0 and "--[no]" not in out and "SavedModel" in out
