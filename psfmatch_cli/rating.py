"""Rating of candidates, their spatial cells and their order in these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import KernelConfig
from psfmatch_cli.exposure import Box, MaskedImage


def core_significance(stamp: MaskedImage, usable: NDArray[np.bool_], radius: int) -> float:
    """Mean of (image - local level) / noise over the usable pixels of the core whose noise is known.

    The local level, the median of the stamp, is taken off (upstream does not): without that, ratings on a high
    sky would tell the sky.

    Parameters
    ----------
    stamp : MaskedImage
        Centred on the source.
    usable : ndarray, (H, W), bool
        Pixels that may count.
    radius : int
        Half side of the core, of (2 radius + 1)^2 pixels, or what the stamp has of them.

    Returns
    -------
    float
        NaN if no pixel counts.
    """
    cy, cx = stamp.shape[0] // 2, stamp.shape[1] // 2
    at = (slice(max(cy - radius, 0), cy + radius + 1), slice(max(cx - radius, 0), cx + radius + 1))
    image, variance = stamp.image[at], stamp.variance[at]
    known = usable[at] & np.isfinite(image) & (variance > 0) & (variance < np.inf)
    if not known.any():
        return float("nan")
    level = np.median(stamp.image[np.isfinite(stamp.image)])
    return float(((image[known] - level) / np.sqrt(variance[known], dtype=np.float64)).mean())


def worse_neighbours(x: NDArray, y: NDArray, rating: NDArray, radius: float) -> NDArray[np.bool_]:
    """Which candidates have a better rated one, that is kept, within `radius`: they see the same pixels.

    Of equal ratings the first is the better one.
    """
    from scipy.spatial import cKDTree

    order = np.argsort(-rating, kind="stable")
    worse = np.zeros(len(order), bool)
    if len(order) < 2:
        return worse
    tree = cKDTree(np.column_stack([x, y])[order])
    for place in range(len(order)):
        if not worse[order[place]]:
            others = [k for k in tree.query_ball_point(tree.data[place], radius) if k > place]
            worse[order[others]] = True
    return worse


def cells_of(
    x: NDArray, y: NDArray, region: Box, sizes: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row of the cell that holds the pixel nearest to each position; of a position outside any cell.

    Cells of this width and height start at the first pixel of the region; the last of each row and column is cut at
    its end.
    """
    x = np.clip(np.nan_to_num(x), region.x_min, region.x_max)
    y = np.clip(np.nan_to_num(y), region.y_min, region.y_max)
    column = ((np.floor(x + 0.5) - region.x_min) // sizes[0]).astype(np.int64)
    row = ((np.floor(y + 0.5) - region.y_min) // sizes[1]).astype(np.int64)
    return column, row


def ranks(cell_x: NDArray[np.int64], cell_y: NDArray[np.int64], rating: NDArray) -> NDArray[np.int64]:
    """Place of each candidate in its cell, 0 for the best rated; of equal ratings the last one of the list is first.

    That is the order of upstream, which inserts each candidate before those that are not better.
    """
    order = np.lexsort((-np.arange(len(rating)), -rating, cell_x, cell_y))
    out = np.zeros(len(rating), np.int64)
    previous, place = None, 0
    for n in order:
        cell = (cell_x[n], cell_y[n])
        place = place + 1 if cell == previous else 0
        out[n], previous = place, cell
    return out


def cell_sizes(x: NDArray, y: NDArray, region: Box, kernel: KernelConfig) -> tuple[float, float]:
    """Width and height of the spatial cells, pixels: as configured, or larger to keep to `max_candidates`.

    Parameters
    ----------
    x, y : ndarray, (N,)
        Positions of the candidates.
    region : Box
    kernel : KernelConfig
        With its size of cells, the number of candidates used per cell, 0 or less for all, and the limit.
    """
    limit, per_cell = kernel.candidate_limit, kernel.n_star_per_cell
    width, height = float(kernel.size_cell_x), float(kernel.size_cell_y)
    while width < region.width or height < region.height:
        column, row = cells_of(x, y, region, (width, height))
        counts = np.unique(row * 2**32 + column, return_counts=True)[1]
        used = np.minimum(counts, per_cell).sum() if per_cell > 0 else 0
        if used <= limit:
            break
        # As many fewer cells as there are too many candidates, and no endless approach to the limit.
        growth = max(1.02, (used / limit) ** 0.5)
        width, height = width * growth, height * growth
    return width, height
