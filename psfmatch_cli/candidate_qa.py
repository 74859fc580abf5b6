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

from psfmatch_cli.fit import FittedStamps
from psfmatch_cli.residuals import residual_pixels

#: Fewest pixels that say something about a distribution.
FEWEST_PIXELS = 8


def quality_items(fitted: FittedStamps, spatial: NDArray[np.float64]) -> dict[str, float]:
    """All items of candidates.

    Parameters
    ----------
    fitted : FittedStamps
    spatial : ndarray, (N, n)
        Local parameters of the spatial model at each candidate.
    """
    columns = {"LOCAL": _columns(fitted, fitted.solutions), "SPATIAL": _columns(fitted, spatial)}
    n_basis = len(fitted.basis)
    difference = np.tensordot(spatial[:, :n_basis], fitted.basis.images, axes=1) - fitted.kernels()
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


def _columns(fitted: FittedStamps, local: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Statistics of every candidate for local parameters, each (N,)."""
    pixels = residual_pixels(fitted, local)
    rows = [
        _statistics(residual[use], variance[use])
        for residual, variance, use in zip(pixels.residual, pixels.variance, fitted.judged, strict=True)
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _statistics(residual: NDArray[np.float64], variance: NDArray[np.float64]) -> dict[str, float]:
    """Statistics of one candidate's pixels."""
    names = ("Mean", "Median", "IQR", "StDev", "KSProb", "ADSig", "ChiSq", "MseResids")
    good = np.isfinite(residual) & (variance > 0)
    if np.count_nonzero(good) < FEWEST_PIXELS:
        return dict.fromkeys(names, float("nan"))
    z = np.sort(residual[good] / np.sqrt(variance[good]))
    first, middle, third = np.percentile(z, [25, 50, 75])
    values = (z.mean(), middle, third - first, z.std(ddof=1), ks_probability(z), ad_probability(z), np.mean(z**2))
    return dict(zip(names, (*map(float, values), float(np.mean(residual[good] ** 2))), strict=True))


def ks_probability(z: NDArray[np.float64]) -> float:
    """Probability of a Kolmogorov-Smirnov distance as large as that of the sorted values from a unit Gaussian."""
    from scipy.special import kolmogorov, ndtr

    n, expected = len(z), ndtr(z)
    distance = max((np.arange(1, n + 1) / n - expected).max(), (expected - np.arange(n) / n).max())
    # Stephens 1970 (J. R. Stat. Soc. B 32, 115): the limiting distribution serves small samples with this factor.
    return float(kolmogorov(distance * (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n))))


def ad_probability(z: NDArray[np.float64]) -> float:
    """Probability of an Anderson-Darling statistic as large as that of the sorted values, for any Gaussian.

    With mean and width from the values themselves (D'Agostino & Stephens 1986, Goodness-of-Fit Techniques, table 4.9).
    """
    from scipy.special import log_ndtr

    n, spread = len(z), z.std(ddof=1)
    if not spread > 0:
        return 0.0
    w = (z - z.mean()) / spread
    weights = 2 * np.arange(1, n + 1) - 1
    statistic = -n - np.mean(weights * (log_ndtr(w) + log_ndtr(-w[::-1])))
    a = statistic * (1 + 0.75 / n + 2.25 / n**2)
    if a < 0.2:
        return float(1 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2))
    if a < 0.34:
        return float(1 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2))
    if a < 0.6:
        return float(np.exp(0.9177 - 4.279 * a - 1.38 * a**2))
    return float(np.exp(1.2937 - 5.709 * a + 0.0186 * a**2)) if a < 10 else 0.0
