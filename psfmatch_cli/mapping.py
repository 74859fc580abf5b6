"""Template positions of all science pixels, from a coarse grid of exact ones.

A celestial WCS costs microseconds a position, a resampled pixel a tenth of one. The exact chain
(science pixel, correction by stars, sky, template pixel) is therefore followed at every `step`-th pixel only and
interpolated by the cubic through the four nearest nodes of each axis. Being local, this cubic keeps
a place where the WCS has no answer from spoiling its surroundings, which a spline would not.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from psfmatch_cli.grid import inside
from psfmatch_cli.pixel_map import PixelMap

logger = logging.getLogger(__name__)

#: Largest error of an interpolated position, template pixels.
POSITION_TOLERANCE = 1e-3
#: Random positions, in each image, at which the interpolation is compared to the exact chain; and as many of those
#: where the distortion bends most.
N_CHECKED = 256


@dataclass(frozen=True)
class PixelMapping:
    """Template position and relative area of every science pixel.

    Parameters
    ----------
    nodes : ndarray, (3, ny, nx)
        Template x, y and relative area (template pixels per science pixel) at the nodes; node (j, i) lies
        at the science index ``((i - 1) step, (j - 1) step)``.
    step : int
        Pixels between nodes; with 1 every pixel is a node.
    shape : (int, int)
        Of the science image.
    exact_index : ndarray, (k,), int64
        Sorted flat indices of the pixels beside a node without a position, and
    exact_values : ndarray, (3, k)
        their exact x, y and area.
    """

    nodes: NDArray[np.float64]
    step: int
    shape: tuple[int, int]
    exact_index: NDArray[np.int64]
    exact_values: NDArray[np.float64]

    def part(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Template x, y and area (3, height, width) of some science rows and columns; NaN outside."""
        cell, phase = np.divmod(np.arange(rows.start, rows.stop), self.step)
        weights = _cubic(phase / self.step)
        first, last = columns.start // self.step, (columns.stop - 1) // self.step
        nodes = self.nodes[:, :, first : last + 4]
        lines = sum(weights[k][:, None] * nodes[:, cell + k] for k in range(4))
        windows = sliding_window_view(lines, 4, axis=-1)
        phases = _cubic(np.arange(self.step) / self.step)
        # One matrix product for all phases of all cells of all rows.
        values = (np.ascontiguousarray(windows).reshape(-1, 4) @ phases).reshape(3, len(cell), -1)
        values = values[..., columns.start - first * self.step :][..., : columns.stop - columns.start]
        self._put_exact(values, rows, columns)
        return values

    def _put_exact(self, values: NDArray[np.float64], rows: slice, columns: slice) -> None:
        """Set the values of the pixels beside nodes without a position."""
        width = self.shape[1]
        begin, end = np.searchsorted(self.exact_index, [rows.start * width, rows.stop * width])
        row, column = np.divmod(self.exact_index[begin:end], width)
        here = (column >= columns.start) & (column < columns.stop)
        at = row[here] - rows.start, column[here] - columns.start
        values[:, *at] = self.exact_values[:, begin:end][:, here]

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Template x, y and area (3, n) at science positions x, y (n,), interpolated only."""
        column, row = np.floor_divide(x, self.step).astype(int), np.floor_divide(y, self.step).astype(int)
        across, along = _cubic(y / self.step - row), _cubic(x / self.step - column)
        return sum(
            across[j] * along[i] * self.nodes[:, row + j, column + i] for j in range(4) for i in range(4)
        )  # fmt: skip


def _cubic(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (4, n) of the nodes at -1, 0, 1, 2 for the cubic through them at u (n,), 0 <= u < 1."""
    return np.array(
        [
            -u * (u - 1) * (u - 2) / 6,
            (u + 1) * (u - 1) * (u - 2) / 2,
            -(u + 1) * u * (u - 2) / 2,
            (u + 1) * u * (u - 1) / 6,
        ]
    )


def map_pixels(
    sky_map: PixelMap, shape: tuple[int, int], template_shape: tuple[int, int], interp_length: int
) -> PixelMapping:
    """Mapping of all pixels of a science image of this shape to the template.

    Nodes lie `interp_length` pixels apart, or as much closer as it takes to keep the error of interpolated
    positions below `POSITION_TOLERANCE`.

    Parameters
    ----------
    sky_map : PixelMap
        From science to template pixels.
    shape, template_shape : (int, int)
        Of the two images.
    interp_length : int
        Pixels; 0 or 1 for the exact position of every pixel.
    """
    step = max(1, interp_length)
    while True:
        mapping = _with_step(sky_map, shape, step)
        error = _largest_error(mapping, sky_map, template_shape) if step > 1 else 0.0
        logger.debug("mapping: a node every %d px, largest error %.2g px", step, error)
        if error <= POSITION_TOLERANCE:
            return mapping
        step //= 2


def _with_step(sky_map: PixelMap, shape: tuple[int, int], step: int) -> PixelMapping:
    """Mapping with nodes this many pixels apart."""
    cells = [(size - 1) // step + 1 for size in shape]
    # Two more nodes on each side, for the derivatives.
    y, x = (step * (np.arange(n + 7) - 3.0) for n in cells)
    found = np.array(sky_map(x[None, :], y[:, None]))
    along, across = _slope(found)[:, 2:-2], _slope(found.swapaxes(1, 2)).swapaxes(1, 2)[:, :, 2:-2]
    area = np.abs(along[0] * across[1] - along[1] * across[0]) / step**2
    nodes = np.array([*found[:, 2:-2, 2:-2], area])
    index, values = _exact_beside_gaps(nodes, sky_map, shape, step)
    return PixelMapping(nodes, step, shape, index, values)


def _slope(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative by the last axis, per element, of all but two elements at either end; of fourth order."""
    return (values[..., :-4] - 8 * values[..., 1:-3] + 8 * values[..., 3:-1] - values[..., 4:]) / 12


def _exact_beside_gaps(
    nodes: NDArray[np.float64], sky_map: PixelMap, shape: tuple[int, int], step: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Flat indices (k,), and exact x, y, area (3, k), of pixels in cells that only some nodes support."""
    complete = np.isfinite(nodes).all(axis=0)
    if complete.all():
        return np.empty(0, np.int64), np.empty((3, 0))
    # A cell none of whose nodes has a position counts as outside; an area may be missing near a gap only.
    found = sliding_window_view(np.isfinite(nodes[0]), (4, 4)).any(axis=(-2, -1))
    partly = found & ~sliding_window_view(complete, (4, 4)).all(axis=(-2, -1))
    pixels = partly.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]]
    y, x = np.nonzero(pixels)
    return np.flatnonzero(pixels), np.array([*sky_map(x, y), sky_map.area(x, y)])


def _largest_error(mapping: PixelMapping, sky_map: PixelMap, template_shape: tuple[int, int]) -> float:
    """Largest error of interpolated positions, pixels, at random positions of the overlap and where it is likely."""
    rng = np.random.default_rng(0)
    (height, width), (template_height, template_width) = mapping.shape, template_shape
    draw = rng.uniform(size=(4, N_CHECKED))
    anywhere = draw[0] * (width - 1), draw[1] * (height - 1)
    back = sky_map.reverse()(draw[2] * (template_width - 1), draw[3] * (template_height - 1))
    x, y = (np.concatenate(parts) for parts in zip(anywhere, back, _bent_cells(mapping, template_shape), strict=True))
    kept = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = x[kept], y[kept]
    exact = np.array(sky_map(x, y))
    kept = inside(*exact, template_shape)
    found = mapping.at(x[kept], y[kept])[:2]
    # Positions beside a gap of the WCS are not interpolated, see `_exact_beside_gaps`.
    errors = np.hypot(*(found - exact[:, kept]))
    return float(np.nanmax(errors, initial=0.0))


def _bent_cells(mapping: PixelMapping, template_shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray]:
    """Positions x, y of the centres of the cells on the template whose nodes lie least on a cubic.

    The cubic errs by 3/128 of the fourth difference of the nodes there; the check at random positions alone would
    miss a distortion that is strong in one corner.
    """
    found = mapping.nodes[:2]
    bend = np.zeros(found.shape[1:])
    for axis in (1, 2):
        if found.shape[axis] < 5:
            continue
        difference = np.abs(np.diff(found, 4, axis=axis)).max(axis=0)
        inner = [slice(None), slice(None)]
        inner[axis - 1] = slice(2, -2)
        bend[tuple(inner)] += difference
    bend = np.where(np.isfinite(bend) & inside(*found, template_shape), bend, -1.0)
    worst = np.argsort(-bend, axis=None)[:N_CHECKED]
    row, column = np.unravel_index(worst[bend.ravel()[worst] > 0], bend.shape)
    return (column - 0.5) * mapping.step, (row - 0.5) * mapping.step
