"""The differential background, refined on the whole difference.

Candidates see the background only in their stamps. Once stars are subtracted nearly every pixel of the
difference is sky: a polynomial through clipped means of its bins fixes what the stamps left open.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each
from psfmatch_cli.exposure import Box, MaskedImage
from psfmatch_cli.kernel import BackgroundModel, SpatialModel, n_terms

#: Bins along the shorter side, and the smallest side of a bin in pixels.
_BINS, _SMALLEST_BIN = 16, 16
#: Fraction of a bin's pixels that must be usable.
_COVERAGE = 0.3
#: Pixels of a bin that tell its median and quartiles to a hundredth of sigma, well enough for clipping.
_CLIP_SAMPLE = 10_000


@dataclass(frozen=True)
class SkyFit:
    """A polynomial through the sky of a difference.

    Parameters
    ----------
    background : BackgroundModel
    order : int
    n_bins : int
    """

    background: BackgroundModel
    order: int
    n_bins: int


def fit_sky(
    difference: MaskedImage, bad: NDArray[np.bool_], region: Box, kind: str, max_order: int, *, threads: int = 1
) -> SkyFit | None:
    """Polynomial through the sky of a difference, of the order that the bins support; None if there is no sky.

    Parameters
    ----------
    difference : MaskedImage
    bad : ndarray, (H, W), bool
        Pixels to leave out.
    region : Box
        Region of the spatial model.
    kind : {'chebyshev1', 'polynomial'}
    max_order : int
        Highest order tried; the Bayesian information criterion decides.
    threads : int
        Bins worked on at a time.
    """
    x, y, value = binned_sky(difference, bad, threads)
    if len(value) < 4:
        return None
    best: tuple[float, BackgroundModel] | None = None
    for order in range(max_order + 1):
        n = n_terms(order)
        if len(value) < 3 * n:
            break
        model = SpatialModel(kind, order, region)
        terms = model.terms(x, y).T
        coefficients, residual = _robust_fit(terms, value)
        criterion = len(value) * np.log(max(residual, np.finfo(float).tiny)) + n * np.log(len(value))
        if best is None or criterion < best[0]:
            # The bins' own scatter around the surface is their error.
            covariance = residual * len(value) / (len(value) - n) * np.linalg.pinv(terms.T @ terms)
            best = criterion, BackgroundModel(coefficients, model, covariance)
    if best is None:
        return None
    return SkyFit(best[1], best[1].spatial.order, len(value))


def binned_sky(
    difference: MaskedImage, bad: NDArray[np.bool_], threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean parent positions and clipped means of the usable pixels of the bins that have enough of them."""
    height, width = difference.shape
    side = max(_SMALLEST_BIN, min(height, width) // _BINS)
    rows, columns = (_slices(n, max(1, n // side)) for n in (height, width))
    bins = each(lambda at: _bin(difference.image, bad, *at), itertools.product(rows, columns), threads)
    x, y, value = np.array([one for one in bins if one is not None], float).reshape(-1, 3).T
    return x + difference.xy0[0], y + difference.xy0[1], value


def _slices(n: int, parts: int) -> list[slice]:
    """Nearly equal parts of an axis of n pixels."""
    return [slice(*ends) for ends in itertools.pairwise(np.linspace(0, n, parts + 1).astype(int).tolist())]


def _bin(
    image: NDArray[np.float32], bad: NDArray[np.bool_], rows: slice, columns: slice
) -> tuple[float, float, float] | None:
    """Mean array indices x, y and clipped mean of the usable pixels of a bin; None if it has too few of them."""
    use = ~bad[rows, columns]
    n = np.count_nonzero(use)
    if n < _COVERAGE * use.size:
        return None
    x, y = (
        part.start + np.count_nonzero(use, axis=axis) @ np.arange(use.shape[1 - axis]) / n
        for axis, part in enumerate((columns, rows))
    )
    return x, y, _clipped_mean(image[rows, columns][use])


def _clipped_mean(values: NDArray[np.float32]) -> float:
    """Mean within 3 robust sigmas of the median: residuals of stars and transients stay outside."""
    low, middle, high = np.percentile(values[:: max(1, len(values) // _CLIP_SAMPLE)], [25, 50, 75])
    deviation = values - np.float32(middle)
    return float(middle + deviation[np.abs(deviation) <= 3 * 0.7413 * (high - low)].mean(dtype=np.float64))


def _robust_fit(terms: NDArray[np.float64], value: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Least squares without bins beyond 4 robust sigmas of a first fit; coefficients and mean square residual."""
    keep = np.ones(len(value), bool)
    for _ in range(3):
        coefficients = np.linalg.lstsq(terms[keep], value[keep], rcond=None)[0]
        residual = value - terms @ coefficients
        spread = 1.4826 * np.median(np.abs(residual))
        keep = np.abs(residual) <= 4 * max(spread, np.finfo(float).tiny)
    return coefficients, float(np.mean(np.minimum(np.abs(residual), 4 * spread) ** 2))


def added(first: BackgroundModel, second: BackgroundModel) -> BackgroundModel:
    """Sum of two backgrounds of one kind and region, the second fitted to what the first left.

    The error is that of the second: its fit makes up for the error of the first.
    """
    longer, shorter = (first, second) if first.spatial.order >= second.spatial.order else (second, first)
    coefficients = longer.coefficients.copy()
    coefficients[: len(shorter.coefficients)] += shorter.coefficients
    covariance = second.covariance
    if covariance is not None:
        covariance = np.pad(covariance, (0, len(coefficients) - len(covariance)))
    return BackgroundModel(coefficients, longer.spatial, covariance)
