"""Stamps of equal stars made with a known kernel."""

from __future__ import annotations

import numpy as np

import reference_direct as direct
from made_pairs import small_basis
from psfmatch_cli.cutouts import Stamps
from psfmatch_cli.fit import FitOptions, fit_stamps
from psfmatch_cli.fitted import FittedStamps, residual_pixels
from psfmatch_cli.residuals import Residuals, residuals

BASIS = small_basis(9)
HALF, SIDE = 4, 27
COEFFICIENTS = [1.25, 0.13, -0.08, 0.03, 0.06, -0.05, -0.35, 0.05, 0.02]
KERNEL = np.tensordot(COEFFICIENTS, BASIS.images, axes=1)


def star(sigma: float = 1.5, flux: float = 2e4) -> np.ndarray:
    """Round Gaussian in the middle of a stamp."""
    v, u = np.mgrid[: SIDE + 8, : SIDE + 8] - (SIDE + 7) / 2
    return flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * (u**2 + v**2) / sigma**2)


def matched(image: np.ndarray) -> np.ndarray:
    """The stamp's middle convolved with the known kernel."""
    rows = direct.design(image, KERNEL[None])
    return rows.reshape(SIDE, SIDE)


def make_stamps(n: int = 1, *, noise: float = 0.0, background: float = 0.0, flux: float = 2e4, seed: int = 1) -> Stamps:
    """Equal stars, `science = template * kernel + background`; white noise, or none and a variance of 1."""
    rng = np.random.default_rng(seed)
    wide = star(flux=flux)
    template = np.repeat(wide[None, HALF:-HALF, HALF:-HALF], n, axis=0)
    science = np.repeat(matched(wide)[None] + background, n, axis=0)
    variance = np.full(template.shape, noise**2 or 1.0)
    usable = np.ones(template.shape, bool)
    return Stamps(
        np.arange(n),
        np.arange(n, dtype=float),
        np.zeros(n),
        template + 0.5 * noise * rng.normal(size=template.shape),
        science + noise * rng.normal(size=template.shape),
        0.25 * variance if noise else variance,
        variance.copy(),
        usable,
        usable.copy(),
        usable.copy(),
        usable.copy(),
    )


def fit(stamps: Stamps, **changes) -> FittedStamps:
    return fit_stamps(stamps, BASIS, FitOptions(**changes))


def left(fitted: FittedStamps, local: np.ndarray, core_radius: int | None = None) -> Residuals:
    """Residual statistics for local parameters."""
    return residuals(fitted, residual_pixels(fitted, local), core_radius)
