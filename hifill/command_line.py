"""What the commands share: flags, help, one-line errors and exit codes."""

import logging
import os
import sys

from absl import app, flags


def run(main, usage):
    """Runs a command and exits: 0 if done, 1 if it failed, 2 for wrong flags, 130 for Ctrl-C.

    Args:
        main: function of the positional arguments that returns an exit code or None. A ValueError
            or OSError that it raises is the user's to mend, and shown as one line.
        usage: help text; shown with the flags that the module of `main` defined.
    """
    # TensorFlow's start-up remarks would bury the one line that matters.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    program = os.path.basename(sys.argv[0])

    def parse(argv):
        if any(argument in ("--help", "-help", "-h") for argument in argv[1:]):
            print(f"{usage.strip()}\n\nFlags:{flags.FLAGS.module_help(main.__module__)}")
            print("  --flagfile=FILE: reads flags from a file, one a line.")
            sys.exit(0)
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            _complain(program, error)
            print(f"See {program} --help", file=sys.stderr)
            sys.exit(2)

    def guarded(argv):
        # In place of absl's handler, whose prefixes are for servers' logs.
        logging.basicConfig(format=f"{program}: %(message)s", level=logging.WARNING, force=True)
        logging.getLogger("hifill").setLevel(logging.INFO)
        try:
            return main(argv[1:])
        except KeyboardInterrupt:
            _complain(program, "interrupted")
            return 130
        except app.UsageError as error:
            _complain(program, error)
            print(f"See {program} --help", file=sys.stderr)
            return 2
        except (ValueError, OSError, FloatingPointError) as error:
            _complain(program, error)
            return 1

    app.run(guarded, flags_parser=parse)


def _complain(program, error):
    print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
