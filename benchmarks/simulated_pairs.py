"""Run the whole `subtract` command on simulated pairs and compare its differences with the truth.

    python benchmarks/simulated_pairs.py                      every case at 2048 x 2048
    python benchmarks/simulated_pairs.py standard --size 1024 --seed 2 --output table.md
    python benchmarks/simulated_pairs.py --perfect            the same figures for a perfect subtraction

Prints a Markdown table with one column a case; benchmarks/README.md says how to read it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import metrics
import numpy as np
from files import Planes, markdown_table, read_metadata, read_planes, transpose, write_lsst
from numpy.typing import NDArray
from unit import machine_unit

from psfmatch_cli.simulate import PRESETS, Role, SimulatedPair, preset, simulate_pair
from psfmatch_cli.simulation.render import moffat_stamp
from psfmatch_cli.simulation.sky import sky_image, to_template

ROOT = Path(__file__).resolve().parent.parent
#: What each figure has to be: (lowest, highest).
LIMITS: dict[str, tuple[float, float]] = {
    "sky width": (0.98, 1.02),
    "star width": (0.0, 1.08),
    "flux bias %": (-0.5, 0.5),
    "found %": (98.0, 100.0),
    "false /Mpix": (0.0, 2.0),
    "pixel false /Mpix": (0.0, 2.0),
    "unexplained %": (0.0, 0.0),
}
#: Figures with a standard error, and its name.
ERRORS = {"star width": "star +-", "flux bias %": "+-"}
WIDTH_ERROR = 1.17  # standard error of a robust width of n Gaussian values, times sqrt(n) and the width
PHOTOMETRY_HALF = 12  # pixels of the PSF image used for fluxes
RESAMPLING_HALF = 3  # pixels of the largest resampling kernel


@dataclass(frozen=True)
class Run:
    """What the program made of a pair: the difference, its metadata, and the seconds of the command."""

    difference: Planes
    metadata: dict[str, Any]
    seconds: float


def run_program(pair: SimulatedPair, folder: Path, options: list[str]) -> Run:
    """Write both exposures, run `subtract` on them as a user does, and read the result."""
    template, science, output = (folder / f"{name}.fits" for name in ("template", "science", "difference"))
    for path, exposure in ((template, pair.template), (science, pair.science)):
        path.unlink(missing_ok=True)
        write_lsst(path, exposure)
    command = [sys.executable, "-m", "psfmatch_cli", "subtract", template, science, "-o", output, "--overwrite"]
    start = time.perf_counter()
    subprocess.run([*map(str, command), *options], check=True, cwd=ROOT)
    seconds = time.perf_counter() - start
    return Run(read_planes(output), read_metadata(output), seconds)


def perfect_run(pair: SimulatedPair) -> Run:
    """The exact change under the science noise: what the true kernel and a noise-free template would leave."""
    without = simulate_pair(pair.config.model_copy(update={"n_transients": 0}))
    image = pair.science.image.astype(float) - without.science_truth
    half = PHOTOMETRY_HALF
    for row in pair.transients[pair.transients["flux"] < 0]:
        stamp, x, y = psf_at(pair, "science", row["x"], row["y"])
        image[y - half : y + half + 1, x - half : x + half + 1] += row["flux"] * stamp
    planes = dict(pair.science.planes)
    mask = pair.science.mask.astype(np.int64)
    return Run(Planes(image, mask, pair.science.variance.astype(float), planes, None), {}, float("nan"))


def psf_at(pair: SimulatedPair, role: Role, x: float, y: float) -> tuple[NDArray, int, int]:
    """True PSF image with the sub-pixel place of (x, y), and the pixel it is centred on."""
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    return moffat_stamp(pair.fields[role].at(x, y)[0], x - ix, y - iy, PHOTOMETRY_HALF), ix, iy


def sources_of(pair: SimulatedPair, sigma: float) -> NDArray[np.bool_]:
    """Pixels with light of constant sources or transients; in crowded fields all but the emptiest tenth."""
    excess = pair.science_truth - sky_image(pair.config, "science")
    limit = max(0.2, float(np.quantile(excess, 0.1)) / sigma)
    occupied = metrics.source_map(pair.science_truth, sky_image(pair.config, "science"), sigma, limit)
    yy, xx = np.indices(occupied.shape, sparse=True)
    for row in pair.transients:
        reach = 3.0 * max(pair.config.science_fwhm, pair.config.template_fwhm)
        occupied |= (xx - row["x"]) ** 2 + (yy - row["y"]) ** 2 < reach**2
    return occupied


def template_bad_on_science_grid(pair: SimulatedPair) -> NDArray[np.bool_]:
    """Bad pixels of the template, and what lies beyond it, seen from the science grid."""
    bad = pair.template.mask != 0
    config = pair.config
    if not (config.rotation or config.scale != 1.0 or any(config.shift)):
        return bad
    y, x = np.indices(pair.science.shape).reshape(2, -1).astype(float)
    columns, rows = (np.floor(c + 0.5).astype(int) for c in to_template(config, x, y))
    reach = RESAMPLING_HALF
    outside = (np.minimum(columns, rows) < reach) | (columns >= config.width - reach) | (rows >= config.height - reach)
    columns, rows = np.clip(columns, 0, config.width - 1), np.clip(rows, 0, config.height - 1)
    found = metrics.explained_mask(bad, bad, RESAMPLING_HALF)[rows, columns] | outside
    return found.reshape(pair.science.shape)


def psf_role(run: Run) -> Role:
    """The exposure whose PSF the difference has: the one that was not convolved."""
    return "template" if str(run.metadata.get("convolvedExposure", "")).lower() == "science" else "science"


def photometry(pair: SimulatedPair, run: Run, usable: NDArray[np.bool_]) -> dict[str, Any]:
    """Bias of the fluxes of the transients of S/N above 20, by the PSF and in an aperture."""
    role = psf_role(run)
    rows = pair.transients[pair.transients["snr"] > 20.0]
    by_psf, by_aperture = [], []
    for row in rows:
        psf, _, _ = psf_at(pair, role, row["x"], row["y"])
        place = (run.difference.image, usable, row["x"], row["y"], psf)
        by_psf.append(metrics.psf_flux(*place))
        by_aperture.append(metrics.aperture_flux(*place, pair.config.science_fwhm))
    true = np.asarray(rows["flux"])
    bias = metrics.Bias.of(np.array(by_psf), true)
    in_aperture = metrics.Bias.of(np.array(by_aperture), true)
    return {
        "flux bias %": 100.0 * bias.median,
        "+-": 100.0 * bias.error,
        "aperture bias %": 100.0 * in_aperture.median,
        "n flux": bias.n,
    }


def constant_stars(pair: SimulatedPair, run: Run, usable: NDArray, occupied: NDArray, rng) -> dict[str, Any]:
    """Aperture residuals of constant stars over their noise, and the same over that of empty apertures."""
    config, stars, changes = pair.config, pair.stars, pair.transients
    x, y = np.asarray(stars["x"]), np.asarray(stars["y"])
    kept = (stars["snr"] > 10.0) & ~stars["saturated"]
    kept &= ~metrics.near_any(x, y, changes["x"], changes["y"], 3.0 * config.science_fwhm)
    measure = (run.difference.image, run.difference.variance, usable)
    at_stars = metrics.Spread.of(metrics.aperture_significance(*measure, x[kept], y[kept], config.science_fwhm))
    empty = metrics.empty_positions(occupied | ~usable, config.science_fwhm, 3000, rng)
    on_sky = metrics.Spread.of(metrics.aperture_significance(*measure, *empty, config.science_fwhm))
    enough = on_sky.n >= 100
    return {
        "star width": at_stars.width,
        "star +-": WIDTH_ERROR * at_stars.width / max(at_stars.n, 1) ** 0.5,
        "star rms": at_stars.rms,
        "star / sky": at_stars.width / on_sky.width if enough else float("nan"),
        "n stars": at_stars.n,
    }


def detections(pair: SimulatedPair, run: Run, usable: NDArray, occupied: NDArray) -> dict[str, Any]:
    """Transients found and false peaks, with a matched filter and in single pixels."""
    image, variance, changes = run.difference.image, run.difference.variance, pair.transients
    centre = pair.psf_image(
        psf_role(run), 0.5 * (pair.config.width - 1), 0.5 * (pair.config.height - 1), PHOTOMETRY_HALF
    )
    filtered = metrics.matched_filter(image, variance, usable, centre)
    filtered_noise = metrics.width(filtered[usable & ~occupied])
    pixels = metrics.normalised(image, variance, usable)
    bright = changes[changes["snr"] > 7.0]
    found, n = metrics.completeness(
        filtered, usable, np.asarray(bright["x"]), np.asarray(bright["y"]), np.sign(bright["flux"])
    )
    widest = max(pair.config.science_fwhm, pair.config.template_fwhm)
    true = (np.asarray(changes["x"]), np.asarray(changes["y"]), 3.0 * widest)
    return {
        "found %": 100.0 * found,
        "n found": n,
        "false /Mpix": metrics.false_peaks(filtered, usable, *true),
        "filter width": filtered_noise,
        "false / width": metrics.false_peaks(filtered / filtered_noise, usable, *true),
        "pixel false /Mpix": metrics.false_peaks(pixels, usable, *true),
    }


def masking(pair: SimulatedPair, run: Run) -> dict[str, Any]:
    """Fraction of pixels lost, what the kernel's footprint explains, and how much it does not."""
    half = int(run.metadata.get("ALKernelSize", 21)) // 2
    lost = ~run.difference.usable
    explained = metrics.explained_mask(pair.science.mask != 0, template_bad_on_science_grid(pair), half)
    return {
        "masked %": 100.0 * float(lost.mean()),
        "explained %": 100.0 * float(explained.mean()),
        "unexplained %": 100.0 * float((lost & ~explained).mean()),
    }


def choices(pair: SimulatedPair, run: Run) -> dict[str, Any]:
    """What the program decided, as far as its metadata tell."""
    metadata = run.metadata
    kernel_sum = metadata.get("spatialKernelSum")
    if kernel_sum is not None and psf_role(run) == "template":
        kernel_sum = 1.0 / kernel_sum
    return {
        "convolved": metadata.get("convolvedExposure"),
        "basis": metadata.get("kernelBasisSet"),
        "order": metadata.get("spatialKernelOrderUsed"),
        "kernel": metadata.get("ALKernelSize"),
        "used": metadata.get("nGood"),
        "of": metadata.get("nCandidates"),
        "sum error %": None if kernel_sum is None else 100.0 * (kernel_sum / pair.config.flux_ratio - 1.0),
    }


def misses(row: dict[str, Any]) -> list[str]:
    """Figures outside their limits; with a question mark where two standard errors would bring them inside."""
    found = []
    for key, (low, high) in LIMITS.items():
        slack = 2.0 * row[ERRORS[key]] if key in ERRORS else 0.0
        if not low <= row[key] <= high:
            found.append(f"{key}?" if low - slack <= row[key] <= high + slack else key)
    return found


def measure(name: str, pair: SimulatedPair, run: Run, unit: float) -> dict[str, Any]:
    """All figures of one case."""
    usable = run.difference.usable
    variance = run.difference.variance
    occupied = sources_of(pair, float(np.sqrt(np.median(variance[usable]))))
    sky = metrics.sky_spread(run.difference.image, variance, usable, occupied)
    row = {
        "case": name,
        **choices(pair, run),
        "sky width": sky.width,
        "sky rms": sky.rms,
        **constant_stars(pair, run, usable, occupied, np.random.default_rng(0)),
        **photometry(pair, run, usable),
        **detections(pair, run, usable, occupied),
        **masking(pair, run),
        "seconds": run.seconds,
        "units": run.seconds / unit,
    }
    row["misses"] = ", ".join(misses(row)) or "none"
    return row


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(PRESETS)}; default: all but demo")
    parser.add_argument("--size", type=int, default=2048, help="side of the images (numbers of sources follow)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transients", type=int, help="number of transients; default: 400 in 2048 x 2048")
    parser.add_argument("--options", default="", help="further options of subtract, in one string")
    parser.add_argument("--perfect", action="store_true", help="measure a perfect subtraction, not the program")
    parser.add_argument("--keep", type=Path, help="keep the files of each case in a folder below this one")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    return parser.parse_args(arguments)


def configure(name: str, options: argparse.Namespace):
    """Configuration of a case; a larger or smaller field holds as many stars a pixel."""
    share = (options.size / 2048) ** 2
    changes = {"width": options.size, "height": options.size, "seed": options.seed}
    changes["n_transients"] = options.transients or round(400 * share)
    if name == "crowded":
        changes["n_stars"] = round(PRESETS[name]["n_stars"] * share)
    return preset(name, **changes)


def main(arguments: list[str] | None = None) -> None:
    """Run the cases and print the table."""
    options = parse(arguments)
    unit = machine_unit()
    rows = []
    for name in options.cases or [name for name in PRESETS if name != "demo"]:
        pair = simulate_pair(configure(name, options))
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.keep or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            try:
                run = perfect_run(pair) if options.perfect else run_program(pair, folder, options.options.split())
            except subprocess.CalledProcessError as error:
                rows.append({"case": name, "misses": f"failed with status {error.returncode}"})
            else:
                rows.append(measure(name, pair, run, unit))
        print(rows[-1], file=sys.stderr)
    table = markdown_table(transpose(rows))
    print(table)
    if options.output:
        options.output.write_text(f"One unit of this machine: {unit:.3f} s.\n\n{table}\n")


if __name__ == "__main__":
    main()
