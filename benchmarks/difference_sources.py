"""Sources of decorrelated differences of simulated pairs against the truth: significance, fluxes, positions.

    python benchmarks/difference_sources.py                        four pairs of 1024 x 1024
    python benchmarks/difference_sources.py reversed --seeds 2 --size 768
    python benchmarks/difference_sources.py --correlated           of differences that are not decorrelated

Prints a Markdown table; benchmarks/README.md says how to read it.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import dataclass

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import erfc

from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.diff_columns import difference_table
from psfmatch_cli.diff_detect import search_difference
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.forced import forced_fluxes
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import Settings
from psfmatch_cli.simulate import SimulatedPair, preset, simulate_pair

#: Pixels of clear sky are this far, in FWHM, from transients, from stars and galaxies of a signal to noise ratio above
#: the limit, and from masked pixels.
CLEAR_FWHM = 2.5
BRIGHT = 100.0
#: Detections and transients within so many pixels are the same.
MATCH = 2.5
#: Transients for the bias of the flux.
BIAS_SNR = 20.0
#: Transients of each pair: more than by default, as their numbers limit what is known of biases and pulls.
TRANSIENTS = 120


@dataclass
class Sample:
    """What all pairs show, one entry per source or pixel.

    Parameters
    ----------
    significance : list of ndarray
        Of clear pixels.
    false, expected : list of float
        Detections on clear pixels, and how many Gaussian noise makes.
    forced : list of ndarray, (n, 4)
        Flux and error at the true position, true flux, true signal to noise ratio.
    found : list of ndarray, (n, 7)
        Flux, error, x and y minus the truth, their errors, true flux, of transients that were found.
    """

    significance: list[NDArray]
    false: list[float]
    expected: list[float]
    forced: list[NDArray]
    found: list[NDArray]
    recovered: list[NDArray]


def measure_pair(case: str, size: int, seed: int, decorrelated: bool, sample: Sample) -> None:
    """Subtract one pair and add what its difference shows to the sample."""
    pair = simulate_pair(preset(case, width=size, height=size, seed=seed, n_transients=TRANSIENTS))
    settings = Settings()
    subtraction = settings.subtraction.model_copy(update={"decorrelate": decorrelated})
    settings = settings.model_copy(update={"subtraction": subtraction})
    difference = ImagePsfMatchTask(settings).subtract_exposures(pair.template, pair.science).subtracted_exposure
    config = DifferenceSourceConfig()
    found = search_difference(difference, config, difference.psf)
    table = difference_table(difference, found, config)
    clear = clear_pixels(pair, difference)
    values = found.filtered.significance
    sample.significance.append(values[clear & (values != 0)])
    at = np.rint(table["y"]).astype(int).clip(0, size - 1), np.rint(table["x"]).astype(int).clip(0, size - 1)
    sample.false.append(float(clear[at].sum()))
    sample.expected.append(expected_peaks(values, clear, config.threshold))
    add_transients(pair, difference, table, sample)


def clear_pixels(pair: SimulatedPair, difference: Exposure) -> NDArray[np.bool_]:
    """Pixels on which there is nothing but noise."""
    from scipy import ndimage

    reach = math.ceil(CLEAR_FWHM * difference.psf.fwhm)
    busy = difference.masked_image.unusable(["NO_DATA", "SAT", "BAD", "CR", "EDGE"])
    height, width = busy.shape
    limit = np.median(pair.stars["flux"] / pair.stars["snr"]) * BRIGHT
    for bright in (
        pair.transients,
        pair.stars[pair.stars["snr"] > BRIGHT],
        pair.galaxies[pair.galaxies["flux"] > limit],
    ):
        x, y = (np.rint(bright[axis]).astype(int) for axis in "xy")
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        busy[y[inside], x[inside]] = True
    return ~ndimage.binary_dilation(busy, np.ones((3, 3)), iterations=reach)


def expected_peaks(values: NDArray, clear: NDArray[np.bool_], threshold: float) -> float:
    """Maxima above and minima below a threshold that smooth Gaussian noise of unit width has on the clear pixels.

    Adler 1981, The Geometry of Random Fields, section 6.9, with the second moment from the field's own slopes.
    """
    both = clear[:, 1:] & clear[:, :-1]
    slope = np.var((values[:, 1:] - values[:, :-1])[both])
    density = slope * (2 * math.pi) ** -1.5 * threshold * math.exp(-0.5 * threshold**2)
    return 2 * float(density * clear.sum())


def add_transients(pair: SimulatedPair, difference: Exposure, table, sample: Sample) -> None:
    """Transients that were found, and the flux at the true position of each, far from masked pixels."""
    truth = pair.transients
    x, y, flux = (np.asarray(truth[name], float) for name in ("x", "y", "flux"))
    good = far_from_masked(difference, x, y)
    held = forced_fluxes(difference, difference.psf, x, y)
    rows = np.column_stack([held.flux, held.flux_err, flux, truth["snr"]])
    sample.forced.append(rows[good & np.isfinite(held.flux)])
    near, which = cKDTree(np.column_stack([table["x"], table["y"]])).query(np.column_stack([x, y]))
    sample.recovered.append(np.column_stack([near < MATCH, truth["snr"]])[good])
    chosen = good & (near < MATCH)
    t = table[which[chosen]]
    made = [t["psf_flux"], t["psf_flux_err"], t["x"] - x[chosen], t["y"] - y[chosen], t["x_err"], t["y_err"]]
    sample.found.append(np.column_stack([*made, flux[chosen]]))


def far_from_masked(difference: Exposure, x: NDArray, y: NDArray) -> NDArray[np.bool_]:
    """Positions with no unusable pixel within two FWHM."""
    from scipy import ndimage

    bad = difference.masked_image.unusable(["NO_DATA", "SAT", "BAD", "CR", "EDGE"])
    distance = ndimage.distance_transform_edt(~np.pad(bad, 1, constant_values=True))[1:-1, 1:-1]
    at = np.rint(y).astype(int).clip(0, bad.shape[0] - 1), np.rint(x).astype(int).clip(0, bad.shape[1] - 1)
    return distance[at] > 2 * difference.psf.fwhm


def width_of(values: NDArray) -> float:
    """Robust width."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def figures(sample: Sample) -> list[tuple[str, str, str]]:
    """Name, value and what is wanted of each figure."""
    noise = np.concatenate(sample.significance)
    held, found = np.concatenate(sample.forced), np.concatenate(sample.found)
    bright = held[held[:, 3] > BIAS_SNR]
    ratio, weight = bright[:, 0] / bright[:, 2], (bright[:, 2] / bright[:, 1]) ** 2
    bias, error = np.average(ratio, weights=weight) - 1, 1 / math.sqrt(weight.sum())
    pulls = (held[:, 0] - held[:, 2]) / held[:, 1]
    n, beyond = len(held), float(np.mean(np.abs(noise) > 4))
    places = np.concatenate([found[:, 2] / found[:, 4], found[:, 3] / found[:, 5]])
    places = places[np.isfinite(places)]
    fitted = (found[:, 0] - found[:, 6]) / found[:, 1]
    half = 1 / math.sqrt(2 * n)
    found_half = 1 / math.sqrt(2 * len(places))
    lines = [
        ("significance of noise: robust width", f"{width_of(noise):.4f}", "0.99 to 1.01"),
        ("significance of noise: standard deviation", f"{np.std(noise):.4f}", "0.99 to 1.01"),
        ("pixels beyond 4 sigma, per million", f"{1e6 * beyond:.0f}", f"{1e6 * erfc(4 / math.sqrt(2)):.0f}"),
        ("false detections on clear sky", f"{sum(sample.false):.0f}", f"{sum(sample.expected):.1f}"),
        ("flux at the true position: bias, %", f"{100 * bias:+.2f} +- {100 * error:.2f}", "-0.5 to 0.5"),
        ("flux at the true position: pull, mean", f"{pulls.mean():+.2f} +- {1 / math.sqrt(n):.2f}", "0"),
        ("flux at the true position: pull, deviation", f"{pulls.std():.3f} +- {half:.3f}", "0.97 to 1.05"),
        ("flux at the true position: pull, robust", f"{width_of(pulls):.3f} +- {1.65 * half:.3f}", "0.97 to 1.05"),
        ("flux of detections: pull, deviation", f"{fitted.std():.3f}", "about 1"),
        ("position of detections: pull, deviation", f"{places.std():.3f} +- {found_half:.3f}", "0.95 to 1.1"),
    ]
    return lines + efficiencies(np.concatenate(sample.recovered))


def efficiencies(recovered: NDArray) -> list[tuple[str, str, str]]:
    """Part of the transients that were found, by their true signal to noise ratio."""
    lines = []
    for low, high in ((4.5, 5.5), (5.5, 7), (7, math.inf)):
        part = recovered[(recovered[:, 1] >= low) & (recovered[:, 1] < high)]
        if len(part):
            lines.append((f"found, of {len(part)} of S/N {low:g} to {high:g}", f"{100 * part[:, 0].mean():.0f} %", ""))
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", default="standard")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=4, help="number of pairs")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--correlated", action="store_true", help="do not decorrelate the differences")
    given = parser.parse_args(arguments)
    sample = Sample([], [], [], [], [], [])
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        measure_pair(given.case, given.size, seed, not given.correlated, sample)
    n = len(np.concatenate(sample.forced))
    print(f"{given.case}, {given.seeds} pairs of {given.size} x {given.size}, {n} transients\n")
    print("| figure | measured | wanted |\n|---|---|---|")
    for line in figures(sample):
        print("| " + " | ".join(line) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
