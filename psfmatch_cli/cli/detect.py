"""psfmatch detect: find and measure the sources of an exposure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import Run, running
from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure


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

    A difference made by psfmatch subtract is recognised by its header. On it sources of both signs are looked for,
    with its PSF, from a significance of 5 unless --sigma says otherwise; the table has the columns of
    subtract --diff-sources but for those of the template and the science image.
    """
    from psfmatch_cli.image_kind import is_difference

    inputs = {"exposure": exposure}
    outputs = {"metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"), "sources": output}
    with running("detect", given, inputs, outputs) as run:
        image = run.read(exposure)
        if is_difference(image):
            _detect_on_difference(run, image, output)
            return
        found = run.task.get_select_sources(image, do_smooth=given["smooth"], psf_sigma=psf_sigma(given))
        summary = {"n_sources": len(found.sources), **found.metadata}
        with run.writing(summary) as names:
            run.write_table(names["sources"], found.sources)
        run.say(f"detect: {len(found.sources)} sources{_how(found.metadata)} -> {output}")


def _detect_on_difference(run: Run, image: Exposure, output: Path) -> None:
    """Find and write the sources of a difference."""
    from psfmatch_cli.cli.subtract import source_counts
    from psfmatch_cli.diff_detect import find_difference_sources

    for name in ("psf_fwhm", "psf_sigma"):
        if run.given[name] is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for the search of an exposure; on a difference the PSF itself is used: "
                "give it with --psf"
            )
    if not run.given["smooth"]:
        raise UsageError("--no-smooth is for the search of an exposure; a difference is searched with its PSF")
    config = run.settings.difference_sources
    if run.given["sigma"] is not None:
        config = config.model_copy(update={"threshold": run.settings.detection.threshold_value})
    found = find_difference_sources(image, config)
    counts = source_counts(found)
    with run.writing(counts) as names:
        run.write_table(names["sources"], found)
    run.say(
        f"detect: {image.name} is a difference: {counts['n_positive']} positive and {counts['n_negative']} negative "
        f"sources (significance {config.threshold:g}, {config.polarity}) -> {output}"
    )


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
