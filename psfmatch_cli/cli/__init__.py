"""The command line: the group of commands and the one way out.

A command module is imported only when its name or the list of commands is asked for, and numbers are
imported only inside a command, so that help and usage errors come at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from psfmatch_cli.cli.exits import Stopped, outcome, unwind_on_signals
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.version import __version__

# Matrices here are small: several BLAS threads only get into each other's way (measured: 35 times slower solutions
# on two busy cores). Read when numpy is first imported, which is inside the commands; the user's choice wins.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

#: Commands in the order of the help, each in the module of its name.
COMMANDS = ("info", "detect", "candidates", "match", "subtract", "kernel", "demo", "config")


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
  130  interrupted; 143: ended by a signal

psfmatch COMMAND --help shows a line that runs.""",
)
@click.version_option(__version__, prog_name="psfmatch", message="%(prog)s %(version)s")
def cli() -> None:
    """PSF-match two astronomical images of the same field and subtract them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    unwind_on_signals()
    sys.exit(exit_status(sys.argv[1:] if arguments is None else list(arguments)))


def exit_status(arguments: list[str]) -> int:
    """Exit status of a command line; what went wrong is one line on stderr.

    The traceback is shown only with ``--debug``.
    """
    try:
        status = cli.main(arguments, prog_name="psfmatch", standalone_mode=False, obj=list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of stdout has gone. The interpreter flushes once more at its end: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt, Stopped) as error:
        if "--debug" in arguments:
            for line in traceback.format_exc().splitlines():
                click.echo(one_line(line), err=True)
        status, message = outcome(error)
        click.echo(f"psfmatch: error: {message}", err=True)
    return status if isinstance(status, int) else 0
