"""From bins to a background of every pixel: a Chebyshev surface, or interpolation between the bins.

The surface is a weighted least-squares fit of the terms T_a(x) T_b(y), a + b <= order. Interpolation runs
along every column of bins first, to each row of pixels, and then along each row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background_bins import MIN_BINS, Bins
from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import FitError
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import BackgroundModel, SpatialModel

#: Singular values below this fraction of the largest mean that the bins do not fix the surface.
RANK_TOLERANCE = 1e-6
#: Rows interpolated at a time, which bounds the memory of the double precision.
STRIP_ROWS = 256


def fit_surface(bins: Bins, box: Box, config: BackgroundConfig) -> tuple[BackgroundModel, int]:
    """The surface of the highest order, up to the wanted one, that the bins determine; and how many those are.

    Raises
    ------
    FitError
        If no bin has a finite value and weight.
    """
    weight = np.ones_like(bins.value)
    if config.weighting:
        with np.errstate(divide="ignore"):
            weight = bins.error ** (-1.0 if config.weight_by == "error" else -2.0)
    use = np.isfinite(bins.value) & np.isfinite(weight)
    if not use.any():
        raise FitError("no bin has a finite value and weight")
    x, y = (grid[use] for grid in np.meshgrid(bins.x, bins.y))
    root = np.sqrt(weight[use] / weight[use].max())
    filled = np.isfinite(bins.value)
    order = min(config.approx_order_x, filled.any(axis=0).sum() - 1, filled.any(axis=1).sum() - 1)
    while True:
        spatial = SpatialModel("chebyshev1", int(order), box)
        if spatial.size <= use.sum():
            design = root[:, None] * spatial.terms(x, y).T
            solution, _, rank, _ = np.linalg.lstsq(design, root * bins.value[use], rcond=RANK_TOLERANCE)
            if rank == spatial.size:
                return BackgroundModel(solution, spatial), int(use.sum())
        order -= 1


def interpolate_bins(bins: Bins, box: Box, algorithm: str) -> tuple[NDArray[np.float32], str]:
    """Background of every pixel by interpolation, and the interpolation that was used.

    A line of fewer bins than the interpolation needs takes the best one that is left: natural spline from 3 bins,
    linear from 2, constant. Half a bin beyond the outer centres is extrapolated; where outer bins are missing
    the value is held from there on, because a cubic would run away.

    Parameters
    ----------
    bins : Bins
        Those without a value are left out.
    box : Box
        Pixels wanted, parent.
    algorithm : {'CONSTANT', 'LINEAR', 'NATURAL_SPLINE', 'AKIMA_SPLINE'}
        Interpolation.

    Returns
    -------
    image : ndarray, (H, W), float32
        Counts.
    style : str
        Interpolation along the axis with the fewer bins.

    Raises
    ------
    FitError
        If no bin has a value.
    """
    filled = np.isfinite(bins.value)
    used = np.flatnonzero(filled.any(axis=0))
    if not used.size:
        raise FitError("no bin has a finite value")
    rows, columns = np.arange(box.y_min, box.y_max + 1), np.arange(box.x_min, box.x_max + 1)
    along_y = np.stack([_column(bins, k, rows, algorithm) for k in used])
    x = _held(columns, bins.x_edges, used)
    out = np.empty((len(rows), len(columns)), np.float32)
    for top in range(0, len(rows), STRIP_ROWS):
        out[top : top + STRIP_ROWS] = _line(bins.x[used], along_y[:, top : top + STRIP_ROWS], x, algorithm).T
    return out, _style(algorithm, min(len(used), int(filled.sum(axis=0).max())))


def _column(bins: Bins, k: int, rows: NDArray[np.int64], algorithm: str) -> NDArray[np.float64]:
    """Values of one column of bins at every row of pixels, (H,)."""
    used = np.flatnonzero(np.isfinite(bins.value[:, k]))
    return _line(bins.y[used], bins.value[used, k], _held(rows, bins.y_edges, used), algorithm)


def _held(pixels: NDArray[np.int64], edges: NDArray[np.int64], used: NDArray[np.intp]) -> NDArray[np.int64]:
    """Positions, those beyond the outermost used bins moved to their outer limit."""
    return np.clip(pixels, edges[used[0]], edges[used[-1] + 1] - 1)


def _style(algorithm: str, n: int) -> str:
    """The interpolation, or the best one below it that n bins allow."""
    if n >= MIN_BINS[algorithm]:
        return algorithm
    return max((style for style, least in MIN_BINS.items() if least <= n), key=MIN_BINS.__getitem__)


def _line(
    at: NDArray[np.float64], values: NDArray[np.float64], wanted: NDArray[np.int64], algorithm: str
) -> NDArray[np.float64]:
    """Interpolation along the first axis: values (n, ...) at n positions -> (len(wanted), ...)."""
    return INTERPOLATIONS[_style(algorithm, len(at))](at, values, wanted)


def _constant(at: NDArray, values: NDArray, wanted: NDArray) -> NDArray[np.float64]:
    return values[np.searchsorted(0.5 * (at[:-1] + at[1:]), wanted)]


def _linear(at: NDArray, values: NDArray, wanted: NDArray) -> NDArray[np.float64]:
    low = np.clip(np.searchsorted(at, wanted) - 1, 0, len(at) - 2)
    share = (wanted - at[low]) / (at[low + 1] - at[low])
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[low] + share * values[low + 1]


def _natural_spline(at: NDArray, values: NDArray, wanted: NDArray) -> NDArray[np.float64]:
    from scipy.interpolate import CubicSpline

    return CubicSpline(at, values, bc_type="natural")(wanted)


def _akima_spline(at: NDArray, values: NDArray, wanted: NDArray) -> NDArray[np.float64]:
    from scipy.interpolate import Akima1DInterpolator

    return Akima1DInterpolator(at, values)(wanted, extrapolate=True)


INTERPOLATIONS: dict[str, Callable[[NDArray, NDArray, NDArray], NDArray[np.float64]]] = {
    "CONSTANT": _constant,
    "LINEAR": _linear,
    "NATURAL_SPLINE": _natural_spline,
    "AKIMA_SPLINE": _akima_spline,
}
