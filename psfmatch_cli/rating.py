"""Rating of candidates, their spatial cells and their order in these."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import KernelConfig
from psfmatch_cli.exposure import Box, MaskedImage
from psfmatch_cli.stacks import alike, medians, stacked, stacked_image, unfit_pixels


def core_significances(
    image: MaskedImage, boxes: NDArray[np.int64], bad_mask_planes: Iterable[str], radius: int
) -> NDArray[np.float64]:
    """Mean of (image - local level) / noise over the usable pixels of the core, of many stamps.

    The local level, the median of the stamp, is taken off (upstream does not): without that, ratings on a high
    sky would tell the sky.

    Parameters
    ----------
    image : MaskedImage
    boxes : ndarray, (n, 4)
        Stamps centred on the sources: ``x0, y0, x1, y1`` in array indices, both ends included, inside the image.
    bad_mask_planes : iterable of str
        Planes of pixels that do not count; nor does a pixel without a positive, finite variance.
    radius : int
        Half side of the core, of (2 radius + 1)^2 pixels, or what the stamp has of them.

    Returns
    -------
    ndarray, (n,)
        NaN where no pixel counts.
    """
    planes, out = list(bad_mask_planes), np.full(len(boxes), np.nan)
    for rows, height, width in alike(boxes):
        stamps = boxes[rows]
        level = medians(stacked(image.image, stamps, height, width).reshape(len(rows), -1))
        across, along = min(radius, width // 2), min(radius, height // 2)
        cores = stamps + np.array([1, 1, -1, -1]) * np.tile([width // 2 - across, height // 2 - along], 2)
        core = stacked_image(image, cores, 2 * along + 1, 2 * across + 1)
        known = ~unfit_pixels(core, planes) & (core.variance > 0)
        noise = np.sqrt(np.where(known, core.variance, 1.0), dtype=np.float64)
        excess = np.where(known, core.image, 0.0).reshape(len(rows), -1) - level[:, None]
        ratio = np.where(known.reshape(excess.shape), excess / noise.reshape(excess.shape), 0.0)
        counted = known.reshape(excess.shape).sum(axis=1)
        out[rows] = np.where(counted > 0, ratio.sum(axis=1) / np.maximum(counted, 1), np.nan)
    return out


def worse_neighbours(x: NDArray, y: NDArray, rating: NDArray, radius: float) -> NDArray[np.bool_]:
    """Which candidates have a better rated one, that is kept, within `radius`: they see the same pixels.

    Of equal ratings the first is the better one.
    """
    from scipy.spatial import cKDTree

    order = np.argsort(-rating, kind="stable")
    worse = np.zeros(len(order), bool)
    if len(order) < 2:
        return worse
    pairs = cKDTree(np.column_stack([x, y])[order]).query_pairs(radius, output_type="ndarray")
    # The better one of a pair is its first; whether that one is kept is known once all better ones are done.
    for better, other in pairs[np.argsort(pairs[:, 0], kind="stable")].tolist():
        if not worse[order[better]]:
            worse[order[other]] = True
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
