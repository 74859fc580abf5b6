"""Detection of sources: background, search, measurement.

Every peak of a footprint is a row of the table: with deblending off a footprint is one source, but then a
crowded field is a handful of sources.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import BackgroundFit, fit_background
from psfmatch_cli.config import DetectionConfig
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure, MaskedImage
from psfmatch_cli.measure import measure_sources
from psfmatch_cli.search import Search, search

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detection:
    """What was found in an exposure.

    Parameters
    ----------
    sources : astropy.table.Table
        One row per peak; the columns are described in `psfmatch_cli.measure`.
    footprints, negative_footprints : ndarray, (H, W), bool
        Pixels of the grown footprints of sources brighter and darker than the sky.
    edge : ndarray, (H, W), bool
        Border that the smoothing kernel does not fit into, hence not searched.
    background : ndarray, (H, W), float32
        Background above which the sources were measured, counts.
    metadata : dict
        How it was done: sigma, kernel width, threshold, growth, background.
    """

    sources: Table
    footprints: NDArray[np.bool_]
    negative_footprints: NDArray[np.bool_]
    edge: NDArray[np.bool_]
    background: NDArray[np.float32]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, found: Search, sources: Table) -> Detection:
        """What a search found, and its sources as they were measured."""
        background, metadata = found.pixels.background.image, found.metadata
        return cls(sources, found.footprints(1), found.footprints(-1), found.edge, background, metadata)

    def mark(self, masked_image: MaskedImage) -> MaskedImage:
        """The masked image with DETECTED planes on the footprints (and nowhere else) and EDGE added.

        Raises
        ------
        InputError
            If its shape is not that of the exposure that was searched.
        """
        if masked_image.shape != self.footprints.shape:
            raise InputError(f"the detection is of shape {self.footprints.shape}, the image {masked_image.shape}")
        out = masked_image.with_planes(["EDGE", *DETECTED_PLANES])
        mask = out.mask & ~out.bits(DETECTED_PLANES)
        for name, pixels in zip(DETECTED_PLANES, (self.footprints, self.negative_footprints), strict=True):
            # Half the time of writing to chosen pixels.
            mask |= np.multiply(pixels, np.int32(out.bits([name])), dtype=np.int32)
        mask |= np.multiply(self.edge, np.int32(out.bits(["EDGE"])), dtype=np.int32)
        return replace(out, mask=mask)


def detect(
    exposure: Exposure,
    config: DetectionConfig | None = None,
    *,
    psf_sigma: float | None = None,
    smooth: bool = True,
    background: BackgroundFit | None = None,
) -> Detection:
    """Find and measure the sources of an exposure.

    Parameters
    ----------
    exposure : Exposure
        Not changed.
    config : DetectionConfig, optional
        Threshold, polarity, growth, deblending, backgrounds.
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
    FitError
        If a background has too few bins and its settings ask for an error then.
    """
    config = config or DetectionConfig()
    background = background or fit_background(exposure.masked_image, config.background)
    found = search(exposure, background, config, psf_sigma=psf_sigma, smooth=smooth)
    made = Detection.of(found, measure_sources(exposure, found))
    log_result(exposure.name, made)
    return made


def log_result(name: str, made: Detection) -> None:
    """One line on what was found in the exposure of that name."""
    sources, metadata = made.sources, made.metadata
    counts = f"{len(sources)} sources in {len(set(sources['footprint']))} footprints"
    limit = f"threshold {metadata['threshold']:g} ({metadata['thresholdType']})"
    log.info(
        "detection on %s: %s, %s, sigma %.3f px (%s)", name, counts, limit, metadata["sigma"], metadata["sigmaOrigin"]
    )
