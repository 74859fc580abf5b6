"""Bins of an image and their statistics, from which a background is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.clipping import clipped_mean_std, unbiased_std
from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import FitError
from psfmatch_cli.exposure import MaskedImage

#: Fewest bins of an axis that an interpolation takes.
MIN_BINS = {"CONSTANT": 1, "LINEAR": 2, "NATURAL_SPLINE": 3, "AKIMA_SPLINE": 5}


@dataclass(frozen=True)
class Bins:
    """Statistics of the bins of an image.

    Parameters
    ----------
    x_edges, y_edges : ndarray of int, (nx + 1,), (ny + 1,)
        Limits in parent pixels: bin i of an axis is [edges[i], edges[i + 1]).
    value, error, std : ndarray, (ny, nx), float64
        Statistic of each bin, its standard error, and the standard deviation of a pixel, counts; NaN where a bin
        has no usable pixel, `error` and `std` also where it has one only.
    """

    x_edges: NDArray[np.int64]
    y_edges: NDArray[np.int64]
    value: NDArray[np.float64]
    error: NDArray[np.float64]
    std: NDArray[np.float64]

    @property
    def x(self) -> NDArray[np.float64]:
        """Centres along x, parent pixels, (nx,)."""
        return _centers(self.x_edges)

    @property
    def y(self) -> NDArray[np.float64]:
        """Centres along y, parent pixels, (ny,)."""
        return _centers(self.y_edges)

    @property
    def typical_std(self) -> float:
        """Median over the bins of the standard deviation of a pixel, counts; NaN if no bin has one."""
        known = self.std[np.isfinite(self.std)]
        return float(np.median(known)) if known.size else float("nan")


def _centers(edges: NDArray[np.int64]) -> NDArray[np.float64]:
    return 0.5 * (edges[:-1] + edges[1:]) - 0.5


def bin_counts(shape: tuple[int, int], config: BackgroundConfig) -> tuple[int, int]:
    """Number of bins along y and x.

    Raises
    ------
    FitError
        If there are fewer than the surface or the interpolation needs and the style forbids less.
    """
    counts = tuple(
        -(-size // (side or config.bin_size))
        for size, side in zip(shape, (config.bin_size_y, config.bin_size_x), strict=True)
    )
    needed = config.approx_order_x + 1 if config.use_approx else MIN_BINS.get(config.algorithm, 1)
    if min(counts) >= needed or config.undersample_style == "REDUCE_INTERP_ORDER":
        return counts
    if config.undersample_style == "INCREASE_NXNYSAMPLE":
        return tuple(max(n, min(needed, size)) for n, size in zip(counts, shape, strict=True))
    wanted = f"a surface of order {config.approx_order_x}" if config.use_approx else config.algorithm
    raise FitError(
        f"the background has {counts[1]} x {counts[0]} bins in {shape[1]} x {shape[0]} pixels, and {wanted} needs "
        f"{needed} along each axis; make bin_size smaller, or undersample_style REDUCE_INTERP_ORDER"
    )


def measure_bins(
    masked_image: MaskedImage,
    good: NDArray[np.bool_],
    config: BackgroundConfig,
    *,
    spoilt: NDArray[np.bool_] | None = None,
) -> Bins:
    """Statistics of all bins over their good pixels.

    Parameters
    ----------
    masked_image : MaskedImage
        Image.
    good : ndarray, (H, W), bool
        Finite pixels without an ignored plane.
    config : BackgroundConfig
        Size and statistic of the bins.
    spoilt : ndarray, (H, W), bool, optional
        Pixels whose bin is left out.

    Raises
    ------
    FitError
        If there are too few bins, see `bin_counts`.
    """
    counts = bin_counts(masked_image.shape, config)
    rows, columns = (_edges(size, n) for size, n in zip(masked_image.shape, counts, strict=True))
    value, std, n = np.full(counts, np.nan), np.full(counts, np.nan), np.zeros(counts)
    for where, at in zip(np.ndindex(counts), _cells(rows, columns), strict=True):
        part = good[at]
        values = masked_image.image[at].ravel() if part.all() else masked_image.image[at][part]
        if values.size and not (spoilt is not None and spoilt[at].any()):
            value[where], std[where], n[where] = _bin_statistics(values, config.statistics_property)
    x0, y0 = masked_image.xy0
    return Bins(columns + x0, rows + y0, value, std / np.sqrt(np.maximum(n, 1)), std)


def _edges(size: int, n: int) -> NDArray[np.int64]:
    """Limits of n bins over `size` pixels: bin i is [edges[i], edges[i + 1])."""
    ends = ((np.arange(1, n + 1)) * size + n // 2) // n
    return np.concatenate([[0], np.minimum(ends, size)])


def _cells(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    for y0, y1 in pairwise(rows):
        for x0, x1 in pairwise(columns):
            yield slice(y0, y1), slice(x0, x1)


def _bin_statistics(values: NDArray, statistic: str) -> tuple[float, float, int]:
    """Value, standard deviation and number of pixels behind them."""
    if statistic == "MEAN":
        mean = float(values.mean(dtype=np.float64))
        return mean, unbiased_std(values.astype(np.float64), mean), len(values)
    clipped = clipped_mean_std(values)
    if statistic == "MEDIAN":
        return float(np.median(values)), clipped.std, clipped.n
    return clipped.mean, clipped.std, clipped.n
