"""psfmatch detect: find and measure the sources of an exposure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import running


@options.command("detect", "psfmatch detect science.fits -o sources.ecsv")
@options.path_argument("exposure")
@options.output("Table of sources (.fits, .ecsv or .csv)")
@options.metadata
@options.summary
@options.sigma
@options.smoothing
@reading("")
@options.common
def command(exposure: Path, output: Path, **given: Any) -> None:
    """Find and measure the sources of EXPOSURE.

    The table has one row per source: position in 0-based pixels and, with a WCS, on the sky; flux, signal to
    noise ratio, FWHM, flags.
    """
    inputs = {"exposure": exposure}
    outputs = {"metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"), "sources": output}
    with running("detect", given, inputs, outputs) as run:
        found = run.work.detect()
        summary = {"n_sources": len(found.sources), **found.metadata}
        with run.writing(summary) as names:
            run.write_table(names["sources"], found.sources)
        run.say(f"detect: {len(found.sources)} sources{_how(found.metadata)} -> {output}")


def _how(metadata: dict[str, Any]) -> str:
    return f" (threshold {metadata['threshold']:g} {metadata['thresholdType']}, PSF sigma {metadata['sigma']:.2f} px)"
