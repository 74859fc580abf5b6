"""Statistics of the candidates' residuals, with their own kernels and with the spatial model's.

The items carry the names of upstream's kernel quality module: ``KCDiffim`` + statistic + ``_LOCAL`` (own kernel) or
``_SPATIAL`` (model) + ``_MEAN``, ``_MEDIAN`` or ``_STDEV`` over the candidates. z is residual / noise of the pixels
of a candidate, the noise without the model error.

=========  ==========================================================================================
statistic  of a candidate
=========  ==========================================================================================
Mean       mean of z
Median     median of z
IQR        interquartile range of z: 1.349 for a unit Gaussian
StDev      standard deviation of z
KSProb     probability of the Kolmogorov-Smirnov distance of z from a unit Gaussian
ADSig      probability of the Anderson-Darling statistic of z, for a Gaussian of any mean and width
ChiSq      mean of z^2
MseResids  mean square of the residual, counts^2
MseKernel  mean square difference of own and model kernel; for SPATIAL only
=========  ==========================================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.fitted import FittedStamps, ResidualPixels, kernel_images

STATISTICS = ("Mean", "Median", "IQR", "StDev", "KSProb", "ADSig", "ChiSq", "MseResids")
#: Fewest pixels that say something about a distribution.
FEWEST_PIXELS = 8


def quality_items(fitted: FittedStamps, spatial: NDArray[np.float64], pixels: ResidualPixels) -> dict[str, float]:
    """All items of candidates.

    Parameters
    ----------
    fitted : FittedStamps
    spatial : ndarray, (N, n)
        Local parameters of the spatial model at each candidate.
    pixels : ResidualPixels
        What these leave.
    """
    columns = {"LOCAL": _columns(fitted, fitted.own), "SPATIAL": _columns(fitted, pixels)}
    difference = kernel_images(fitted.basis, spatial) - fitted.kernels()
    columns["SPATIAL"]["MseKernel"] = np.mean(difference**2, axis=(1, 2))
    return {
        f"KCDiffim{name}_{kernel}_{suffix}": value
        for kernel, statistics in columns.items()
        for name, values in statistics.items()
        for suffix, value in _over_candidates(values).items()
    }


def _over_candidates(values: NDArray[np.float64]) -> dict[str, float]:
    values = values[np.isfinite(values)]
    if not values.size:
        return dict.fromkeys(("MEAN", "MEDIAN", "STDEV"), float("nan"))
    return {"MEAN": float(values.mean()), "MEDIAN": float(np.median(values)), "STDEV": float(values.std())}


def _columns(fitted: FittedStamps, pixels: ResidualPixels) -> dict[str, NDArray[np.float64]]:
    """Statistics of every candidate's residuals, each (N,); NaN where there are hardly any pixels."""
    good = fitted.judged & np.isfinite(pixels.residual) & (pixels.variance > 0)
    columns = {name: np.full(len(fitted), np.nan) for name in STATISTICS}
    counts = good.sum(axis=1)
    for n in np.unique(counts[counts >= FEWEST_PIXELS]):
        # Candidates with equally many pixels make a matrix: no loop over candidates.
        rows = np.flatnonzero(counts == n)
        residual, variance = (values[rows][good[rows]].reshape(-1, n) for values in (pixels.residual, pixels.variance))
        values = _statistics(np.sort(residual / np.sqrt(variance), axis=1).astype(np.float64))
        for name, column in zip(STATISTICS, (*values, np.mean(residual**2, axis=1)), strict=True):
            columns[name][rows] = column
    return columns


def _statistics(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """All statistics but the last of sorted values, (m, n) -> (m,) each."""
    first, middle, third = (_quantile(z, q) for q in (0.25, 0.5, 0.75))
    mean, square = z.mean(axis=1), np.mean(z**2, axis=1)
    return mean, middle, third - first, z.std(axis=1, ddof=1), ks_probability(z), ad_probability(z), square


def _quantile(ordered: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """Quantile of sorted values, linear at index q (n - 1), (m, n) -> (m,)."""
    place = q * (ordered.shape[1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[1] - 1)
    return ordered[:, low] + (place - low) * (ordered[:, high] - ordered[:, low])


def ks_probability(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of a Kolmogorov-Smirnov distance as large as that of sorted values from a unit Gaussian.

    Along the last axis: (..., n) -> (...).
    """
    from scipy.special import kolmogorov, ndtr

    n, expected = z.shape[-1], ndtr(z)
    above, below = np.arange(1, n + 1) / n - expected, expected - np.arange(n) / n
    distance = np.maximum(above.max(axis=-1), below.max(axis=-1))
    # Stephens 1970 (J. R. Stat. Soc. B 32, 115): the limiting distribution serves small samples with this factor.
    return kolmogorov(distance * (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n)))


def ad_probability(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of an Anderson-Darling statistic as large as that of sorted values, for any Gaussian.

    With mean and width from the values themselves (D'Agostino & Stephens 1986, Goodness-of-Fit Techniques, table 4.9).
    Along the last axis: (..., n) -> (...); 0 for equal values.
    """
    from scipy.special import ndtr

    n, spread = z.shape[-1], z.std(axis=-1, ddof=1, keepdims=True)
    w = (z - z.mean(axis=-1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    weights = 2 * np.arange(1, n + 1) - 1
    # The logarithm of the product is the sum of the logarithms; where it is 0 in double precision the probability is.
    with np.errstate(divide="ignore"):
        statistic = -n - np.mean(weights * np.log(ndtr(w) * ndtr(-w[..., ::-1])), axis=-1)
    # Beyond 10 the probability is below 1e-23.
    a = np.minimum(statistic * (1 + 0.75 / n + 2.25 / n**2), 10.0)
    pieces = [
        1 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2),
        1 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2),
        np.exp(0.9177 - 4.279 * a - 1.38 * a**2),
    ]
    probability = np.select([a < 0.2, a < 0.34, a < 0.6], pieces, np.exp(1.2937 - 5.709 * a + 0.0186 * a**2))
    return np.where(spread[..., 0] > 0, probability, 0.0)
