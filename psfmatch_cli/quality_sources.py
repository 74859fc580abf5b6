"""How many sources a difference has, of either sign: a count, not a catalogue."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.quality_sky import BAD_PLANES, robust_width

#: Significance of a peak that is counted.
THRESHOLD = 5.0
#: Pixels along either axis between those that tell the noise of the smoothed image.
STEP = 5


@dataclass(frozen=True)
class SourceCounts:
    """Peaks above 5 sigma.

    Parameters
    ----------
    n_positive, n_negative : int
    usable_pixels : int
        Pixels that could have one.
    square_degrees : float
        Their area on the sky; NaN without a WCS.
    """

    n_positive: int
    n_negative: int
    usable_pixels: int
    square_degrees: float

    @property
    def total(self) -> int:
        return self.n_positive + self.n_negative

    def items(self) -> dict[str, float]:
        """The counts, and the densities per megapixel and per square degree."""
        densities = {}
        for name in ("positive", "negative"):
            n = getattr(self, f"n_{name}")
            densities[f"{name}_per_megapixel"] = 1e6 * n / self.usable_pixels if self.usable_pixels else float("nan")
            densities[f"{name}_per_square_degree"] = n / self.square_degrees if self.square_degrees else float("nan")
        return {**asdict(self), **densities}


def count_sources(difference: MaskedImage, wcs: Any | None, fwhm: float) -> SourceCounts:
    """Peaks of the difference, smoothed with a Gaussian of the stars' width, of more than 5 sigma.

    The smoothing is that of normalised residuals, and its noise is measured on its result: correlated noise does not
    feign sources.
    """
    from scipy import ndimage

    bits = difference.bits([p for p in BAD_PLANES if p in difference.planes])
    usable = ((difference.mask & bits) == 0) & np.isfinite(difference.image) & (difference.variance > 0)
    area = _square_degrees(wcs, difference.shape) / usable.size * np.count_nonzero(usable)
    z = np.zeros(difference.shape, np.float32)
    np.divide(difference.image, np.sqrt(difference.variance), out=z, where=usable)
    smooth = ndimage.gaussian_filter(z, fwhm / FWHM_PER_SIGMA, truncate=3.0)
    width = robust_width(smooth[::STEP, ::STEP][usable[::STEP, ::STEP]])
    if not width > 0:
        return SourceCounts(0, 0, int(np.count_nonzero(usable)), area)
    side = 2 * round(fwhm) + 1
    highest = ndimage.maximum_filter(np.abs(smooth), side) == np.abs(smooth)
    positive, negative = (
        int(np.count_nonzero(usable & highest & (sign * smooth > THRESHOLD * width))) for sign in (1, -1)
    )
    return SourceCounts(positive, negative, int(np.count_nonzero(usable)), area)


def _square_degrees(wcs: Any | None, shape: tuple[int, int]) -> float:
    """Area of an image on the sky; NaN without a celestial WCS."""
    if wcs is None or not wcs.has_celestial:
        return float("nan")
    return float(wcs.celestial.proj_plane_pixel_area().to_value("deg2") * shape[0] * shape[1])
