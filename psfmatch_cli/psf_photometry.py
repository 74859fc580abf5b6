"""Fluxes and positions of point sources by least squares, many at once.

The model is ``f P(u - x)`` with the PSF P of the place. Its linear form in the flux and a small shift is solved a few
times (Gauss and Newton). All good pixels of a stamp count alike: equal weights are those of the inverse variance where
the noise is that of the sky, and they are independent of the light of the source and of the noise itself, so that
fluxes have no bias at any brightness. The errors are those of these weights in the noise of the variance plane, light
of the source included: ``(A'A)^-1 (A'VA) (A'A)^-1``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.psf import Psf
from psfmatch_cli.psf_splines import PsfSplines
from psfmatch_cli.stamps import CHUNK_PIXELS, Stamps, cut_stamps

#: Steps of the refinement of a position, and the largest step, pixels.
STEPS, MAX_STEP = 6, 0.7
#: A flux needs at least this part of the square of its PSF on good pixels.
MIN_SEEN = 0.3
TINY = 1e-30


@dataclass(frozen=True)
class PointFit:
    """Point sources that were fitted, each an array (n,); NaN where there are too few good pixels.

    Parameters
    ----------
    x, y, x_err, y_err : ndarray
        Array positions and their errors, pixels; errors are NaN where the position was given.
    flux, flux_err : ndarray
        Counts.
    chi2, n_pixels : ndarray
        Sum of the squared residuals over the variance, and of how many pixels.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_err: NDArray[np.float64]
    y_err: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    n_pixels: NDArray[np.float64]


def fit_points(
    pixels: SkyPixels,
    psf: Psf,
    xy0: tuple[int, int],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    half: int,
    *,
    max_shift: float = 0.0,
) -> PointFit:
    """Fluxes of point sources at positions, or positions refined from them and the fluxes there.

    Parameters
    ----------
    pixels : SkyPixels
        Image above its background.
    psf : Psf
    xy0 : (int, int)
        Parent position of the first pixel.
    x, y : ndarray, (n,)
        Array positions.
    half : int
        Half side of the stamps, pixels.
    max_shift : float
        How far a refined position may be from the first one; beyond, the first one is kept and has no error. 0: the
        positions are held.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    parts = []
    step = max(1, CHUNK_PIXELS // (2 * half + 1) ** 2)
    for first in range(0, max(len(x), 1), step):
        part = slice(first, first + step)
        parts.append(_fit_chunk(pixels, psf, xy0, x[part], y[part], half, max_shift))
    return PointFit(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(PointFit)))


def _fit_chunk(
    pixels: SkyPixels,
    psf: Psf,
    xy0: tuple[int, int],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    half: int,
    max_shift: float,
) -> PointFit:
    if not len(x):
        return PointFit(*(np.zeros(0) for _ in fields(PointFit)))
    # A PSF changes by nothing over the pixels that a position is refined by.
    splines = PsfSplines.at(psf, x + xy0[0], y + xy0[1], half)
    held = forced(pixels, splines, x, y)
    if max_shift <= 0:
        return held
    px, py = x.copy(), y.copy()
    for _ in range(STEPS):
        dx, dy = _shift(pixels, splines, px, py)
        px, py = px + dx, py + dy
    lost = ~(np.hypot(px - x, py - y) <= max_shift)
    px, py = np.where(lost, x, px), np.where(lost, y, py)
    moved = _with_errors(pixels, splines, px, py)
    return replace(moved, x_err=np.where(lost, np.nan, moved.x_err), y_err=np.where(lost, np.nan, moved.y_err))


def stamps_at(
    pixels: SkyPixels, x: NDArray[np.float64], y: NDArray[np.float64], half: int
) -> tuple[Stamps, NDArray[np.float64], NDArray[np.float64]]:
    """Stamps of all positions, and how far these are from the middle pixels."""
    stamps = cut_stamps(pixels, x, y, np.arange(len(x)), half)
    return stamps, *(v - np.floor(v + 0.5) for v in (x, y))


def forced(pixels: SkyPixels, splines: PsfSplines, x: NDArray[np.float64], y: NDArray[np.float64]) -> PointFit:
    """Fluxes at array positions that are held."""
    stamps, fx, fy = stamps_at(pixels, x, y, splines.half)
    whole = splines.images(fx, fy)
    model = np.where(stamps.good, whole, 0.0)
    square = (model**2).sum(axis=(1, 2))
    enough = square > np.maximum(MIN_SEEN * (whole**2).sum(axis=(1, 2)), TINY)
    norm = np.where(enough, square, np.nan)
    flux = (model * stamps.data).sum(axis=(1, 2)) / norm
    error = np.sqrt((model**2 * stamps.variance).sum(axis=(1, 2))) / norm
    chi2 = chi_squared(stamps, flux[:, None, None] * model)
    none = np.full(len(x), np.nan)
    return PointFit(x, y, none, none, flux, error, chi2, stamps.good.sum(axis=(1, 2)).astype(np.float64))


def chi_squared(stamps: Stamps, model: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the good pixels of the squared residuals over the variance, (n,)."""
    variance = np.where(stamps.good, stamps.variance, 1.0)
    return np.where(stamps.good, (stamps.data - model) ** 2 / variance, 0.0).sum(axis=(1, 2))


def _design(
    stamps: Stamps, splines: PsfSplines, fx: NDArray[np.float64], fy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """PSF and its derivatives on the good pixels, (n, pixels, 3)."""
    columns = np.stack([splines.images(fx, fy), *splines.gradients(fx, fy)], axis=-1)
    return np.where(stamps.good[..., None], columns, 0.0).reshape(len(fx), -1, 3)


def normal_solution(
    design: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares solutions (n, p) and inverses of the normal matrices (n, p, p); NaN where these are singular."""
    normal = np.einsum("nki,nkj->nij", design, design)
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", normal), TINY))
    scaled = normal / (scale[:, :, None] * scale[:, None, :])
    sound = np.isfinite(scaled).all(axis=(1, 2))
    sound[sound] = np.linalg.cond(scaled[sound]) < 1e10
    inverse = np.full(normal.shape, np.nan)
    inverse[sound] = np.linalg.inv(scaled[sound]) / (scale[sound, :, None] * scale[sound, None, :])
    return np.einsum("nij,nkj,nk->ni", inverse, design, values, optimize=True), inverse


def covariance(
    design: NDArray[np.float64], inverse: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Covariance matrices of least-squares solutions with equal weights, (n, p, p)."""
    noise = np.einsum("nki,nk,nkj->nij", design, variance, design, optimize=True)
    return inverse @ noise @ inverse


def _shift(
    pixels: SkyPixels, splines: PsfSplines, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step of the refinement."""
    stamps, fx, fy = stamps_at(pixels, x, y, splines.half)
    solution, _ = normal_solution(_design(stamps, splines, fx, fy), stamps.data.reshape(len(x), -1))
    flux, along_x, along_y = solution.T
    step = np.stack([along_x, along_y]) / np.where(np.abs(flux) > TINY, flux, np.nan)
    length = np.hypot(*step)
    bounded = step * np.minimum(1.0, MAX_STEP / np.maximum(length, TINY))
    return tuple(np.where(np.isfinite(bounded), bounded, 0.0))


def _with_errors(pixels: SkyPixels, splines: PsfSplines, x: NDArray[np.float64], y: NDArray[np.float64]) -> PointFit:
    """Fluxes at refined positions, with the errors of both together."""
    held = forced(pixels, splines, x, y)
    stamps, fx, fy = stamps_at(pixels, x, y, splines.half)
    design = _design(stamps, splines, fx, fy)
    design[..., 1:] *= held.flux[:, None, None]
    _, inverse = normal_solution(design, stamps.data.reshape(len(x), -1))
    errors = np.sqrt(np.einsum("nii->ni", covariance(design, inverse, stamps.variance.reshape(len(x), -1))))
    return replace(held, flux_err=errors[:, 0], x_err=errors[:, 1], y_err=errors[:, 2])
