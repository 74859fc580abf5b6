"""The matched filter of a point source: significance of a source at every pixel.

With the PSF P at a pixel and the counts d, the estimate of the flux is ``sum(P d) / sum(P^2)`` and its variance
``sum(P^2 V) / sum(P^2)^2``. The weights are equal, not 1/V: a variance plane that was made from the noisy counts
themselves is low where the noise is low, and weights that follow it make every flux too faint (by about
``4 pi sigma^2 / gain`` counts). In white noise that is the same all over the PSF, equal weights are the best ones.

That noise is white is checked: `filter_width` measures how wide the significance is on the sky.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import BackgroundFit, SkyPixels
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.psf import Psf

#: Half side of the image of the PSF that the filter and the fits use, in FWHM: what is beyond is noise to a flux.
REACH_FWHM = 2.5
#: Side of the tiles in which one PSF is taken for all pixels.
TILE = 256
#: Planes without which a pixel is usable.
BAD_PLANES = ("NO_DATA", "SAT", "BAD", "CR", "EDGE")
#: The filter must see at least this part of the square of the PSF.
MIN_SEEN = 0.5
#: Standard error of a robust width of n independent Gaussian values, times the root of n.
WIDTH_ERROR = 1.17
#: Widths within so many standard errors of 1, or within the tolerance, are 1.
SIGNIFICANT, TOLERANCE = 3.0, 0.01
#: Independent values that a width is taken from at least.
ENOUGH = 200
TINY = 1e-30

Kernel = Callable[[float, float], NDArray[np.float64]]


@dataclass(frozen=True)
class Filtered:
    """A difference after the matched filter.

    Parameters
    ----------
    significance : ndarray, (H, W), float32
        Of a point source at each pixel, signed; 0 where not known.
    width : float
        Robust width on the sky before it was divided by, 1 where it is not told from 1.
    """

    significance: NDArray[np.float32]
    width: float


def difference_pixels(difference: MaskedImage) -> SkyPixels:
    """The usable pixels of a difference, whose background is 0."""
    bad = difference.unusable(BAD_PLANES) | ~np.isfinite(difference.image)
    bad |= ~((difference.variance > 0) & np.isfinite(difference.variance))
    zero = np.zeros(difference.shape, np.float32)
    image, variance = (np.where(bad, np.float32(0), plane) for plane in (difference.image, difference.variance))
    return SkyPixels(image, variance, bad, BackgroundFit(zero, "none", 0, 0, 0.0))


def psf_half(psf: Psf) -> int:
    """Half side, pixels, to which the PSF is used."""
    return min(math.ceil(REACH_FWHM * psf.fwhm), psf.image.shape[0] // 2)


def middle_of(image: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """The middle of centred images, (..., 2 half + 1, 2 half + 1)."""
    center = image.shape[-1] // 2
    part = slice(center - half, center + half + 1)
    return image[..., part, part]


def matched_filter(pixels: SkyPixels, psf: Psf, xy0: tuple[int, int], not_sky: NDArray[np.bool_]) -> Filtered:
    """Significance of a point source at every pixel, a unit Gaussian on the sky.

    Parameters
    ----------
    pixels : SkyPixels
        Of the difference.
    psf : Psf
        Of the difference.
    xy0 : (int, int)
        Parent position of the first pixel.
    not_sky : ndarray, (H, W), bool
        Pixels of sources.
    """
    half = psf_half(psf)

    def kernel(x: float, y: float) -> NDArray[np.float64]:
        return middle_of(psf.at(x, y), half)

    raw = filtered(pixels, kernel, half, xy0)
    width = filter_width(raw, not_sky, effective_area(middle_of(psf.image, half)))
    return Filtered(raw / np.float32(width), width)


def filtered(pixels: SkyPixels, kernel: Kernel, half: int, xy0: tuple[int, int]) -> NDArray[np.float32]:
    """``sum(K d) / sqrt(sum(K^2 V))`` at every pixel; 0 where less than half of the squared kernel sees good pixels.

    Parameters
    ----------
    pixels : SkyPixels
    kernel : callable
        Image of the filter at a parent position, (2 half + 1, 2 half + 1).
    half : int
    xy0 : (int, int)
        Parent position of the first pixel.
    """
    out = np.zeros(pixels.image.shape, np.float32)
    height, width = out.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            image = kernel((left + right - 1) / 2 + xy0[0], (top + bottom - 1) / 2 + xy0[1])
            part = np.s_[max(top - half, 0) : bottom + half, max(left - half, 0) : right + half]
            made = _filtered_tile(pixels.image[part], pixels.variance[part], ~pixels.bad[part], image)
            y, x = top - part[0].start, left - part[1].start
            out[top:bottom, left:right] = made[y : y + bottom - top, x : x + right - left]
    return out


def _filtered_tile(
    image: NDArray[np.float32], variance: NDArray[np.float32], good: NDArray[np.bool_], kernel: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.signal import fftconvolve

    turned = kernel[::-1, ::-1]
    # A transform rounds by 1e-16 of its largest value, which a saturated star's variance makes matter.
    signal = fftconvolve(image.astype(np.float64), turned, mode="same")
    noise = fftconvolve(variance.astype(np.float64), turned**2, mode="same")
    seen = fftconvolve(good.astype(np.float64), turned**2, mode="same")
    usable = (seen > MIN_SEEN * np.sum(kernel**2)) & (noise > TINY)
    return np.where(usable, signal / np.sqrt(np.where(usable, noise, 1.0)), 0.0)


def effective_area(kernel: NDArray[np.float64]) -> float:
    """Pixels over which white noise is correlated after a filter."""
    from scipy.signal import fftconvolve

    own = fftconvolve(kernel, kernel[::-1, ::-1])
    return float((own**2).sum() / own.max() ** 2)


def filter_width(significance: NDArray[np.float32], not_sky: NDArray[np.bool_], area: float) -> float:
    """Robust width of a significance on the sky: 1 for white noise, and where it is not told from 1.

    Where the noise of neighbours is correlated (a difference that is not decorrelated, a resampled template), the
    width is what the errors of everything that this filter measures are to be multiplied by.

    Parameters
    ----------
    significance : ndarray, (H, W)
        0 where not known.
    not_sky : ndarray, (H, W), bool
    area : float
        Pixels that are correlated, see `effective_area`.
    """
    known = significance != 0
    sky = known & ~not_sky
    values = significance[sky if np.count_nonzero(sky) > 0.3 * np.count_nonzero(known) else known]
    independent = values.size / area
    if independent < ENOUGH:
        return 1.0
    width = float(1.4826 * np.median(np.abs(values - np.median(values))))
    error = WIDTH_ERROR * width / math.sqrt(independent)
    return width if width > 0 and abs(width - 1) > max(SIGNIFICANT * error, TOLERANCE) else 1.0
