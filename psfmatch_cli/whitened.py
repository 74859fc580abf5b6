"""The difference of a match made white: pixels, variance, sky width, PSF."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import fit_background, subtract_background
from psfmatch_cli.decorrelate import Filtered, NoiseSources, decorrelate
from psfmatch_cli.difference import (
    Difference,
    robust_width,
    scale_factor,
    sky_mask,
    variance_scale,
)
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure
from psfmatch_cli.match import MatchResult
from psfmatch_cli.plan import Plan
from psfmatch_cli.psf import Psf, VaryingPsf
from psfmatch_cli.psf_measure import measure_psf
from psfmatch_cli.psf_model import NODES, model_psf, polynomial_model
from psfmatch_cli.settings import Settings
from psfmatch_cli.subtract import rescaled

log = logging.getLogger(__name__)

#: Degree at least of the polynomial of a PSF that a filter has changed.
FILTERED_DEGREE = 2


def whitened(
    images: Difference,
    plan: Plan,
    fit: MatchResult,
    template: Exposure,
    science: Exposure,
    autocorrelation: NDArray[np.float64] | None,
    settings: Settings,
) -> Difference:
    """The difference of a match with its noise made white, the width of its sky, and its PSF.

    Parameters
    ----------
    images : Difference
    plan, fit : Plan, MatchResult
    template, science : Exposure
        As for `psfmatch_cli.difference.build_difference`.
    autocorrelation : ndarray or None
        Of the template's noise, where it is known not to be white.
    settings : Settings
    """
    forward = plan.direction.convolve_template
    target, convolved = (science, template) if forward else (template, science)
    sources = NoiseSources(
        target.masked_image.without_planes(DETECTED_PLANES),
        convolved.masked_image.without_planes(DETECTED_PLANES),
        fit.kernel,
        None if forward else autocorrelation,
        autocorrelation if forward else None,
    )
    factor = scale_factor(forward, fit.kernel.center_sum, images.normalize)
    made = decorrelate(images.difference, sources, scale=factor**2, threads=settings.threads)
    width = robust_width(made.image, sky_mask(made.image, science.masked_image))
    scale = variance_scale(width) if settings.subtraction.scale_variance else 1.0
    log.info("difference decorrelated: filters of %d pixels, sky width %.3f", made.grid.size, width)
    target_psf = psf_model_of(target)
    return replace(
        images,
        difference=rescaled(made.image, 1.0, scale),
        sky_width=width,
        variance_scale=scale,
        decorrelated=True,
        psf=filtered_psf(target_psf, made),
        target_psf=target_psf,
    )


def psf_model_of(exposure: Exposure) -> Psf | None:
    """The exposure's PSF: its own, else modelled on its stars; None without either.

    Parameters
    ----------
    exposure : Exposure
    """
    if exposure.psf is not None:
        return exposure.psf
    pixels = subtract_background(exposure.masked_image, fit_background(exposure.masked_image))
    measured = measure_psf(exposure, pixels=pixels)
    if measured is None:
        return None
    origin = f"modelled on {measured.n_stars} stars"
    return VaryingPsf.from_model(model_psf(measured, pixels), exposure.shape, origin, exposure.xy0)


def filtered_psf(psf: Psf | None, made: Filtered) -> VaryingPsf | None:
    """A PSF convolved with the filter of each place.

    Parameters
    ----------
    psf : Psf or None
        Before the filter.
    made : Filtered
    """
    from scipy.signal import fftconvolve

    if psf is None:
        return None
    (height, width), (x0, y0) = made.image.shape, made.image.xy0
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, width - 1, NODES), np.linspace(0, height - 1, NODES)))
    images = np.stack(
        [
            fftconvolve(psf.at(px + x0, py + y0), made.filter_at(px + x0, py + y0), mode="same")
            for px, py in zip(x, y, strict=True)
        ]
    )
    images /= images.sum(axis=(1, 2), keepdims=True)
    degree = max(psf.model.degree if isinstance(psf, VaryingPsf) else 0, FILTERED_DEGREE)
    model = polynomial_model(images, x, y, made.image.shape, degree)
    return VaryingPsf.from_model(model, made.image.shape, f"{psf.origin}, decorrelated", made.image.xy0)
