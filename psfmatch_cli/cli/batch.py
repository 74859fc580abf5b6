"""psfmatch batch: the differences of many pairs, on the cores of this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from psfmatch_cli.cli import options, subtract


@options.command("batch", "psfmatch batch pairs.csv -o differences")
@click.argument("pairs", type=click.Path(path_type=Path), metavar="PAIRS|TEMPLATE")
@click.argument("science", nargs=-1, metavar="[SCIENCE]...")
@options.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    section="Output",
    metavar="FOLDER",
    help="Folder for the products, made if need be; those of a pair are called after its science image.",
)
@options.option(
    "--overwrite", is_flag=True, section="Output", help="Replace files that exist and that no batch has made."
)
@options.option(
    "--summary",
    type=click.Path(path_type=Path),
    section="Output",
    metavar="FILE",
    help="Table with a row for each pair (.ecsv, .csv, .fits). [default: batch_summary.ecsv in the folder]",
)
@options.option(
    "--retry-failed",
    is_flag=True,
    section="Batch",
    help="Try pairs again that failed before, though nothing has changed.",
)
@options.option("--redo", is_flag=True, section="Batch", help="Do all pairs again.")
@options.option(
    "--jobs",
    type=click.IntRange(min=1),
    section="Batch",
    metavar="N",
    help="Processes on this machine. [default: its cores, or fewer if the memory is not enough]",
)
@options.option(
    "--scheduler",
    section="Batch",
    metavar="ADDRESS",
    help="Dask scheduler whose workers do the pairs, such as tcp://host:8786. [default: none, this machine]",
)
@options.option(
    "--scheduler-file",
    type=click.Path(path_type=Path),
    section="Batch",
    metavar="FILE",
    help="File that the scheduler has written, instead of its address. [default: none]",
)
@subtract.own_options
@click.pass_context
def command(context: click.Context, pairs: Path, science: tuple[str, ...], output: Path, **given: Any) -> int:
    """Subtract many pairs: those listed in PAIRS, or TEMPLATE from each SCIENCE image.

    PAIRS is a table (.csv, .ecsv, .fits) with the columns template and science, and others as need be: output,
    extension, any option of psfmatch subtract such as template-mask, any setting such as kernel.spatial_kernel_order.
    SCIENCE are files, or patterns in quotes.

    A pair that fails does not stop the others; the exit status is 0 only if all are done, else 1. A second run does
    what is missing or has changed. Names of products other than the difference may have {name} for that of the pair.
    """
    from psfmatch_cli.cli.batch_manifest import list_pairs
    from psfmatch_cli.cli.batch_plan import given_tokens, plan
    from psfmatch_cli.cli.batch_run import run_batch
    from psfmatch_cli.cli.console import reporting

    _check(given)
    with reporting(given["verbose"], given["quiet"], [], progress=False):
        rows = list_pairs(pairs, science)
        planned = plan(rows, output.absolute(), given_tokens(context), all_extensions=given["all_extensions"])
        return run_batch(planned, output, given)


def _check(given: dict[str, Any]) -> None:
    from psfmatch_cli.errors import UsageError
    from psfmatch_cli.tables import table_format

    if given["metadata_flat"]:
        raise UsageError("--metadata-flat is of one pair; the records of all are in their metadata files")
    if given["scheduler"] and given["scheduler_file"]:
        raise UsageError("--scheduler and --scheduler-file are the same thing; give one of them")
    if given["jobs"] and (given["scheduler"] or given["scheduler_file"]):
        raise UsageError("--jobs is of this machine; a scheduler has the workers that it has")
    if given["summary"]:
        table_format(given["summary"])
