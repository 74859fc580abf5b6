"""What the benchmarks of single stages share: options, a pair that is read, and the table.

Each `stage_*.py` times calls of one stage in a process of its own, on a simulated pair, best of n::

    python benchmarks/stage_detect.py --size 4096 --threads 1
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

# As the command does, before numpy is imported.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import timing  # noqa: E402 - the threads of numpy are set before it is imported

sys.path.insert(0, str(timing.ROOT))


class Work:
    """What the stages before the timed one have made; each is made when it is first asked for.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.paths = timing.pair_of(options.pairs, options.case, options.size)

    @cached_property
    def settings(self) -> Any:
        from psfmatch_cli.settings import load_settings

        return load_settings(None, [f"threads={self.options.threads}"] if self.options.threads else [])

    @cached_property
    def task(self) -> Any:
        from psfmatch_cli.image_psf_match import ImagePsfMatchTask

        return ImagePsfMatchTask(self.settings)

    @cached_property
    def exposures(self) -> Any:
        """Template and science exposure."""
        from psfmatch_cli.io import read_exposure

        return tuple(read_exposure(path) for path in self.paths)

    @cached_property
    def pair(self) -> Any:
        """The pair registered, measured and searched."""
        return self.task._prepare(*self.exposures, None, None, None, True)

    @cached_property
    def plan(self) -> Any:
        return self.task._plan(self.pair, None)

    @cached_property
    def fit(self) -> Any:
        return self.task._solve(self.plan)


def parse(description: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """Command line of a stage."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="standard", help="simulated case")
    parser.add_argument("--size", type=int, default=2048, help="side of the images")
    parser.add_argument("--threads", type=int, help="threads at most; default: the cores")
    parser.add_argument("--repeats", type=int, default=3, help="calls of each; the best counts")
    default = Path(tempfile.gettempdir()) / "psfmatch-pairs"
    parser.add_argument("--pairs", type=Path, default=default, help=f"folder of the pairs; default {default}")
    parser.add_argument("--output", type=Path, help="also write the table to this file (.md or .json)")
    return parser.parse_args(arguments)


def main(
    title: str,
    description: str | None,
    steps: Callable[[Work], dict[str, Callable[[], Any]]],
    arguments: list[str] | None = None,
) -> None:
    """Time the steps of a stage and print the table.

    Parameters
    ----------
    title, description : str
    steps : callable
        Takes the work before the stage, returns what is to be timed by its name.
    arguments : list of str, optional
        Of the command line.
    """
    options = parse(description, arguments)
    unit = timing.unit_seconds()
    rows = [
        {"step": name, "side": options.size, **timing.in_process(step, options.repeats).row(unit)}
        for name, step in steps(Work(options)).items()
    ]
    timing.report(title, rows, unit, options.output)
