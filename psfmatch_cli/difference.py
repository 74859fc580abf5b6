"""From a fitted kernel to the pixels: convolved image, background, difference."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.convolve import convolve
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure, MaskedImage, remap_mask
from psfmatch_cli.kernel import BackgroundModel
from psfmatch_cli.match import MatchResult
from psfmatch_cli.plan import Plan
from psfmatch_cli.psf import Psf
from psfmatch_cli.settings import Settings
from psfmatch_cli.sky import added, fit_sky
from psfmatch_cli.subtract import rescaled, subtract

log = logging.getLogger(__name__)

Scale = Literal["science", "template"]

#: Planes without which a pixel of the difference is usable.
BAD_PLANES = ("NO_DATA", "SAT", "BAD", "CR", "EDGE")
#: Sky pixels that tell a width to about 1 %.
ENOUGH_SKY = 10_000
#: Widths of the sky, in units of the predicted noise, that are mended, and the deviation that is worth it.
WIDTH_LIMITS, WIDTH_TOLERANCE = (0.7, 1.4), 0.01
#: Highest order of the polynomial through the sky of the difference.
MAX_SKY_ORDER = 6


@dataclass(frozen=True)
class Difference:
    """What a kernel makes of two exposures.

    Parameters
    ----------
    matched : MaskedImage
        The convolved image.
    background : BackgroundModel
        Of the fit, refined on the sky.
    difference : MaskedImage
        On the photometric scale of `normalize`.
    sky_width : float
        Robust width of difference / noise on the sky, the noise as it follows from the inputs' variances; NaN where
        fewer than `ENOUGH_SKY` pixels are sky.
    n_sky : int
        Sky pixels.
    variance_scale : float
        What the variance of the difference was multiplied by, so that it is true of the sky.
    masked_fraction : float
        Fraction of the pixels that are not usable.
    normalize : {'science', 'template'}
        Image whose photometric scale the difference has.
    decorrelated : bool
        Whether the difference was filtered so that its noise is white.
    psf : Psf or None
        Of the difference, where it is not that of the image that was matched to.
    """

    matched: MaskedImage
    background: BackgroundModel
    difference: MaskedImage
    sky_width: float
    n_sky: int
    variance_scale: float
    masked_fraction: float
    normalize: Scale
    decorrelated: bool = False
    psf: Psf | None = None


def build_difference(
    plan: Plan,
    fit: MatchResult,
    template: Exposure,
    science: Exposure,
    autocorrelation: NDArray[np.float64] | None,
    settings: Settings,
) -> Difference:
    """Convolve, refine the background on the sky, subtract, bring to the photometric scale that is wanted.

    With T, S, K, b for template, science image, kernel and background, and k for the kernel sum at the centre of the
    region (upstream of spring 2023 takes it at the pixel (0, 0), an extrapolation where the kernel sum varies):

    ================  =============================  ============================  ================
    convolved         difference, in science counts  in template counts            variance, before
    ================  =============================  ============================  ================
    template          ``S - (T*K + b)``              ``(S - (T*K + b)) / k``       ``V_S + V_T*K^2``
    science           ``(S*K + b - T) / k``          ``S*K + b - T``               ``V_T + V_S*K^2``
    ================  =============================  ============================  ================

    A source that is new in the science image is positive in all of them.

    Parameters
    ----------
    plan, fit : Plan, MatchResult
    template, science : Exposure
        On one grid; the science mask may have DETECTED.
    autocorrelation : ndarray or None
        Of the template's noise, where it is known not to be white.
    settings : Settings
    """
    forward = plan.direction.convolve_template
    # Detections of the template, and convolved ones of either image, do not describe the difference.
    carried, target = template.masked_image.without_planes(DETECTED_PLANES), science.masked_image
    if not forward:
        carried, target = science.masked_image.without_planes(DETECTED_PLANES), carried
    matched = convolve(
        carried, fit.kernel, autocorrelation=autocorrelation if forward else None, threads=settings.threads
    )
    raw = subtract(target, matched, fit.background)
    background = fit.background
    if settings.kernel.fit_for_background and settings.kernel.refine_background:
        background = _refined(fit.background, raw, science.masked_image, settings.kernel.spatial_bg_order)
        raw = subtract(target, matched, background)
    normalize = settings.subtraction.normalize
    factor = scale_factor(forward, fit.kernel.center_sum, normalize)
    if factor != 1.0:
        raw = rescaled(raw, factor)
    if not forward:
        raw = replace(raw, mask=raw.mask | with_same_planes(science.masked_image, raw))
    masked = float(raw.flagged(BAD_PLANES).mean())
    not_sky = sky_mask(raw, science.masked_image)
    width, n_sky = robust_width(raw, not_sky), int(np.count_nonzero(~not_sky))
    scale = variance_scale(width) if settings.subtraction.scale_variance else 1.0
    return Difference(matched, background, with_variance_scaled(raw, scale), width, n_sky, scale, masked, normalize)


def _refined(
    background: BackgroundModel, raw: MaskedImage, science: MaskedImage, max_order: int | None
) -> BackgroundModel:
    """The background plus the polynomial through the sky of a difference; as it is where there is no sky."""
    region, kind = background.spatial.region, background.spatial.kind
    sky = fit_sky(raw, sky_mask(raw, science), region, kind, MAX_SKY_ORDER if max_order is None else max_order)
    return background if sky is None else added(background, sky.background)


def scale_factor(convolve_template: bool, kernel_sum: float, normalize: Scale) -> float:
    """What takes ``target - (convolved + background)`` to science - template on the wanted photometric scale."""
    sign, native = (1.0, "science") if convolve_template else (-1.0, "template")
    return sign if normalize == native else sign / kernel_sum


def with_same_planes(image: MaskedImage, other: MaskedImage) -> NDArray[np.int32]:
    """Mask of `image` in the bits of `other`, which has all its planes."""
    return remap_mask(image.mask, image.planes, dict(other.planes))


def with_detections(science: MaskedImage, marked: MaskedImage) -> MaskedImage:
    """The science pixels with the DETECTED planes of `marked`.

    The EDGE border that the search marks stays out: those pixels were not searched, but they are sound.
    """
    if marked is science:
        return science
    science = science.with_planes(DETECTED_PLANES).without_planes(DETECTED_PLANES)
    mask = science.mask.copy()
    for name in DETECTED_PLANES:
        mask[marked.flagged([name])] |= science.bits([name])
    return replace(science, mask=mask)


def sky_mask(difference: MaskedImage, science: MaskedImage) -> NDArray[np.bool_]:
    """Pixels that are not sky: unusable ones and those of sources, if these leave a third of the image."""
    bad = difference.flagged(BAD_PLANES)
    sources = science.flagged(DETECTED_PLANES)
    # In a crowded field hardly a pixel is free of stars; subtracted stars are sky, too.
    return bad | sources if np.count_nonzero(~(bad | sources)) > 0.3 * bad.size else bad


def robust_width(difference: MaskedImage, not_sky: NDArray[np.bool_]) -> float:
    """Robust width of difference / noise on the sky; NaN if there are too few sky pixels to tell."""
    sky = ~not_sky
    if np.count_nonzero(sky) < ENOUGH_SKY:
        return float("nan")
    z = difference.image[sky] / np.sqrt(difference.variance[sky])
    return float(1.4826 * np.median(np.abs(z - np.median(z))))


def variance_scale(width: float) -> float:
    """Factor that makes the variance true of the sky, 1 where it is or where it is too far off to be mended.

    Drizzled or interpolated inputs have correlated noise, gains and noise files are off by some percent: no
    variance plane that is only propagated tells the noise of the difference. What is far off has another cause.
    """
    if not np.isfinite(width):
        return 1.0
    if not WIDTH_LIMITS[0] <= width <= WIDTH_LIMITS[1]:
        log.warning(
            "the sky of the difference is %.2f times as noisy as the variances of the inputs say: are gain, noise or "
            "weight files right, and do the images match? The variance is left as it is",
            width,
        )
        return 1.0
    if abs(width - 1) < WIDTH_TOLERANCE:
        return 1.0
    log.info("variance of the difference scaled by %.3f: its sky noise is %.3f of the predicted", width**2, width)
    return width**2


def with_variance_scaled(difference: MaskedImage, factor: float) -> MaskedImage:
    """The difference with its variance times a factor."""
    if factor == 1.0:
        return difference
    return replace(difference, variance=difference.variance * np.float32(factor))
