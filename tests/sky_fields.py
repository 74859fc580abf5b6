"""Exposures with a WCS for the tests of registration and warping, and the plain way to resample one."""

import numpy as np
from astropy.wcs import WCS, Sip

from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.resample import REACH, kernel_weights


def make_wcs(
    shape, *, scale=0.5, center=(150.0, 20.0), rotation=0.0, flip=False, shift=(0.0, 0.0), sip=None, pv=None, kind=None
):
    """WCS whose centre is the middle of the image plus `shift` pixels; scale in arcsec/px.

    Of the kind given, else TAN-SIP with coefficients `sip`, TPV with parameters `pv`, or TAN.
    """
    wcs = WCS(naxis=2)
    kind = kind or ("TAN-SIP" if sip is not None else "TPV" if pv is not None else "TAN")
    wcs.wcs.ctype = [f"RA---{kind}", f"DEC--{kind}"]
    wcs.wcs.crval = center
    wcs.wcs.crpix = [(shape[1] + 1) / 2 + shift[0], (shape[0] + 1) / 2 + shift[1]]
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    parity = 1.0 if flip else -1.0
    wcs.wcs.cd = scale / 3600 * np.array([[parity * cos, -parity * sin], [sin, cos]])
    wcs.wcs.radesys = "ICRS"
    if pv is not None:
        wcs.wcs.set_pv(pv)
    if sip is not None:
        wcs.sip = Sip(*sip, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def make_exposure(image, wcs, *, mask=None, variance=None, xy0=(0, 0), **attributes):
    """Exposure of unit variance, unless given."""
    variance = np.ones(np.shape(image)) if variance is None else variance
    return Exposure(MaskedImage.from_arrays(image, mask, variance, xy0=xy0), wcs=wcs, **attributes)


def blank(shape, wcs, **attributes):
    return make_exposure(np.zeros(shape), wcs, **attributes)


def plane(shape, name, *pixels):
    """Mask with one plane set at some pixels (x, y)."""
    mask = np.zeros(shape, np.int32)
    for x, y in pixels:
        mask[y, x] = 1 << DEFAULT_PLANES[name]
    return mask


def gaussian_stars(shape, x, y, flux, fwhm):
    """Noise-free circular Gaussians, point sampled, (H, W)."""
    sigma = fwhm / np.sqrt(8 * np.log(2))
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    image = np.zeros(shape)
    for xs, ys, f in zip(x, y, flux, strict=True):
        profiles = (np.exp(-0.5 * ((u - u0) / sigma) ** 2) for u, u0 in ((rows, ys), (columns, xs)))
        image += f / (2 * np.pi * sigma**2) * np.outer(*profiles)
    return image


def resample_plainly(image, variance, x, y, area, name):
    """Image, variance at positions (n,) by the defining sums, one pixel at a time; NaN, inf off the image."""
    reach = REACH[name]
    found, noise = np.full(len(x), np.nan), np.full(len(x), np.inf)
    for p in range(len(x)):
        i, j = int(np.floor(x[p])), int(np.floor(y[p]))
        columns, rows = np.arange(i - reach + 1, i + reach + 1), np.arange(j - reach + 1, j + reach + 1)
        if columns[0] < 0 or rows[0] < 0 or columns[-1] >= image.shape[1] or rows[-1] >= image.shape[0]:
            continue
        weights = np.outer(*(kernel_weights(name, np.array([v % 1.0]))[:, 0] for v in (y[p], x[p])))
        window = np.ix_(rows, columns)
        found[p] = area[p] * (weights * image[window]).sum()
        noise[p] = area[p] ** 2 * (weights**2 * variance[window]).sum()
    return found, noise
