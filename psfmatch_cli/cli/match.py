"""psfmatch match: convolve one image of a pair to the PSF of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psfmatch_cli.cli import matching, options
from psfmatch_cli.cli.mosaics import match_extensions
from psfmatch_cli.cli.run import running
from psfmatch_cli.cli.work import Work


@options.command("match", "psfmatch match template.fits science.fits -o matched.fits")
@options.path_argument("template")
@options.path_argument("science")
@options.output("Matched exposure (.fits, .fits.gz or .fits.fz)")
@matching.all_options
def command(template: Path, science: Path, output: Path, **given: Any) -> int:
    """Match the PSF of TEMPLATE to that of SCIENCE, or the other way round.

    The matched exposure is the sharper one convolved with the matching kernel, on the science grid, without the
    differential background. The kernel, the background and the candidates go into the kernel file.
    """
    inputs = {"template": template, "science": science}
    outputs = {**matching.further_products(output, given), "matched image": output}
    with running("match", given, inputs, outputs) as run:
        if given["all_extensions"]:
            return match_extensions(run, Work.match)
        made = run.work.match()
        with run.writing(made.summary) as names:
            matching.write_products(run, names, made)
        run.say(f"match: {matching.describe(made)} -> {output}")
    return run.ending["exitCode"]
