"""Spatially varying convolution of the tiles of an image, by overlap-save (Press et al., Numerical Recipes, 13.1.5).

A kernel ``sum_ab f_a(x) g_b(y) k_ab`` is applied as ``sum_a f_a sum_b g_b (T * k_ab)``. The sum over b is made
between the two halves of the inverse transform, along y and along x: of p terms only their half along y is
transformed back one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.kernel import exponent_pairs

#: Aim for the side of a Fourier tile, in pixels and in sides of the kernel. Measured on 4096 x 4096 with 21 and 31 px
#: kernels: from 256 to 384 the time hardly differs, below 192 and above 512 it grows.
SIDE, SIDE_IN_KERNELS = 240, 4


@dataclass(frozen=True)
class Tile:
    """A part of the image on which the kernel fits.

    Parameters
    ----------
    rows, columns : slice
        Pixels of the result.
    half : int
        Half side of the kernel: the input reaches so many pixels farther on all sides.
    transform : (int, int)
        Shape of the Fourier transforms.
    """

    rows: slice
    columns: slice
    half: int
    transform: tuple[int, int]

    @property
    def source(self) -> tuple[slice, slice]:
        """Rows and columns of the input."""
        return tuple(slice(part.start - self.half, part.stop + self.half) for part in (self.rows, self.columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Of the result."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def tiles(shape: tuple[int, int], size: int) -> Iterator[Tile]:
    """Tiles that cover all pixels on which a kernel of this side fits, row by row."""
    half = size // 2
    (rows, length_y), (columns, length_x) = (_parts(n, size) for n in shape)
    for row in rows:
        for column in columns:
            yield Tile(row, column, half, (length_y, length_x))


def _parts(n: int, size: int) -> tuple[list[slice], int]:
    """Slices, nearly equal, of an axis of n pixels without half a kernel at both ends, and the transform's length."""
    from scipy import fft

    inner, aim = n - size + 1, max(SIDE, SIDE_IN_KERNELS * size)
    step = -(-inner // max(1, round(inner / (aim - size + 1))))
    slices = [slice(first, min(first + step, n - size // 2)) for first in range(size // 2, n - size // 2, step)]
    return slices, fft.next_fast_len(step + size - 1, real=True)


def spectra(images: NDArray, transform: tuple[int, int], precision: np.dtype) -> NDArray:
    """Transforms of this shape of kernel images (k, n, n)."""
    from scipy import fft

    # Along x only the rows that are not zero.
    lines = fft.rfft(images.astype(precision), transform[1], axis=2, workers=1)
    return fft.fft(lines, transform[0], axis=1, workers=1)


def convolve_tile(pixels: NDArray, kernels: NDArray, powers_x: NDArray, powers_y: NDArray, tile: Tile) -> NDArray:
    """``sum_ab powers_x[a] powers_y[b] (pixels * k_ab)`` on the tile, in the precision of the pixels.

    Parameters
    ----------
    pixels : ndarray
        Of `Tile.source`.
    kernels : ndarray, (n_terms, ...)
        `spectra` of k_ab in the order of `psfmatch_cli.kernel.exponent_pairs`.
    powers_x, powers_y : ndarray, (order + 1, width) and (order + 1, height)
    tile : Tile
    """
    from scipy import fft

    real, order, size = pixels.dtype, len(powers_x) - 1, 2 * tile.half + 1
    powers_x, powers_y = powers_x.astype(real), powers_y.astype(real)
    spectrum = fft.rfft2(pixels, tile.transform, workers=1)
    rows, columns = (slice(size - 1, size - 1 + n) for n in tile.shape)
    halves: list[NDArray] = []
    for (a, b), kernel in sorted(zip(exponent_pairs(order), kernels, strict=True), key=lambda term: term[0]):
        half = fft.ifft(spectrum * kernel, axis=0, overwrite_x=True, workers=1)[rows].view(real)
        if b == 0:
            halves.append(half)
            continue
        half *= powers_y[b][:, None]
        halves[a] += half
    total = None
    for a, half in enumerate(halves):
        line = fft.irfft(half.view(spectrum.dtype), tile.transform[1], axis=1, workers=1)[:, columns]
        if a == 0:
            total = line
            continue
        line *= powers_x[a]
        total += line
    return total
