"""subtract --use-kernel: its option, and what goes against it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psfmatch_cli.cli import options
from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.image_psf_match import ImagePsfMatchTask
    from psfmatch_cli.results import SubtractExposuresResult

#: Options of what is not done with a saved kernel.
_OF_A_FIT = (
    "sources",
    "sources_columns",
    "sources_origin",
    "sigma",
    "kernel_size",
    "kernel_order",
    "background_order",
    "fit_background",
    "bad_planes",
    "mask_policy",
    "adapt",
    "strict",
    "score",
)

use_kernel = options.option(
    "--use-kernel",
    type=click.Path(path_type=Path),
    section="Matching",
    metavar="FILE",
    help="Apply the kernel and the background of this kernel file, made on the same pixel grid; nothing is fitted. "
    "[default: fit]",
)


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse options that have no effect with --use-kernel.

    Raises
    ------
    UsageError
        If there is one.
    """
    if given["use_kernel"] is None:
        return
    if given["all_extensions"]:
        raise UsageError("--use-kernel is for one pair of images, and cannot be given with --all-extensions")
    for name in _OF_A_FIT:
        if given.get(name) is not None:
            raise UsageError(f"--use-kernel fits nothing, so --{name.replace('_', '-')} cannot be given with it")


def subtract_with_kernel(
    task: ImagePsfMatchTask,
    template: Exposure,
    science: Exposure,
    given: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> SubtractExposuresResult:
    """The difference of a pair with the kernel of the file of ``--use-kernel``.

    Parameters
    ----------
    task : ImagePsfMatchTask
    template, science : Exposure
    given : mapping
        Values of the options.
    arguments : mapping
        Those of the task's match methods.
    """
    from psfmatch_cli.kernel_io import load_kernel
    from psfmatch_cli.known_kernel import KnownKernel

    path = given["use_kernel"]
    saved = load_kernel(path)
    known = KnownKernel.of(saved.kernel, saved.background, saved.candidates, saved.info, str(path))
    arguments = {name: value for name, value in arguments.items() if name != "candidate_list"}
    return task.subtract_with_kernel(template, science, known, **arguments)
