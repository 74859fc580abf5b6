"""The image that is searched, and the threshold of the search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels, variance_is_known
from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.config import DetectionConfig
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.smoothing import convolve_separable, smoothing_profile

#: Pixels that the clipped standard deviation of an image is taken from: good to 0.1 %.
STATISTICS_PIXELS = 1 << 20


@dataclass(frozen=True)
class Smoothed:
    """The image that is searched.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Smoothed counts; 0 where not to be searched.
    noise : ndarray, (H, W), float32
        Their noise, counts.
    searched, edge : ndarray, (H, W), bool
        Where to search; border that the smoothing kernel does not fit into.
    width : int
        Full width of the kernel, pixels; 1 without smoothing.
    """

    image: NDArray[np.float32]
    noise: NDArray[np.float32]
    searched: NDArray[np.bool_]
    edge: NDArray[np.bool_]
    width: int

    @property
    def inverted(self) -> Smoothed:
        """The same with what is dark bright."""
        return replace(self, image=-self.image)

    def above(self, background: NDArray[np.float32]) -> Smoothed:
        """The same above a background, (H, W), counts."""
        return replace(self, image=np.where(self.searched, self.image - background, np.float32(0)))


@dataclass(frozen=True)
class Threshold:
    """Level and noise of the smoothed image: one number, or one per pixel.

    Parameters
    ----------
    kind : {'pixel_stdev', 'stdev', 'variance', 'value'}
    level : float
        In units of the noise of a pixel for ``pixel_stdev``, else counts.
    noise : ndarray, (H, W), float32, or float
        Counts.
    """

    kind: str
    level: float
    noise: NDArray[np.float32] | float

    @property
    def pixel_noise(self) -> NDArray[np.float32] | None:
        """Noise of each pixel where `level` is in its units, else None."""
        return self.noise if self.kind == "pixel_stdev" else None

    def noise_at(self, x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.float64]:
        """Noise of pixels, counts."""
        return np.full(len(x), self.noise) if self.pixel_noise is None else self.pixel_noise[y, x].astype(np.float64)


def smooth_pixels(
    masked_image: MaskedImage, pixels: SkyPixels, sigma: float | None, config: DetectionConfig
) -> Smoothed:
    """Image and noise smoothed with a Gaussian (`sigma` None: as they are), with the pixels to search.

    Raises
    ------
    InputError
        If the image is smaller than the smoothing kernel.
    """
    image, variance, width = pixels.image, pixels.variance, 1
    if sigma is not None:
        profile = smoothing_profile(sigma, config.n_sigma_for_kernel)
        width = len(profile)
        if width > min(masked_image.shape):
            raise InputError(
                f"an image of shape {masked_image.shape} is smaller than the smoothing kernel of {width} pixels "
                f"(sigma {sigma:.3g} px); give its width (--psf-fwhm), or switch smoothing off"
            )
        image = convolve_separable(image, profile)
        variance = convolve_separable(variance, profile**2)
    edge = np.ones(masked_image.shape, bool)
    border = width // 2
    edge[border : edge.shape[0] - border, border : edge.shape[1] - border] = False
    noise = np.sqrt(variance)
    searched = ~(edge | pixels.bad | masked_image.flagged(config.exclude_mask_planes))
    if variance_is_known(masked_image):
        # Interpolated pixels may have no variance; where the kernel sees nothing else, no threshold can be set.
        searched &= noise > 0
    return Smoothed(np.where(searched, image, np.float32(0)), noise, searched, edge, width)


def set_threshold(masked_image: MaskedImage, smoothed: Smoothed, config: DetectionConfig) -> Threshold:
    """Threshold of the wanted type; ``auto`` asks whether the noise of a pixel is known.

    Raises
    ------
    InputError
        If the type needs a variance plane that is not known, or a scatter of the image and there is none.
    """
    kind, value = config.threshold_type, config.threshold_value
    known = variance_is_known(masked_image)
    if kind == "auto":
        kind = "pixel_stdev" if known else "stdev"
    if kind == "pixel_stdev":
        if not known:
            raise InputError("threshold_type pixel_stdev needs a variance plane, and none is known; use stdev")
        return Threshold(kind, value, smoothed.noise)
    ignored = [name for name in config.stats_mask if name != "BAD" or known]
    values = smoothed.image[smoothed.searched & ~masked_image.flagged(ignored)]
    if not values.size:
        raise InputError(f"no unmasked pixel for the detection threshold: all have one of {', '.join(ignored)}")
    std = clipped_mean_std(values[:: -(-len(values) // STATISTICS_PIXELS)]).std
    if not std > 0 and kind != "value":
        raise InputError(
            f"the image to search has no noise (clipped standard deviation {std:g}), so {kind} sets no threshold; "
            "give a variance plane or threshold_type value"
        )
    level = {"stdev": value * std, "variance": value * std**2, "value": value}[kind]
    return Threshold(kind, level, std)
