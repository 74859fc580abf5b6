"""Efficiency, purity, bias and pulls of what a difference shows of injected sources.

Efficiency goes by the true signal-to-noise ratio, with Wilson's interval (1927, J. Am. Stat. Assoc. 22, 209) for its
errors. Purity goes by the measured one: of N detections that are injected sources and F that are false,
``N / (N + F)``. F is what only appears with the injected sources and is none of them, and what is negative in the
difference without them: noise and residuals of a subtraction know no sign. Real sources that faded are among these, so
that on real images the purity is a lower limit.

Gaussian noise has peaks, too: the expected number above u per pixel and sign is ``u exp(-u^2 / 2) L / (2 pi)^(3/2)``
(Adler 1981, The Geometry of Random Fields, theorem 6.2.1: the Euler characteristic of an excursion set), where L is
the root of the determinant of the covariance of the gradient of the significance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.fakes.completeness import fit_completeness
from psfmatch_cli.matched_filter import difference_pixels, middle_of, psf_half

if TYPE_CHECKING:
    from astropy.table import Table

#: Bins of the signal-to-noise ratio from the least to the greatest.
N_BINS = 12
#: Flux bias from this ratio on: below, that a source was detected at all makes its flux too large.
BIAS_SNR = 20.0
#: Fluxes and positions of detections are compared with their errors from here on, for the same reason.
PULL_SNR = 10.0
#: Pulls beyond this are counted apart.
OUTLIER = 5.0

#: Unit and meaning of each column of the table of bins.
COLUMNS: dict[str, tuple[str | None, str]] = {
    "sample": (None, "all injected sources, those on the sky, or those on galaxies"),
    "snr_low": (None, "signal-to-noise ratio from"),
    "snr_high": (None, "signal-to-noise ratio to"),
    "n_injected": (None, "injected sources of that true ratio"),
    "n_found": (None, "those that were detected"),
    "efficiency": (None, "found over injected"),
    "efficiency_low": (None, "lower end of its 68 % interval"),
    "efficiency_high": (None, "upper end"),
    "n_detected": (None, "detections of that measured ratio that are injected sources"),
    "n_new": (None, "positive detections that only appear with injected sources and are none"),
    "n_negative": (None, "negative detections in the difference without injected sources"),
    "n_gaussian": (None, "peaks of one sign that Gaussian noise is expected to have"),
    "purity": (None, "n_detected over all detections, false ones of the two kinds included"),
}


def samples_of(fakes: Table) -> dict[str, NDArray[np.bool_]]:
    """Rows of each sample, by its name."""
    galaxy = np.asarray(fakes["on_galaxy"], bool)
    return {"all": np.ones(len(fakes), bool), "sky": ~galaxy, "galaxy": galaxy}


def bins_table(
    fakes: Table,
    detections: Table,
    before: Table,
    edges: NDArray[np.float64],
    threshold: float,
    peaks: Callable[[float], float],
) -> Table:
    """Counts and fractions by signal-to-noise ratio.

    Parameters
    ----------
    fakes : Table
        As `psfmatch_cli.fakes.compare.fakes_table` makes it.
    detections : Table
        As `psfmatch_cli.fakes.compare.with_origin` makes it.
    before : Table
        Detections of the difference without injected sources.
    edges : ndarray, (k + 1,)
        Of the bins.
    threshold : float
        Significance of the faintest detections.
    peaks : callable
        Expected peaks of one sign above a significance in Gaussian noise.

    Returns
    -------
    Table
        The columns of `COLUMNS`; purity only for the sample "all", as a false detection belongs to neither.
    """
    from astropy.table import Table

    from psfmatch_cli.diff_columns import described

    rows = []
    for sample, mine in samples_of(fakes).items():
        if mine.any():
            rows += _rows(sample, fakes[mine], edges)
    table = Table(rows=rows, names=list(COLUMNS)[:8])
    for name, counts in _false(detections, before, edges, threshold, peaks).items():
        column = np.full(len(table), np.nan)
        column[: len(counts)] = counts
        table[name] = column
    described(table, COLUMNS)
    return table


def _rows(sample: str, fakes: Table, edges: NDArray[np.float64]) -> list[tuple]:
    found = np.asarray(fakes["found"], bool)
    total = _histogram(fakes["snr"], edges)
    hit = _histogram(np.asarray(fakes["snr"])[found], edges)
    low, high = wilson(hit, total)
    fraction = np.divide(hit, total, out=np.full(len(total), np.nan), where=total > 0)
    return [
        (sample, *row) for row in zip(edges[:-1], edges[1:], total, hit, fraction, low, high, strict=True)
    ]  # fmt: skip


def _false(
    detections: Table,
    before: Table,
    edges: NDArray[np.float64],
    threshold: float,
    peaks: Callable[[float], float],
) -> dict[str, NDArray[np.float64]]:
    """Columns of the measured ratio for the first sample."""
    positive = np.asarray(detections["polarity"]) > 0
    fake, there = (np.asarray(detections[name], bool) for name in ("is_fake", "was_there"))
    snr = np.asarray(detections["snr"], float)
    counts = {
        "n_detected": _histogram(snr[fake], edges),
        "n_new": _histogram(snr[positive & ~fake & ~there], edges),
        "n_negative": _histogram(np.asarray(before["snr"])[np.asarray(before["polarity"]) < 0], edges),
    }
    above = np.array([peaks(max(edge, threshold)) for edge in edges])
    counts["n_gaussian"] = above[:-1] - above[1:]
    total = sum(counts[name] for name in ("n_detected", "n_new", "n_negative"))
    counts["purity"] = np.divide(counts["n_detected"], total, out=np.full(len(total), np.nan), where=total > 0)
    return counts


def _histogram(values, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.histogram(np.asarray(values, float), bins=edges)[0]


def wilson(hit: NDArray, total: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 68 % interval of hit / total; 0 and 1 where total is 0."""
    n = np.maximum(total, 1).astype(float)
    p = hit / n
    middle, half = (p + 0.5 / n) / (1 + 1 / n), np.sqrt(p * (1 - p) / n + 0.25 / n**2) / (1 + 1 / n)
    return np.where(total > 0, middle - half, 0.0), np.where(total > 0, middle + half, 1.0)


def expected_peaks(difference: Exposure, threshold: float) -> float:
    """Peaks of one sign above a significance that Gaussian noise has on the usable pixels of a difference."""
    image = middle_of(difference.psf.image, psf_half(difference.psf))
    slopes = np.array([np.gradient(image, axis=axis).ravel() for axis in (0, 1)])
    determinant = float(np.linalg.det(slopes @ slopes.T)) / float((image**2).sum()) ** 2
    area = np.count_nonzero(~difference_pixels(difference.masked_image).bad)
    density = threshold * np.exp(-0.5 * threshold**2) * np.sqrt(max(determinant, 0.0)) / (2 * np.pi) ** 1.5
    return float(area * density)


def summary_of(fakes: Table) -> dict[str, dict[str, Any]]:
    """Numbers of each sample, by its name; None where there are too few sources for one.

    ``snr_50`` is the ratio of half efficiency; ``flux_bias`` the median of (measured - true) / true of detections above
    `BIAS_SNR`, ``forced_flux_bias`` the same at the true position; pulls are (measured - true) / error.
    """
    return {name: _numbers(fakes[mine]) for name, mine in samples_of(fakes).items() if mine.any()}


def _numbers(fakes: Table) -> dict[str, Any]:
    found, snr = np.asarray(fakes["found"], bool), np.asarray(fakes["snr"], float)
    known = np.isfinite(snr)
    curve = fit_completeness(snr[known], found[known])
    bright, clear = found & (snr > BIAS_SNR), found & (snr > PULL_SNR)
    pulls = {
        "flux": _pull(fakes, "found_flux", "flux", "found_flux_err", clear),
        "forced_flux": _pull(fakes, "forced_flux", "flux", "forced_flux_err", known),
        "x": _pull(fakes, "found_x", "x", "found_x_err", clear),
        "y": _pull(fakes, "found_y", "y", "found_y_err", clear),
    }
    numbers = {
        "n_injected": len(fakes), "n_found": int(found.sum()),
        "snr_50": curve.half, "snr_50_err": curve.half_err, "plateau": curve.plateau,
        **_bias(fakes, "found_flux", bright, ""), **_bias(fakes, "forced_flux", known & (snr > BIAS_SNR), "forced_"),
    }  # fmt: skip
    for name, values in pulls.items():
        numbers |= {f"{name}_pull_{item}": value for item, value in width_of(values).items()}
    return {name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in numbers.items()}  # fmt: skip


def _pull(fakes: Table, measured: str, true: str, error: str, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    values = (np.asarray(fakes[measured], float) - fakes[true]) / fakes[error]
    values = np.asarray(values)[rows]
    return values[np.isfinite(values)]


def _bias(fakes: Table, measured: str, rows: NDArray[np.bool_], prefix: str) -> dict[str, float]:
    """Median relative error of the flux, and the standard error of that."""
    values = np.asarray(fakes[measured], float)[rows] / np.asarray(fakes["flux"], float)[rows] - 1
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return {f"{prefix}flux_bias": np.nan, f"{prefix}flux_bias_err": np.nan}
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    return {
        f"{prefix}flux_bias": float(np.median(values)),
        # The median of Gaussian values scatters sqrt(pi / 2) times as much as their mean.
        f"{prefix}flux_bias_err": float(np.sqrt(np.pi / 2) * spread / np.sqrt(len(values))),
    }


def width_of(values: NDArray[np.float64]) -> dict[str, float]:
    """Median, standard deviation without outliers, its error, and how many values and outliers there are."""
    inside = values[np.abs(values) <= OUTLIER]
    n = len(inside)
    enough = n > 2
    width = float(inside.std(ddof=1)) if enough else np.nan
    return {
        "median": float(np.median(values)) if len(values) else np.nan,
        "width": width,
        "width_err": width / np.sqrt(2 * (n - 1)) if enough else np.nan,
        "n": n,
        "outliers": len(values) - n,
    }
