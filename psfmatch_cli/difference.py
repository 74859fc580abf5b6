"""From a fitted kernel to the pixels: convolved image, background, difference."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each, row_bands, sample_step
from psfmatch_cli.convolve import convolve
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure, MaskedImage
from psfmatch_cli.kernel import BackgroundModel
from psfmatch_cli.match import MatchResult
from psfmatch_cli.plan import Plan
from psfmatch_cli.psf import Psf
from psfmatch_cli.settings import Settings
from psfmatch_cli.sky import added, fit_sky
from psfmatch_cli.subtract import join_planes, less_background, rescaled, subtract

log = logging.getLogger(__name__)

Scale = Literal["science", "template"]

#: Planes without which a pixel of the difference is usable.
BAD_PLANES = ("NO_DATA", "SAT", "BAD", "CR", "EDGE")
#: Sky pixels that tell a width to about 1 %.
ENOUGH_SKY = 10_000
#: Pixels of a large image that are looked at for the width: they tell it to 0.1 to 0.2 %.
WIDTH_SAMPLE = 1_000_000
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
    target_psf : Psf or None
        Of the image that was matched to, where it has been asked for already.
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
    target_psf: Psf | None = None


def build_difference(
    plan: Plan,
    fit: MatchResult,
    template: Exposure,
    science: Exposure,
    marked: MaskedImage,
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
        On one grid.
    marked : MaskedImage
        The science pixels with what a search marked: their DETECTED planes are those of the difference. The EDGE
        border of the search stays out: its pixels were not searched, but they are sound.
    autocorrelation : ndarray or None
        Of the template's noise, where it is known not to be white.
    settings : Settings
    """
    forward, threads = plan.direction.convolve_template, settings.threads
    convolved, target = (template, science) if forward else (science, template)
    # Detections of the template, and convolved ones of either image, do not describe the difference.
    matched = convolve(
        convolved.masked_image,
        fit.kernel,
        autocorrelation=autocorrelation if forward else None,
        without=DETECTED_PLANES,
        threads=threads,
    )
    raw = subtract(target.masked_image, matched, fit.background, without=DETECTED_PLANES, threads=threads)
    background = fit.background
    if settings.kernel.fit_for_background and settings.kernel.refine_background:
        sky = _sky(background, raw, marked, settings)
        if sky is not None:
            raw, background = less_background(raw, sky, threads), added(background, sky)
    normalize = settings.subtraction.normalize
    raw = rescaled(raw, scale_factor(forward, fit.kernel.center_sum, normalize))
    raw = _with_science_planes(raw, science.masked_image, marked, forward, threads)
    not_sky = sky_mask(raw, marked, threads)
    width, n_sky = robust_width(raw, not_sky), not_sky.size - int(np.count_nonzero(not_sky))
    scale = variance_scale(width) if settings.subtraction.scale_variance else 1.0
    masked = count_flagged(raw, BAD_PLANES) / raw.image.size
    return Difference(matched, background, rescaled(raw, 1.0, scale), width, n_sky, scale, masked, normalize)


def _sky(
    background: BackgroundModel, raw: MaskedImage, marked: MaskedImage, settings: Settings
) -> BackgroundModel | None:
    """The polynomial through the sky of a difference; None where there is no sky."""
    region, kind, order = background.spatial.region, background.spatial.kind, settings.kernel.spatial_bg_order
    max_order = MAX_SKY_ORDER if order is None else order
    sky = fit_sky(raw, sky_mask(raw, marked, settings.threads), region, kind, max_order, threads=settings.threads)
    return None if sky is None else sky.background


def _with_science_planes(
    raw: MaskedImage, science: MaskedImage, marked: MaskedImage, forward: bool, threads: int
) -> MaskedImage:
    """The difference with the detections, and with what it lacks of the science planes if these were convolved."""
    if not forward:
        raw = join_planes(raw, science, [name for name in science.planes if name not in DETECTED_PLANES], threads)
    return join_planes(raw, marked, DETECTED_PLANES, threads)


def scale_factor(convolve_template: bool, kernel_sum: float, normalize: Scale) -> float:
    """What takes ``target - (convolved + background)`` to science - template on the wanted photometric scale."""
    sign, native = (1.0, "science") if convolve_template else (-1.0, "template")
    return sign if normalize == native else sign / kernel_sum


def with_detections(science: MaskedImage, marked: MaskedImage) -> MaskedImage:
    """The science pixels with the DETECTED planes of `marked`, and nothing else of it."""
    if marked is science:
        return science
    cleared = science.without_planes(DETECTED_PLANES)
    return join_planes(replace(cleared, mask=cleared.mask.copy()), marked, DETECTED_PLANES)


def sky_mask(difference: MaskedImage, science: MaskedImage, threads: int = 1) -> NDArray[np.bool_]:
    """Pixels that are not sky: unusable ones and those of sources, if these leave a third of the image."""
    bad, both = np.empty(difference.shape, bool), np.empty(difference.shape, bool)
    unusable, sources = (np.int32(m.bits(n)) for m, n in ((difference, BAD_PLANES), (science, DETECTED_PLANES)))

    def fill(rows: slice) -> None:
        np.not_equal(difference.mask[rows] & unusable, 0, out=bad[rows])
        np.logical_or(bad[rows], science.mask[rows] & sources, out=both[rows])

    each(fill, row_bands(difference.shape), threads)
    # In a crowded field hardly a pixel is free of stars; subtracted stars are sky, too.
    return both if np.count_nonzero(both) < 0.7 * both.size else bad


def count_flagged(pixels: MaskedImage, names: Iterable[str]) -> int:
    """Number of pixels with any of the named planes."""
    bits = np.int32(pixels.bits(names))
    return sum(np.count_nonzero(pixels.mask[rows] & bits) for rows in row_bands(pixels.shape))


def robust_width(difference: MaskedImage, not_sky: NDArray[np.bool_]) -> float:
    """Robust width of difference / noise on the sky; NaN if there are too few sky pixels to tell.

    Of a large image it is that of a regular sample of the pixels.
    """
    if not_sky.size - np.count_nonzero(not_sky) < ENOUGH_SKY:
        return float("nan")
    step = sample_step(difference.shape, WIDTH_SAMPLE)
    sampled = np.s_[::step, ::step]
    if not_sky[sampled].size - np.count_nonzero(not_sky[sampled]) < ENOUGH_SKY:
        sampled = np.s_[:]
    sky = ~not_sky[sampled]
    z = difference.image[sampled][sky] / np.sqrt(difference.variance[sampled][sky])
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
