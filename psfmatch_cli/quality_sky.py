"""The sky of a difference, in samples: how noisy it is, how flat, and how its noise is correlated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import DETECTED_PLANES, MaskedImage
from psfmatch_cli.psf_measure import MAD_TO_SIGMA

#: Planes without which a pixel of a difference is usable.
BAD_PLANES = ("NO_DATA", "SAT", "BAD", "CR", "EDGE")
#: Cells of the map along either axis, and squares of pixels in a cell along either axis.
N_CELLS, N_SQUARES = 4, 2
#: Side of the squares, pixels: 64 of them are 150,000 pixels, which tell a width to 0.3 % and a correlation to 0.003.
SQUARE = 48
#: Largest lag of the autocorrelation, pixels.
MAX_LAG = 3
#: Deviation, in units of the width, beyond which a pixel is no noise.
OUTLIER = 4.0
#: Fewest sky pixels that say something.
FEWEST_PIXELS = 100
#: Part of a sample's pixels that must be free of sources; in a crowded field subtracted stars are sky, too.
LEAST_FREE = 0.3


@dataclass(frozen=True)
class SkySample:
    """Normalised residuals in squares that are spread evenly over an image.

    Parameters
    ----------
    z : ndarray, (n, side, side), float32
        difference / sqrt(variance); NaN where it is not sky.
    counts : ndarray, (n, side, side), float32
        The difference itself, NaN in the same places.
    cell : ndarray of int, (n,)
        Cell of each square, counted from the lower left, along x first.
    """

    z: NDArray[np.float32]
    counts: NDArray[np.float32]
    cell: NDArray[np.intp]

    @property
    def width(self) -> float:
        """Robust width of z; NaN where there is hardly any sky."""
        return robust_width(self.z)

    @property
    def mean_absolute(self) -> float:
        """Mean of the absolute difference, counts; NaN without sky."""
        known = np.abs(self.counts[np.isfinite(self.counts)])
        return float(known.mean()) if known.size else float("nan")


def robust_width(values: NDArray) -> float:
    """1.4826 MAD of the finite values; NaN if there are few."""
    known = values[np.isfinite(values)]
    if known.size < FEWEST_PIXELS:
        return float("nan")
    return float(MAD_TO_SIGMA * np.median(np.abs(known - np.median(known))))


def sample_sky(difference: MaskedImage) -> SkySample:
    """Squares of the difference without unusable pixels and, where enough are left, without sources.

    Parameters
    ----------
    difference : MaskedImage
        Its DETECTED planes are the sources.
    """
    height, width = difference.shape
    n = N_CELLS * N_SQUARES
    side = max(1, min(SQUARE, height // n, width // n))
    rows, columns = (((np.arange(n) + 0.5) * length / n - side / 2).astype(int) for length in (height, width))
    places = [np.s_[y : y + side, x : x + side] for y in rows for x in columns]
    image, variance, mask = (
        np.stack([plane[place] for place in places])
        for plane in (difference.image, difference.variance, difference.mask)
    )
    usable = (mask & difference.bits([p for p in BAD_PLANES if p in difference.planes])) == 0
    usable &= np.isfinite(image) & (variance > 0)
    detected = [p for p in DETECTED_PLANES if p in difference.planes]
    free = usable & ((mask & difference.bits(detected)) == 0)
    sky = free if np.count_nonzero(free) > LEAST_FREE * free.size else usable
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(sky, image / np.sqrt(variance), np.nan)
    j, i = np.indices((n, n)) // N_SQUARES
    return SkySample(z, np.where(sky, image, np.nan), (j * N_CELLS + i).ravel())


def largest_correlation(sample: SkySample) -> float:
    """Largest absolute autocorrelation of the noise at lags of 1 to 3 pixels along x, y and both diagonals.

    Pixels beyond 4 widths are left out. NaN where there is hardly any sky.
    """
    width = sample.width
    if not width > 0:
        return float("nan")
    noise = (sample.z - np.nanmedian(sample.z)) / width
    valid = np.abs(noise) < OUTLIER
    noise = np.where(valid, noise, 0.0).astype(np.float32)
    weight = valid.astype(np.float32)
    power = float(np.sum(noise * noise) / np.sum(weight))
    found = []
    for lag in range(1, min(MAX_LAG, noise.shape[1] - 1) + 1):
        for one, other in _shifted(lag):
            n = np.vdot(weight[one], weight[other])
            if n >= FEWEST_PIXELS:
                found.append(abs(np.vdot(noise[one], noise[other]) / n / power))
    return float(max(found)) if found else float("nan")


def _shifted(lag: int) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Pairs of slices of squares whose pixels are `lag` apart: along x, y, and both diagonals."""
    every, first, last = np.s_[:, :-lag, lag:]
    return [
        ((every, every, first), (every, every, last)),
        ((every, first, every), (every, last, every)),
        ((every, first, first), (every, last, last)),
        ((every, first, last), (every, last, first)),
    ]


@dataclass(frozen=True)
class SkyCells:
    """The sky, cell by cell, each (N_CELLS**2,), from the lower left on, along x first.

    Parameters
    ----------
    n_pixels : ndarray of int
        Sky pixels of the sample.
    width, mean : ndarray
        Robust width of z, and its mean without outliers; NaN where there are few pixels.
    """

    n_pixels: NDArray[np.int64]
    width: NDArray[np.float64]
    mean: NDArray[np.float64]


def sky_cells(sample: SkySample) -> SkyCells:
    """Width and mean of the normalised residuals in each cell."""
    values = [z[np.isfinite(z)] for z in (sample.z[sample.cell == c] for c in range(N_CELLS**2))]
    widths = np.array([robust_width(z) for z in values])
    means = np.array([_mean(z, width) for z, width in zip(values, widths, strict=True)])
    return SkyCells(np.array([z.size for z in values]), widths, means)


def _mean(z: NDArray[np.float32], width: float) -> float:
    if not np.isfinite(width):
        return float("nan")
    near = np.abs(z - np.median(z)) <= OUTLIER * max(width, 1e-30)
    return float(z[near].mean(dtype=float))
