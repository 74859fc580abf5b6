"""psfmatch candidates: which sources may constrain the kernel, and why the others may not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.run import Run, running

if TYPE_CHECKING:
    from psfmatch_cli.candidates import CandidateSet


@options.command("candidates", "psfmatch candidates template.fits science.fits -o candidates.ecsv")
@options.path_argument("template")
@options.path_argument("science")
@options.output("Table of candidates (.fits, .ecsv or .csv)")
@options.metadata
@options.summary
@options.sources
@options.direction
@options.kernel_size
@options.bad_planes
@options.sigma
@options.reading("template")
@options.reading("science")
@options.common
def command(template: Path, science: Path, output: Path, **given: Any) -> None:
    """List which sources can constrain the kernel that matches TEMPLATE to SCIENCE.

    The table has one row per source, also of those refused, with the reason. It can be changed and given to
    match and subtract with --sources.
    """
    inputs = {"template": template, "science": science}
    outputs = {
        "metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"),
        "candidates": output,
    }
    with running("candidates", given, inputs, outputs) as run:
        found = find(run)
        counts = found.counts()
        with run.writing({"n_sources": len(found.table), "kernel_size": found.kernel_size, "counts": counts}) as names:
            run.write_table(names["candidates"], found.table)
        refused = [f"{n} {reason}" for reason, n in counts.items() if reason != "candidates"]
        described = f" ({', '.join(refused)})" if refused else ""
        run.say(f"candidates: {len(found)} of {len(found.table)} sources{described} -> {output}")


def find(run: Run) -> CandidateSet:
    """Candidates of the run's pair, for the kernel size that a match of it would have."""
    from psfmatch_cli.basis import basis_spec
    from psfmatch_cli.plan import directions
    from psfmatch_cli.register import Widths, register

    template, science = run.read_pair()
    given, settings = run.match_arguments(), run.settings
    registered = register(template, science, settings.warp, given["do_warping"], threads=settings.threads)
    widths = Widths.of(registered.exposure, science, given["template_fwhm_pix"], given["science_fwhm_pix"])
    direction = directions(widths.template, widths.science, given["convolve_template"])[0]
    fwhms = (widths.template, widths.science)
    spec = basis_spec(*(fwhms if direction.convolve_template else fwhms[::-1]), settings.kernel)
    sources = given["candidate_list"]
    if sources is None:
        detection = run.task.get_select_sources(science, psf_sigma=widths.science_sigma)
        sources, science = detection.sources, science.with_pixels(detection.mark(science.masked_image))
    return run.task.make_candidate_list(
        registered.exposure, science, spec.size, sources, n_parameters=spec.n_functions + 1
    )
