"""What the task gives back: a match, and a match with its difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel


@dataclass(frozen=True)
class MatchExposuresResult:
    """A template matched to a science exposure (or the other way round).

    Parameters
    ----------
    matched_exposure : Exposure
        The convolved image on the science grid; without the background.
    warped_exposure : Exposure
        The template on the science grid; the template itself if it was there already.
    psf_matching_kernel : MatchingKernel
    background_model : BackgroundModel
        Differential background, on the scale of the image that was matched to.
    kernel_cell_set : CandidateSet
        Every source with its fate.
    convolved : str
        ``"template"`` or ``"science"``.
    summary : dict
        What the run found and chose, by name.
    """

    matched_exposure: Exposure
    warped_exposure: Exposure
    psf_matching_kernel: MatchingKernel
    background_model: BackgroundModel
    kernel_cell_set: CandidateSet
    convolved: str
    summary: dict[str, Any]

    @property
    def matched_image(self) -> MaskedImage:
        """The pixels of `matched_exposure`."""
        return self.matched_exposure.masked_image


@dataclass(frozen=True)
class SubtractExposuresResult(MatchExposuresResult):
    """A match and its difference.

    Parameters
    ----------
    subtracted_exposure : Exposure
        ``science - (matched + background)``, on the science image's photometric scale in both directions.
    """

    subtracted_exposure: Exposure
