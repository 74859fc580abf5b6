"""Picture of a kernel: its images across the field, its sum, and the background."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from psfmatch_cli.errors import UsageError
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
from psfmatch_cli.kernel_shape import KernelGrid

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

#: What installs the package that draws.
EXTRA = "pip install 'psfmatch[plot]'"
#: Points along either axis of the maps.
MAP_POINTS = 60


def check_plotting() -> None:
    """Refuse to draw where matplotlib is missing.

    Raises
    ------
    UsageError
    """
    if find_spec("matplotlib") is None:
        raise UsageError(f"a plot needs the package matplotlib; install it with {EXTRA}")


def kernel_figure(
    kernel: MatchingKernel, background: BackgroundModel, grid: KernelGrid, candidates: Table | None = None
) -> Figure:
    """Figure of three panels: kernels on a grid, map of the kernel sum with the candidates used, map of the background.

    Raises
    ------
    UsageError
        If matplotlib is missing.
    """
    check_plotting()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5), layout="constrained")
    axes = figure.subplots(1, 3)
    _draw_kernels(axes[0], grid)
    region = kernel.spatial.region
    extent = (region.x_min - 0.5, region.x_max + 0.5, region.y_min - 0.5, region.y_max + 0.5)
    x, y = (
        start + (np.arange(MAP_POINTS) + 0.5) / MAP_POINTS * (end - start) for start, end in (extent[:2], extent[2:])
    )
    _draw_map(axes[1], kernel.sum(x[None, :], y[:, None]), extent, "kernel sum")
    _draw_map(axes[2], background(x[None, :], y[:, None]), extent, "background (counts)")
    if candidates is not None and len(candidates):
        used = np.asarray(candidates["status"]).astype(str) == "used"
        stars = (np.asarray(candidates[name], float)[used] for name in "xy")
        axes[1].plot(*stars, "w+", markersize=5)
        axes[1].set_title(f"kernel sum, {used.sum()} candidates used")
    return figure


def _draw_kernels(axes: Any, grid: KernelGrid) -> None:
    """Kernel images side by side, all on one scale: the square root of the absolute value, with its sign."""
    mosaic = grid.mosaic()
    shown = np.sign(mosaic) * np.sqrt(np.abs(mosaic))
    limit = np.abs(shown).max() or 1.0
    n_y, n_x, size, _ = grid.images.shape
    axes.imshow(shown, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    for axis_lines, n in ((axes.axvline, n_x), (axes.axhline, n_y)):
        for edge in range(1, n):
            axis_lines(edge * size - 0.5, color="0.6", linewidth=0.5)
    axes.set_xticks((np.arange(n_x) + 0.5) * size - 0.5, [f"{value:.0f}" for value in grid.x])
    axes.set_yticks((np.arange(n_y) + 0.5) * size - 0.5, [f"{value:.0f}" for value in grid.y])
    axes.set_title(f"kernels, {size} x {size} pixels each (square root stretch)")


def _draw_map(axes: Any, values: np.ndarray, extent: tuple[float, ...], title: str) -> None:
    drawn = axes.imshow(values, origin="lower", extent=extent, cmap="viridis")
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
    axes.set(title=title, xlabel="x (pixels)", ylabel="y (pixels)")
