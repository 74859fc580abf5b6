"""psfmatch subtract: the difference of a pair of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import matching, options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.run import running

if TYPE_CHECKING:
    from astropy.table import Table


@options.command("subtract", "psfmatch subtract template.fits science.fits -o diff.fits")
@options.path_argument("template")
@options.path_argument("science")
@options.output("Difference exposure (.fits, .fits.gz or .fits.fz)")
@options.product("matched", "Matched exposure, see psfmatch match", "OUTPUT_matched.fits beside it")
@options.product("score", "Score image: flux of a point source at every pixel and its variance", "none")
@options.product("diff-sources", "Table of the sources of the difference (.fits, .ecsv, .csv)", "none")
@options.normalize
@options.decorrelate
@matching.all_options
def command(template: Path, science: Path, output: Path, **given: Any) -> None:
    """Subtract TEMPLATE from SCIENCE after matching their PSFs.

    The difference is on the science grid and, unless told otherwise, in science counts; a source that is new in
    SCIENCE is positive.
    Its mask and variance planes cover both exposures.
    """
    inputs = {"template": template, "science": science}
    outputs = {
        **matching.further_products(output, given),
        "difference sources": beside(output, given["diff_sources"], given["no_diff_sources"], ""),
        "score": beside(output, given["score"], given["no_score"], ""),
        "matched image": beside(output, given["matched"], given["no_matched"], "_matched.fits"),
        "difference": output,
    }
    with running("subtract", given, inputs, outputs) as run:
        template_exposure, science_exposure = run.read_pair()
        result = run.task.subtract_exposures(template_exposure, science_exposure, **run.match_arguments())
        summary, score, sources = result.summary, None, None
        if outputs["score"] is not None:
            from psfmatch_cli.score import score_exposure

            score = score_exposure(science_exposure, result, run.settings)
            summary = {**summary, "score_width": score.sky_width}
        if outputs["difference sources"] is not None:
            from psfmatch_cli.diff_context import sources_of_pair

            sources = sources_of_pair(result, science_exposure, run.settings)
            summary = {**summary, **source_counts(sources)}
        with run.writing(summary) as names:
            if sources is not None:
                run.write_table(names["difference sources"], sources)
            matching.write_products(run, names, result, result.subtracted_exposure, score)
        scale = "" if result.normalize == "science" else f", in {result.normalize} counts"
        found = "" if sources is None else f", {len(sources)} sources in the difference"
        run.say(f"subtract: {matching.describe(result.summary)}{scale}{found} -> {output}")


def source_counts(sources: Table) -> dict[str, Any]:
    """What the summary says of the sources of a difference.

    Parameters
    ----------
    sources : Table
        As `psfmatch_cli.diff_detect.find_difference_sources` makes it.
    """
    return {
        "n_difference_sources": len(sources),
        "n_positive": int((sources["polarity"] > 0).sum()),
        "n_negative": int((sources["polarity"] < 0).sum()),
        "n_dipoles": int(sources["is_dipole"].sum()),
        "significance_width": float(sources.meta["FLUXWIDTH"]),
    }
