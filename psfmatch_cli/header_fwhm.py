"""The FWHM that the headers of an exposure state, on the pixels that the exposure has now.

Headers often err: they tell the seeing of a monitor, of another band, of the raw frame before it was resampled. So the
FWHM that is measured on the stars counts, and that of the header stands in only where no star can be measured.
"""

from __future__ import annotations

import logging

import numpy as np

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.widths import is_width

log = logging.getLogger(__name__)

#: A header's FWHM that differs by more from the measured one is spoken of.
TOLERANCE = 0.3
#: Pixel scales that differ by less are the same.
_SAME_SCALE = 0.02


def header_fwhm(exposure: Exposure) -> tuple[float, str] | None:
    """FWHM of the headers, pixels of the exposure as it is, and where it came from; None without one.

    A template that was resampled has other pixels than its headers speak of.
    """
    stated = exposure.facts.quantities.get("fwhm")
    if stated is None:
        return None
    before, now = exposure.facts.number("pixel_scale"), _pixel_scale(exposure)
    ratio = before / now if before is not None and now is not None else 1.0
    if abs(ratio - 1.0) < _SAME_SCALE:
        return stated.value, stated.source
    if not is_width(stated.value * ratio):
        return None
    return stated.value * ratio, f"{stated.source}, times {ratio:.4g} for the pixels of the science image"


def _pixel_scale(exposure: Exposure) -> float | None:
    """Arcsec per pixel, or None without a WCS."""
    if exposure.wcs is None:
        return None
    return float(np.sqrt(exposure.wcs.celestial.proj_plane_pixel_area().to_value("arcsec2")))


def check_header_fwhm(exposure: Exposure, measured: float, role: str) -> None:
    """Warn of a header whose FWHM is far from the measured one."""
    stated = header_fwhm(exposure)
    if stated is None or 1 / (1 + TOLERANCE) <= stated[0] / measured <= 1 + TOLERANCE:
        return
    log.warning(
        "the %s image (%s): FWHM %.2f px of the stars, but %.2f px in its header (%s); that of the stars is used",
        role,
        exposure.name,
        measured,
        stated[0],
        stated[1],
    )
