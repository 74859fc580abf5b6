"""The image of the PSF at any place, from the stars of an exposure.

The elliptical Moffat profile whose width, shape and exponent `psfmatch_cli.psf_measure` found, and on top of it what
the stars themselves show beyond it: the mean of their residuals, shifted to a common centre, pixel by pixel a
polynomial of the position where there are stars enough. Residuals are small, and so is what shifting them costs,
also where the PSF is undersampled. Beyond the reach of the residuals the profile stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.psf_measure import MeasuredPsf
from psfmatch_cli.psfex import PsfexModel
from psfmatch_cli.stamps import Stamps, cut_stamps

#: Half side of the image of the PSF in FWHM, and its bounds in pixels.
IMAGE_FWHM, MIN_HALF, MAX_HALF = 4.0, 10, 60
#: Residuals count fully within the first of these radii, in FWHM, and not at all beyond the second.
RESIDUAL_FWHM = (2.0, 3.0)
#: Stars for residuals at all.
MIN_STARS = 5
#: Signal over noise of the stars whose residuals are taken, or so many of the brightest.
BRIGHT, ENOUGH_STARS = 50.0, 40
#: Errors of the residuals, relative to the peak, that no star is better than.
FLOOR = 0.01
TINY = 1e-300
#: Pixels further than so many robust widths from the median of the stars are a neighbour's.
CLIP = 2.5
ITERATIONS = 2
#: Places along each axis at which the varying image is computed for its polynomial.
NODES = 7


@dataclass(frozen=True)
class _Frame:
    """Positions in the image, scaled to [-1, 1]."""

    shape: tuple[int, int]

    def scaled(self, x, y) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        height, width = self.shape
        return (np.asarray(x) - (width - 1) / 2) / (width / 2), (np.asarray(y) - (height - 1) / 2) / (height / 2)

    def terms(self, x, y, degree: int) -> NDArray[np.float64]:
        """Powers as PSFEx orders them, (n_terms, n)."""
        u, v = self.scaled(x, y)
        return np.stack([u**i * v**j for j in range(degree + 1) for i in range(degree + 1 - j)])

    def model(self, coefficients: NDArray[np.float64], degree: int) -> PsfexModel:
        height, width = self.shape
        # A model's positions are FITS pixels, counted from 1.
        zero = ((width - 1) / 2 + 1.0, (height - 1) / 2 + 1.0)
        return PsfexModel(coefficients, degree, zero, (width / 2, height / 2), 1.0)


def model_psf(measured: MeasuredPsf, pixels: SkyPixels) -> PsfexModel:
    """Image of the PSF as a polynomial of the position, each of sum 1.

    Parameters
    ----------
    measured : MeasuredPsf
        Stars of the image and what their profiles are.
    pixels : SkyPixels
        The image above its background.

    Returns
    -------
    PsfexModel
        At array positions, sampled in image pixels.
    """
    frame = _Frame(pixels.image.shape)
    half = int(np.clip(np.ceil(IMAGE_FWHM * measured.fwhm_max), MIN_HALF, MAX_HALF))
    # A profile whose width is a polynomial is not quite one of the same degree.
    degree = measured.locus.spatial.order + 1 if measured.locus.spatial.order else 0
    height, width = frame.shape
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, width - 1, NODES), np.linspace(0, height - 1, NODES)))
    offsets = np.broadcast_to(np.arange(-half, half + 1.0), (len(x), 2 * half + 1))
    images = _profiles(measured, x, y, offsets, offsets) + _residual(measured, pixels, half)
    images /= images.sum(axis=(1, 2), keepdims=True)
    return polynomial_model(images, x, y, frame.shape, degree)


def polynomial_model(
    images: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, int], degree: int
) -> PsfexModel:
    """Polynomial of the position through images of the PSF at array positions, of sum 1.

    Parameters
    ----------
    images : ndarray, (k, n, n)
    x, y : ndarray, (k,)
    shape : (int, int)
        Of the image whose PSF it is.
    degree : int
    """
    frame = _Frame(shape)
    terms = frame.terms(x, y, degree)
    coefficients = np.linalg.lstsq(terms.T, images.reshape(len(images), -1), rcond=None)[0]
    return frame.model(coefficients.reshape(len(terms), *images.shape[1:]), degree)


def _profiles(
    measured: MeasuredPsf, x: NDArray[np.float64], y: NDArray[np.float64], dx: NDArray, dy: NDArray
) -> NDArray[np.float64]:
    """Moffat profiles of unit flux at array positions; dx, dy (n, side): of the pixels from the centres."""
    locus, beta = measured.locus, measured.beta
    fwhm = locus.fwhm(x, y)
    terms = locus.spatial.terms(x, y)
    e1, e2 = np.tensordot(locus.e1, terms, axes=1), np.tensordot(locus.e2, terms, axes=1)
    alpha2 = fwhm**2 / (4.0 * (np.exp2(1.0 / beta) - 1.0))
    scale = 1.0 / (alpha2 * np.sqrt(np.maximum(1.0 - e1**2 - e2**2, 1e-3)))
    xx, xy, yy = scale * (1 - e1), -scale * e2, scale * (1 + e1)
    u = (xx[:, None] * dx**2)[:, None, :] + (yy[:, None] * dy**2)[:, :, None]
    u += 2 * (xy[:, None] * dy)[:, :, None] * dx[:, None, :]
    return ((beta - 1.0) / (np.pi * alpha2))[:, None, None] * (1.0 + u) ** -beta


def _residual(measured: MeasuredPsf, pixels: SkyPixels, half: int) -> NDArray[np.float64]:
    """Mean residual of stars of unit flux, centred, (n, n); zero where there are too few."""
    stars = measured.stars
    limit = min(BRIGHT, np.sort(stars["snr"])[-min(len(stars), ENOUGH_STARS)])
    bright = np.flatnonzero(stars["snr"] >= limit)
    residual = np.zeros((2 * half + 1, 2 * half + 1))
    if len(bright) < MIN_STARS:
        return residual
    x, y = (np.asarray(stars[name], float) - xy0 for name, xy0 in zip("xy", measured.xy0, strict=True))
    stamps = cut_stamps(pixels, x, y, bright, half)
    profiles = _profiles(measured, x[bright], y[bright], stamps.dx, stamps.dy)
    stamps = _above_sky(stamps, profiles, measured.fwhm)
    for _ in range(ITERATIONS):
        repeated = np.broadcast_to(residual, profiles.shape)
        residual = residual + _mean_misfit(stamps, profiles + _shifted(repeated, stamps, sign=1), measured.fwhm)
    return residual


def _mean_misfit(stamps: Stamps, model: NDArray[np.float64], fwhm: float) -> NDArray[np.float64]:
    """What the stars show beyond a model of unit flux, centred, (n, n)."""
    flux = _core_fluxes(stamps, model, fwhm)
    sound = flux > 0
    scale = np.where(sound, flux, 1.0)[:, None, None]
    misfit = np.where(stamps.good, stamps.data / scale - model, 0.0)
    noise = np.median(stamps.variance.reshape(len(flux), -1), axis=1) / scale[:, 0, 0] ** 2
    # Faint stars have noisy residuals; the brightest must not rule alone.
    strength = np.where(sound, 1.0 / (noise + (FLOOR * model.max(axis=(1, 2))) ** 2), 0.0)
    if not sound.any():
        return np.zeros_like(model[0])
    centred = _shifted(misfit, stamps, sign=-1)
    weights = strength[:, None, None] * (_unclipped(centred, sound) & (_shifted(stamps.good, stamps, sign=-1) > 0.5))
    mean = (weights * centred).sum(axis=0) / np.maximum(weights.sum(axis=0), TINY)
    return mean * _taper(stamps.dx.shape[1] // 2, fwhm)


def _core_fluxes(stamps: Stamps, model: NDArray[np.float64], fwhm: float) -> NDArray[np.float64]:
    """Fluxes of stars with that model of unit flux, from the pixels within one FWHM, (n,)."""
    core = (_radii(stamps) < fwhm) & stamps.good
    weight = np.where(core, model, 0.0)
    return (weight * stamps.data).sum(axis=(1, 2)) / np.maximum((weight * model).sum(axis=(1, 2)), TINY)


def _radii(stamps: Stamps) -> NDArray[np.float64]:
    return np.hypot(stamps.dx[:, None, :], stamps.dy[:, :, None])


def _above_sky(stamps: Stamps, profiles: NDArray[np.float64], fwhm: float) -> Stamps:
    """The stamps without the level that they have in common beyond the residuals' reach.

    Faint sources everywhere, and the part of them that the background took for sky, are a pedestal under the mean
    star: one of a tenth of the sky's noise moves fluxes by half a percent.
    """
    beyond = stamps.good & (_radii(stamps) > RESIDUAL_FWHM[1] * fwhm)
    if not beyond.any():
        return stamps
    rest = stamps.data - _core_fluxes(stamps, profiles, fwhm)[:, None, None] * profiles
    return replace(stamps, data=stamps.data - np.float32(np.median(rest[beyond])) * stamps.good)


def _unclipped(centred: NDArray[np.float64], sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels of the stars belong to the star: neighbours stand out of the other stars' residuals there."""
    middle = np.median(centred[sound], axis=0)
    spread = 1.4826 * np.median(np.abs(centred[sound] - middle), axis=0)
    return np.abs(centred - middle) <= CLIP * spread


def _taper(half: int, fwhm: float) -> NDArray[np.float64]:
    """1 in the core, falling smoothly to 0; (n, n)."""
    u = np.arange(-half, half + 1)
    inner, outer = (r * fwhm for r in RESIDUAL_FWHM)
    phase = np.clip((np.hypot(u, u[:, None]) - inner) / (outer - inner), 0, 1)
    return 0.5 * (1 + np.cos(np.pi * phase))


def _shifted(images: NDArray[np.float64], stamps: Stamps, *, sign: int) -> NDArray[np.float64]:
    """Images moved by the distance of each star from its stamp's middle pixel (sign 1), or back; cubic splines."""
    from scipy import ndimage

    half = stamps.dx.shape[1] // 2
    out = np.empty(images.shape)
    for i, image in enumerate(images.astype(float)):
        # dx at the middle pixel is the pixel's position minus the star's.
        shift = -sign * stamps.dy[i, half], -sign * stamps.dx[i, half]
        out[i] = ndimage.shift(image, shift, order=3, mode="constant")
    return out
