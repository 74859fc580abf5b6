"""What a kernel file holds, in numbers: at a position, on a grid, and on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from psfmatch_cli.errors import UsageError
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
from psfmatch_cli.kernel_shape import KernelGrid, KernelShape, kernel_grid, kernel_shape

if TYPE_CHECKING:
    from astropy.table import Table

#: Side of the grid that the summary looks at.
SIDE = 5


def kernel_at(kernel: MatchingKernel, background: BackgroundModel, x: float, y: float) -> dict[str, Any]:
    """Sum, moments and background at a parent position; None for errors that are not known.

    Raises
    ------
    UsageError
        If the position is outside of the pixels that the kernel was fitted on.
    """
    region = kernel.spatial.region
    if not region.contains(x, y):
        raise UsageError(
            f"the position ({x:g}, {y:g}) is outside of the pixels that the kernel was fitted on, {region}"
        )
    sum_error, level_error = kernel.sum_error(x, y), background.error(x, y)
    return {
        "x": float(x),
        "y": float(y),
        **shape_items(kernel_shape(kernel.image(x, y))),
        "sum_error": float(sum_error) if np.isfinite(sum_error) else None,
        "background": float(background(x, y)),
        "background_error": None if level_error is None else float(level_error),
    }


def shape_items(shape: KernelShape) -> dict[str, float]:
    """Sum, centroid, second moments (pixels squared) and FWHM (pixels), by name."""
    return {
        "sum": shape.sum,
        "x_shift": shape.x,
        "y_shift": shape.y,
        "xx": shape.xx,
        "yy": shape.yy,
        "xy": shape.xy,
        "fwhm": shape.fwhm,
    }


def image_table(kernel: MatchingKernel, x: float, y: float) -> Table:
    """The kernel image at a parent position as a table.

    Returns
    -------
    astropy.table.Table
        ``u, v`` (pixels from the centre), ``value``, and ``error`` if it is known; u fastest.
    """
    from astropy.table import Table

    offsets = np.arange(-kernel.half_size, kernel.half_size + 1)
    v, u = (index.ravel() for index in np.meshgrid(offsets, offsets, indexing="ij"))
    table = Table({"u": u, "v": v, "value": kernel.image(x, y).ravel()})
    error = kernel.error_image(x, y)
    if error is not None:
        table["error"] = error.ravel()
    return table


def grid_table(kernel: MatchingKernel, background: BackgroundModel, grid: KernelGrid) -> Table:
    """Sums, moments and background on a grid, a row a position, from the lower left on, along x first.

    Returns
    -------
    astropy.table.Table
        ``x, y`` and the items of `kernel_at`, errors NaN where they are not known.
    """
    from astropy.table import Table

    rows = [kernel_at(kernel, background, x, y) for y in grid.y for x in grid.x]
    return Table({name: np.array([row[name] for row in rows], float) for name in rows[0]})


def kernel_summary(kernel: MatchingKernel, background: BackgroundModel) -> dict[str, Any]:
    """The kernel and the background on the whole: forms, and the ranges of what changes over the field."""
    region = kernel.spatial.region
    grid = kernel_grid(kernel, SIDE, SIDE)
    shapes = grid.shapes
    sums, widths = (np.array([getattr(shape, name) for shape in shapes]) for name in ("sum", "fwhm"))
    levels = background(grid.x[None, :], grid.y[:, None])
    known = widths[np.isfinite(widths)]
    return {
        "kernel_size": kernel.size,
        "n_basis": len(kernel.basis),
        "spatial_model": kernel.spatial.kind,
        "spatial_order": kernel.spatial.order,
        "background_order": background.spatial.order,
        "region": [region.x_min, region.y_min, region.x_max, region.y_max],
        "kernel_sum": kernel.center_sum,
        "kernel_sum_range": [float(sums.min()), float(sums.max())],
        "fwhm_range": [float(known.min()), float(known.max())] if known.size else None,
        "largest_shift": max(shape.shift for shape in shapes),
        "background_range": [float(levels.min()), float(levels.max())],
        "has_errors": kernel.covariance is not None,
    }
