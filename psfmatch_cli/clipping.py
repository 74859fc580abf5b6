"""Clipped statistics: mean and standard deviation of values of which some do not belong.

Three passes at 3 sigma: the first around the median with the width of the quartiles, the other two around
the last clipped mean. Every pass starts again from all values. In a crowded bin the mean stays biased high
by the stars it cannot tell from the sky; for detection that is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.errors import InputError

CLIP_SIGMA = 3.0
CLIP_ITERATIONS = 3
#: Half of the interquartile range of a Gaussian is 0.6745 sigma, so sigma = 0.7413 (Q3 - Q1).
SIGMA_PER_IQR = 0.741301109252802


@dataclass(frozen=True)
class ClippedStats:
    """Clipped mean, unbiased standard deviation and number of the values kept."""

    mean: float
    std: float
    n: int


def clipped_mean_std(values: ArrayLike) -> ClippedStats:
    """Mean and standard deviation after three passes of 3 sigma clipping.

    Parameters
    ----------
    values : array-like
        Any shape; values that are not finite are left out.

    Returns
    -------
    ClippedStats
        ``std`` is 0 if the quartiles are equal (then only values equal to the median are kept) and
        NaN if a single value is kept.

    Raises
    ------
    InputError
        If no value is finite.
    """
    v = np.asarray(values).ravel()
    finite = np.isfinite(v)
    v = np.sort(v if finite.all() else v[finite]).astype(np.float64)
    if not v.size:
        raise InputError("clipped statistics need at least one finite value, got none")
    first, center, third = sorted_quartiles(v)
    spread = SIGMA_PER_IQR * (third - first)
    mean, std, n = center, spread, len(v)
    for _ in range(CLIP_ITERATIONS):
        width = CLIP_SIGMA * (std if n > 1 else spread)
        # Sorted values: those kept are one slice.
        kept = v[np.searchsorted(v, center - width, "left") : np.searchsorted(v, center + width, "right")]
        n = len(kept)
        if n:
            mean = center = float(kept.mean())
        std = unbiased_std(kept, mean)
    return ClippedStats(mean, std, n)


def sorted_quartiles(ordered: NDArray) -> tuple[float, float, float]:
    """First quartile, median and third quartile of sorted values, linear at index q (n - 1)."""
    first, middle, third = (_between(ordered, share * (len(ordered) - 1)) for share in (0.25, 0.5, 0.75))
    return first, middle, third


def _between(ordered: NDArray, at: float) -> float:
    """Value at an index between those of an array, by linear interpolation."""
    below = int(at)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (at - below) * (high - low)


def unbiased_std(values: NDArray, mean: float) -> float:
    """Standard deviation about a mean, with n - 1; NaN for fewer than two values."""
    if len(values) < 2:
        return float("nan")
    # Not np.dot: threads of a linear algebra library cost more than they save at the size of a bin.
    deviation = values - mean
    return float(np.sqrt(np.einsum("i,i->", deviation, deviation) / (len(values) - 1)))
