"""Dipoles: what a star that is not subtracted in its place leaves, a positive and a negative source side by side.

Two PSFs are fitted, six numbers, by the method of Levenberg and Marquardt (Press et al. 2007, Numerical Recipes,
section 15.5.2) with equal weights. Far closer than the PSF is wide, only the product of flux and separation is told by
the data: both fluxes are large then, and so are their errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.psf import Psf
from psfmatch_cli.psf_photometry import chi_squared, covariance, normal_solution, stamps_at
from psfmatch_cli.psf_splines import PsfSplines
from psfmatch_cli.stamps import CHUNK_PIXELS, Stamps

ITERATIONS = 30
#: The iteration ends when no sum of squares has fallen by this part of itself in so many steps.
CONVERGED, PATIENCE = 1e-6, 4
#: First damping, and its bounds.
DAMPING, LEAST, MOST = 1e-2, 1e-7, 1e8
#: The fit starts from the two extrema of the filtered image, and from these parts of their distance: an unresolved
#: dipole has its extrema further apart than its poles.
STARTS = (1.0, 0.4)
#: Where the other pole is looked for, in FWHM.
SEARCH_FWHM = 1.5
#: Significance of the opposite sign that the other pole starts from at least.
LEAST_POLE = 3.0
#: Closest poles, in FWHM.
CLOSEST = 0.02
TINY = 1e-30


@dataclass(frozen=True)
class DipoleFit:
    """Dipoles, each an array (n,); NaN where there is nothing to fit.

    Not fitted where there is no sign of a pole of the other sign next to the source.

    Parameters
    ----------
    x_pos, y_pos, flux_pos, flux_pos_err : ndarray
        Array position and flux of the positive pole.
    x_neg, y_neg, flux_neg, flux_neg_err : ndarray
        The same of the negative one, whose flux is negative.
    separation_err : ndarray
        Pixels.
    chi2 : ndarray
        Sum of the squared residuals over the variance.
    """

    x_pos: NDArray[np.float64]
    y_pos: NDArray[np.float64]
    flux_pos: NDArray[np.float64]
    flux_pos_err: NDArray[np.float64]
    x_neg: NDArray[np.float64]
    y_neg: NDArray[np.float64]
    flux_neg: NDArray[np.float64]
    flux_neg_err: NDArray[np.float64]
    separation_err: NDArray[np.float64]
    chi2: NDArray[np.float64]

    @property
    def separation(self) -> NDArray[np.float64]:
        """Distance of the poles, pixels."""
        return np.hypot(self.x_pos - self.x_neg, self.y_pos - self.y_neg)

    @property
    def angle(self) -> NDArray[np.float64]:
        """Direction from the negative to the positive pole, degrees from the x axis towards the y axis."""
        return np.degrees(np.arctan2(self.y_pos - self.y_neg, self.x_pos - self.x_neg))


@dataclass(frozen=True)
class _State:
    """Parameters (n, 6): flux, x, y of either pole, positions from the stamp's middle; residual sums of squares."""

    parameters: NDArray[np.float64]
    sums: NDArray[np.float64]


def fit_dipoles(
    pixels: SkyPixels,
    psf: Psf,
    xy0: tuple[int, int],
    significance: NDArray[np.float32],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    half: int,
    largest: float,
) -> DipoleFit:
    """Dipoles at the places of sources.

    Parameters
    ----------
    pixels : SkyPixels
    psf : Psf
    xy0 : (int, int)
        Parent position of the first pixel.
    significance : ndarray, (H, W)
        Signed, of a point source at each pixel; its extremum of the other sign is where the other pole starts.
    x, y : ndarray, (n,)
        Array positions of the sources.
    half : int
        Half side of the stamps, pixels.
    largest : float
        Largest separation, FWHM.
    """
    other_x, other_y, strength = _other_poles(significance, x, y, psf.fwhm)
    likely = np.flatnonzero(strength >= LEAST_POLE)
    made, step = np.full((10, len(x)), np.nan), max(1, CHUNK_PIXELS // (2 * half + 1) ** 2 // 2)
    for first in range(0, len(likely), step):
        rows = likely[first : first + step]
        source, other = (x[rows], y[rows]), (other_x[rows], other_y[rows])
        made[:, rows] = _fit_chunk(pixels, psf, xy0, source, other, half, largest)
    return DipoleFit(*made)


def _fit_chunk(
    pixels: SkyPixels,
    psf: Psf,
    xy0: tuple[int, int],
    source: tuple[NDArray[np.float64], NDArray[np.float64]],
    other: tuple[NDArray[np.intp], NDArray[np.intp]],
    half: int,
    largest: float,
) -> NDArray[np.float64]:
    """Fields of `DipoleFit`, (10, n)."""
    fwhm, (x, y) = psf.fwhm, source
    stamps, fx, fy = stamps_at(pixels, x, y, half)
    # The poles are off the middle of the stamp: the image of the PSF must reach further than it.
    splines = PsfSplines.at(psf, x + xy0[0], y + xy0[1], half + int(np.ceil(SEARCH_FWHM * fwhm)))
    off = tuple(there - np.floor(here + 0.5) for there, here in zip(other, source, strict=True))
    best = None
    for scale in STARTS:
        state = _start(stamps, splines, (fx, fy), off, scale)
        state = _refined(stamps, splines, state, (CLOSEST * fwhm, largest * fwhm))
        best = state if best is None else _better(best, state)
    return _fields(stamps, splines, best, x, y)


def _better(one: _State, other: _State) -> _State:
    """The better of two states, source by source."""
    # A start that has no solution is NaN, which is better than nothing.
    choose = ~(one.sums <= other.sums)
    return _State(np.where(choose[:, None], other.parameters, one.parameters), np.where(choose, other.sums, one.sums))


def _other_poles(
    significance: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64], fwhm: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pixels x, y of the strongest significance of the opposite sign near each source, and its size."""
    if not len(x):
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
    reach = int(np.ceil(SEARCH_FWHM * fwhm))
    padded = np.pad(significance, reach)
    height, width = significance.shape
    column, row = (
        np.clip(np.floor(v + 0.5), 0, size - 1).astype(np.intp) + reach for v, size in ((x, width), (y, height))
    )
    u = np.arange(-reach, reach + 1)
    windows = padded[(row[:, None] + u)[:, :, None], (column[:, None] + u)[:, None, :]].astype(np.float64)
    windows *= -np.sign(windows[:, reach, reach])[:, None, None]
    windows[:, np.hypot(u, u[:, None]) > reach] = -np.inf
    at = windows.reshape(len(x), -1).argmax(axis=1)
    strength = windows.reshape(len(x), -1).max(axis=1)
    return column - 2 * reach + at % len(u), row - 2 * reach + at // len(u), strength


def _start(stamps: Stamps, splines: PsfSplines, source: tuple, other: tuple, scale: float) -> _State:
    """Poles on the line through both extrema, their distance scaled, and the fluxes that fit best there."""
    parameters = np.zeros((len(source[0]), 6))
    for axis in (0, 1):
        middle, half_way = 0.5 * (source[axis] + other[axis]), 0.5 * scale * (source[axis] - other[axis])
        parameters[:, 1 + axis], parameters[:, 4 + axis] = middle + half_way, middle - half_way
    design = _design(stamps, splines, parameters)[0][..., [0, 3]]
    parameters[:, [0, 3]], _ = normal_solution(design, _values(stamps))
    return _State(parameters, _sums(stamps, splines, parameters))


def _values(stamps: Stamps) -> NDArray[np.float64]:
    return stamps.data.reshape(len(stamps.data), -1).astype(np.float64)


def _design(
    stamps: Stamps, splines: PsfSplines, parameters: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Derivatives of the model by the parameters, (n, pixels, 6), and the model, (n, pixels)."""
    n, half = len(parameters), stamps.data.shape[-1] // 2
    columns = []
    for flux, x, y in (parameters[:, :3].T, parameters[:, 3:].T):
        image, along_x, along_y = splines.placed(x, y, half)
        columns += [image, flux[:, None, None] * along_x, flux[:, None, None] * along_y]
    made = np.where(stamps.good[..., None], np.stack(columns, axis=-1), 0.0).reshape(n, -1, 6)
    return made, made[..., 0] * parameters[:, 0, None] + made[..., 3] * parameters[:, 3, None]


def _sums(stamps: Stamps, splines: PsfSplines, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((_values(stamps) - _design(stamps, splines, parameters)[1]) ** 2).sum(axis=1)


def _refined(stamps: Stamps, splines: PsfSplines, state: _State, limits: tuple[float, float]) -> _State:
    """The state after the iteration; poles stay within the limits of their distance."""
    damping = np.full(len(state.sums), DAMPING)
    parameters = np.where(np.isfinite(state.parameters), state.parameters, 0.0)
    sums = np.where(np.isfinite(state.sums), state.sums, np.inf)
    idle = 0
    for _ in range(ITERATIONS):
        design, model = _design(stamps, splines, parameters)
        tried = _bounded(parameters + _damped_step(design, _values(stamps) - model, damping), limits)
        found = _sums(stamps, splines, tried)
        good = found < sums
        idle = 0 if (found < (1 - CONVERGED) * sums).any() else idle + 1
        parameters, sums = np.where(good[:, None], tried, parameters), np.where(good, found, sums)
        damping = np.clip(np.where(good, damping / 5, damping * 5), LEAST, MOST)
        if idle >= PATIENCE:
            break
    return _State(parameters, sums)


def _damped_step(
    design: NDArray[np.float64], residual: NDArray[np.float64], damping: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solutions of the damped normal equations, (n, 6)."""
    normal = np.matmul(design.transpose(0, 2, 1), design)
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", normal), TINY))
    scaled = normal / (scale[:, :, None] * scale[:, None, :]) + damping[:, None, None] * np.eye(6)
    right = np.einsum("nki,nk->ni", design, residual) / scale
    return np.linalg.solve(scaled, right[..., None])[..., 0] / scale


def _bounded(parameters: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.float64]:
    """The same poles moved along their line so that their distance is within the limits."""
    first, second = parameters[:, 1:3], parameters[:, 4:6]
    middle, line = 0.5 * (first + second), first - second
    length = np.hypot(*line.T)
    wanted = np.clip(length, *limits) / np.maximum(length, TINY)
    out = parameters.copy()
    out[:, 1:3], out[:, 4:6] = middle + 0.5 * wanted[:, None] * line, middle - 0.5 * wanted[:, None] * line
    return out


def _fields(
    stamps: Stamps, splines: PsfSplines, state: _State, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Poles in order of their sign, with errors."""
    # The positive pole first, so that the covariances are in that order, too.
    turned = state.parameters[:, 0] < state.parameters[:, 3]
    state = replace(
        state, parameters=np.where(turned[:, None], state.parameters[:, [3, 4, 5, 0, 1, 2]], state.parameters)
    )
    design, model = _design(stamps, splines, state.parameters)
    _, inverse = normal_solution(design, _values(stamps))
    errors = covariance(design, inverse, stamps.variance.reshape(len(x), -1))
    flux_pos, dx_pos, dy_pos, flux_neg, dx_neg, dy_neg = state.parameters.T
    line = np.stack([dx_pos - dx_neg, dy_pos - dy_neg], axis=1) / np.hypot(dx_pos - dx_neg, dy_pos - dy_neg)[:, None]
    gradient = np.concatenate([np.zeros((len(x), 1)), line, np.zeros((len(x), 1)), -line], axis=1)
    separation_err = np.sqrt(np.einsum("ni,nij,nj->n", gradient, errors, gradient))
    chi2 = chi_squared(stamps, model.reshape(stamps.data.shape))
    mx, my = np.floor(x + 0.5), np.floor(y + 0.5)
    made = np.array(
        [mx + dx_pos, my + dy_pos, flux_pos, np.sqrt(errors[:, 0, 0]), mx + dx_neg, my + dy_neg, flux_neg,
         np.sqrt(errors[:, 3, 3]), separation_err, chi2]
    )  # fmt: skip
    made[:, ~((flux_pos > 0) & (flux_neg < 0))] = np.nan
    return made


def is_dipole(
    fit: DipoleFit, point_chi2: NDArray[np.float64], fwhm: float, config: DifferenceSourceConfig
) -> NDArray[np.bool_]:
    """Sources that two poles describe clearly better than one, neither of which is faint beside the other.

    Parameters
    ----------
    fit : DipoleFit
    point_chi2 : ndarray, (n,)
        Of the fit of one PSF on the same pixels.
    fwhm : float
        Pixels.
    config : DifferenceSourceConfig
        How much better, how faint, and how far apart they may be.
    """
    sizes = np.stack([fit.flux_pos, -fit.flux_neg])
    with np.errstate(invalid="ignore"):
        ratio = sizes.min(axis=0) / sizes.max(axis=0)
        better = point_chi2 - fit.chi2 >= config.dipole_chi2
        return better & (ratio >= config.dipole_ratio) & (fit.separation <= config.dipole_separation * fwhm)
