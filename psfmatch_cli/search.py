"""The search: which pixels of an exposure are above the threshold, and where their peaks are.

The image is smoothed with a Gaussian as wide as the PSF; a pixel belongs to a footprint where the
smoothed image reaches the threshold. The variance is smoothed with the squared kernel, so that the
threshold is in units of the noise of the smoothed image (white noise of variance v becomes
v / (4 pi sigma^2)). Negative sources are the positive ones of the inverted image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import BackgroundFit, SkyPixels, fit_background, subtract_background
from psfmatch_cli.config import BackgroundConfig, DetectionConfig
from psfmatch_cli.errors import InputError, MissingPsfError, UsageError
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure, MaskedImage
from psfmatch_cli.extract import extract_peaks, one_of_each, refind_peaks
from psfmatch_cli.peaks import Peaks, grow, make_peaks, number_footprints
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf, moffat_psf
from psfmatch_cli.psf_measure import measure_psf
from psfmatch_cli.threshold import Smoothed, Threshold, set_threshold, smooth_pixels
from psfmatch_cli.widths import FWHM_LIMITS, is_width

log = logging.getLogger(__name__)

#: Signs of the sources that a polarity means.
SIGNS = {"positive": (1,), "negative": (-1,), "both": (1, -1)}


@dataclass(frozen=True)
class Found:
    """Peaks of one sign.

    Parameters
    ----------
    sign : int
        1, or -1: then `peaks` are those of the inverted image.
    peaks : Peaks
    segments : ndarray, (H, W), int32
        Number of the peak that a pixel above the threshold belongs to; 0 for none.
    footprints : ndarray, (H, W), bool
        Pixels of the grown footprints.
    """

    sign: int
    peaks: Peaks
    segments: NDArray[np.int32]
    footprints: NDArray[np.bool_]


@dataclass(frozen=True)
class Search:
    """What a search found, and what it is to be measured on.

    Parameters
    ----------
    found : tuple of Found
        One per sign that was searched for.
    pixels : SkyPixels
        Pixels above the background, for the measurement.
    edge : ndarray, (H, W), bool
        Border that the smoothing kernel does not fit into, hence not searched.
    sigma : float
        Gaussian sigma of the PSF, pixels.
    psf : Psf or None
        The exposure's PSF, or what was measured from its stars; None if only `sigma` is known.
    n_grow : int
        Growth of the footprints, pixels.
    metadata : dict
        How it was done: sigma, kernel width, threshold, growth, background.
    """

    found: tuple[Found, ...]
    pixels: SkyPixels
    edge: NDArray[np.bool_]
    sigma: float
    psf: Psf | None
    n_grow: int
    metadata: dict[str, Any]

    def footprints(self, sign: int) -> NDArray[np.bool_]:
        """Pixels of the grown footprints of one sign, (H, W)."""
        for found in self.found:
            if found.sign == sign:
                return found.footprints
        return np.zeros(self.edge.shape, bool)


def search(
    exposure: Exposure,
    background: BackgroundFit,
    config: DetectionConfig,
    *,
    psf_sigma: float | None = None,
    smooth: bool = True,
    fit_local: Callable[[MaskedImage], BackgroundFit] | None = None,
) -> Search:
    """Search an exposure for sources.

    Parameters
    ----------
    exposure : Exposure
        Not changed.
    background : BackgroundFit
        Its background.
    config : DetectionConfig
        Threshold, growth, deblending, further backgrounds.
    psf_sigma : float, optional
        Gaussian sigma of the PSF, pixels. Default: that of the exposure's PSF, else of its stars.
    smooth : bool
        Smooth with the PSF before the search.
    fit_local : callable, optional
        Fits the temporary local background; default: `fit_background` with its settings.

    Raises
    ------
    InputError, UsageError
        As `psfmatch_cli.detect.detect`.
    """
    masked_image = exposure.masked_image.without_planes(DETECTED_PLANES)
    background = _adjusted(background, config)
    pixels = subtract_background(masked_image, background)
    sigma, origin, psf = _width_of_psf(exposure, psf_sigma, pixels)
    seen = _without_wide_background(masked_image, pixels, config)
    smoothed = smooth_pixels(masked_image, seen, sigma if smooth else None, config)
    threshold = set_threshold(masked_image, smoothed, config)
    local = _local_background(masked_image, seen, fit_local, config)
    n_grow = int(config.n_sigma_to_grow * sigma + 0.5)
    # A Gaussian smoothed with itself has twice the area.
    seeker = _Seeker(masked_image, config, n_grow, star_area=2.0 * np.pi * sigma**2 * (2.0 if smooth else 1.0))
    found = tuple(seeker.find(sign, smoothed, threshold, local) for sign in SIGNS[config.threshold_polarity])
    if config.re_estimate_background:
        pixels = subtract_background(masked_image, _re_estimated(masked_image, background, found, config))
    width = {"smoothingKernelWidth": smoothed.width, "nGrow": n_grow, "thresholdType": threshold.kind}
    metadata = {"doSmooth": smooth, "sigma": sigma, "sigmaOrigin": origin, **width, **_described(config, pixels)}
    return Search(found, pixels, smoothed.edge, sigma, psf, n_grow, metadata)


def _described(config: DetectionConfig, pixels: SkyPixels) -> dict[str, Any]:
    """Items of the metadata that say how the search was set up, and above what the sources are measured."""
    return {
        "threshold": config.threshold_value,
        "thresholdPolarity": config.threshold_polarity,
        "deblend": config.deblend,
        "backgroundKind": pixels.background.kind,
        "backgroundOrder": pixels.background.order,
        "skyNoise": pixels.background.rms,
    }


@dataclass(frozen=True)
class _Seeker:
    """What is the same for both signs."""

    masked_image: MaskedImage
    config: DetectionConfig
    n_grow: int
    star_area: float

    def find(self, sign: int, smoothed: Smoothed, threshold: Threshold, local: NDArray[np.float32] | None) -> Found:
        """Peaks of one sign in the smoothed image, those of complex footprints above the local background."""
        if sign < 0:
            smoothed, local = smoothed.inverted, None if local is None else -local
        config = self.config
        objects, segments = extract_peaks(
            smoothed.image, threshold.level, threshold.pixel_noise, config, self.star_area
        )
        above = segments > 0
        if local is not None and len(objects):
            objects, segments = self._refind((objects, segments), smoothed, smoothed.above(local))
        grown = grow(above, self.n_grow, isotropic=config.isotropic_grow)
        labels, boxes = number_footprints(above, grown, self.n_grow, config)
        if not config.deblend:
            objects, segments = one_of_each(objects, above, labels)
        return Found(sign, make_peaks(objects, labels, boxes, smoothed, threshold), segments, grown)

    def _refind(
        self, found: tuple[NDArray[np.void], NDArray[np.int32]], smoothed: Smoothed, above_local: Smoothed
    ) -> tuple[NDArray[np.void], NDArray[np.int32]]:
        threshold = set_threshold(self.masked_image, above_local, self.config)
        return refind_peaks(
            found,
            smoothed.image,
            above_local.image,
            threshold.level,
            threshold.pixel_noise,
            self.config,
            self.star_area,
        )


def _width_of_psf(exposure: Exposure, given: float | None, pixels: SkyPixels) -> tuple[float, str, Psf | None]:
    """Gaussian sigma of the PSF, where it came from, and the PSF if more than its width is known."""
    if given is not None:
        if not is_width(given * FWHM_PER_SIGMA):
            low, high = (f"{limit / FWHM_PER_SIGMA:.3g}" for limit in FWHM_LIMITS)
            raise UsageError(f"psf_sigma must be a number of pixels from {low} to {high}, got {given}")
        return float(given), "given", exposure.psf
    if exposure.psf is not None:
        return exposure.psf.checked().sigma, exposure.psf.origin, exposure.psf
    measured = measure_psf(exposure, pixels=pixels)
    if measured is None:
        raise MissingPsfError(
            f"{exposure.name}: no PSF is known and no star was found to measure it; give its width "
            "(--psf-fwhm, or --science-fwhm in a subtraction)"
        )
    return measured.sigma, measured.origin, moffat_psf(measured.fwhm, measured.beta, measured.origin)


# Backgrounds beside the main one


def _adjusted(background: BackgroundFit, config: DetectionConfig) -> BackgroundFit:
    """The background with the counts added that the settings ask for."""
    if config.adjust_background == 0:
        return background
    log.warning("%g counts are added to the background (adjust_background)", config.adjust_background)
    return replace(background, image=background.image + np.float32(config.adjust_background))


def _above(masked_image: MaskedImage, pixels: SkyPixels) -> MaskedImage:
    """The masked image with its pixels above the background; those without a value still have none."""
    return replace(masked_image, image=np.where(np.isfinite(masked_image.image), pixels.image, np.float32(np.nan)))


def _without_wide_background(masked_image: MaskedImage, pixels: SkyPixels, config: DetectionConfig) -> SkyPixels:
    """The pixels to search: above a large-scale background, too, if the settings ask for one."""
    if not config.do_temp_wide_background:
        return pixels
    wide = _temporary(masked_image, pixels, config.temp_wide_background)
    return replace(pixels, image=np.where(pixels.bad, np.float32(0), pixels.image - wide.image))


def _local_background(
    masked_image: MaskedImage,
    pixels: SkyPixels,
    fit: Callable[[MaskedImage], BackgroundFit] | None,
    config: DetectionConfig,
) -> NDArray[np.float32] | None:
    """Small-scale background of the pixels that are searched, (H, W); None if the settings ask for none."""
    if not config.do_temp_local_background:
        return None
    if fit is None:
        return _temporary(masked_image, pixels, config.temp_local_background).image
    return fit(_above(masked_image, pixels)).image


def _temporary(masked_image: MaskedImage, pixels: SkyPixels, config: BackgroundConfig) -> BackgroundFit:
    return fit_background(_above(masked_image, pixels), config)


def _re_estimated(
    masked_image: MaskedImage, background: BackgroundFit, found: tuple[Found, ...], config: DetectionConfig
) -> BackgroundFit:
    """The background fitted again, now without the footprints; the old one where these cover everything."""
    marked = masked_image.with_planes(["DETECTED"])
    mask = marked.mask.copy()
    for one in found:
        mask[one.footprints] |= marked.bits(["DETECTED"])
    try:
        return _adjusted(fit_background(replace(marked, mask=mask), config.background), config)
    except InputError as error:
        log.warning("the background is not estimated again: %s", error)
        return background
