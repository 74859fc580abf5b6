"""Detection of sources: background, smoothing with the PSF, threshold, peaks, footprints.

The image is smoothed with a Gaussian as wide as the PSF; a pixel belongs to a footprint where the
smoothed image reaches the threshold. The variance is smoothed with the squared kernel, so that the
threshold is in units of the noise of the smoothed image (white noise of variance v becomes
v / (4 pi sigma^2)). Every peak of a footprint is a row of the table: with deblending off a footprint is
one source, but then a crowded field is a handful of sources.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import (
    BackgroundFit,
    SkyPixels,
    clipped_mean_std,
    fit_background,
    subtract_background,
    variance_is_known,
)
from psfmatch_cli.config import DetectionConfig
from psfmatch_cli.errors import InputError, MissingPsfError, UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.extract import extract_peaks
from psfmatch_cli.measure import Peaks, measure_sources
from psfmatch_cli.psf_measure import measure_psf
from psfmatch_cli.smoothing import convolve_separable, smoothing_profile

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Pixels that the clipped standard deviation of an image is taken from: good to 0.1 %.
STATISTICS_PIXELS = 1 << 20


@dataclass(frozen=True)
class Detection:
    """What was found in an exposure.

    Parameters
    ----------
    sources : astropy.table.Table
        One row per peak; the columns are described in `psfmatch_cli.measure`.
    footprints : ndarray, (H, W), bool
        Pixels of the grown footprints.
    edge : ndarray, (H, W), bool
        Border that the smoothing kernel does not fit into, hence not searched.
    background : ndarray, (H, W), float32
        Background that was subtracted before the search, counts.
    metadata : dict
        How it was done: sigma, kernel width, threshold, growth, background.
    """

    sources: Table
    footprints: NDArray[np.bool_]
    edge: NDArray[np.bool_]
    background: NDArray[np.float32]
    metadata: dict[str, Any]

    def mark(self, masked_image: MaskedImage) -> MaskedImage:
        """The masked image with DETECTED set on the footprints (and nowhere else) and EDGE added.

        Raises
        ------
        InputError
            If its shape is not that of the exposure that was searched.
        """
        if masked_image.shape != self.footprints.shape:
            raise InputError(f"the detection is of shape {self.footprints.shape}, the image {masked_image.shape}")
        out = masked_image.with_planes(["EDGE", "DETECTED", "DETECTED_NEGATIVE"])
        mask = out.mask & ~out.bits(["DETECTED", "DETECTED_NEGATIVE"])
        mask[self.footprints] |= out.bits(["DETECTED"])
        mask[self.edge] |= out.bits(["EDGE"])
        return replace(out, mask=mask)


@dataclass(frozen=True)
class _Smoothed:
    """The image that is searched: counts, their noise, and where to search."""

    image: NDArray[np.float32]
    noise: NDArray[np.float32]
    searched: NDArray[np.bool_]
    edge: NDArray[np.bool_]
    width: int


@dataclass(frozen=True)
class _Threshold:
    """Level and noise of the smoothed image: one number, or one per pixel."""

    kind: str
    level: float
    noise: NDArray[np.float32] | float

    @property
    def per_pixel(self) -> bool:
        return self.kind == "pixel_stdev"


def detect(
    exposure: Exposure,
    config: DetectionConfig | None = None,
    *,
    psf_sigma: float | None = None,
    smooth: bool = True,
    background: BackgroundFit | None = None,
) -> Detection:
    """Find and measure the positive sources of an exposure.

    Parameters
    ----------
    exposure : Exposure
        Not changed.
    config : DetectionConfig, optional
        Threshold, growth, deblending, background.
    psf_sigma : float, optional
        Gaussian sigma of the PSF, pixels. Default: that of the exposure's PSF, else of its stars.
    smooth : bool
        Smooth with the PSF before the search.
    background : BackgroundFit, optional
        Background of this exposure, where it has been fitted already.

    Raises
    ------
    InputError
        If no pixel is usable, no width of the PSF is found, or the image is smaller than the smoothing kernel.
    UsageError
        If `psf_sigma` is not positive.
    """
    config = config or DetectionConfig()
    masked_image = exposure.masked_image
    background = background or fit_background(masked_image, config.background)
    pixels = subtract_background(masked_image, background)
    sigma, origin = _psf_sigma(exposure, psf_sigma, pixels)
    smoothed = _smooth(masked_image, pixels, sigma if smooth else None, config)
    threshold = _threshold(masked_image, smoothed, config)
    star_area = 2.0 * np.pi * sigma**2 * (2.0 if smooth else 1.0)
    noise = threshold.noise if threshold.per_pixel else None
    objects, segments = extract_peaks(smoothed.image, threshold.level, noise, config, star_area)
    n_grow = int(config.n_sigma_to_grow * sigma + 0.5)
    footprints = _grow(segments > 0, n_grow)
    peaks = _peaks(objects, footprints, smoothed, threshold)
    sources = without_repeats(measure_sources(exposure, pixels, peaks, segments, sigma=sigma, n_grow=n_grow))
    metadata = {
        "doSmooth": smooth,
        "sigma": sigma,
        "sigmaOrigin": origin,
        "smoothingKernelWidth": smoothed.width,
        "nGrow": n_grow,
        "threshold": config.threshold_value,
        "thresholdType": threshold.kind,
        "deblend": config.deblend,
        "backgroundKind": background.kind,
        "backgroundOrder": background.order,
        "skyNoise": background.rms,
    }
    sources.meta.update(metadata)
    _log_result(exposure.name, sources, metadata)
    return Detection(sources, footprints, smoothed.edge, background.image, metadata)


def without_repeats(sources: Table) -> Table:
    """The sources without those whose centroid fell on a more significant one's, within half a pixel.

    A bad column through a star can split it in two peaks, whose centroids then both go to the star.
    """
    from scipy.spatial import cKDTree

    if len(sources) < 2:
        return sources
    positions = np.column_stack([np.asarray(sources["x"]), np.asarray(sources["y"])])
    # A source without a centroid is near no other.
    lost = ~np.isfinite(positions).all(axis=1)
    positions[lost] = -1e9 - 10.0 * np.arange(np.count_nonzero(lost))[:, None]
    tree = cKDTree(positions)
    significance = np.asarray(sources["significance"])
    keep = np.ones(len(sources), bool)
    for one, other in tree.query_pairs(0.5):
        keep[one if significance[one] < significance[other] else other] = False
    if keep.all():
        return sources
    kept = sources[keep]
    kept["id"] = np.arange(1, len(kept) + 1)
    return kept


def _log_result(name: str, sources: Table, metadata: dict[str, Any]) -> None:
    counts = f"{len(sources)} sources in {len(set(sources['footprint']))} footprints"
    limit = f"threshold {metadata['threshold']:g} ({metadata['thresholdType']})"
    log.info(
        "detection on %s: %s, %s, sigma %.3f px (%s)", name, counts, limit, metadata["sigma"], metadata["sigmaOrigin"]
    )


def _psf_sigma(exposure: Exposure, given: float | None, pixels: SkyPixels) -> tuple[float, str]:
    """Gaussian sigma of the PSF, and where it came from."""
    if given is not None:
        if not 0 < given < np.inf:
            raise UsageError(f"psf_sigma must be a positive number of pixels, got {given}")
        return float(given), "given"
    if exposure.psf is not None:
        return exposure.psf.sigma, exposure.psf.origin
    measured = measure_psf(exposure, pixels=pixels)
    if measured is None:
        raise MissingPsfError(
            f"{exposure.name}: no PSF is known and no star was found to measure it; give its width "
            "(--psf-fwhm, or --science-fwhm in a subtraction)"
        )
    return measured.sigma, measured.origin


def _smooth(masked_image: MaskedImage, pixels: SkyPixels, sigma: float | None, config: DetectionConfig) -> _Smoothed:
    """Smoothed image and noise (`sigma` None: as they are), with the border and the pixels to search."""
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
    return _Smoothed(np.where(searched, image, np.float32(0)), noise, searched, edge, width)


def _threshold(masked_image: MaskedImage, smoothed: _Smoothed, config: DetectionConfig) -> _Threshold:
    """Threshold of the wanted type; ``auto`` asks whether the noise of a pixel is known."""
    kind, value = config.threshold_type, config.threshold_value
    known = variance_is_known(masked_image)
    if kind == "auto":
        kind = "pixel_stdev" if known else "stdev"
    if kind == "pixel_stdev":
        if not known:
            raise InputError("threshold_type pixel_stdev needs a variance plane, and none is known; use stdev")
        return _Threshold(kind, value, smoothed.noise)
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
    return _Threshold(kind, level, std)


def _grow(footprints: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Footprints with all pixels within n steps along rows and columns (Manhattan distance) added."""
    grown = footprints
    for _ in range(n):
        inner, grown = grown, grown.copy()
        grown[1:] |= inner[:-1]
        grown[:-1] |= inner[1:]
        grown[:, 1:] |= inner[:, :-1]
        grown[:, :-1] |= inner[:, 1:]
    return grown


def _peaks(
    objects: NDArray[np.void], footprints: NDArray[np.bool_], smoothed: _Smoothed, threshold: _Threshold
) -> Peaks:
    """Peaks ordered by footprint, in each the brightest first, with the box of the merged footprint."""
    from scipy import ndimage

    labels, n_labels = ndimage.label(footprints, structure=np.ones((3, 3), int))
    x, y = objects["xpeak"].astype(np.intp), objects["ypeak"].astype(np.intp)
    label = labels[y, x]
    order = np.lexsort((-objects["peak"], label))
    boxes = np.array(
        [(c.start, r.start, c.stop - 1, r.stop - 1) for r, c in ndimage.find_objects(labels, n_labels)], int
    ).reshape(-1, 4)
    value = objects["peak"].astype(np.float64)
    noise = threshold.noise[y, x] if threshold.per_pixel else np.full(len(value), threshold.noise)
    fields = {
        "x": x,
        "y": y,
        "value": value,
        "significance": np.divide(value, noise, out=np.full(len(value), np.inf), where=noise > 0),
        "n_pixels": objects["npix"].astype(np.int64),
        "segment": np.arange(1, len(objects) + 1),
        "size": np.maximum(objects["a"], 0.0),
        "footprint": label,
        "box": boxes[label - 1],
    }
    return Peaks(
        smoothed=smoothed.image, border=smoothed.width // 2, **{name: column[order] for name, column in fields.items()}
    )
