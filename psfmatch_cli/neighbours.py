"""Values for bad pixels: the Gaussian-weighted means of the sound pixels around them.

Few pixels are bad, so their values are kept in lists, to be put into whatever part of the image is worked on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each, row_bands
from psfmatch_cli.dilation import spread_at

#: Sound pixels up to this distance on each axis, and with this Gaussian sigma, replace a bad one. A seven pixels
#: wide bad area still has neighbours at its middle; beyond that a value would be invented.
REACH, SIGMA = 3, 1.0
#: Pixels of a band of rows: enough of them bad to make up for the steps over 49 neighbours.
_BAND = 1 << 20


@dataclass(frozen=True)
class Replacements:
    """Values of pixels.

    Parameters
    ----------
    index : ndarray, (k,), intp
        Flat indices, sorted.
    image, variance : ndarray, (k,), float32
    shape : (int, int)
        Of the image.
    """

    index: NDArray[np.intp]
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    shape: tuple[int, int]

    def put(self, rows: slice, columns: slice, image: NDArray[np.float32], variance: NDArray[np.float32]) -> None:
        """Set the values that lie in some rows and columns, of which image and variance hold the pixels."""
        width = self.shape[1]
        begin, end = np.searchsorted(self.index, [rows.start * width, rows.stop * width])
        if begin == end:
            return
        y, x = np.divmod(self.index[begin:end], width)
        here = np.flatnonzero((x >= columns.start) & (x < columns.stop))
        at = y[here] - rows.start, x[here] - columns.start
        image[at], variance[at] = self.image[begin:end][here], self.variance[begin:end][here]


def replacements(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bad: NDArray[np.bool_],
    sound: NDArray[np.bool_],
    threads: int = 1,
) -> Replacements:
    """Values for the bad pixels that have a sound one within reach.

    Parameters
    ----------
    image, variance : ndarray, (H, W), float32
        Finite where sound.
    bad, sound : ndarray, (H, W), bool
    threads : int
        Bands of rows worked on at a time.
    """
    parts = each(
        lambda rows: _of_rows(image, variance, bad, sound, rows), row_bands(image.shape, _BAND), threads
    )  # fmt: skip
    return Replacements(*(np.concatenate(values) for values in zip(*parts, strict=True)), image.shape)


def _of_rows(
    image: NDArray, variance: NDArray, bad: NDArray, sound: NDArray, rows: slice
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Flat indices and values of the bad pixels of some rows."""
    height, width = image.shape
    if not bad[rows].any():
        return np.empty(0, np.intp), *np.empty((2, 0), np.float32)
    reachable = bad[rows] & spread_at(sound, rows, slice(0, width), REACH)
    y, x = np.nonzero(reachable)
    y += rows.start
    norm, value, noise = np.zeros((3, len(y)))
    offsets = range(-REACH, REACH + 1)
    for dy, dx in ((dy, dx) for dy in offsets for dx in offsets):
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        there = np.where(inside, (y + dy) * width + x + dx, 0)
        used = np.flatnonzero(inside & sound.ravel()[there])
        there, weight = there[used], np.exp(-0.5 * (dx**2 + dy**2) / SIGMA**2)
        norm[used] += weight
        value[used] += weight * image.ravel()[there]
        noise[used] += weight * variance.ravel()[there]
    return y * width + x, (value / norm).astype(np.float32), (noise / norm).astype(np.float32)
