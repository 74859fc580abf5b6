"""psfmatch detect: find and measure the sources of an exposure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import running
from psfmatch_cli.errors import UsageError


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
        image = run.read(exposure)
        found = run.task.get_select_sources(image, do_smooth=given["smooth"], psf_sigma=psf_sigma(given))
        summary = {"n_sources": len(found.sources), **found.metadata}
        with run.writing(summary) as names:
            run.write_table(names["sources"], found.sources)
        run.say(f"detect: {len(found.sources)} sources{_how(found.metadata)} -> {output}")


def _how(metadata: dict[str, Any]) -> str:
    return f" (threshold {metadata['threshold']:g} {metadata['thresholdType']}, PSF sigma {metadata['sigma']:.2f} px)"


def psf_sigma(given: dict[str, Any]) -> float | None:
    """Gaussian sigma of the smoothing from --psf-fwhm or --psf-sigma, pixels.

    Raises
    ------
    UsageError
        If both are given.
    """
    from psfmatch_cli.psf import FWHM_PER_SIGMA

    fwhm, sigma = given["psf_fwhm"], given["psf_sigma"]
    if fwhm is not None and sigma is not None:
        raise UsageError("--psf-fwhm and --psf-sigma are the same thing; give one of them")
    return sigma if fwhm is None else fwhm / FWHM_PER_SIGMA
