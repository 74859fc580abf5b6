"""What kernel sums to expect: their centre and their scatter, with or without their own errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.errors import KernelSumError

#: Number of errors by which a kernel sum must differ from 0.
NO_SUM = 3.0


def kernel_sum_range(
    sums: NDArray[np.float64], errors: NDArray[np.float64] | None
) -> tuple[float, float | NDArray[np.float64]]:
    """Centre of the kernel sums, and the standard deviation to expect of each.

    Without errors both are clipped statistics. With them the centre is the weighted median, and the deviation
    of each sum is its own error and the weighted median deviation of all: of ten sums the two precise ones
    then say more than the eight that are a faint star beside a variable one.

    Raises
    ------
    KernelSumError
        If a sum is not finite, or their scatter is not.
    """
    if not np.isfinite(sums).all():
        raise KernelSumError(f"{np.count_nonzero(~np.isfinite(sums))} of {len(sums)} kernel sums are not finite")
    if errors is None:
        stats = clipped_mean_std(sums)
        if not np.isfinite(stats.std):
            raise KernelSumError(f"the clipped scatter of {len(sums)} kernel sums rests on one of them")
        return stats.mean, stats.std
    # Below a thousandth the error is not what limits a sum.
    weights = 1.0 / np.hypot(errors, 1e-3 * np.abs(np.median(sums))) ** 2
    center = weighted_median(sums, weights)
    return center, np.hypot(errors, 1.4826 * weighted_median(np.abs(sums - center), weights))


def precisely_nothing(sums: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Sums that are 0 within their errors though these would show a sum like the others'."""
    significant = sums > NO_SUM * errors
    if not significant.any():
        return np.zeros(len(sums), bool)
    return ~significant & (NO_SUM * errors < np.median(sums[significant]))


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Value at which half of the weight is reached."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, 0.5 * reached[-1])])
