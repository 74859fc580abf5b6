"""Whether two images hold the same noise: copies of one exposure, or a template that was made with the science one.

Two exposures of one field share their sources, never their noise. The noise of a pixel is what it differs from the
mean of its four neighbours, away from sources. With robust widths w of u, v, noise of the two in units
of their own widths, its correlation is

    (w(u + v)^2 - w(u - v)^2) / (w(u + v)^2 + w(u - v)^2)

(Gnanadesikan & Kettenring 1972, Biometrics 28, 81, eq. 9). It is 1 for copies, whatever their scale and offset, and
1/sqrt(N) for a mean of N equal exposures with one of them.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from psfmatch_cli.errors import IdenticalImagesError
from psfmatch_cli.exposure import Exposure, MaskedImage

log = logging.getLogger(__name__)

#: Correlation of copies: rounding to a third of the noise, as integers and compression do, leaves more.
SAME_NOISE = 0.98
#: What copies may differ by, in units of the noise that the variances predict for it; independent noise differs by 1.
LARGEST_RESIDUAL = 0.3
#: Correlation that is spoken of; that of a mean of 25 exposures with one of them.
SUSPECT_CORRELATION = 0.2
#: Planes whose pixels tell no noise.
_UNUSABLE = ("BAD", "SAT", "CR", "INTRP", "EDGE", "NO_DATA")
#: Side of the pieces that are looked at, pixels, and their number along each axis.
_TILE, _TILES = 128, 5
#: Pixels that tell a correlation to 0.05.
_ENOUGH = 1000
#: Side of the neighbourhood whose mean activity tells sources from sky, pixels; that quantile of it, times the factor,
#: is the limit: with a quarter of sky in the image, 97 % of the sky is below it.
_CALM, _CALM_SHARE, _CALM_FACTOR = 7, 0.25, 1.25
#: Differences in units of their width count as at most this: one bright star shall not hide the sky around it.
_BRIGHTEST = 50.0
#: Images without noise are copies if this share of their pixels agrees, to this fraction of their contrast and of the
#: largest one: 32 bits hold 7 digits of the pixels.
_AGREEING, _RELATIVE, _ROUNDING = 0.99, 1e-3, 1e-6
#: A pixel less the mean of its four neighbours.
_FROM_NEIGHBOURS = np.array([[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]])


@dataclass(frozen=True)
class Likeness:
    """How alike the noise of two images is.

    Parameters
    ----------
    correlation : float
        Of their noise, -1 to 1.
    scale : float
        Counts of the second per count of the first, if they are copies.
    copies : bool
        Whether one is the other, up to a scale and an offset.
    """

    correlation: float
    scale: float
    copies: bool


@dataclass(frozen=True)
class _Contrasts:
    """Differences of pixels from the mean of their neighbours in two images, counts, and the predicted noise of each.

    All are (n,); `activity` is the mean size of the differences around a pixel, in units of their widths: large at
    sources.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    first_noise: NDArray[np.float64]
    second_noise: NDArray[np.float64]
    activity: NDArray[np.float64]

    def at(self, which: NDArray[np.bool_]) -> _Contrasts:
        """Those of some pixels."""
        return _Contrasts(*(getattr(self, field.name)[which] for field in fields(self)))


def check_copies(template: Exposure, science: Exposure, *, allow: bool) -> Likeness | None:
    """Refuse copies of one image, and warn of noise that two images share.

    Parameters
    ----------
    template, science : Exposure
        On one grid.
    allow : bool
        Whether copies are only warned of.

    Raises
    ------
    IdenticalImagesError
        If the two are copies and `allow` is off.
    """
    found = likeness(template, science)
    if found is None:
        return None
    if found.copies:
        message = (
            f"the template ({template.name}) and the science image ({science.name}) are copies of one image: the "
            f"correlation of their noise is {found.correlation:.4f} (scale {found.scale:.4g})"
        )
        if not allow:
            raise IdenticalImagesError(
                f"{message}; their difference means nothing. Give two exposures, or --allow-identical to go on"
            )
        log.warning(
            "%s; their difference is 0 but for rounding and the limits of the basis, and means nothing", message
        )
    elif abs(found.correlation) > SUSPECT_CORRELATION:
        log.warning(
            "the noise of the template (%s) and of the science image (%s) has the correlation %.2f: was the template "
            "made with the science exposure, or do both have the same pattern? Real changes are weakened, and the "
            "variance of the difference is too large",
            template.name,
            science.name,
            found.correlation,
        )
    return found


def likeness(first: Exposure, second: Exposure) -> Likeness | None:
    """How alike the noise of two images on one grid is; None where there are too few pixels to tell."""
    contrasts = _contrasts(first, second)
    if len(contrasts.first) < _ENOUGH:
        return None
    if 0 in (_width(contrasts.first), _width(contrasts.second)):
        return _noise_free(contrasts)
    # Nearly all of the sky: a choice of the calmest pixels would choose those whose noise happens to cancel.
    calm = contrasts.at(contrasts.activity <= _CALM_FACTOR * np.quantile(contrasts.activity, _CALM_SHARE))
    widths = _width(calm.first), _width(calm.second)
    if 0 in widths:
        return _noise_free(contrasts)
    u, v = calm.first / widths[0], calm.second / widths[1]
    together, apart = _width(u + v) ** 2, _width(u - v) ** 2
    correlation = float((together - apart) / (together + apart))
    scale = float(np.copysign(widths[1] / widths[0], correlation))
    residual = _width((calm.second - scale * calm.first) / np.hypot(calm.second_noise, scale * calm.first_noise))
    return Likeness(correlation, scale, abs(correlation) > SAME_NOISE and residual < LARGEST_RESIDUAL)


def _noise_free(contrasts: _Contrasts) -> Likeness | None:
    """Copies among images without noise: one scale for all pixels that differ from their neighbours."""
    seen = contrasts.at((contrasts.first != 0) | (contrasts.second != 0))
    bright = np.abs(seen.first) > 0
    if np.count_nonzero(bright) < _ENOUGH:
        return None
    scale = float(np.median(seen.second[bright] / seen.first[bright]))
    size = np.maximum(np.abs(seen.second), np.abs(scale * seen.first))
    agree = np.abs(seen.second - scale * seen.first) <= _RELATIVE * size + _ROUNDING * size.max()
    if scale == 0 or agree.mean() < _AGREEING:
        return None
    return Likeness(float(np.sign(scale)), scale, True)


def _contrasts(first: Exposure, second: Exposure) -> _Contrasts:
    """Contrasts of the pixels that both images have, of pieces spread evenly over these."""
    height, width = first.shape
    pieces = [
        _contrasts_of(first.masked_image, second.masked_image, at)
        for at in itertools.product(_starts(height), _starts(width))
    ]
    return _Contrasts(*(np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(_Contrasts)))


def _starts(length: int) -> list[slice]:
    """Pieces of an axis; together they are the whole axis if it is short."""
    n = min(_TILES, -(-length // _TILE))
    side = min(_TILE, -(-length // n))
    return [slice(int(start), int(start) + side) for start in np.linspace(0, length - side, n)]


def _contrasts_of(first: MaskedImage, second: MaskedImage, at: tuple[slice, slice]) -> _Contrasts:
    usable = np.ones(first.image[at].shape, bool)
    for image in (first, second):
        usable &= ((image.mask[at] & image.bits(_UNUSABLE)) == 0) & np.isfinite(image.image[at])
        usable &= (image.variance[at] > 0) & (image.variance[at] < np.inf)
    differences = [
        ndimage.convolve(np.where(usable, image.image[at], 0).astype(np.float64), _FROM_NEIGHBOURS)
        for image in (first, second)
    ]
    usable = ndimage.binary_erosion(usable, ndimage.generate_binary_structure(2, 1))
    variances = [np.where(usable, image.variance[at], 1).astype(np.float64) for image in (first, second)]
    noise = [np.sqrt(variance * np.sum(_FROM_NEIGHBOURS**2)) for variance in variances]
    activity = sum(_activity(d, usable) for d in differences)
    return _Contrasts(*(plane[usable] for plane in (*differences, *noise, activity)))


def _activity(difference: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean size of the differences around each pixel in units of their width, (H, W); 0 where that is none."""
    width = _width(difference[usable]) if usable.any() else 0.0
    if width == 0:
        return np.zeros(usable.shape)
    size = np.where(usable, np.minimum(np.abs(difference) / width, _BRIGHTEST), 0.0)
    share = ndimage.uniform_filter(usable.astype(np.float64), _CALM)
    return ndimage.uniform_filter(size, _CALM) / np.maximum(share, _CALM**-2)


def _width(values: NDArray[np.float64]) -> float:
    """Standard deviation within four robust ones: finer than a median of values that are whole numbers."""
    off = np.abs(values - np.median(values))
    limit = 4 * 1.4826 * np.median(off)
    return float(values[off <= limit].std())
