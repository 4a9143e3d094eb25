"""python warm_python.py SOCKET: a Python that has imported TensorFlow, and forks for each command.

The import takes far longer than most commands of the documents do. No operation has been run
when it forks, so that a child may run its own. Ends when its standard input does.
"""

import gc
import importlib
import importlib.metadata
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys


def call(path, argv, environment):
    """Runs a command with this process's folder and files -> (exit code, seconds of CPU)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        request = json.dumps([list(argv), os.getcwd(), dict(environment)]).encode() + b"\n"
        socket.send_fds(connection, [request[:1]], [0, 1, 2])
        connection.sendall(request[1:])
        answers = connection.makefile()
        pid = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code, seconds = (answers.readline() or "1 0").split()
        return int(code), float(seconds)


def serve(path):
    """Answers `call`; returns in the children, which then exit, and when the input ends."""
    import hifill

    for module in pkgutil.walk_packages(hifill.__path__, "hifill."):
        importlib.import_module(module.name)
    scripts = importlib.metadata.entry_points(group="console_scripts")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        gc.freeze()  # a child that collects garbage would copy all pages
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [], 1)
            if sys.stdin in ready:
                return
            if server in ready:
                connection, _ = server.accept()
                if not os.fork():
                    return _attend(connection, scripts)
                connection.close()
            while _ended_child():
                pass


def _ended_child():
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def _attend(connection, scripts):
    """One command: forks once more, and tells the caller the child's id and its exit code."""
    first, files, _, _ = socket.recv_fds(connection, 1, 3)
    argv, folder, environment = json.loads(first + connection.makefile("rb").readline())
    pid = os.fork()
    if not pid:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        return _run(argv, scripts)
    for file in files:
        os.close(file)
    connection.sendall(f"{pid}\n".encode())
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(pid, signal.SIGKILL)  # the caller is gone
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    code = code if code >= 0 else 128 - code
    connection.sendall(f"{code} {used.ru_utime + used.ru_stime:.1f}\n".encode())
    os._exit(0)


def _run(argv, scripts):
    if "RUN_FUNCTIONS_EAGERLY" in os.environ:
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
    name, *arguments = argv
    if name != "python":
        sys.argv = argv
        (script,) = scripts.select(name=name)
        sys.exit(script.load()())
    kind, *rest = arguments
    if kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "-c", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, os.path.dirname(os.path.realpath(kind))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
