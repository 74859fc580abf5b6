"""The way in: ``psfmatch`` and ``python -m psfmatch_cli``.

Signals are minded before anything else is imported, so that Ctrl-C ends also a program that is still starting in one
line.
"""

import sys

from psfmatch_cli.interrupts import stopping_signal, unwind_on_signals


def main() -> None:
    """Run the command line and end the process with its exit status."""
    unwind_on_signals()
    try:
        from psfmatch_cli.cli import main as run
    except BaseException:
        number = stopping_signal()
        if number is None:
            raise
        print("psfmatch: error: ended while starting", file=sys.stderr)
        sys.exit(128 + number)
    run()


if __name__ == "__main__":
    main()
