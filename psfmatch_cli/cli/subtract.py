"""psfmatch subtract: the difference of a pair of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psfmatch_cli.cli import matching, options, saved
from psfmatch_cli.cli.mosaics import match_extensions
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reporting import write_report
from psfmatch_cli.cli.run import Run, running
from psfmatch_cli.cli.work import Matched, Work

#: The options of the command besides -o.
own_options = options.chain(
    options.product("matched", "Matched exposure, see psfmatch match", "OUTPUT_matched.fits beside it"),
    options.product("score", "Score image: flux of a point source at every pixel and its variance", "none"),
    options.product("diff-sources", "Table of the sources of the difference (.fits, .ecsv, .csv)", "none"),
    options.product("report", "Page with pictures of the difference and of how it was made (.html)", "none"),
    options.normalize,
    options.decorrelate,
    saved.use_kernel,
    matching.all_options,
)


def outputs_of(output: Path, given: Mapping[str, Any]) -> dict[str, Path | None]:
    """All products by role, the difference last.

    Parameters
    ----------
    output : Path
        The difference.
    given : mapping
        Values of the options.
    """
    return {
        **matching.further_products(output, given),
        "difference sources": beside(output, given["diff_sources"], given["no_diff_sources"], ""),
        "score": beside(output, given["score"], given["no_score"], ""),
        "report": beside(output, given["report"], given["no_report"], ""),
        "matched image": beside(output, given["matched"], given["no_matched"], "_matched.fits"),
        "difference": output,
    }


def write_all(run: Run, names: Mapping[str, Path], made: Matched) -> None:
    """Write all products that are wanted to their names."""
    matching.write_products(run, names, made)
    if "report" in names:
        write_report(run, names["report"], made)


@options.command("subtract", "psfmatch subtract template.fits science.fits -o diff.fits")
@options.path_argument("template")
@options.path_argument("science")
@options.output("Difference exposure (.fits, .fits.gz or .fits.fz)")
@own_options
def command(template: Path, science: Path, output: Path, **given: Any) -> int:
    """Subtract TEMPLATE from SCIENCE after matching their PSFs.

    The difference is on the science grid and, unless told otherwise, in science counts; a source that is new in
    SCIENCE is positive.
    Its mask and variance planes cover both exposures.
    """
    inputs = {"template": template, "science": science}
    saved.check_options(given)
    with running("subtract", given, inputs, outputs_of(output, given)) as run:
        if given["all_extensions"]:
            return match_extensions(run, Work.subtract)
        made = run.work.subtract()
        with run.writing(made.summary) as names:
            write_all(run, names, made)
        run.say(f"subtract: {matching.describe(made)} -> {output}")
    return run.ending["exitCode"]
