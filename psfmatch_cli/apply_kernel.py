"""A kernel that is known already, applied to another pair on the same grid: nothing is searched, nothing is fitted.

The kernel and the background belong to the conditions of the pair that they were fitted on. They serve another pair
that differs from it in nothing but its noise and its changes, such as a pair with fakes, or frames of one series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.copies import check_copies
from psfmatch_cli.difference import Difference, build_difference
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.known_kernel import KnownKernel, check_box, check_direction, warn_of_other_widths
from psfmatch_cli.photometry import SumCheck, check_sum
from psfmatch_cli.quality import Quality, Subject, assess
from psfmatch_cli.quality_items import metadata_items, summary_items
from psfmatch_cli.quality_run import told, wider
from psfmatch_cli.register import Registered, Widths, psf_of, register
from psfmatch_cli.results import MatchExposuresResult, SubtractExposuresResult, subtracted_result
from psfmatch_cli.settings import Settings
from psfmatch_cli.whitened import whitened


@dataclass(frozen=True)
class Applied:
    """A difference made with a known kernel, and its record.

    Parameters
    ----------
    result : SubtractExposuresResult
    metadata : dict of str to Any
        Items for the record.
    """

    result: SubtractExposuresResult
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Made:
    """All that is told about a difference made with a known kernel."""

    known: KnownKernel
    images: Difference
    registered: Registered
    widths: Widths
    sum_check: SumCheck
    quality: Quality


def apply_kernel(
    known: KnownKernel,
    template: Exposure,
    science: Exposure,
    settings: Settings,
    *,
    template_fwhm_pix: float | None = None,
    science_fwhm_pix: float | None = None,
    do_warping: bool = True,
    convolve_template: bool | None = None,
) -> Applied:
    """Register, convolve with a known kernel, subtract with a known background.

    Parameters
    ----------
    known : KnownKernel
    template, science : Exposure
        Unchanged.
    settings : Settings
        Those of the registration, the subtraction and the quality count.
    template_fwhm_pix, science_fwhm_pix : float, optional
        FWHMs in science pixels; default: of the exposures' PSFs, else measured from their stars.
    do_warping : bool
        Whether a template on another grid is warped; if not, it is an error.
    convolve_template : bool, optional
        What the caller expects to be convolved; None: whatever the kernel was fitted for.

    Raises
    ------
    UsageError
        If another image is to be convolved than the kernel was fitted for.
    BoxMismatchError
        If the science image reaches beyond the pixels that the kernel was fitted on.
    NoOverlapError, DifferentGridsError, IdenticalImagesError
        As `ImagePsfMatchTask.subtract_exposures`.
    """
    check_direction(known, convolve_template)
    check_box(known, science.box)
    registered = register(template, science, settings.warp, do_warping, threads=settings.threads)
    likeness = check_copies(registered.exposure, science, allow=settings.allow_identical)
    widths = Widths.of(registered.exposure, science, template_fwhm_pix, science_fwhm_pix)
    warn_of_other_widths(known, widths)
    images = _difference(known, registered, science, settings)
    exposures = (registered.exposure, science)
    sum_check = check_sum(
        known.kernel.center_sum, *(exposures if known.direction.convolve_template else exposures[::-1])
    )
    quality = told(assess(_subject(known, images, science, widths, sum_check), settings.quality))
    made = _Made(known, images, registered, widths, sum_check, quality)
    correlation = {"noiseCorrelation": math.nan if likeness is None else likeness.correlation}
    return Applied(subtracted_result(science, _matched(made, science), images), {**_metadata(made), **correlation})


def _difference(known: KnownKernel, registered: Registered, science: Exposure, settings: Settings) -> Difference:
    """The difference; the background is the known one, not refined."""
    kernel = settings.kernel.model_copy(update={"refine_background": False})
    settings = settings.model_copy(update={"kernel": kernel})
    # A known kernel has all that is asked of a plan (its direction) and of a fit (kernel and background).
    exposures, correlation = (registered.exposure, science), registered.autocorrelation
    images = build_difference(known, known, *exposures, science.masked_image, correlation, settings)
    return (
        whitened(images, known, known, *exposures, correlation, settings)
        if settings.subtraction.decorrelate
        else images
    )


def _subject(known: KnownKernel, images: Difference, science: Exposure, widths: Widths, sum_check: SumCheck) -> Subject:
    return Subject(
        difference=images.difference,
        science=science,
        kernel=known.kernel,
        convolved=known.direction.convolved,
        normalize=images.normalize,
        fwhm=wider(widths),
        candidates=known.candidates,
        sky_width=images.sky_width,
        masked_fraction=images.masked_fraction,
        decorrelated=images.decorrelated,
        calibration_ratio=sum_check.ratio,
        condition_number=float("nan"),
        condition_limit=float("inf"),
    )


def _matched(made: _Made, science: Exposure) -> MatchExposuresResult:
    known, registered, widths = made.known, made.registered, made.widths
    template = registered.exposure
    psf = (
        psf_of(science, widths.science, widths.science_from)
        if known.direction.convolve_template
        else psf_of(template, widths.template, widths.template_from)
    )
    half = known.kernel.half_size
    return MatchExposuresResult(
        matched_exposure=science.with_pixels(made.images.matched, psf=psf, filter=template.filter),
        warped_exposure=template,
        psf_matching_kernel=known.kernel,
        background_model=known.background,
        kernel_cell_set=CandidateSet(known.candidates, half, known.kernel.size, half),
        convolved=known.direction.convolved,
        summary=_summary(made),
        template_correlation=registered.autocorrelation,
    )


def _summary(made: _Made) -> dict[str, Any]:
    """As `psfmatch_cli.summary.summarise`, without what only a fit has."""
    known, images, registered, widths, sum_check = made.known, made.images, made.registered, made.widths, made.sum_check
    return {
        "kernel_file": known.origin,
        "convolved": known.direction.convolved,
        "direction_reason": known.direction.reason,
        "warped": registered.warped,
        "registration_offset": registered.offset,
        "overlap_fraction": registered.overlap,
        **registered.alignment.summary(),
        "template_fwhm": widths.template,
        "science_fwhm": widths.science,
        "kernel_sum": known.kernel.center_sum,
        "expected_kernel_sum": sum_check.expected,
        "kernel_sum_ratio": sum_check.ratio,
        "kernel_size": known.kernel.size,
        "spatial_order": known.kernel.spatial.order,
        "background_order": known.background.spatial.order,
        "adaptations": [],
        "normalize": images.normalize,
        "sky_width": None if math.isnan(images.sky_width) else images.sky_width,
        "n_sky_pixels": images.n_sky,
        "variance_scale": images.variance_scale,
        "masked_fraction": images.masked_fraction,
        "decorrelated": images.decorrelated,
        **summary_items(made.quality),
    }


def _metadata(made: _Made) -> dict[str, Any]:
    """As `psfmatch_cli.summary.match_items`, without what only a fit has."""
    known, images, registered, widths, sum_check = made.known, made.images, made.registered, made.widths, made.sum_check
    return {
        "kernelFile": known.origin,
        "warped": registered.warped,
        "registrationOffsetPix": registered.offset,
        **registered.alignment.metadata(),
        "convolvedExposure": known.direction.convolved.capitalize(),
        "convolvedReason": known.direction.reason,
        "spatialKernelSum": known.kernel.center_sum,
        "spatialKernelSumErr": known.kernel.sum_error(*known.kernel.spatial.region.center),
        "spatialModelType": known.kernel.spatial.kind,
        "spatialKernelOrderUsed": known.kernel.spatial.order,
        "spatialBgOrderUsed": known.background.spatial.order,
        "spatialBgParameters": known.background.coefficients.tolist(),
        "nBasis": len(known.kernel.basis),
        "expectedKernelSum": math.nan if sum_check.expected is None else sum_check.expected,
        "kernelSumRatio": math.nan if sum_check.ratio is None else sum_check.ratio,
        "templateFwhmPix": math.nan if widths.template is None else widths.template,
        "scienceFwhmPix": math.nan if widths.science is None else widths.science,
        "templateFwhmFrom": widths.template_from,
        "scienceFwhmFrom": widths.science_from,
        "skyWidth": images.sky_width,
        "nSkyPixels": images.n_sky,
        "varianceScale": images.variance_scale,
        "maskedFraction": images.masked_fraction,
        "normalize": images.normalize,
        "decorrelated": images.decorrelated,
        "quality": metadata_items(made.quality),
    }
