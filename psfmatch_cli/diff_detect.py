"""Sources of a difference image: what became brighter, and what became fainter.

A matched filter with the PSF of the difference gives the significance of a point source at every pixel; its extrema of
either sign are fitted with the PSF. The columns are described in `psfmatch_cli.diff_columns`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.diff_columns import difference_table
from psfmatch_cli.diff_peaks import SignedPeaks, find_peaks
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure
from psfmatch_cli.matched_filter import Filtered, difference_pixels, matched_filter, psf_half
from psfmatch_cli.psf import Psf
from psfmatch_cli.psf_photometry import PointFit, fit_points

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: A position that moves further than this part of the FWHM from its peak (at least 1.5 pixels) has run away.
MAX_SHIFT_FWHM = 0.6


@dataclass(frozen=True)
class Found:
    """What was found in a difference, before it becomes a table.

    Parameters
    ----------
    pixels : SkyPixels
    psf : Psf
    half : int
        To which the PSF is used, pixels.
    filtered : Filtered
    peaks : SignedPeaks
    fit : PointFit
        At array positions, errors scaled by the width of the filtered sky.
    """

    pixels: SkyPixels
    psf: Psf
    half: int
    filtered: Filtered
    peaks: SignedPeaks
    fit: PointFit


def find_difference_sources(
    difference: Exposure,
    config: DifferenceSourceConfig | None = None,
    *,
    psf: Psf | None = None,
) -> Table:
    """Find and measure the sources of a difference image.

    Parameters
    ----------
    difference : Exposure
        Not changed.
    config : DifferenceSourceConfig, optional
        Threshold, polarity, aperture, dipoles.
    psf : Psf, optional
        Of the difference; default: that of the exposure.

    Returns
    -------
    Table
        One row a source, the most significant first; its columns and meta are those of
        `psfmatch_cli.diff_columns`.

    Raises
    ------
    InputError
        If there is no PSF, or no usable pixel.
    """
    config = config or DifferenceSourceConfig()
    found = search_difference(difference, config, psf or difference.psf)
    table = difference_table(difference, found, config)
    n_positive = int(np.count_nonzero(found.peaks.significance > 0))
    log.info(
        "difference %s: %d positive and %d negative sources from significance %g, width of the filtered sky %.3f",
        difference.name, n_positive, len(found.peaks) - n_positive, config.threshold, found.filtered.width,
    )  # fmt: skip
    return table


def search_difference(difference: Exposure, config: DifferenceSourceConfig, psf: Psf | None) -> Found:
    """Peaks of the significance, and the point sources fitted to them.

    Raises
    ------
    InputError
        If there is no PSF, or no usable pixel.
    """
    if psf is None:
        raise InputError(
            f"{difference.name}: sources of a difference are found with its PSF, and it has none; give it (--psf)"
        )
    pixels = difference_pixels(difference.masked_image)
    if pixels.bad.all():
        raise InputError(f"{difference.name}: no pixel is usable; all are masked or have no variance")
    half, not_sky = psf_half(psf), difference.masked_image.flagged(DETECTED_PLANES)
    filtered = matched_filter(pixels, psf, difference.xy0, not_sky)
    peaks = find_peaks(filtered.significance, config.threshold, config.polarity, psf, half)
    x, y = (v + d for v, d in zip((peaks.x, peaks.y), _vertices(filtered.significance, peaks), strict=True))
    max_shift = max(1.5, MAX_SHIFT_FWHM * psf.fwhm)
    fit = fit_points(pixels, psf, difference.xy0, x, y, half, max_shift=max_shift)
    return Found(pixels, psf, half, filtered, peaks, fit)


def _vertices(significance: NDArray[np.float32], peaks: SignedPeaks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets (x, y) of the vertices of the parabolas through the peaks, at most half a pixel."""
    padded = np.pad(significance, 1).astype(np.float64)
    y, x = peaks.y + 1, peaks.x + 1
    offsets = []
    for before, after in ((padded[y, x - 1], padded[y, x + 1]), (padded[y - 1, x], padded[y + 1, x])):
        curvature = before - 2 * padded[y, x] + after
        vertex = np.divide(0.5 * (before - after), curvature, out=np.zeros(len(x)), where=curvature != 0)
        offsets.append(np.clip(vertex, -0.5, 0.5))
    return offsets[0], offsets[1]
