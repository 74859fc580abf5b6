"""Difference images with sources that are put in by a slow interpolation of their own."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from scipy import ndimage

from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.psf import moffat_psf

PSF = moffat_psf(4.0, 3.5)
SIGMA = 10.0


def place(image, psf, x, y, flux):
    """Add a point source by a slow interpolation of its own: every pixel by scipy."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = psf.image.shape[0] // 2
    image += flux * ndimage.map_coordinates(psf.image, [rows - y + middle, columns - x + middle], order=3)


def sky_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [100.0, 100.0]
    wcs.wcs.cd = [[-0.2 / 3600, 0.0], [0.0, 0.2 / 3600]]
    return wcs


def noise(shape, seed):
    return np.random.default_rng(seed).normal(0.0, SIGMA, shape)


def difference(image, mask=None, **more):
    return Exposure(MaskedImage.from_arrays(image, mask, np.full(image.shape, SIGMA**2)), psf=PSF, **more)
