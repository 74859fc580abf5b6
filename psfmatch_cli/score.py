"""The score image: the flux of a point source at every pixel, where nothing has to be deconvolved.

The science image is convolved with its own PSF, turned by 180 degrees, before the template is matched to it. That
matching target is wider than the science image by about the square root of 2, so that also a template with the wider
PSF can be matched by convolution. What comes out is filtered for the largest signal over noise of a point source
(`psfmatch_cli.whitening.score_filters`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from psfmatch_cli.convolve import convolve
from psfmatch_cli.decorrelate import NoiseSources, score
from psfmatch_cli.difference import robust_width, sky_mask
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DETECTED_PLANES, Box, Exposure
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.kernel import MatchingKernel, SpatialModel
from psfmatch_cli.psf import Psf, VaryingPsf
from psfmatch_cli.results import MatchExposuresResult
from psfmatch_cli.settings import Settings
from psfmatch_cli.subtract import rescaled
from psfmatch_cli.whitened import psf_model_of

#: Half side of the PSF that the science image is convolved with, in FWHM.
REACH_FWHM = 2.5
#: Places along each axis through which the polynomial of the PSF goes.
NODES = 7


@dataclass(frozen=True)
class Score:
    """A score image.

    Parameters
    ----------
    exposure : Exposure
        Image: flux of a point source at each pixel, in science counts. Variance: of that flux. Their ratio
        ``image / sqrt(variance)`` is the significance of a detection.
    sky_width : float
        Robust width of that ratio on the sky.
    kernel : MatchingKernel
        That took the template to the preconvolved science image.
    """

    exposure: Exposure
    sky_width: float
    kernel: MatchingKernel


def score_exposure(science: Exposure, matched: MatchExposuresResult, settings: Settings | None = None) -> Score:
    """Score image of a pair that has been matched already.

    Parameters
    ----------
    science : Exposure
    matched : MatchExposuresResult
        Gives the registered template, the FWHMs and the sources.
    settings : Settings, optional

    Raises
    ------
    InputError
        If the science exposure has no PSF and no stars to model it on.
    NoCandidatesError, FitError
        As `ImagePsfMatchTask.match_exposures`.
    """
    settings = _plain(settings or Settings())
    psf = psf_model_of(science)
    if psf is None:
        raise InputError(
            f"science {science.name}: a score image needs the PSF, and there are no stars to model it on; give it "
            "(--science-psf)"
        )
    smoother = _turned(psf, science.masked_image.box)
    blurred = convolve(science.masked_image, smoother, threads=settings.threads)
    # Its own noise is correlated, which the variance plane cannot say.
    task = ImagePsfMatchTask(settings, name="score")
    found, images = task.match_preconvolved(science.with_pixels(blurred, psf=None), matched, math.sqrt(2.0) * psf.fwhm)
    sources = NoiseSources(
        science.masked_image.without_planes(DETECTED_PLANES),
        matched.warped_exposure.masked_image.without_planes(DETECTED_PLANES),
        found.psf_matching_kernel,
        convolved_correlation=matched.template_correlation,
        psf=smoother,
    )
    made = score(images.difference, sources, threads=settings.threads).image
    # Faint changes are wide after the filter: the sky of the difference tells better how far off the variances are.
    made = rescaled(made, 1.0, matched.summary["variance_scale"])
    width = robust_width(made, sky_mask(made, science.masked_image))
    return Score(science.with_pixels(made, psf=None), width, found.psf_matching_kernel)


def _plain(settings: Settings) -> Settings:
    """Settings of the match of the preconvolved image: on the grid that is there, in science counts, not filtered."""
    warp = settings.warp.model_copy(update={"registration": "wcs"})
    subtraction = settings.subtraction.model_copy(update={"normalize": "science", "decorrelate": False})
    return settings.model_copy(update={"warp": warp, "subtraction": subtraction})


def _turned(psf: Psf, box: Box) -> MatchingKernel:
    """A PSF turned by 180 degrees as a kernel over a box of parent pixels."""
    half = min(math.ceil(REACH_FWHM * psf.fwhm), psf.image.shape[0] // 2)
    degree = psf.model.degree if isinstance(psf, VaryingPsf) else 0
    nodes = NODES if degree else 1
    x, y = np.meshgrid(np.linspace(box.x_min, box.x_max, nodes), np.linspace(box.y_min, box.y_max, nodes))
    images = np.stack([_middle(psf.at(px, py), half) for px, py in zip(x.ravel(), y.ravel(), strict=True)])
    model = SpatialModel("chebyshev1", degree, box)
    terms = model.terms(x.ravel(), y.ravel())
    fitted = np.linalg.lstsq(terms.T, images[:, ::-1, ::-1].reshape(len(images), -1), rcond=None)[0]
    side = 2 * half + 1
    return MatchingKernel(fitted.reshape(-1, side, side), np.eye(model.size), model)


def _middle(image: np.ndarray, half: int) -> np.ndarray:
    """The middle of a PSF image; its sum falls short of 1 by what is cut off."""
    center = image.shape[0] // 2
    part = slice(center - half, center + half + 1)
    return image[part, part]
