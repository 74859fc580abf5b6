"""Which exit status and which line an exception becomes; the only place that decides it."""

from __future__ import annotations

import signal
from types import FrameType

import click

from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import PsfMatchError

#: A difference is bad, and that was to be a failure.
BAD_QUALITY = 4
#: 128 and the number of the signal, as shells report it.
INTERRUPTED, TERMINATED = 130, 143


class Stopped(BaseException):
    """A signal asked the process to end; it unwinds like any exception, so that temporary files are removed.

    click would print an empty line for a `KeyboardInterrupt`.
    """


def unwind_on_signals() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into an exception, unless they are ignored (as under nohup)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    raise Stopped(INTERRUPTED, "interrupted") if name == "SIGINT" else Stopped(TERMINATED, f"ended by {name}")


def outcome(error: BaseException) -> tuple[int, str]:
    """Exit status and one line for the user."""
    status, message = _outcome(error)
    return status, one_line(" ".join(message.split()))


def _outcome(error: BaseException) -> tuple[int, str]:
    if isinstance(error, PsfMatchError):
        return error.exit_code, str(error)
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = f" (see {context.command_path} --help)" if context else ""
        return error.exit_code, error.format_message() + where
    if isinstance(error, Stopped):
        return error.args
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, "interrupted"
    if isinstance(error, MemoryError):
        return 1, "not enough memory"
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return 1, f"{error.strerror or error}{where}"
    return 1, (
        f"internal error, please report it: {type(error).__name__}: {error} (run with --debug for the traceback)"
    )
