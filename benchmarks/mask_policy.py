"""Which serves better: to refuse candidates with bad pixels in their stamps, or to leave these pixels out of the fit?

    python benchmarks/mask_policy.py                          every real and simulated pair
    python benchmarks/mask_policy.py sdss-r columns --output table.md

Runs the whole `subtract` command with ``--mask-policy exclude`` and ``reject`` on each pair, and scores both
differences on the pixels that both can use. The simulated pairs have no transients, so that all sources should vanish.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import metrics
import numpy as np
from files import Planes, markdown_table, read_image, read_metadata, read_planes, write_lsst
from real_pairs import PAIRS, RealPair, data_folder, normalised_sky, subtract

from psfmatch_cli.simulate import preset, simulate_pair

POLICIES = ("exclude", "reject")
SIDE = 1024
#: Simulated pairs by name, as changes of the standard one at a quarter of its area; numbers are per image.
SIMULATED: dict[str, dict[str, Any]] = {
    "clean": {"cosmic_rays": 15, "dead_pixels": 10, "bad_columns": 0},
    "cosmics": {"cosmic_rays": 200, "dead_pixels": 50, "bad_columns": 0},
    "columns": {"cosmic_rays": 15, "dead_pixels": 10, "bad_columns": 12},
    "both": {"cosmic_rays": 150, "dead_pixels": 50, "bad_columns": 8},
    "both, few stars": {"cosmic_rays": 100, "dead_pixels": 30, "bad_columns": 5, "n_stars": 60},
    "many cosmics": {"cosmic_rays": 1500, "dead_pixels": 300, "bad_columns": 0},
}


@dataclass(frozen=True)
class Run:
    """A difference, its metadata, and the seconds of the command."""

    difference: Planes
    metadata: dict[str, Any]
    seconds: float


def run_policies(pair: RealPair, folder: Path, work: Path) -> dict[str, Run | int]:
    """What the command makes of a pair with each policy; the exit status where it fails."""
    made: dict[str, Run | int] = {}
    for policy in POLICIES:
        output = work / f"{policy}.fits"
        try:
            seconds = subtract(folder, pair, folder / pair.science, output, ["--mask-policy", policy, "-q"])
        except subprocess.CalledProcessError as error:
            made[policy] = error.returncode
        else:
            made[policy] = Run(read_planes(output), read_metadata(output), seconds)
    return made


def rows_of(name: str, pair: RealPair, science: Path, made: dict[str, Run | int], ratio: float) -> list[dict[str, Any]]:
    """Rows of the table for one pair; `ratio` is the true flux ratio, NaN where it is not known."""
    runs = {policy: run for policy, run in made.items() if isinstance(run, Run)}
    image = read_image(science)
    usable = {policy: run.difference.usable for policy, run in runs.items()}
    scores = metrics.score_pair(image, {p: run.difference.image for p, run in runs.items()}, usable, pair.gain)
    common = np.logical_and.reduce(list(usable.values()))
    rows: list[dict[str, Any]] = []
    for policy, run in made.items():
        if not isinstance(run, Run):
            rows.append({"pair": name, "policy": policy, "kept": f"failed with status {run}"})
            continue
        score, difference = scores[policy], run.difference
        kernel_sum = run.metadata["spatialKernelSum"] ** (-1 if run.metadata["convolvedExposure"] == "Science" else 1)
        noise = np.sqrt(np.where(common, difference.variance, np.nan))
        rows.append(
            {
                "pair": name,
                "policy": policy,
                "kept": run.metadata["nCandidates"],
                "used": run.metadata["nGood"],
                "order": run.metadata["spatialKernelOrderUsed"],
                "star_mad": score.star_mad,
                "star_rms": score.star_rms,
                "star_frac": score.star_frac,
                "sum error %": 100.0 * (kernel_sum / ratio - 1.0),
                "sky / noise": normalised_sky(image, difference.image, noise, common),
                "seconds": run.seconds,
            }
        )
    return rows


def run_real(name: str, work: Path) -> list[dict[str, Any]]:
    """Rows of one real pair."""
    pair = PAIRS[name]
    folder = data_folder() / (pair.folder or name)
    return rows_of(name, pair, folder / pair.science, run_policies(pair, folder, work), float("nan"))


def run_simulated(name: str, seed: int, work: Path) -> list[dict[str, Any]]:
    """Rows of one simulated pair."""
    stars = {"n_stars": 500, "n_galaxies": 150, "n_transients": 0}
    made = simulate_pair(preset("standard", width=SIDE, height=SIDE, seed=seed, **{**stars, **SIMULATED[name]}))
    for role in ("template", "science"):
        write_lsst(work / f"{role}.fits", getattr(made, role))
    pair = RealPair("template.fits", "science.fits", made.config.gain, made.config.science_fwhm, peer=False)
    title = f"{name}, seed {seed}"
    return rows_of(title, pair, work / pair.science, run_policies(pair, work, work), made.config.flux_ratio)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = (*PAIRS, *SIMULATED)
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help=f"any of {', '.join(known)}; default: all")
    parser.add_argument("--seeds", type=int, default=2, help="simulated pairs of each kind")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the pairs and print the table."""
    options = parse(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.pairs or [*PAIRS, *SIMULATED]:
        if name in PAIRS and not data_folder().is_dir():
            print(f"no real pairs: {data_folder()} is not a folder; set PSFMATCH_DATA", file=sys.stderr)
            continue
        for seed in range(1, options.seeds + 1) if name in SIMULATED else [0]:
            with tempfile.TemporaryDirectory() as temporary:
                work = Path(temporary)
                rows += run_simulated(name, seed, work) if name in SIMULATED else run_real(name, work)
            print(*rows[-2:], sep="\n", file=sys.stderr)
    table = markdown_table(rows)
    print(table)
    if options.output:
        options.output.write_text(f"{table}\n")


if __name__ == "__main__":
    main()
