"""Fixtures: a warm Python, and small stand-ins for what the documents' commands name."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from documents import shim
from PIL import Image

from hifill import convert

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
RUN = "--flagfile=quick.cfg --train_data=PHOTOS --val_data=OTHERS --workdir=RUN --average_decay=0.9"

# What the prose around Python blocks says is there, by a word of such blocks.
GIVEN = {
    "masked_image": (
        "masked_image = np.zeros((1, 64, 64, 3), np.float32)\nmask = masked_image[..., :1]"
    ),
    "image": "image, mask = (np.asarray(Image.open(name)) for name in ('photo.jpg', 'mask.png'))",
}
PICTURE = r"\.(?:jpg|png|tif)"


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory):
    """The socket of warm_python.py: one for all workers, see `serving.stand_ins.servers`."""
    base = shared_folder(tmp_path_factory)
    pipe, path = base / "warm_python.stdin", base / "warm_python.socket"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(pipe)
    with open(pipe, "r+b", buffering=0) as held:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            with open(pipe, "rb") as stdin:
                command = [sys.executable, HERE / "warm_python.py", path]
                started = subprocess.Popen(
                    command, stdin=stdin, stdout=subprocess.PIPE, text=True, cwd=ROOT
                )
            assert started.stdout.readline() == "ready\n"
        fcntl.flock(held, fcntl.LOCK_SH)
        yield path


def shared_folder(tmp_path_factory):
    """The folder that pytest's workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def shims(tmp_path_factory):
    """A folder of programs, to stand first in PATH."""
    folder = tmp_path_factory.mktemp("shims")
    for name in shim.NAMES:
        (folder / name).write_text(
            f'#!/bin/sh\nexec {sys.executable} {HERE / "shim.py"} {name} "$@"\n'
        )
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def stand_ins(warm_python, generator, export_folder, tmp_path_factory):
    """A folder with what the documents' commands name; RUN stands in for each training run."""
    base = shared_folder(tmp_path_factory)
    folder = base / "stand-ins"
    with open(base / "stand-ins.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            drawn = base / "drawn"
            _draw(drawn, generator)
            link(export_folder, drawn / "DIR")
            for name in ("train.py", "quick.cfg"):
                (drawn / name).symlink_to(ROOT / name)
            document = write_document(base / "stand-ins.json", warm_python)
            environment = {**os.environ, "DOCUMENT": str(document)}
            command = [sys.executable, HERE / "shim.py", "python", "train.py", *RUN.split()]
            subprocess.run(command, cwd=drawn, env=environment, check=True)
            drawn.rename(folder)
    return folder


def write_document(path, warm_python, replaced=(), elsewhere=()):
    """Writes the file that tells the shims where they are; they log into one beside it."""
    log = path.with_suffix(".log")
    facts = {"socket": str(warm_python), "log": str(log), "replaced": dict(replaced)}
    path.write_text(json.dumps({**facts, "elsewhere": list(elsewhere)}))
    return path


def _draw(folder, generator):
    with Image.open(ROOT / "hifill" / "demo_photos" / "colosseum.jpg") as picture:
        picture = picture.reduce(4)  # so that a hole hides something
        photos = [picture.crop((80 * i, 100, 80 * i + 160, 220)) for i in range(5)]
    hole = np.zeros((120, 160), np.uint8)
    hole[30:60, 50:90] = 255
    for name in ("photos", "PHOTOS", "OTHERS", "masks", "SHAPES", "LAMA/512", "shared/places2"):
        (folder / name).mkdir(parents=True)
    photos[0].save(folder / "photo.jpg")
    Image.fromarray(hole).save(folder / "mask.png")
    photos[0].save(folder / "map.tif", compression=None)
    for i, photo in enumerate(photos):
        photo.save(folder / ("OTHERS" if i > 2 else "PHOTOS") / f"{i}.jpg", quality=95)
        photo.save(folder / "shared" / "places2" / f"{i}.jpg")
        photo.resize((512, 512)).save(folder / "LAMA" / "512" / f"{i}.png")
    for name in ("beach", "street"):
        photos[1].save(folder / "photos" / f"{name}.jpg")
        Image.fromarray(hole).save(folder / "masks" / f"{name}.png")
    for i in range(2):
        shape = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 20 + 5 * i, 255, -1)
        Image.fromarray(shape).save(folder / "SHAPES" / f"{i}.png")
    _write_records(folder)
    _write_checkpoint(folder / "CHECKPOINT_FOLDER" / "0", generator)


def _write_records(folder):
    (folder / "records").mkdir()
    (folder / "records" / "stand-in").touch()
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.read_bytes()]))
        for name, file in (("image", folder / "photo.jpg"), ("mask", folder / "mask.png"))
    }
    with tf.io.TFRecordWriter(str(folder / "records" / "0.tfrecord")) as writer:
        example = tf.train.Example(features=tf.train.Features(feature=features))
        writer.write(example.SerializeToString())


def _write_checkpoint(prefix, generator):
    """Of the authors' training code, as TensorFlow 1 writes it."""
    prefix.parent.mkdir()
    variables = convert.tensorflow1_variables(generator)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in variables.items():
            tf.compat.v1.get_variable(name, initializer=array)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False)


def link(source, target):
    """Copies a folder without copying its files: none of ours is written in place."""
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)


def fill_sandbox(folder, text, stand_ins):
    """What a checkout holds, and stand-ins for what a text names."""
    link(stand_ins, folder)
    for path in ROOT.iterdir():
        if not (path.name.startswith(".") or (folder / path.name).exists()):
            (folder / path.name).symlink_to(path)
    (folder / "hifill.pb").symlink_to("DIR/hifill.pb")
    for name in set(re.findall(r"runs/\w+", text)):
        link(stand_ins / "RUN", folder / name)
        (folder / name / "stand-in").touch()


@pytest.fixture
def sandbox(stand_ins, shims, warm_python, tmp_path, request):
    """Returns a function: (document, elsewhere) -> a `Sandbox` for it."""

    def make(document, elsewhere):
        text = (ROOT / document).read_text()
        servers = request.getfixturevalue("servers") if "localhost:850" in text else None
        folder = tmp_path / "sandbox"
        folder.mkdir()
        fill_sandbox(folder, text, stand_ins)
        return Sandbox(folder, shims, warm_python, servers, elsewhere)

    return make


class Sandbox:
    """A folder in which to run blocks.

    Args:
        folder: one that `fill_sandbox` has filled.
        shims: the folder of programs to stand first in PATH.
        warm_python: the socket of the Python that runs commands.
        servers: dict from "grpc" and "rest" to HOST:PORT of the servers that the blocks ask.
        elsewhere: commands that another document runs.
    """

    def __init__(self, folder, shims, warm_python, servers, elsewhere):
        self._folder = folder
        self._replaced = {"/shared/": f"{folder}/shared/"}
        for port, kind in (("8500", "grpc"), ("8501", "rest")):
            if servers:
                self._replaced[f"localhost:{port}"] = servers[kind]
        document = folder.with_name("document.json")
        write_document(document, warm_python, self._replaced, elsewhere)
        self._log = document.with_suffix(".log")
        self._environment = {
            **os.environ,
            "PATH": f"{shims}:/usr/local/bin:/usr/bin:/bin",
            "DOCUMENT": str(document),
            "TF_NUM_INTRAOP_THREADS": "1",
        }

    def shell(self, name, code):
        """Runs a block of the shell, and checks what its commands should have written."""
        shutil.rmtree(self._folder / "REPORT", ignore_errors=True)  # each block has its own
        for folder, argv in self._run(name, ["bash", "-euo", "pipefail", "-c", code]):
            check_written(pathlib.Path(folder), argv)
        for path in re.findall(rf"> (\S+{PICTURE})", code):
            check_filled(self._folder / path, self._folder / "photo.jpg", self._folder / "mask.png")

    def python(self, found):
        """Runs Python blocks in one process; found: a list of (name, language, code)."""
        lines = ["import numpy as np", "from PIL import Image"]
        for name, _, code in found:
            lines.append(f"print({name!r}, flush=True)")
            lines.extend(given for word, given in GIVEN.items() if re.search(rf"\b{word}\b", code))
            for there, here in self._replaced.items():
                code = code.replace(there, here)
            lines.append(code)
        (self._folder / "blocks.py").write_text("\n".join(lines))
        self._run(found[0][0], ["python", "blocks.py"])

    def _run(self, name, command):
        """Runs a command; returns those of ours that it ran, as (folder, argv)."""
        self._log.write_text("")
        ended = subprocess.run(
            ["timeout", "--kill-after=5", "600", *command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ended.returncode == 0, f"{name}: code {ended.returncode}\n{ended.stdout}"
        ran = [json.loads(line) for line in self._log.read_text().splitlines()]
        for _, argv, seconds in ran:
            print(f"{name}: {seconds} s of CPU: {shlex.join(argv)}")
        return [(folder, argv) for folder, argv, _ in ran]


def check_written(folder, argv):
    """What one of our commands says it writes is there."""
    name, *arguments = argv
    flags = dict(re.findall(r"--(\w+)=(\S+)", " ".join(arguments)))
    if name in ("hifill-inpaint", "hifill-client"):
        photo, mask = folder / arguments[0], folder / flags["mask"]
        for path in [photo] if photo.is_file() else photo.iterdir():
            output = folder / flags["output"]
            output = output if photo.is_file() else output / path.name
            check_filled(output, path, mask if mask.is_file() else mask / f"{path.stem}.png")
    elif name == "hifill-evaluate" and flags["methods"] != "none":
        assert (folder / flags["report"] / "report.html").is_file()
    elif name == "hifill-convert":
        assert (folder / arguments[1]).is_file()
    elif name == "hifill-tfrecords":
        assert list((folder / arguments[1]).glob("*.tfrecord"))
    elif arguments[0] == "train.py":
        assert (folder / flags["workdir"] / "generator.weights.h5").is_file()
    elif arguments[0] == "export.py":
        assert list((folder / flags["output"]).glob("hifill[._]*"))
    elif "/" in arguments[0] and re.search(PICTURE, " ".join(arguments)):
        pictures = [each for each in arguments if re.search(rf"{PICTURE}$", each)]
        Image.open(folder / pictures[-1]).verify()


def check_filled(filled, photo, mask):
    """A picture file is the photo, but for the hole and what a JPEG mixes with it."""
    filled, photo = (np.asarray(Image.open(path).convert("RGB"), int) for path in (filled, photo))
    with Image.open(mask) as picture:
        hole = np.asarray(picture.convert("L").resize(photo.shape[1::-1])) > 127
    assert filled.shape == photo.shape
    changed = np.abs(filled - photo).max(-1)
    assert changed[hole].mean() > 3
    near = cv2.dilate(hole.astype(np.uint8), np.ones((33, 33))) > 0
    assert changed[~near].max() <= 12
