"""python shim.py NAME ARGUMENTS: what stands in for the program NAME in the documents' shell.

Our own commands run for real, with flags behind their own that make them small. Of programs
that a bare machine lacks, what can be checked without them is checked: that they are given what
they know, and that the files which they are given exist.
"""

import importlib.metadata
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import warm_python  # noqa: E402

TRAIN = "--iterations=1 --image_size=64 --batch_size=1 --validate_every=1 --validation_photos=1"
# The first whose pattern a command begins with: flags behind those of the document.
SMALL = {
    r"python train\.py": TRAIN,
    r"python export\.py(?!.*(--formats|--warm_up=4096))": "--formats=frozen_graph",
    r"hifill-evaluate .*(--results|--inputs)": "--count=1",
    r"hifill-evaluate .*\bcra-": "--count=1 --sizes=512",
    r"hifill-evaluate": "--count=1 --sizes=64",
    r"hifill-tfrecords": "--shards=2",
    r"python -m benchmarks.highres": "128x128 --holes 10 --repeats 1",
    r"python -m benchmarks.generator_speed": "--repeats=1",
    r"python -m benchmarks.mapped_photo": "600",
    r"python benchmarks/training_step.py": (
        "--sizes=64 --policies=float32 --xla=off --steps=coarse --repeats=1"
    ),
    r"python benchmarks/data_pipeline.py": "--image_size=64 --count=3 --seconds=0.2",
    r"python benchmarks/training_memory.py": "--iterations=600 --batch_size=1 --critic_steps=0",
}
# To trace a function takes longer than to run it once.
TRACED = r"python (export\.py|-m benchmarks|benchmarks/(?!p))"
# What one document runs, the others need not run again, wherever their runs lie.
ONCE = r"python (train|export)\.py|hifill-(demo|evaluate|inpaint)"


def check(condition, message):
    if not condition:
        sys.exit(f"{pathlib.Path(sys.argv[1]).name}: {message}: {shlex.join(sys.argv[2:])}")


def check_exists(path):
    check(pathlib.Path(path).exists(), f"{path} does not exist")


def pip(action, *packages):
    check(action == "install" and packages, "only install is known")
    setup = pathlib.Path("setup.py").read_text()
    extras = re.findall(r'^    "(\w+)": \[', setup, re.MULTILINE)
    for package in packages:
        if package in ("-e", "--editable"):
            continue
        name, given = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?", package).groups()
        if name in (".", "hifill"):
            for extra in given.split(",") if given else ():
                check(extra in (*extras, "dev"), f"there is no extra {extra}")
        elif f'"{name}>=' not in setup:
            importlib.metadata.metadata(name)  # raises an error where it is not installed


def docker(action, *arguments):
    check(action in ("run", "compose"), f"{action} is not known")
    for option, value in itertools.pairwise(arguments):
        if option in ("-v", "--volume"):
            check_exists(value.split(":")[0])
        if option in ("-f", "--file"):
            check_exists(value)
    if action == "run":
        check(any(re.match(r"tensorflow/serving:\d", each) for each in arguments), "no image")
    else:
        check(set(arguments) & {"up", "down", "logs"}, "no action of Compose")
        check_exists(os.environ["HIFILL_EXPORT"])


def kubectl(action, *arguments):
    check(action in ("create", "apply", "delete", "get", "rollout"), f"{action} is not known")
    for argument in arguments:
        if argument.startswith(("--from-file=", "--filename=")):
            check_exists(argument.partition("=")[2])


def sbatch(script, *arguments):
    subprocess.run(["bash", "-n", script], check=True)
    code = "import sys, train; train.define_flags()(sys.argv)"
    return warm_python.call(DOCUMENT["socket"], ["python", "-c", code, *arguments], os.environ)[0]


def tensorboard(*arguments):
    folder = dict(argument.split("=") for argument in arguments)["--logdir"]
    check(list(pathlib.Path(folder).rglob("*tfevents*")), f"{folder} holds no summaries")


def make(*targets):
    return subprocess.run(["/usr/bin/make", "--dry-run", *targets]).returncode


def curl(*arguments):
    return subprocess.run(["/usr/bin/curl", *arguments]).returncode


def nvidia_smi(*_):
    """There may be no GPU."""


def hifill_demo(*arguments):
    """Starts the page, fetches it, and stops it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "command", "hifill-demo", *arguments, f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        line = demo.stdout.readline()
        print(line, end="")
        check(f":{port}" in line, f"said {line!r}")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            check(b"<html" in page.read(), "is no page")
        demo.terminate()
    return demo.returncode


TOOLS = {
    tool.__name__.replace("_", "-"): tool
    for tool in (curl, docker, hifill_demo, kubectl, make, nvidia_smi, pip, sbatch, tensorboard)
}
COMMANDS = ("client", "convert", "evaluate", "inpaint", "tfrecords")
NAMES = (*TOOLS, "python", *(f"hifill-{name}" for name in COMMANDS))


def command(name, *arguments):
    """One of our own commands, or Python."""
    line = shlex.join([name, *arguments])
    if list(arguments[:2]) == ["-m", "pip"]:
        return pip(*arguments[2:])
    small = next((flags for pattern, flags in SMALL.items() if re.match(pattern, line)), "")
    # Or a run would go on with what only stands in for it.
    written = re.match(r"python train\.py .*--workdir=(\S+)|hifill-tfrecords \S+ (\S+)", line)
    if written and (folder := pathlib.Path(written[1] or written[2])).joinpath("stand-in").exists():
        shutil.rmtree(folder)
    environment = dict(os.environ)
    if not re.match(TRACED, line):
        environment["RUN_FUNCTIONS_EAGERLY"] = "1"
    if "TF_CONFIG" in environment:  # this machine is the cluster
        config = json.loads(environment["TF_CONFIG"])
        with socket.create_server(("127.0.0.1", 0)) as free:
            config["cluster"]["worker"] = [f"127.0.0.1:{free.getsockname()[1]}"]
        environment["TF_CONFIG"] = json.dumps(config)
    argv = [name, *arguments, *small.split()]
    code, seconds = warm_python.call(DOCUMENT["socket"], argv, environment)
    with open(DOCUMENT["log"], "a") as log:
        log.write(json.dumps([os.getcwd(), argv, seconds]) + "\n")
    return code


def run_elsewhere(line):
    lines = [line, *map(shlex.join, DOCUMENT["elsewhere"])]
    line, *others = (re.sub(r"--workdir=\S+", "", each) for each in lines)
    return re.match(ONCE, line) and line in others


def main(name, *arguments):
    if run_elsewhere(shlex.join([name, *arguments])):
        print(f"{name}: run for another document")
        return 0
    for there, here in DOCUMENT["replaced"].items():
        arguments = [argument.replace(there, here) for argument in arguments]
    if name == "command":
        name, *arguments = arguments
        return command(name, *arguments)
    return TOOLS[name](*arguments) if name in TOOLS else command(name, *arguments)


if __name__ == "__main__":
    DOCUMENT = json.loads(pathlib.Path(os.environ["DOCUMENT"]).read_text())
    sys.exit(main(*sys.argv[1:]))
