"""What the commands share: flags, help, one-line errors and exit codes."""

import functools
import logging
import os
import signal
import sys
import threading

from absl import app, flags


def definers(values):
    """absl's DEFINE_string, _integer, _float, _bool and _enum for one command's flags.

    Args:
        values: the command's own absl FlagValues. absl's global flags belong to the program that
            imports this library.
    """
    kinds = (
        flags.DEFINE_string,
        flags.DEFINE_integer,
        flags.DEFINE_float,
        flags.DEFINE_bool,
        flags.DEFINE_enum,
    )
    return [functools.partial(define, flag_values=values) for define in kinds]


def run(main, values, usage):
    """Runs a command and exits: 0 if done, 1 if it failed, 2 for wrong flags.

    What SIGTERM ends leaves nothing half written behind either.

    Args:
        main: function of the positional arguments and the parsed flags; returns an exit code or
            None. A ValueError, OSError or FloatingPointError that it raises is the user's to mend,
            and shown as one line; an app.UsageError counts as a wrong flag.
        values: an absl FlagValues with the command's flags.
        usage: help text, shown above the flags.
    """
    # TensorFlow's start-up remarks would bury the one line that matters.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    program = os.path.basename(sys.argv[0])
    if any(argument in ("--help", "-help", "-h") for argument in sys.argv[1:]):
        _print(
            f"{usage.strip()}\n\nFlags:\n{values.get_help()}\n"
            "  --flagfile: file of flags, one a line; lines that start with # are comments"
        )
        sys.exit(0)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{program}: %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("hifill").setLevel(logging.INFO)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = main(values(sys.argv)[1:], values)
    except (flags.Error, app.UsageError) as error:
        code = 2
        logging.error("%s\nSee %s --help", error, program)
    except KeyboardInterrupt:
        code = 130
        logging.error("interrupted")
    except (ValueError, OSError, FloatingPointError) as error:
        code = 1
        logging.error("%s", " ".join(str(error).split()))
    sys.exit(code)


def _terminate(number, frame):
    sys.exit(128 + number)


def _print(text):
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # `--help | head` reads no further; Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
