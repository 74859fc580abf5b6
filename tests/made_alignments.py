"""Pairs whose template lies off the science image by a known transform that its WCS may not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.psf import gaussian_psf
from sky_fields import make_exposure, make_wcs
from star_fields import add_star, flux_of_snr, noisy_exposure

#: From science to template pixels.
Move = Callable[[NDArray, NDArray], tuple[NDArray, NDArray]]


@dataclass(frozen=True)
class MisalignedPair:
    """Template and science image of the same stars.

    Parameters
    ----------
    template, science : Exposure
        Of FWHM 3.0 and 3.6 px.
    x, y : ndarray
        True positions of the stars in the science image.
    snr : ndarray
        Their signal-to-noise ratio there.
    move : callable
        From science to template pixels, the truth.
    """

    template: Exposure
    science: Exposure
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    snr: NDArray[np.float64]
    move: Move


def same(x, y):
    """No transform."""
    return x, y


def shifted(dx, dy):
    return lambda x, y: (x + dx, y + dy)


def turned(degrees, scale=1.0, shift=(0.0, 0.0), center=(250.0, 250.0), flip=False):
    """About the middle of an image of 500 pixels."""
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    sign = -1.0 if flip else 1.0

    def move(x, y):
        u, v = sign * (np.asarray(x) - center[0]), np.asarray(y) - center[1]
        return center[0] + shift[0] + c * u - s * v, center[1] + shift[1] + s * u + c * v

    return move


def curved(x, y):
    """Up to 1.3 px at the corners."""
    return x + 1e-5 * (x - 250) ** 2, y - 2e-5 * (x - 250) * (y - 250)


def misaligned_pair(
    move: Move = same,
    *,
    known: tuple[float, float] | None = (0.0, 0.0),
    shape: tuple[int, int] = (500, 500),
    template_shape: tuple[int, int] | None = None,
    n_stars: int = 150,
    snr: tuple[float, float] = (20.0, 2000.0),
    noise: bool = True,
    seed: int = 11,
    psf: bool = False,
) -> MisalignedPair:
    """Pair with a template that lies off by `move`, of which its WCS knows a shift (or nothing, and there is none)."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(8, shape[1] - 8, n_stars), rng.uniform(8, shape[0] - 8, n_stars)
    ratio = 10 ** rng.uniform(*np.log10(snr), n_stars)
    made = []
    places = ((move(x, y), 3.0, template_shape or shape), ((x, y), 3.6, shape))
    for (px, py), fwhm, size in places:
        model = np.zeros(size)
        for star in zip(px, py, flux_of_snr(ratio, 3.6), strict=True):
            if -17 < star[0] < size[1] + 16 and -17 < star[1] < size[0] + 16:
                add_star(model, *star, fwhm)
        made.append(noisy_exposure(model, rng) if noise else make_exposure(model, None))
    wcss = (None, None)
    if known is not None:
        # The middle of the science image is where its WCS has its reference point; the template's is moved along.
        offset = [(s - t) / 2 for s, t in zip(shape[::-1], (template_shape or shape)[::-1], strict=True)]
        shift = (known[0] + offset[0], known[1] + offset[1])
        wcss = (make_wcs(template_shape or shape, shift=shift), make_wcs(shape))
    psfs = (gaussian_psf(3.0), gaussian_psf(3.6)) if psf else (None, None)
    template, science = (
        Exposure(exposure.masked_image, wcs=wcs, psf=p, name=name)
        for exposure, wcs, p, name in zip(made, wcss, psfs, ("template", "science"), strict=True)
    )
    return MisalignedPair(template, science, x, y, ratio, move)


def residual_power(difference: Exposure, pair: MisalignedPair, *, least: float = 100.0, reach: int = 5) -> float:
    """Mean squared difference over variance in the cores of bright stars: 1 where only noise is left."""
    height, width = pair.science.shape
    powers = []
    for x, y, snr in zip(pair.x, pair.y, pair.snr, strict=True):
        if snr < least or not (25 < x < width - 25 and 25 < y < height - 25):
            continue
        at = np.s_[round(y) - reach : round(y) + reach + 1, round(x) - reach : round(x) + reach + 1]
        value = difference.image[at].astype(float) ** 2 / difference.variance[at]
        if np.isfinite(value).all():
            powers.append(value.mean())
    return float(np.mean(powers))
