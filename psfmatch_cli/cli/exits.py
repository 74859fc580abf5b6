"""Which exit status and which line an exception becomes; the only place that decides it."""

from __future__ import annotations

import click

from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import PsfMatchError
from psfmatch_cli.interrupts import Stopped, stopping_signal

#: A difference is bad, and that was to be a failure.
BAD_QUALITY = 4
#: 128 and the number of the signal, as shells report it.
HANGUP, INTERRUPTED, TERMINATED = 129, 130, 143


def arguments() -> list[str]:
    """The command line that is being run, without the program; empty where none is, as in a process of a pool."""
    context = click.get_current_context(silent=True)
    return [] if context is None else list(context.find_root().obj or [])


def outcome(error: BaseException) -> tuple[int, str]:
    """Exit status and one line for the user.

    While a signal ends the process it is what counts: libraries turn it into errors of their own, such as one of a
    module that cannot be imported.
    """
    number = stopping_signal()
    if number is not None and not isinstance(error, Stopped):
        error = Stopped(number)
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
        return 128 + error.args[0], str(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, "interrupted"
    if isinstance(error, MemoryError):
        return 1, "not enough memory"
    if isinstance(error, ImportError):
        return 1, f"a package that is needed cannot be loaded: {error}"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return 1, "the system allows no further thread; is a limit of processes or memory reached?"
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return 1, f"{error.strerror or error}{where}"
    return 1, (
        f"internal error, please report it: {type(error).__name__}: {error} (run with --debug for the traceback)"
    )
