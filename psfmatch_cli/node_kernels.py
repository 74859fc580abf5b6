"""Convolution with a kernel that is known at the nodes of a grid and interpolated between them.

Unlike the polynomials of `psfmatch_cli.convolve` this follows any dependence on position, such as that of a filter
made of the local noise. Every tile of the overlap-save scheme has a node at each of its corners: it is transformed
once and comes back once for each corner.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Side of a Fourier tile, unless the kernel needs a larger one.
TILE = 256
#: A tile is at least so many kernels wide.
TILE_KERNELS = 4


@dataclass(frozen=True)
class NodeGrid:
    """Nodes at the corners of the tiles that cover an image.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image, pixels.
    size : int
        Side of the kernels, odd.
    """

    shape: tuple[int, int]
    size: int

    @property
    def tile(self) -> int:
        """Side of a Fourier tile, pixels."""
        from scipy import fft

        wanted = max(TILE, TILE_KERNELS * self.size)
        return fft.next_fast_len(min(wanted, max(self.shape) + self.size - 1), real=True)

    @property
    def step(self) -> int:
        """Distance of the nodes: pixels of a tile that are free of wrap-around."""
        return self.tile - self.size + 1

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles along y and x."""
        return -(-self.shape[0] // self.step), -(-self.shape[1] // self.step)

    @property
    def positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Array positions y and x of all nodes, (ny, nx) each; the outermost ones are drawn in to the image."""
        axes = [
            np.minimum(np.arange(n + 1) * self.step, length - 1.0)
            for n, length in zip(self.tiles, self.shape, strict=True)
        ]
        y, x = np.meshgrid(*axes, indexing="ij")
        return y, x


def convolve_between_nodes(
    image: NDArray[np.float32], grid: NodeGrid, kernels: NDArray[np.float64], *, threads: int = 1
) -> NDArray[np.float32]:
    """The image convolved with kernels that are interpolated bilinearly between the nodes.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Finite; zero beyond its border.
    grid : NodeGrid
        Of the shape of the image.
    kernels : ndarray, (ny, nx, n, n), float64
        At the nodes, n the grid's kernel size.
    threads : int
        Rows of tiles at work at the same time.

    Returns
    -------
    ndarray, (H, W), float32
    """
    height, width = image.shape
    (n_y, n_x), step, margin = grid.tiles, grid.step, grid.size - 1
    padded = np.zeros((n_y * step + margin, n_x * step + margin), np.float32)
    padded[margin // 2 : margin // 2 + height, margin // 2 : margin // 2 + width] = image
    out = np.empty((n_y * step, n_x * step), np.float32)

    def row(j: int) -> None:
        out[j * step : (j + 1) * step] = _row_of_tiles(
            padded[j * step : j * step + grid.tile], grid, kernels[j : j + 2]
        )

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(row, range(n_y)))
    return np.ascontiguousarray(out[:height, :width])


def _row_of_tiles(band: NDArray[np.float32], grid: NodeGrid, kernels: NDArray) -> NDArray[np.float32]:
    """One row of tiles between two rows of nodes; (step, n_x step)."""
    from scipy import fft

    tile, step, n_x = grid.tile, grid.step, grid.tiles[1]
    spectra = fft.rfft2(kernels.astype(np.float32), (tile, tile))
    windows = np.lib.stride_tricks.sliding_window_view(band, tile, axis=1)[:, ::step].transpose(1, 0, 2)
    transformed = fft.rfft2(np.ascontiguousarray(windows[:n_x]))
    rising = (np.arange(step, dtype=np.float32) / step).astype(np.float32)
    total = np.zeros((n_x, step, step), np.float32)
    valid = np.s_[:, grid.size - 1 : grid.size - 1 + step, grid.size - 1 : grid.size - 1 + step]
    for lower, weight_y in ((0, 1 - rising), (1, rising)):
        for left, weight_x in ((0, 1 - rising), (1, rising)):
            part = fft.irfft2(transformed * spectra[lower, left : left + n_x], (tile, tile))[valid]
            part *= weight_y[:, None]
            part *= weight_x
            total += part
    return total.transpose(1, 0, 2).reshape(step, n_x * step)
