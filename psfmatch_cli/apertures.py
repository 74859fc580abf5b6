"""Aperture fluxes, corrected for the part of the PSF that is outside."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.psf import Psf


@dataclass(frozen=True)
class Apertures:
    """A circle, and what of the PSF is in it.

    Parameters
    ----------
    radius : float
        Pixels.
    fraction : float
        Of the PSF's flux, of the PSF at the middle of the image.
    """

    radius: float
    fraction: float

    @classmethod
    def of(cls, psf: Psf, fwhms: float) -> Apertures:
        """Circle of so many FWHM, no larger than the image of the PSF."""
        import sep

        center = psf.image.shape[0] // 2
        radius = min(fwhms * psf.fwhm, float(center))
        image = np.ascontiguousarray(psf.image, np.float64)
        return cls(radius, float(sep.sum_circle(image, [center], [center], radius, subpix=0)[0][0]))

    def disc(self) -> NDArray[np.float64]:
        """The circle around a pixel's centre: the part of each pixel that is in it, odd sides."""
        import sep

        half = math.ceil(self.radius) + 1
        side = 2 * half + 1
        out = np.zeros((side, side))
        for y in range(side):
            for x in range(side):
                pixel = np.zeros((side, side))
                pixel[y, x] = 1.0
                out[y, x] = sep.sum_circle(pixel, [half], [half], self.radius, subpix=0)[0][0]
        return out


def aperture_fluxes(
    pixels: SkyPixels, x: NDArray[np.float64], y: NDArray[np.float64], apertures: Apertures
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fluxes of point sources and their errors, as of the whole PSF; NaN where the circle leaves the image.

    A bad pixel counts as the mean of the others in its circle.

    Parameters
    ----------
    pixels : SkyPixels
    x, y : ndarray, (n,)
        Array positions.
    apertures : Apertures
    """
    import sep

    if not len(x):
        return np.zeros(0), np.zeros(0)
    flux, error, flag = sep.sum_circle(
        pixels.image, x, y, apertures.radius, var=pixels.variance, mask=pixels.bad, subpix=0
    )
    lost = (flag & sep.APER_TRUNC) != 0 if hasattr(sep, "APER_TRUNC") else (flag & 16) != 0
    scale = np.where(lost, np.nan, 1.0 / apertures.fraction)
    return flux * scale, error * scale
