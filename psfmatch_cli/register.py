"""Before the match: the template on the science grid, and the widths of both PSFs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import NEARLY_EQUAL
from psfmatch_cli.config import WarpConfig
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.header_fwhm import check_header_fwhm, header_fwhm
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf, gaussian_psf
from psfmatch_cli.widths import check_fwhms

if TYPE_CHECKING:
    from psfmatch_cli.alignment import Alignment
    from psfmatch_cli.background import BackgroundFit

log = logging.getLogger(__name__)

#: FWHM, pixels, for the search of sources in an image that has no star to measure it.
COMMON_FWHM = 3.5
#: Level of the line that says that a FWHM was measured: what most files need is no warning.
MEASURED_LEVEL = logging.INFO


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
    alignment : Alignment
        What put it there, and what the stars say of it.
    """

    exposure: Exposure
    warped: bool
    offset: float
    overlap: float
    autocorrelation: NDArray[np.float64] | None
    alignment: Alignment


def register(
    template: Exposure, science: Exposure, config: WarpConfig, do_warping: bool = True, *, threads: int = 1
) -> Registered:
    """The template on the science grid: as it is, or warped.

    A template without a PSF is warped, too; upstream stops there, for want of a PSF to warp along.

    Raises
    ------
    NoOverlapError
        If the exposures do not overlap.
    DifferentGridsError
        If they lie on different grids and `do_warping` is False.
    BoxMismatchError
        If they have no WCS and differ in size or origin.
    RegistrationError
        If their stars are to align them and do not match.
    UsageError
        If their stars are to align them and `do_warping` is False.
    """
    from psfmatch_cli.align import align

    alignment = align(template, science, config, do_warping, threads=threads)
    grids = alignment.grids
    if alignment.pixel_map is None:
        if template.xy0 != science.xy0:
            template = template.with_pixels(replace(template.masked_image, xy0=science.xy0))
        return Registered(template, False, grids.max_offset, grids.overlap_fraction, None, alignment)
    from psfmatch_cli.warp import warp

    log.info("warping the template: offset up to %.2f px, overlap %.3f", grids.max_offset, grids.overlap_fraction)
    warped = warp(template, science, config, pixel_map=alignment.pixel_map, threads=threads)
    return Registered(
        warped.exposure, True, grids.max_offset, grids.overlap_fraction, warped.autocorrelation, alignment
    )


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
        cls,
        template: Exposure,
        science: Exposure,
        template_fwhm: float | None,
        science_fwhm: float | None,
        *,
        science_width: Callable[[], tuple[float | None, str]] | None = None,
    ) -> Widths:
        """FWHMs given, of the exposures' PSFs, or measured from stars.

        Parameters
        ----------
        template, science : Exposure
        template_fwhm, science_fwhm : float or None
            What was given.
        science_width : callable, optional
            Returns that of the science image as `fwhm_of`, where the caller has it measured.

        Raises
        ------
        FwhmError
            If one that was given is no width of a PSF, or both.
        """
        _check_given({"template": template_fwhm, "science": science_fwhm})
        first, first_from = fwhm_of(template, template_fwhm, "template")
        second, second_from = science_width() if science_width else fwhm_of(science, science_fwhm, "science")
        described = (
            f"{role} {'unknown' if v is None else f'{v:.2f} px'} ({source})"
            for role, v, source in (("template", first, first_from), ("science", second, second_from))
        )
        log.info("FWHM: %s", ", ".join(described))
        return cls(first, second, first_from, second_from)


def fwhm_of(
    exposure: Exposure, given: float | None, role: str, *, background: BackgroundFit | None = None
) -> tuple[float | None, str]:
    """FWHM in pixels and where it came from: given, of the PSF, measured on stars, or of the header, in this order.

    Parameters
    ----------
    exposure : Exposure
    given : float or None
        Pixels.
    role : str
        For messages.
    background : BackgroundFit, optional
        Of the exposure, where the caller has it.

    Raises
    ------
    FwhmError
        If the given one is no width of a PSF.
    """
    _check_given({role: given})
    if given is not None:
        return float(given), "given"
    if exposure.psf is not None:
        return exposure.psf.checked().fwhm, f"PSF, {exposure.psf.origin}"
    from psfmatch_cli.psf_measure import measure_psf

    measured = measure_psf(exposure, background=background)
    stated = header_fwhm(exposure)
    if measured is None and stated is not None:
        log.warning(
            "the %s image (%s) has no star fit for measuring its FWHM; used: %s", role, exposure.name, stated[1]
        )
        return stated
    if measured is None:
        log.warning(
            "the %s image (%s) has no PSF, and no star is fit for measuring its FWHM, which stays unknown; give it "
            "(--%s-fwhm)",
            role,
            exposure.name,
            role,
        )
        return None, "not measurable"
    log.log(
        MEASURED_LEVEL,
        "the %s image (%s) has no PSF: its FWHM of %.2f px is measured on %d stars",
        role,
        exposure.name,
        measured.fwhm,
        measured.n_stars,
    )
    check_header_fwhm(exposure, measured.fwhm, role)
    return measured.fwhm, f"{measured.n_stars} stars"


def _check_given(fwhms: dict[str, float | None]) -> None:
    """Refuse FWHMs that no PSF has, by role."""
    check_fwhms({f"{role} image": fwhm for role, fwhm in fwhms.items()}, "; leave it out to have it measured")


def psf_of(exposure: Exposure, fwhm: float | None, origin: str) -> Psf | None:
    """The exposure's PSF, else a Gaussian of the FWHM that was given or measured."""
    if exposure.psf is not None or fwhm is None:
        return exposure.psf
    return gaussian_psf(fwhm, f"gaussian, FWHM {origin}")


def warn_of_deconvolution(widths: Widths, convolve_template: bool) -> None:
    """Warn where the image to convolve is clearly the wider one."""
    fwhms = {"template": widths.template, "science": widths.science}
    convolved, other = ("template", "science") if convolve_template else ("science", "template")
    if None in fwhms.values() or fwhms[convolved] < (1 + NEARLY_EQUAL) * fwhms[other]:
        return
    log.warning(
        "convolving the %s image (FWHM %.2f px) to match the %s image (%.2f px) is a deconvolution, which amplifies "
        "noise; the other choice is to convolve the %s image (--convolve %s)",
        convolved,
        fwhms[convolved],
        other,
        fwhms[other],
        other,
        other,
    )
