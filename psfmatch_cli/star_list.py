"""Positions of the bright stars of an image, found in a fraction of a second, for aligning it with another.

The search is made for this alone: on sums of 2 x 2 pixels, for bright, isolated, unsaturated peaks, with the same
centroid for both images of a pair. Detection for the matching (`psfmatch_cli.detect`) goes deeper and takes longer
by an order of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import variance_is_known
from psfmatch_cli.blocks import BAND_PIXELS, row_bands
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.psf import FWHM_PER_SIGMA

#: Height of a peak over the noise of a sum of 2 x 2 pixels.
MIN_HEIGHT = 8.0
#: Peaks that are looked at, and stars that are returned, at most; the brightest.
MAX_PEAKS, MAX_STARS = 2000, 500
#: Side of the background mesh, 2 x 2 sums.
MESH = 32
#: First sigma of the window, pixels, and the range that the measured one is taken from.
FIRST_SIGMA, SIGMA_RANGE = 1.5, (0.7, 8.0)
#: Stars that the sigma is measured on.
SIGMA_STARS = 100
#: Narrowest sigma of a star, pixels, along any axis: a hot pixel or a cosmic ray has less.
MIN_SIGMA = 0.35
#: Another peak of this share of the height makes a star unreliable, if it lies between so many FWHM. Nearer ones are
#: mostly the noise of one broad peak.
DISTURBING_SHARE, ISOLATION_FWHM = 0.2, (1.2, 3.0)
#: Centroids this near, pixels, are of one star.
SAME_STAR = 1.0
#: The centroid is iterated to this accuracy, pixels, in at most so many steps; it may end that far from the peak.
ACCURACY, MAX_STEPS, MAX_MOVE = 1e-4, 12, 3.0


@dataclass(frozen=True)
class StarList:
    """Stars of an image, brightest first, as arrays of one length.

    Parameters
    ----------
    x, y : ndarray
        Centroid, array indices.
    error : ndarray
        Standard error of the centroid along an axis, pixels.
    flux : ndarray
        Counts in the Gaussian window.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    flux: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def positions(self) -> NDArray[np.float64]:
        """Positions (n, 2)."""
        return np.column_stack([self.x, self.y])

    def take(self, rows: NDArray) -> StarList:
        """The stars at some rows (indices or a boolean choice)."""
        return StarList(*(getattr(self, f.name)[rows] for f in fields(self)))

    def moved(self, dx: float, dy: float) -> StarList:
        """The same stars at positions shifted by (dx, dy)."""
        return StarList(self.x + dx, self.y + dy, self.error, self.flux)


@dataclass(frozen=True)
class _Field:
    """What is looked at: the pixels, and whether their variance is known."""

    pixels: MaskedImage
    variance_known: bool

    def look(self, at: tuple) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image at an index, with 0 where it has no value, and which of these pixels spoil a star."""
        image, mask, bits = self.pixels.image[at], self.pixels.mask[at], self.pixels.bits
        lost = (mask & np.int32(bits(["BAD", "CR"] if self.variance_known else ["CR"]))) != 0
        lost &= (mask & np.int32(bits(["INTRP"]))) == 0
        lost |= (mask & np.int32(bits(["NO_DATA"]))) != 0
        lost |= ~np.isfinite(image)
        return np.where(lost, np.float32(0), image), lost | ((mask & np.int32(bits(["SAT"]))) != 0)


@dataclass(frozen=True)
class _Peaks:
    """Positions, background there (counts per pixel), and noise of a pixel of the sky."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    level: NDArray[np.float64]
    noise: float

    def take(self, rows: NDArray[np.intp]) -> _Peaks:
        return _Peaks(self.x[rows], self.y[rows], self.level[rows], self.noise)


def find_stars(pixels: MaskedImage) -> StarList:
    """Bright, isolated, unsaturated stars of an image.

    Parameters
    ----------
    pixels : MaskedImage
        Not changed.
    """
    field = _Field(pixels, variance_is_known(pixels))
    light, sky, noise = _binned_light(field)
    if not noise > 0:
        return StarList(*np.zeros((4, 0)))
    column, row = _maxima(light, MIN_HEIGHT * noise)
    highest = np.flatnonzero(_is_highest(light, column, row, 2))
    height = light[row, column].astype(np.float64)
    x, y = 2.0 * column + 0.5, 2.0 * row + 0.5
    peaks = _Peaks(x, y, sky[row, column].astype(np.float64) / 4.0, noise / 2)
    sigma = FIRST_SIGMA
    for _ in range(2):
        sigma = _typical_sigma(_measure(field, peaks.take(highest[:SIGMA_STARS]), sigma), sigma)
    isolated = highest[_is_isolated(x, y, height, FWHM_PER_SIGMA * sigma)[highest]]
    # Some of them turn out to be no stars.
    return _without_repeats(_measure(field, peaks.take(isolated[: MAX_STARS + MAX_STARS // 4]), sigma).stars())


def _binned_light(field: _Field) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Sums of 2 x 2 pixels above the background, 0 where a pixel is spoilt; the background; and the noise."""
    import sep

    total, spoilt = _binned(field)
    if not total.size or spoilt.all() or not np.isfinite(total).all():
        return total, total, 0.0
    background = sep.Background(total, mask=spoilt, bw=MESH, bh=MESH)
    sky = background.back()
    light = total
    light -= sky
    light[spoilt] = 0
    # Without noise, any light is a star's.
    noise = max(float(background.globalrms), 1e-6 * float(light.max()))
    return light, sky, noise


def _binned(field: _Field) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sums of 2 x 2 pixels, and where one of them is spoilt."""
    height, width = (size // 2 for size in field.pixels.shape)
    total, spoilt = np.empty((height, width), np.float32), np.empty((height, width), bool)
    quarters = [np.s_[j::2, i::2] for j in (0, 1) for i in (0, 1)]
    for rows in row_bands(total.shape, BAND_PIXELS // 4) if total.size else ():
        image, bad = field.look(np.s_[2 * rows.start : 2 * rows.stop, : 2 * width])
        with np.errstate(over="ignore"):
            np.add.reduce([image[at] for at in quarters], out=total[rows])
        np.logical_or.reduce([bad[at] for at in quarters], out=spoilt[rows])
    return total, spoilt


def _maxima(light: NDArray[np.float32], level: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Columns and rows of the pixels above a level that are not lower than their neighbours, brightest first."""
    row, column = (index + 2 for index in np.nonzero(light[2:-2, 2:-2] > level))
    highest = _is_highest(light, column, row, 1)
    row, column = row[highest], column[highest]
    brightest = np.argsort(-light[row, column], kind="stable")[:MAX_PEAKS]
    return column[brightest], row[brightest]


def _is_highest(
    light: NDArray[np.float32], column: NDArray[np.intp], row: NDArray[np.intp], reach: int
) -> NDArray[np.bool_]:
    """Pixels that none within reach exceeds; of equals, one."""
    here, highest = light[row, column], np.ones(len(row), bool)
    for j in range(-reach, reach + 1):
        for i in range(-reach, reach + 1):
            there = light[row + j, column + i]
            highest &= here >= there if (j, i) >= (0, 0) else here > there
    return highest


def _is_isolated(
    x: NDArray[np.float64], y: NDArray[np.float64], height: NDArray[np.float64], fwhm: float
) -> NDArray[np.bool_]:
    """Stars without another peak near that is high enough to pull at the centroid."""
    from scipy.spatial import cKDTree

    isolated = np.ones(len(x), bool)
    nearest, farthest = (factor * fwhm for factor in ISOLATION_FWHM)
    if len(x) < 2:
        return isolated
    one, other = cKDTree(np.column_stack([x, y])).query_pairs(farthest, output_type="ndarray").T
    apart = np.hypot(x[one] - x[other], y[one] - y[other]) > nearest
    for a, b in ((one[apart], other[apart]), (other[apart], one[apart])):
        isolated[a[height[b] > DISTURBING_SHARE * height[a]]] = False
    return isolated


def _without_repeats(stars: StarList) -> StarList:
    """The stars without those whose centroid went to a brighter one's."""
    from scipy.spatial import cKDTree

    if len(stars) < 2:
        return stars
    kept = np.ones(len(stars), bool)
    # Brightest first: the second of a pair is the fainter one.
    kept[cKDTree(stars.positions).query_pairs(SAME_STAR, output_type="ndarray").max(axis=1, initial=-1)] = False
    return stars.take(kept)


@dataclass(frozen=True)
class _Measured:
    """Centroids of all peaks, good or not, with the moments (n, 3: xx, yy, xy) under the window."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    flux: NDArray[np.float64]
    moments: NDArray[np.float64]
    good: NDArray[np.bool_]

    def stars(self) -> StarList:
        """Those that are good, brightest first."""
        rows = np.flatnonzero(self.good)
        rows = rows[np.argsort(-self.flux[rows], kind="stable")][:MAX_STARS]
        return StarList(self.x[rows], self.y[rows], self.error[rows], self.flux[rows])


def _measure(field: _Field, peaks: _Peaks, sigma: float) -> _Measured:
    """Centroids with a Gaussian window of this sigma: ``x <- x + 2 sum(w I (X - x)) / sum(w I)``."""
    half = int(np.ceil(3.5 * sigma)) + 2
    rows, columns, inside = _stamp_pixels(field.pixels.shape, peaks.x, peaks.y, half)
    at = rows[:, :, None], columns[:, None, :]
    # In units of the noise, which fit into single precision whatever the counts are.
    image, spoilt = field.look(at)
    light = ((image.astype(np.float64) - peaks.level[:, None, None]) / peaks.noise).astype(np.float32)
    x, y = peaks.x.copy(), peaks.y.copy()
    for _ in range(MAX_STEPS):
        window = _Window.around(columns - x[:, None], rows - y[:, None], sigma)
        (flux, mx), (my, _) = window.moments(light, 1)
        step = np.clip(np.nan_to_num(2 * np.divide([mx, my], flux, where=flux > 0, out=np.zeros((2, len(x))))), -1, 1)
        x, y = x + step[0], y + step[1]
        if not (np.abs(step) > ACCURACY).any():
            break
    (flux, _, xx), (_, xy, _), (yy, _, _) = window.moments(light, 2)
    flux = np.where(flux > 0, flux, np.nan)
    core = (np.abs(window.u) <= 2 * sigma + 1)[:, None, :] & (np.abs(window.v) <= 2 * sigma + 1)[:, :, None]
    good = inside & np.isfinite(flux) & ~(core & spoilt).any(axis=(1, 2))
    good &= (np.hypot(x - peaks.x, y - peaks.y) < MAX_MOVE) & (np.abs(step).max(axis=0, initial=0.0) <= 0.01)
    moments = np.column_stack([xx, yy, xy]) / flux[:, None]
    good &= _narrowest(moments, sigma) > MIN_SIGMA
    return _Measured(x, y, window.error(_variance(field, at, peaks.noise), flux), flux * peaks.noise, moments, good)


def _variance(field: _Field, at: tuple[NDArray[np.intp], NDArray[np.intp]], noise: float) -> NDArray[np.float32]:
    """Variance of the pixels of stamps, in units of the sky's (which stands for an unknown one); 0 for no number."""
    if not field.variance_known:
        return np.ones(np.broadcast_shapes(*(index.shape for index in at)), np.float32)
    variance = field.pixels.variance[at].astype(np.float64) / noise**2
    return np.where((variance > 0) & (variance < 1e30), variance, 0.0).astype(np.float32)


@dataclass(frozen=True)
class _Window:
    """Gaussian windows: distances u, v of columns and rows from the centres, and the two factors; each (n, side)."""

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    along: NDArray[np.float64]
    across: NDArray[np.float64]

    @classmethod
    def around(cls, u: NDArray[np.float64], v: NDArray[np.float64], sigma: float) -> _Window:
        """Windows of this sigma."""
        return cls(u, v, np.exp(-0.5 * (u / sigma) ** 2), np.exp(-0.5 * (v / sigma) ** 2))

    def moments(self, stamps: NDArray[np.float32], order: int) -> NDArray[np.float64]:
        """Sums ``w v^j u^i stamp`` for j, i = 0..order of each stamp (n, side, side): (order + 1, order + 1, n)."""
        powers = np.arange(order + 1)
        by_x = (self.along[..., None] * self.u[..., None] ** powers).astype(np.float32)
        by_y = (self.across[..., None] * self.v[..., None] ** powers).astype(np.float32)
        return np.moveaxis(by_y.swapaxes(1, 2) @ (stamps @ by_x), 0, -1).astype(np.float64)

    def error(self, variance: NDArray[np.float32], flux: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard error of the centroid along an axis, the mean of both, from the variance of the pixels."""
        squares = _Window(self.u, self.v, self.along**2, self.across**2).moments(variance, 2)
        return 2 * np.sqrt(0.5 * (squares[0, 2] + squares[2, 0])) / flux


def _stamp_pixels(shape: tuple[int, int], x: NDArray, y: NDArray, half: int) -> tuple[NDArray, NDArray, NDArray]:
    """Rows and columns (n, side) of the stamps, brought into the image, and which of them lie wholly inside."""
    offsets = np.arange(-half, half + 1)
    rows, columns = (np.floor(v + 0.5).astype(np.intp)[:, None] + offsets for v in (y, x))
    inside = (rows[:, 0] >= 0) & (rows[:, -1] < shape[0]) & (columns[:, 0] >= 0) & (columns[:, -1] < shape[1])
    return np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1), inside


def _narrowest(moments: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Sigma along the minor axis, freed of the window as for a Gaussian (``1 / s^2 = 1 / m - 1 / sigma^2``)."""
    xx, yy, xy = moments.T
    minor = 0.5 * (xx + yy) - np.hypot(0.5 * (xx - yy), xy)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Broader than the window can tell: as broad as can be.
        square = np.where(minor < sigma**2, 1 / (1 / minor - 1 / sigma**2), np.inf)
        return np.where(minor > 0, np.sqrt(square), np.nan)


def _typical_sigma(measured: _Measured, sigma: float) -> float:
    """Sigma of the stars: the median of the good ones, else the last."""
    widths = _narrowest(measured.moments, sigma)[measured.good]
    widths = widths[np.isfinite(widths)]
    return float(np.clip(np.median(widths), *SIGMA_RANGE)) if len(widths) else sigma
