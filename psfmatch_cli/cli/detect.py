"""psfmatch detect: find and measure the sources of an exposure."""

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

    from psfmatch_cli.detect import Detection


@options.command("detect", "psfmatch detect science.fits -o sources.ecsv")
@options.path_argument("exposure")
@options.output("Table of sources (.fits, .ecsv or .csv)")
@options.metadata
@options.summary
@options.all_extensions
@options.sigma
@options.smoothing
@reading("")
@options.common
def command(exposure: Path, output: Path, **given: Any) -> int:
    """Find and measure the sources of EXPOSURE.

    The table has one row per source: position in 0-based pixels and, with a WCS, on the sky; flux, signal to
    noise ratio, FWHM, flags.

    A difference made by psfmatch subtract is recognised by its header. On it sources of both signs are looked for,
    with its PSF, from a significance of 5 unless --sigma says otherwise; the table has the columns of
    subtract --diff-sources but for those of the template and the science image.
    """
    inputs = {"exposure": exposure}
    outputs = {"metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"), "sources": output}
    with running("detect", given, inputs, outputs) as run:
        if given["all_extensions"]:
            return tabulate_extensions(run, Work.detect, _told)
        table, summary, line = _told(run.work.detect())
        with run.writing(summary) as names:
            run.write_table(names["sources"], table)
        run.say(f"detect: {line} -> {output}")
    return 0


def _told(found: Detection | Table) -> tuple[Table, dict[str, Any], str]:
    """Table and summary of the sources, and a line about them."""
    if not hasattr(found, "sources"):
        return _told_of_difference(found)
    n, metadata = len(found.sources), found.metadata
    how = f"threshold {metadata['threshold']:g} {metadata['thresholdType']}, PSF sigma {metadata['sigma']:.2f} px"
    return found.sources, {"n_sources": n, **metadata}, f"{n} sources ({how})"


def _told_of_difference(found: Table) -> tuple[Table, dict[str, Any], str]:
    from psfmatch_cli.diff_columns import source_counts

    counts, meta = source_counts(found), found.meta
    line = (
        f"a difference: {counts['n_positive']} positive and {counts['n_negative']} negative sources "
        f"(significance {meta['THRESHOLD']:g}, {meta['POLARITY']})"
    )
    return found, counts, line
