"""The quality of a difference in the cells of a small grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Box
from psfmatch_cli.quality_sky import N_CELLS, SkySample, robust_width, sky_cells
from psfmatch_cli.quality_stars import StarResiduals, median


@dataclass(frozen=True)
class QualityCells:
    """Quality in N_CELLS x N_CELLS equal cells of the image, from the lower left on, along x first.

    Parameters
    ----------
    x, y : ndarray
        Parent positions of the middles.
    n_sky, n_stars : ndarray of int
        Pixels and stars of the samples in each cell.
    sky_width, sky_mean, star_width : ndarray
        Robust width and mean of difference / sigma on the sky, width of it on stars; NaN where there is too little.
    star_residual : ndarray
        Median relative residual of the bright stars of the cell; NaN where there are not five.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    n_sky: NDArray[np.int64]
    n_stars: NDArray[np.int64]
    sky_width: NDArray[np.float64]
    sky_mean: NDArray[np.float64]
    star_width: NDArray[np.float64]
    star_residual: NDArray[np.float64]


def quality_cells(box: Box, sample: SkySample, stars: list[StarResiduals]) -> QualityCells:
    """Quality in cells.

    Parameters
    ----------
    box : Box
        Of the image.
    sample : SkySample
    stars : list of StarResiduals
        All of them count.
    """
    sky = sky_cells(sample)
    x, y, excess, bright, z = (
        np.concatenate([getattr(kind, name) for kind in stars]) for name in ("x", "y", "excess", "bright", "z")
    )
    column, row = (
        np.clip(((p - start + 0.5) / length * N_CELLS).astype(int), 0, N_CELLS - 1)
        for p, start, length in ((x, box.x_min, box.width), (y, box.y_min, box.height))
    )
    members = [np.flatnonzero(row * N_CELLS + column == cell) for cell in range(N_CELLS**2)]
    j, i = (index.ravel() for index in np.indices((N_CELLS, N_CELLS)))
    excesses = np.array([median(excess[own[bright[own]]]) for own in members])
    return QualityCells(
        box.x_min - 0.5 + (i + 0.5) * box.width / N_CELLS,
        box.y_min - 0.5 + (j + 0.5) * box.height / N_CELLS,
        sky.n_pixels,
        np.array([len(own) for own in members]),
        sky.width,
        sky.mean,
        np.array([robust_width(z[own]) for own in members]),
        np.sqrt(np.maximum(excesses, 0.0)),
    )
