"""What the task gives back: a match, and a match with its difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.difference import Difference
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
from psfmatch_cli.photometry import with_scale_of, without_pedestals
from psfmatch_cli.psf import Psf
from psfmatch_cli.register import psf_of
from psfmatch_cli.summary import Findings, summarise
from psfmatch_cli.whitened import psf_model_of


@dataclass(frozen=True)
class MatchExposuresResult:
    """A template matched to a science exposure, or the other way round.

    =======================================  ==================  =======================
    of                                       template convolved  science image convolved
    =======================================  ==================  =======================
    matched_exposure: pixels                 template * kernel   science * kernel
    matched_exposure: PSF, scale of counts   science             template
    matched_exposure: box, WCS, calibration  science             science
    matched_exposure: filter                 template            template
    background_model: scale of counts        science             template
    =======================================  ==================  =======================

    Parameters
    ----------
    matched_exposure : Exposure
        The convolved image, without the background. Upstream leaves it without a PSF. Mind that the calibration is
        the science exposure's also where the pixels are in template counts, as it is upstream;
        `psfmatch_cli.photometry.with_scale_of` gives it the template's.
    warped_exposure : Exposure
        The template on the science grid; the template itself if it was there already.
    psf_matching_kernel : MatchingKernel
    background_model : BackgroundModel
        Differential background: what is added to the matched image to subtract it.
    kernel_cell_set : CandidateSet
        Every source with its fate.
    convolved : str
        ``"template"`` or ``"science"``.
    summary : dict
        What the run found and chose, by name.
    template_correlation : ndarray, (2 m + 1, 2 m + 1), or None
        Autocorrelation of the noise of `warped_exposure`, 1 at the centre; None for white noise.
    """

    matched_exposure: Exposure
    warped_exposure: Exposure
    psf_matching_kernel: MatchingKernel
    background_model: BackgroundModel
    kernel_cell_set: CandidateSet
    convolved: str
    summary: dict[str, Any]
    template_correlation: NDArray[np.float64] | None

    @property
    def matched_image(self) -> MaskedImage:
        """The pixels of `matched_exposure`."""
        return self.matched_exposure.masked_image

    @property
    def psf_matched_masked_image(self) -> MaskedImage:
        """The same, under the name that the methods for masked images give it."""
        return self.matched_exposure.masked_image

    @property
    def matched_to(self) -> str:
        """``"template"`` or ``"science"``: whose PSF and photometric scale the matched image has."""
        return "science" if self.convolved == "template" else "template"


@dataclass(frozen=True)
class SubtractExposuresResult(MatchExposuresResult):
    """A match and its difference.

    Parameters
    ----------
    subtracted_exposure : Exposure
        Science minus template, whichever was convolved, on the photometric scale that `normalize` says. It is the
        science exposure (WCS, filter, header, calibration) with other pixels; on the template's scale the calibration
        and the cards in counts are the template's. Its PSF is that of the exposure that was matched to,
        modelled on its stars where it came without one; where it was decorrelated, with the filter applied.
    target_psf : Psf or None
        PSF of the exposure that was matched to: its own, or modelled on its stars; None without either.
    """

    subtracted_exposure: Exposure
    target_psf: Psf | None

    @property
    def subtracted_masked_image(self) -> MaskedImage:
        """The pixels of `subtracted_exposure`."""
        return self.subtracted_exposure.masked_image

    @property
    def normalize(self) -> str:
        """``"science"`` or ``"template"``: whose photometric scale the difference has."""
        return self.summary["normalize"]


def matched_result(science: Exposure, findings: Findings) -> MatchExposuresResult:
    """What a match gives back.

    Parameters
    ----------
    science : Exposure
        As it was given.
    findings : Findings
    """
    template, widths, direction = findings.registered.exposure, findings.widths, findings.plan.direction
    psf = (
        psf_of(science, widths.science, widths.science_from)
        if direction.convolve_template
        else psf_of(template, widths.template, widths.template_from)
    )
    return MatchExposuresResult(
        matched_exposure=science.with_pixels(findings.images.matched, psf=psf, filter=template.filter),
        warped_exposure=template,
        psf_matching_kernel=findings.fit.kernel,
        background_model=findings.images.background,
        kernel_cell_set=findings.fit.candidates,
        convolved=direction.convolved,
        summary=summarise(findings),
        template_correlation=findings.registered.autocorrelation,
    )


def subtracted_result(science: Exposure, result: MatchExposuresResult, images: Difference) -> SubtractExposuresResult:
    """The match with its difference: the science exposure with other pixels, calibrated on the scale that they have."""
    target = science if result.convolved == "template" else result.warped_exposure
    # Fluxes of the difference are as good as its PSF: with a profile of the right width they are 10 to 20 % off.
    target_psf = images.target_psf or psf_model_of(target)
    psf = images.psf or target_psf or result.matched_exposure.psf
    header = without_pedestals(science.header)
    made = science.with_pixels(images.difference, psf=psf, header=header)
    if result.summary["normalize"] == "template":
        made = with_scale_of(made, result.warped_exposure)
    fields = {name: getattr(result, name) for name in MatchExposuresResult.__dataclass_fields__}
    return SubtractExposuresResult(**fields, subtracted_exposure=made, target_psf=target_psf)
