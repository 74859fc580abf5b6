"""Background of an image: clipped statistics of bins, and a surface or an interpolation through them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background_bins import Bins, measure_bins
from psfmatch_cli.background_surface import fit_surface, interpolate_bins
from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import FitError, InputError
from psfmatch_cli.exposure import Box, Exposure, MaskedImage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackgroundFit:
    """A background that was fitted to an image.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Background of every pixel, counts.
    kind : {'chebyshev', 'akima_spline', 'natural_spline', 'linear', 'constant', 'median', 'none'}
        How it was made, after reduction to what the bins allow. ``median``: nothing could be fitted, and one number
        is used everywhere.
    n_bins : int
        Bins that took part.
    order : int
        Order of the surface after its reduction; 0 for anything else.
    rms : float
        Median over the bins of the clipped standard deviation: the sky noise of a pixel (and the slope
        of the sky within a bin), counts.
    """

    image: NDArray[np.float32]
    kind: str
    n_bins: int
    order: int
    rms: float


def fit_background(masked_image: MaskedImage, config: BackgroundConfig | None = None) -> BackgroundFit:
    """Background from the clipped means of bins: a Chebyshev surface, or an interpolation.

    What the number of bins does not allow is reduced, as the settings say. If no bin can be used, the median of the
    unmasked pixels stands in, with a warning.

    Parameters
    ----------
    masked_image : MaskedImage
        Not changed.
    config : BackgroundConfig, optional
        Bin size, statistic, order or interpolation, weights and ignored mask planes.

    Raises
    ------
    InputError
        If no pixel is usable.
    FitError
        If there are too few bins and the settings ask for an error then.
    """
    config = config or BackgroundConfig()
    ignored = masked_image.flagged(_telling(masked_image, config.ignored_pixel_mask))
    finite = np.isfinite(masked_image.image)
    good = finite & ~ignored
    if not good.any():
        raise InputError(
            f"no unmasked pixel for the background: all {good.size} pixels are not finite or have one of the planes "
            f"{', '.join(config.ignored_pixel_mask)}; check the mask or change ignored_pixel_mask"
        )
    if config.algorithm == "NONE":
        # The bins are for the sky noise alone: as many as there are will do.
        config = config.model_copy(update={"undersample_style": "REDUCE_INTERP_ORDER"})
    bins = measure_bins(masked_image, good, config, spoilt=None if config.is_nan_safe else ~(finite | ignored))
    rms = bins.typical_std
    if not np.isfinite(rms):  # bins of one pixel each
        rms = clipped_mean_std(masked_image.image[good]).std
    try:
        return _through(bins, rms, masked_image.box, config)
    except FitError as error:
        return _median_background(masked_image, good, rms, error)


def _through(bins: Bins, rms: float, box: Box, config: BackgroundConfig) -> BackgroundFit:
    """The background that the settings ask for, through the bins."""
    n_bins = int(np.isfinite(bins.value).sum())
    if config.algorithm == "NONE":
        return BackgroundFit(np.zeros((box.height, box.width), np.float32), "none", n_bins, 0, rms)
    if config.use_approx:
        model, n_bins = fit_surface(bins, box, config)
        return BackgroundFit(model.image(box), "chebyshev", n_bins, model.spatial.order, rms)
    image, style = interpolate_bins(bins, box, config.algorithm)
    return BackgroundFit(image, style.lower(), n_bins, 0, rms)


def _telling(masked_image: MaskedImage, planes: Iterable[str]) -> list[str]:
    """The planes without BAD where no variance is known: all pixels are BAD then, which says nothing about them."""
    return [name for name in planes if name != "BAD" or variance_is_known(masked_image)]


def variance_is_known(masked_image: MaskedImage) -> bool:
    """Whether the variance plane holds any positive, finite value."""
    variance = masked_image.variance
    # A sparse look settles nearly every image; only a plane that seems empty is read whole.
    return any(bool(((part > 0) & (part < np.inf)).any()) for part in (variance[::16, ::16], variance))


def _median_background(
    masked_image: MaskedImage, good: NDArray[np.bool_], rms: float, reason: FitError
) -> BackgroundFit:
    """The median of the pixels without any mask bit; of the usable ones where a bit is on everything."""
    clean = np.isfinite(masked_image.image) & (masked_image.mask == 0)
    level = float(np.median(masked_image.image[clean if clean.any() else good]))
    log.warning("background: no surface could be fitted (%s); the median %.6g is used everywhere", reason, level)
    return BackgroundFit(np.full(masked_image.shape, level, np.float32), "median", 0, 0, rms)


@dataclass(frozen=True)
class SkyPixels:
    """Pixels above the background, free of values that would spoil a sum.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Image minus background; 0 where bad.
    variance : ndarray, (H, W), float32
        From the variance plane, or the squared sky noise where that plane is unknown; 0 where bad.
    bad : ndarray, (H, W), bool
        Not finite, NO_DATA, or BAD or CR without an interpolated value.
    background : BackgroundFit
        What was subtracted.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    bad: NDArray[np.bool_]
    background: BackgroundFit


def subtract_background(masked_image: MaskedImage, background: BackgroundFit) -> SkyPixels:
    """A copy of the pixels without background and without bad values; the input is not changed."""
    known = variance_is_known(masked_image)
    bad = masked_image.unusable(["BAD", "CR", "NO_DATA"] if known else ["CR", "NO_DATA"])
    bad |= ~np.isfinite(masked_image.image)
    image = masked_image.image - background.image
    image[bad] = 0.0
    if known:
        variance = masked_image.variance.copy()
        # An interpolated BAD pixel may come with a variance that is no number; it adds no noise then.
        variance[bad | ~((variance > 0) & (variance < np.inf))] = 0.0
    else:
        variance = np.full(masked_image.shape, background.rms**2, np.float32)
        variance[bad] = 0.0
    return SkyPixels(image, variance, bad, background)


def without_background(exposure: Exposure, config: BackgroundConfig) -> Exposure:
    """The exposure minus its own background model; mask and variance stay as they are."""
    masked_image = exposure.masked_image
    image = masked_image.image - fit_background(masked_image, config).image
    return exposure.with_pixels(replace(masked_image, image=image))
