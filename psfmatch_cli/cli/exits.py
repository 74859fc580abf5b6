"""Which exit status and which line an exception becomes; the only place that decides it."""

from __future__ import annotations

import click

from psfmatch_cli.errors import PsfMatchError

INTERRUPTED = 130


def outcome(error: BaseException) -> tuple[int, str]:
    """Exit status and one line for the user."""
    status, message = _outcome(error)
    return status, " ".join(message.split())


def _outcome(error: BaseException) -> tuple[int, str]:
    if isinstance(error, PsfMatchError):
        return error.exit_code, str(error)
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = f" (see {context.command_path} --help)" if context else ""
        return error.exit_code, error.format_message() + where
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
