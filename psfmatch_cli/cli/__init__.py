"""The command line: the group of commands and the one way out.

A command module is imported only when its name or the list of commands is asked for, and numbers are
imported only inside a command, so that help and usage errors come at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from psfmatch_cli.cli.console import printing
from psfmatch_cli.cli.exits import outcome
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.interrupts import Stopped, close, unwind_on_signals
from psfmatch_cli.version import __version__

# Matrices here are small: several BLAS threads only get into each other's way (measured: 35 times slower solutions
# on two busy cores). Read when numpy is first imported, which is inside the commands; the user's choice wins.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

#: Commands in the order of the help, each in the module of its name.
COMMANDS = (
    "info",
    "detect",
    "candidates",
    "match",
    "subtract",
    "batch",
    "kernel",
    "measure",
    "fakes",
    "report",
    "demo",
    "config",
)


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"psfmatch_cli.cli.{cmd_name}").command


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit status:
  0    done
  1    an input or output cannot be used
  2    wrong option or setting
  3    no usable kernel candidates, or no solution
  4    the difference is bad, and --fail-on-quality was given
  130  interrupted (Ctrl-C); 129, 143: ended by SIGHUP, SIGTERM

psfmatch COMMAND --help shows a line that runs.""",
)
@click.version_option(__version__, prog_name="psfmatch", message="%(prog)s %(version)s")
def cli() -> None:
    """PSF-match two astronomical images of the same field and subtract them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    unwind_on_signals()
    try:
        _open_standard_files()
        status = exit_status(sys.argv[1:] if arguments is None else list(arguments))
        close()
    except Stopped as late:
        close()
        status = outcome(late)[0]
    sys.exit(status)


def _open_standard_files() -> None:
    """Put a file that goes nowhere where the standard ones are closed, so that no product takes their number.

    What a library writes to the number of stderr would end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def exit_status(arguments: list[str]) -> int:
    """Exit status of a command line; what went wrong is one line on stderr.

    The traceback is shown only with ``--debug``.
    """
    try:
        status = cli.main(arguments, prog_name="psfmatch", standalone_mode=False, obj=list(arguments))
        with printing():
            pass  # what click itself has printed
    except (Exception, KeyboardInterrupt, Stopped) as error:
        return _failed(error, arguments)
    return status if isinstance(status, int) else 0


def _failed(error: BaseException, arguments: list[str]) -> int:
    """Exit status after an error, which is told on stderr."""
    _settle_stdout()
    if isinstance(error, BrokenPipeError):
        return 1  # the reader of stdout has gone, and needs no message
    if "--debug" in arguments:
        for line in traceback.format_exc().splitlines():
            click.echo(one_line(line), err=True)
    status, message = outcome(error)
    with suppress(OSError):  # where stderr cannot be written either, the status is all that is left to tell
        click.echo(f"psfmatch: error: {message}", err=True)
    return status


def _settle_stdout() -> None:
    """The interpreter flushes stdout once more at its end: where that fails, let it go nowhere."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
