"""Before the match: the template on the science grid, and the widths of both PSFs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import RegistrationError, UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.psf import FWHM_PER_SIGMA

log = logging.getLogger(__name__)

#: FWHM, pixels, for the search of sources in an image that has no star to measure it.
COMMON_FWHM = 3.5


@dataclass(frozen=True)
class Registered:
    """A template on the science grid.

    Parameters
    ----------
    exposure : Exposure
    warped : bool
    offset : float
        Largest offset between the grids before, pixels; NaN without a WCS.
    overlap : float
        Fraction of the science pixels that the template covers.
    autocorrelation : ndarray or None
        Of the template's noise after warping; None if it was not warped.
    """

    exposure: Exposure
    warped: bool
    offset: float
    overlap: float
    autocorrelation: NDArray[np.float64] | None


def register(
    template: Exposure, science: Exposure, config: WarpConfig, do_warping: bool = True, *, threads: int = 1
) -> Registered:
    """The template on the science grid: as it is, or warped.

    Raises
    ------
    RegistrationError
        If the exposures do not overlap, or lie on different grids and `do_warping` is False.
    """
    from psfmatch_cli.grid import compare_grids

    grids = compare_grids(template, science, config.registration_tolerance)
    if grids.same:
        return Registered(template, False, grids.max_offset, grids.overlap_fraction, None)
    if not do_warping:
        raise RegistrationError(
            f"template and science are on different pixel grids (offset up to {grids.max_offset:.3g} px, "
            f"shapes {template.shape} and {science.shape}) and warping is off; allow it (--warp)"
        )
    from psfmatch_cli.warp import warp

    log.info("warping the template: offset up to %.2f px, overlap %.3f", grids.max_offset, grids.overlap_fraction)
    warped = warp(template, science, config, threads=threads)
    return Registered(warped.exposure, True, grids.max_offset, grids.overlap_fraction, warped.autocorrelation)


@dataclass(frozen=True)
class Widths:
    """FWHMs of both exposures in science pixels, and where they came from.

    Parameters
    ----------
    template, science : float or None
        None if it could not be measured.
    template_from, science_from : str
    """

    template: float | None
    science: float | None
    template_from: str
    science_from: str

    @property
    def search_sigma(self) -> float:
        """Gaussian sigma with which the science image is searched, pixels: of its PSF, else of the template's.

        Without stars to measure either (a warning says so) it is that of a common seeing; nothing but the search
        uses it then.
        """
        return (self.science or self.template or COMMON_FWHM) / FWHM_PER_SIGMA

    @classmethod
    def of(
        cls, template: Exposure, science: Exposure, template_fwhm: float | None, science_fwhm: float | None
    ) -> Widths:
        """FWHMs given, of the exposures' PSFs, or measured from stars."""
        first, first_from = fwhm_of(template, template_fwhm, "template")
        second, second_from = fwhm_of(science, science_fwhm, "science")
        described = (
            f"{role} {'unknown' if v is None else f'{v:.2f} px'} ({source})"
            for role, v, source in (("template", first, first_from), ("science", second, second_from))
        )
        log.info("FWHM: %s", ", ".join(described))
        return cls(first, second, first_from, second_from)


def fwhm_of(exposure: Exposure, given: float | None, role: str) -> tuple[float | None, str]:
    """FWHM in pixels and where it came from.

    Raises
    ------
    UsageError
        If the given one is not positive.
    """
    if given is not None:
        if not 0 < given < math.inf:
            raise UsageError(f"the FWHM of the {role} image must be a positive number of pixels, got {given}")
        return float(given), "given"
    if exposure.psf is not None:
        return exposure.psf.fwhm, f"PSF, {exposure.psf.origin}"
    from psfmatch_cli.psf_measure import measure_psf

    measured = measure_psf(exposure)
    if measured is None:
        log.warning("no star fit for measuring the FWHM of the %s image; give it (--%s-fwhm)", role, role)
        return None, "not measurable"
    return measured.fwhm, f"{measured.n_stars} stars"
