"""psfmatch candidates: which sources may constrain the kernel, and why the others may not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.mosaics import tabulate_extensions
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import running
from psfmatch_cli.cli.work import Work

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.candidates import CandidateSet


@options.command("candidates", "psfmatch candidates template.fits science.fits -o candidates.ecsv")
@options.path_argument("template")
@options.path_argument("science")
@options.output("Table of candidates (.fits, .ecsv or .csv)")
@options.all_extensions
@options.regions
@options.metadata
@options.summary
@options.sources
@options.direction
@options.registration
@options.kernel_size
@options.adapt
@options.bad_planes
@options.mask_policy
@options.sigma
@reading("template")
@reading("science")
@options.common
def command(template: Path, science: Path, output: Path, **given: Any) -> int:
    """List which sources can constrain the kernel that matches TEMPLATE to SCIENCE.

    The table has one row per source, also of those refused, with the reason. It can be changed and given to
    match and subtract with --sources.
    """
    inputs = {"template": template, "science": science}
    outputs = {
        "metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"),
        "regions": beside(output, given["regions"], given["no_regions"], ""),
        "candidates": output,
    }
    with running("candidates", given, inputs, outputs) as run:
        if given["all_extensions"]:
            return tabulate_extensions(run, Work.find_candidates, _told)
        result = run.work.find_candidates()
        table, summary, line = _told(result)
        with run.writing(summary) as names:
            run.write_table(names["candidates"], table)
            if "regions" in names:
                run.write_regions(names["regions"], *result)
        run.say(f"candidates: {line} -> {output}")
    return 0


def _told(result: tuple[CandidateSet, tuple[int, int]]) -> tuple[Table, dict[str, Any], str]:
    """Table and summary of the candidates, and a line about them."""
    found, _ = result
    counts = found.counts()
    refused = [f"{n} {reason}" for reason, n in counts.items() if reason != "candidates"]
    described = f" ({', '.join(refused)})" if refused else ""
    summary = {"n_sources": len(found.table), "kernel_size": found.kernel_size, "counts": counts}
    return found.table, summary, f"{len(found)} of {len(found.table)} sources{described}"
