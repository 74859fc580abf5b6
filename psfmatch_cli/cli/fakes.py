"""psfmatch fakes: what a subtraction finds of sources that were put in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psfmatch_cli.cli import matching, options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.run import running

_injection = options.chain(
    options.setting_option(
        "--density",
        type=float,
        section="Injection",
        metavar="NUMBER",
        help="Injected sources per megapixel at most. [default: 150]",
    ),
    options.setting_option(
        "--on-galaxies",
        type=float,
        section="Injection",
        metavar="PART",
        help="Part of them on extended sources, 0 to 1, as far as there are any. [default: 1/3]",
    ),
    options.setting_option(
        "--seed",
        type=int,
        section="Injection",
        metavar="N",
        help="Seed of places, fluxes and photon noise. [default: 1]",
    ),
)
_decorrelate = options.option(
    "--decorrelate/--no-decorrelate",
    default=True,
    is_eager=True,
    section="Matching",
    help="Filter the difference so that its noise is white, or leave it as it is. [default: decorrelate]",
)


@options.command("fakes", "psfmatch fakes template.fits science.fits -o fakes.ecsv")
@options.path_argument("template")
@options.path_argument("science")
@options.output("Table of the injected sources, true and measured (.fits, .ecsv or .csv)")
@options.product("bins", "Table of efficiency and purity", "OUTPUT_bins.ecsv beside it")
@options.product("plot", "Plot of efficiency, purity, flux errors and pulls (.svg)", "OUTPUT.svg beside it")
@options.product("diff-sources", "Table of the sources of the difference with the injected ones", "none")
@options.metadata
@options.summary
@_injection
@_decorrelate
@options.normalize
@matching.method_options
def command(template: Path, science: Path, output: Path, **given: Any) -> None:
    """Inject point sources into SCIENCE, subtract TEMPLATE, and compare what is detected with what was put in.

    Sources of known flux, with signal-to-noise ratios from 2 to 100, are added with the PSF of SCIENCE and their photon
    noise, on empty sky and on galaxies. The difference is made as psfmatch subtract makes it, with and without them.
    Told are efficiency, purity, bias of the flux, and whether errors are true.
    """
    outputs = {
        "metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"),
        "difference sources": beside(output, given["diff_sources"], given["no_diff_sources"], ""),
        "plot": beside(output, given["plot"], given["no_plot"], ".svg"),
        "bins": beside(output, given["bins"], given["no_bins"], "_bins.ecsv"),
        "injected sources": output,
    }
    with running("fakes", given, {"template": template, "science": science}, outputs) as run:
        trial = run.work.try_fakes()
        with run.writing(trial.summary) as names:
            tables = {"injected sources": trial.fakes, "bins": trial.bins, "difference sources": trial.detections}
            for role, table in tables.items():
                if role in names:
                    run.write_table(names[role], table)
            if "plot" in names:
                from psfmatch_cli.fakes.plot import trial_svg

                names["plot"].write_text(trial_svg(trial), "utf-8")
        run.say(f"fakes: {_told(trial.summary['all'])} -> {output}")


def _told(numbers: Mapping[str, Any]) -> str:
    """The numbers of all injected sources, in one line."""
    parts = [f"{numbers['n_found']} of {numbers['n_injected']} injected sources found"]
    if numbers["snr_50"] is not None:
        parts.append(f"half at S/N {numbers['snr_50']:.2f} +- {numbers['snr_50_err']:.2f}")
    if numbers["flux_bias"] is not None:
        parts.append(f"flux bias {100 * numbers['flux_bias']:+.2f} +- {100 * numbers['flux_bias_err']:.2f} %")
    if numbers["forced_flux_pull_width"] is not None:
        parts.append(
            f"pull width {numbers['forced_flux_pull_width']:.2f} +- {numbers['forced_flux_pull_width_err']:.2f}"
        )
    return ", ".join(parts)
