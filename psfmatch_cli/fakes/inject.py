"""Point sources of known flux added to an exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import fit_background
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.psf import Psf
from psfmatch_cli.psf_splines import PsfSplines

#: Pixels that hold no measured light: nothing is added to them.
LOST_PLANES = ("NO_DATA", "SAT")
#: Pixels of PSF images handled at a time.
CHUNK_PIXELS = 1 << 21
#: A gain is read off a variance plane from pixels so many sigma above the sky; so many at least; and only if their
#: variances follow one line within this robust scatter.
GAIN_SIGMA, GAIN_PIXELS, GAIN_SCATTER = 10.0, 200, 0.2


@dataclass(frozen=True)
class Injected:
    """An exposure with added sources.

    Parameters
    ----------
    exposure : Exposure
    light : ndarray, (H, W)
        Expected counts of all of them, before saturation and noise.
    n_saturated : int
        Pixels that they saturated.
    """

    exposure: Exposure
    light: NDArray[np.float64]
    n_saturated: int


def inject(
    exposure: Exposure,
    psf: Psf,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    flux: NDArray[np.float64],
    *,
    gain: float | None = None,
    rng: np.random.Generator | None = None,
) -> Injected:
    """The exposure with point sources added.

    With a gain g the light L of a pixel comes with its photon noise, ``Poisson(g L) / g``, and raises the variance by
    ``L / g``. A pixel that reaches the saturation level of the exposure stays there and gets SAT; saturated pixels and
    those without data are left as they are.

    Parameters
    ----------
    exposure : Exposure
        Not changed.
    psf : Psf
        Of the sources, taken at the place of each and moved by parts of pixels with cubic splines.
    x, y : ndarray, (n,)
        Parent positions.
    flux : ndarray, (n,)
        Counts, not negative.
    gain : float, optional
        Electrons per count; without it the light adds no noise.
    rng : numpy.random.Generator, optional
        For the photon noise; without it the variance is raised but the light is the expected one.
    """
    light = point_sources(exposure, psf, x, y, flux)
    masked = exposure.masked_image
    added, raised = light, np.zeros_like(light)
    if gain is not None:
        raised = np.maximum(light, 0.0) / gain
        if rng is not None:
            # A spline of a PSF has faint negative ripples, which have no photons.
            added = np.where(light > 0, rng.poisson(np.maximum(light, 0.0) * gain) / gain, light)
    keep = masked.flagged(LOST_PLANES) | (light == 0)
    image = np.where(keep, masked.image, masked.image + added).astype(np.float32)
    variance = np.where(keep, masked.variance, masked.variance + raised).astype(np.float32)
    made, n_saturated = _saturated(replace(masked, image=image, variance=variance), exposure.noise.saturation, keep)
    return Injected(exposure.with_pixels(made), light, n_saturated)


def point_sources(
    exposure: Exposure, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Light of point sources at parent positions on the pixels of an exposure, (H, W)."""
    half = psf.image.shape[0] // 2
    (height, width), (x0, y0) = exposure.shape, exposure.xy0
    padded = np.zeros((height + 2 * half, width + 2 * half))
    step = max(1, CHUNK_PIXELS // (2 * half + 1) ** 2)
    for first in range(0, len(x), step):
        part = slice(first, first + step)
        ix, iy = (np.floor(v[part] + 0.5).astype(int) for v in (x, y))
        splines = PsfSplines.at(psf, x[part], y[part], half)
        images = splines.images(x[part] - ix, y[part] - iy)
        for image, column, row, counts in zip(images, ix - x0, iy - y0, flux[part], strict=True):
            padded[row : row + 2 * half + 1, column : column + 2 * half + 1] += counts * image
    return padded[half : half + height, half : half + width]


def _saturated(masked: MaskedImage, level: float | None, keep: NDArray[np.bool_]) -> tuple[MaskedImage, int]:
    """Pixels that reach the saturation level held there and flagged, but for those to keep, and how many."""
    if level is None:
        return masked, 0
    full = (masked.image >= level) & ~keep
    masked = masked.with_planes(["SAT"])
    mask = np.where(full, masked.mask | np.int32(masked.bits(["SAT"])), masked.mask)
    image = np.where(full, np.float32(level), masked.image)
    return replace(masked, image=image, mask=mask), int(full.sum())


def gain_of(exposure: Exposure) -> tuple[float | None, str]:
    """Electrons per count and where that is from; None where nothing tells.

    What the noise of the exposure was worked out with; else the slope of its variance plane against its light, if the
    variances follow a line.

    Parameters
    ----------
    exposure : Exposure
    """
    if exposure.noise.gain is not None:
        return exposure.noise.gain, exposure.noise.sources.get("gain", exposure.noise.origin)
    masked = exposure.masked_image
    light = masked.image - fit_background(masked).image
    good = (masked.variance > 0) & np.isfinite(masked.variance) & np.isfinite(light)
    good &= ~masked.unusable(("NO_DATA", "SAT", "BAD", "CR", "EDGE"))
    if not good.any():
        return None, "not known"
    sky = np.median(masked.variance[good])
    bright = good & (light > GAIN_SIGMA * np.sqrt(sky))
    if np.count_nonzero(bright) < GAIN_PIXELS:
        return None, "not known"
    slopes = (masked.variance[bright] - sky) / light[bright]
    slope = float(np.median(slopes))
    scatter = 1.4826 * float(np.median(np.abs(slopes - slope)))
    if not (slope > 0 and scatter < GAIN_SCATTER * slope):
        return None, "not known"
    return 1.0 / slope, "slope of the variance plane against the light"
