"""Stamps around many sources at once, and what is summed over them: moments, fluxes, errors.

Adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583): the moments of the Gaussian W that equals its own
best weight. With M the moments of the data weighted by W, a Gaussian source of moments C has
``M^-1 = C^-1 + W^-1``; so ``W <- (M^-1 - W^-1)^-1`` reaches C in one step, and other profiles in a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.psf import Psf

#: Stamps reach this many sigma of the source: the matched weight has fallen to exp(-8) there.
STAMP_SIGMA = 4.0
#: Largest half side of a stamp; larger objects are galaxies, of no use to the matching.
MAX_STAMP_RADIUS = 48
#: Stamp pixels handled at a time, which bounds the memory of a crowded field.
CHUNK_PIXELS = 1 << 19
MOMENT_ITERATIONS = 100
#: Change of the moments, relative to their trace, at which they have converged.
MOMENT_TOLERANCE = 1e-4
#: Largest growth of the area of the weight in one step of the fast iteration.
MAX_GROWTH = 9.0


@dataclass(frozen=True)
class Stamps:
    """Square cut-outs around given centres; ``dx``, ``dy`` are distances from the centres.

    Parameters
    ----------
    rows : ndarray, (n,)
        Which sources these are.
    data, variance, good : ndarray, (n, side, side)
        Counts above the background, their variance, and whether they count; 0 where not good.
    dx, dy : ndarray, (n, side)
        Pixel centre minus source centre along each axis.
    """

    rows: NDArray[np.intp]
    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    good: NDArray[np.bool_]
    dx: NDArray[np.float32]
    dy: NDArray[np.float32]

    def within(self, radius: int) -> Stamps:
        """Views on the middle, of half side `radius` at most."""
        trim = max(self.dx.shape[1] // 2 - radius, 0)
        if trim == 0:
            return self
        middle = slice(trim, -trim)
        planes = (plane[:, middle, middle] for plane in (self.data, self.variance, self.good))
        return Stamps(self.rows, *planes, self.dx[:, middle], self.dy[:, middle])


def cut_stamps(pixels: SkyPixels, x: NDArray, y: NDArray, rows: NDArray[np.intp], radius: int) -> Stamps:
    """Stamps of side ``2 radius + 1`` around the pixels nearest to (x, y); outside the image is not good."""
    height, width = pixels.image.shape
    offsets = np.arange(-radius, radius + 1)
    ix = np.floor(x[rows] + 0.5).astype(np.intp)[:, None] + offsets
    iy = np.floor(y[rows] + 0.5).astype(np.intp)[:, None] + offsets
    at = np.clip(iy, 0, height - 1)[:, :, None], np.clip(ix, 0, width - 1)[:, None, :]
    inside = ((iy >= 0) & (iy < height))[:, :, None] & ((ix >= 0) & (ix < width))[:, None, :]
    good = inside & ~pixels.bad[at]
    data = np.where(good, pixels.image[at], np.float32(0))
    variance = np.where(good, pixels.variance[at], np.float32(0))
    dx, dy = (d.astype(np.float32) for d in (ix - x[rows, None], iy - y[rows, None]))
    return Stamps(rows, data, variance, good, dx, dy)


def iterate_stamps(pixels: SkyPixels, x: NDArray, y: NDArray, radius: NDArray[np.int64]) -> Iterator[Stamps]:
    """All stamps, in chunks of one radius each."""
    for r in np.unique(radius):
        rows = np.flatnonzero(radius == r)
        step = max(1, CHUNK_PIXELS // (2 * int(r) + 1) ** 2)
        for first in range(0, len(rows), step):
            yield cut_stamps(pixels, x, y, rows[first : first + step], int(r))


def measure_stamps(
    pixels: SkyPixels,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigma: float,
    *,
    extent: NDArray[np.float64],
    psf: Psf | None,
    shapes: bool = True,
) -> dict[str, NDArray]:
    """Centroid errors, PSF fluxes and adaptive moments of all sources.

    Parameters
    ----------
    pixels : SkyPixels
        Pixels above the background.
    x, y : ndarray, (n,)
        Centroids, array indices.
    sigma : float
        Gaussian sigma of the PSF, pixels.
    extent : ndarray, (n,)
        Rough sigma of each source along its major axis, which sets the size of its stamp.
    psf : Psf or None
        For the PSF flux; None for a Gaussian of `sigma`.
    shapes : bool
        Whether the moments, which take most of the time, are wanted.

    Returns
    -------
    dict
        ``x_err``, ``y_err``, ``psf_flux``, ``psf_flux_err`` and, of shapes, ``gauss_flux``, ``Ixx``, ``Iyy``, ``Ixy``
        (NaN where they can not be had) and ``flag_shape``, each (n,).
    """
    floats = ("x_err", "y_err", "psf_flux", "psf_flux_err", *(("gauss_flux", "Ixx", "Iyy", "Ixy") if shapes else ()))
    out = {name: np.full(len(x), np.nan) for name in floats}
    shifted = None if psf is None else _ShiftedPsf(psf)
    for stamps in iterate_stamps(pixels, x, y, _radii(sigma, extent if shapes else np.zeros_like(extent))):
        # The PSF has ended where the stamp of a point source does, however large the source is.
        core = stamps.within(_smallest_radius(sigma))
        gaussian = _gaussian(core, sigma)
        image = gaussian / (2 * np.pi * sigma**2) if shifted is None else shifted.images(core)
        columns = _centroid_errors(core, gaussian) | _psf_fluxes(core, image)
        if shapes:
            columns |= adaptive_moments(stamps, sigma)
        for name, values in columns.items():
            out[name][stamps.rows] = values
    if shapes:
        out["flag_shape"] = ~np.isfinite(out["Ixx"])
    return out


def _smallest_radius(sigma: float) -> int:
    """Half side of the stamp of a point source, pixels."""
    return int(np.ceil(STAMP_SIGMA * sigma)) + 1


def _radii(sigma: float, extent: NDArray[np.float64]) -> NDArray[np.int64]:
    """Half sides of the stamps: that of the PSF, doubled as often as the source is larger than it."""
    smallest = _smallest_radius(sigma)
    wanted = np.maximum(STAMP_SIGMA * extent, smallest)
    doublings = np.ceil(np.log2(wanted / smallest)).astype(np.int64)
    return np.minimum(smallest * 2**doublings, max(MAX_STAMP_RADIUS, smallest))


def _gaussian(stamps: Stamps, sigma: float) -> NDArray[np.float64]:
    """Circular Gaussians of height 1 at the centres, (n, side, side)."""
    gx, gy = (np.exp(-0.5 * (d / sigma) ** 2) for d in (stamps.dx, stamps.dy))
    return gy[:, :, None] * gx[:, None, :]


def _divide(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """Quotient where the denominator is positive, else NaN."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)


def _centroid_errors(stamps: Stamps, window: NDArray[np.float64]) -> dict[str, NDArray]:
    """Noise of the windowed centroid: the factor 2 is the gain with which it follows a shift."""
    flux = (window * stamps.data).sum(axis=(1, 2))
    noise = window**2 * stamps.variance
    along_x = np.einsum("nyx,nx->n", noise, stamps.dx**2)
    along_y = np.einsum("nyx,ny->n", noise, stamps.dy**2)
    return {"x_err": _divide(2 * np.sqrt(along_x), flux), "y_err": _divide(2 * np.sqrt(along_y), flux)}


def _psf_fluxes(stamps: Stamps, image: NDArray[np.float64]) -> dict[str, NDArray]:
    """Unweighted least-squares flux of the PSF image, and its error."""
    image = np.where(stamps.good, image, 0.0)
    square = image**2
    norm = square.sum(axis=(1, 2))
    flux = _divide((image * stamps.data).sum(axis=(1, 2)), norm)
    error = _divide(np.sqrt((square * stamps.variance).sum(axis=(1, 2))), norm)
    return {"psf_flux": flux, "psf_flux_err": error}


class _ShiftedPsf:
    """A PSF image that can be centred anywhere, by cubic splines."""

    def __init__(self, psf: Psf):
        from scipy import ndimage

        self._spline = ndimage.spline_filter(psf.image, order=3)
        self._middle = psf.image.shape[0] // 2

    def images(self, stamps: Stamps) -> NDArray[np.float64]:
        """The PSF at the centres of the stamps, (n, side, side); 0 beyond its image."""
        from scipy import ndimage

        y, x = np.broadcast_arrays(stamps.dy[:, :, None], stamps.dx[:, None, :])
        return ndimage.map_coordinates(self._spline, (y + self._middle, x + self._middle), prefilter=False)


def adaptive_moments(stamps: Stamps, sigma: float) -> dict[str, NDArray]:
    """Adaptive second moments and the flux of the Gaussian that has them.

    Parameters
    ----------
    stamps : Stamps
        Sources.
    sigma : float
        Sigma of the first weight, pixels.

    Returns
    -------
    dict
        ``Ixx``, ``Iyy``, ``Ixy`` in pixels^2, ``gauss_flux`` in counts, each (n,); NaN where the iteration
        does not converge, the weighted flux is not positive, or the weight outgrows the stamp.
    """
    n, side = stamps.dx.shape
    weight = np.tile([sigma**2, sigma**2, 0.0], (n, 1))
    result = np.full((n, 4), np.nan)
    active = np.arange(n)
    for _ in range(MOMENT_ITERATIONS):
        flux, moments = _weighted_moments(stamps, active, weight)
        new = _next_weight(moments, weight)
        # The weight must end inside the stamp, and a source is not narrower than a quarter of a pixel.
        valid = (flux > 0) & (new[:, 0] > 0) & (_determinant(new) > 0.25**4)
        valid &= new[:, 0] + new[:, 1] < 0.25 * side**2
        change = np.abs(new - weight).max(axis=1)
        done = valid & (change <= MOMENT_TOLERANCE * (new[:, 0] + new[:, 1]))
        result[active[done]] = np.column_stack([new, 2.0 * flux])[done]
        go_on = valid & ~done
        active, weight = active[go_on], new[go_on]
        if not active.size:
            break
    return dict(zip(("Ixx", "Iyy", "Ixy", "gauss_flux"), result.T, strict=True))


def psf_trace(psf: Psf | None, sigma: float) -> float:
    """Ixx + Iyy of the PSF, pixels^2: its adaptive moments, or those of a Gaussian where it is not known."""
    gaussian = 2.0 * sigma**2
    if psf is None:
        return gaussian
    offsets = (np.arange(len(psf.image)) - len(psf.image) // 2).astype(np.float32)[None]
    image = psf.image.astype(np.float32)[None]
    stamp = Stamps(np.zeros(1, np.intp), image, np.zeros_like(image), np.ones(image.shape, bool), offsets, offsets)
    moments = adaptive_moments(stamp, sigma)
    trace = float(moments["Ixx"][0] + moments["Iyy"][0])
    # An image that is too small for its PSF has no moments.
    return trace if np.isfinite(trace) else gaussian


def _determinant(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    return moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2


def _weighted_moments(
    stamps: Stamps, rows: NDArray[np.intp], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the weighted data and its moments (xx, yy, xy), NaN where the sum is not positive."""
    data, dx, dy = stamps.data[rows], stamps.dx[rows], stamps.dy[rows]
    wxx, wyy, wxy = (weight / _determinant(weight)[:, None]).astype(np.float32).T[:, :, None]
    exponent = (wxy * dy)[:, :, None] * dx[:, None, :]
    exponent -= (0.5 * wxx * dy**2)[:, :, None]
    exponent -= (0.5 * wyy * dx**2)[:, None, :]
    weighted = np.exp(exponent, out=exponent)
    weighted *= data
    by_column, by_row = weighted.sum(axis=1, dtype=np.float64), weighted.sum(axis=2, dtype=np.float64)
    flux = by_row.sum(axis=1)
    xx, yy = (by_column * dx**2).sum(axis=1), (by_row * dy**2).sum(axis=1)
    xy = (np.einsum("nyx,nx->ny", weighted, dx) * dy).sum(axis=1, dtype=np.float64)
    return flux, np.column_stack([_divide(moment, flux) for moment in (xx, yy, xy)])


def _next_weight(moments: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The fast step where it stays positive and does not leap, else twice the moments (slow but sure)."""
    inverse = _inverse(moments) - _inverse(weight)
    fast = _inverse(inverse)
    with np.errstate(invalid="ignore"):
        sound = (inverse[:, 0] > 0) & (_determinant(inverse) > 0)
        sound &= _determinant(fast) <= MAX_GROWTH * _determinant(weight)
    return np.where(sound[:, None], fast, 2.0 * moments)


def _inverse(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of symmetric 2 x 2 matrices given as (xx, yy, xy)."""
    xx, yy, xy = moments.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack([yy, xx, -xy]) / _determinant(moments)[:, None]
