"""Inject sources into simulated pairs with their exact PSF, and tell what the subtraction finds of them.

    python benchmarks/fakes.py                           standard, reversed, varying and warped, 1024 x 1024
    python benchmarks/fakes.py reversed --seeds 3 --density 200 --output table.md

Other than `psfmatch fakes`, which injects with the PSF that it models on the stars, this one also sees what a wrong
model of the PSF does to fluxes. No source of the pairs changes, so that every other detection is false.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from files import markdown_table
from numpy.typing import NDArray

from psfmatch_cli.config import FakesConfig, SubtractionConfig
from psfmatch_cli.fakes.score import summary_of
from psfmatch_cli.fakes.trial import Trial, run_trial
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.psf import VaryingPsf
from psfmatch_cli.settings import Settings
from psfmatch_cli.simulate import SimulatedPair, preset, simulate_pair

CASES = ("standard", "reversed", "varying", "warped")
HALF = 40  # pixels from the centre to the edge of the image of an injected source: 9 FWHM


class SimulatedPsf(VaryingPsf):
    """The exact PSF of a simulated science image."""

    @classmethod
    def of(cls, pair: SimulatedPair) -> SimulatedPsf:
        """PSF of a pair."""
        height, width = pair.science.shape
        made = cls(pair.psf_image("science", width / 2, height / 2, HALF), "simulated")
        object.__setattr__(made, "pair", pair)
        return made

    def at(self, x: float, y: float) -> NDArray:
        """The image at a parent position."""
        return self.pair.psf_image("science", x, y, HALF)


def trial_of(case: str, size: int, seed: int, density: float) -> Trial:
    """Trial of one simulated pair."""
    pair = simulate_pair(preset(case, width=size, height=size, seed=seed, n_transients=0))
    settings = Settings(subtraction=SubtractionConfig(decorrelate=True), fakes=FakesConfig(seed=seed, density=density))
    task = ImagePsfMatchTask(settings)
    return run_trial(pair.template, pair.science, task.subtract_exposures, settings, psf=SimulatedPsf.of(pair))


def row(case: str, trials: list[Trial]) -> dict[str, Any]:
    """Numbers of the trials of one case together."""
    from astropy.table import vstack

    numbers = summary_of(vstack([trial.fakes for trial in trials], metadata_conflicts="silent"))["all"]

    def told(name: str, factor: float = 1.0, digits: int = 2) -> str:
        return f"{factor * numbers[name]:.{digits}f} ± {factor * numbers[f'{name}_err']:.{digits}f}"

    counted = ("n_positive_before", "n_negative_before", "n_new_positive", "n_new_negative")
    false = sum(trial.summary[name] for trial in trials for name in counted)
    return {
        "case": case,
        "injected": numbers["n_injected"],
        "half at S/N": told("snr_50"),
        "flux bias %": told("flux_bias", 100),
        "pull width": told("forced_flux_pull_width"),
        "pull median": f"{numbers['forced_flux_pull_median']:+.2f}",
        "x pull": told("x_pull_width"),
        "y pull": told("y_pull_width"),
        "false": false,
        "of noise": f"{sum(2 * trial.summary['n_gaussian'] for trial in trials):.2f}",
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--density", type=float, default=150.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    for case in options.cases:
        seeds = range(1, options.seeds + 1)
        rows.append(row(case, [trial_of(case, options.size, seed, options.density) for seed in seeds]))
        print(rows[-1], flush=True)
    table = markdown_table(rows)
    print(table)
    if options.output:
        options.output.write_text(table)


if __name__ == "__main__":
    main()
