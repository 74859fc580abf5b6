"""What a run tells while it works: log lines and a progress line on stderr, and the record of warnings."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import click

from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import OutputError

LOGGERS = ("psfmatch_cli", "timer.psfmatch_cli")


@contextmanager
def printing() -> Iterator[None]:
    """A block that prints results; that they cannot be printed is an error of its own.

    Raises
    ------
    OutputError
        If the standard output cannot be written.
    BrokenPipeError
        If its reader has gone.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the standard output cannot be written: {error.strerror or error}") from error


def say(text: str, *, nl: bool = True) -> None:
    """Print results, with a line feed at their end unless told otherwise; see `printing`."""
    with printing():
        click.echo(text, nl=nl)


class Collector(logging.Handler):
    """Keeps the messages of warnings and errors."""

    def __init__(self, messages: list[str]):
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class LineFormatter(logging.Formatter):
    """``psfmatch: warning: text`` from warnings on, the text alone below."""

    def format(self, record: logging.LogRecord) -> str:
        text = one_line(record.getMessage())
        return f"psfmatch: {record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text


def level_of(verbose: int, quiet: int) -> int:
    """Lowest level of the lines on stderr: warnings, one step lower by -v, one higher by -q."""
    steps = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    return steps[min(max(2 + quiet - verbose, 0), 3)]


@contextmanager
def reporting(verbose: int, quiet: int, messages: list[str], *, progress: bool = True) -> Iterator[None]:
    """Show log lines and Python warnings of a block on stderr and collect the warnings in `messages`.

    Where stderr is a terminal and no lines are asked for, one line shows what is being done, if `progress` says so.
    """
    level = level_of(verbose, quiet)
    with ExitStack() as stack:
        lines: logging.Handler = logging.StreamHandler(sys.stderr)
        handlers = [lines, Collector(messages)]
        if progress and level == logging.WARNING and sys.stderr is not None and sys.stderr.isatty():
            lines, status = stack.enter_context(_terminal())
            handlers = [lines, status, handlers[1]]
        lines.setFormatter(LineFormatter())
        lines.setLevel(level)
        stack.enter_context(_python_warnings())
        stack.enter_context(_attached(handlers, min(level, logging.INFO)))
        yield


@contextmanager
def _attached(handlers: list[logging.Handler], level: int) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)
            for handler in handlers:
                logger.removeHandler(handler)


@contextmanager
def _python_warnings() -> Iterator[None]:
    """Turn Python warnings, such as those of a FITS reader, into log lines."""
    from astropy.logger import LoggingError
    from astropy.logger import log as astropy_log

    log = logging.getLogger("psfmatch_cli.warnings")
    with suppress(LoggingError):  # where something else has taken the warnings over already
        astropy_log.disable_warnings_logging()

    def show(message, category, filename, lineno, file=None, line=None):
        log.warning("%s", " ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _terminal() -> Iterator[tuple[logging.Handler, logging.Handler]]:
    """A handler that prints lines above the progress line, and one that changes the progress line."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("reading") as status:
        yield (
            _Call(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)),
            _Call(lambda text: status.update(one_line(text).replace("[", r"\[")), logging.INFO),
        )


class _Call(logging.Handler):
    """Hands each formatted message to a function."""

    def __init__(self, function, level: int = logging.NOTSET):
        super().__init__(level)
        self.function = function

    def emit(self, record: logging.LogRecord) -> None:
        self.function(self.format(record))
