"""Peaks of a smoothed image with `sep`: footprints above a threshold, taken apart where they blend.

A peak is a source of its own if its branch of the footprint holds a certain share of the flux
(Bertin & Arnouts 1996, A&AS 117, 393, section 5). In a crowded field hundreds of stars make one
footprint, and none of them has that share of the total; such footprints are taken apart once more with
the share referred to their brightest star.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import DetectionConfig

#: First limits of `sep` on pixels above the threshold and on the peaks of one footprint.
FIRST_PIXEL_STACK, FIRST_OBJECT_LIMIT = 300_000, 4096
#: Footprints whose brightest star has less than this share of the flux are crowded (or a galaxy).
CROWDED_SHARE = 0.1


def extract_peaks(
    image: NDArray[np.float32],
    level: float,
    noise: NDArray[np.float32] | None,
    config: DetectionConfig,
    star_area: float,
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """Peaks above a threshold.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Smoothed counts, 0 where not to be searched.
    level : float
        Threshold, in counts or in units of the noise.
    noise : ndarray or None
        Noise of each pixel, counts; None if `level` is in counts.
    config : DetectionConfig
        Smallest footprint and deblending.
    star_area : float
        Flux of a star over its peak in this image, pixels.

    Returns
    -------
    objects : structured ndarray
        The records of `sep.extract`.
    segments : ndarray, (H, W), int32
        Row + 1 of the peak that a pixel above the threshold belongs to; 0 for none.
    """
    options = {
        # One step below, because a pixel equal to the threshold counts and `sep` compares with ">".
        "thresh": float(np.nextafter(np.float32(level), np.float32(0))),
        "err": noise,
        "minarea": config.min_pixels,
        "filter_kernel": None,
        "deblend_nthresh": config.deblend_thresholds,
        "clean": False,
        "segmentation_map": True,
    }
    contrast = config.deblend_contrast if config.deblend else 1.0
    objects, segments = _extract(image, {**options, "deblend_cont": contrast})
    if not config.deblend or not len(objects):
        return objects, segments
    share = _share_of_brightest(objects, segments, star_area)
    # Two classes are enough: within one the contrast is right to a factor of three.
    for low, high in ((0.1 * CROWDED_SHARE, CROWDED_SHARE), (0.0, 0.1 * CROWDED_SHARE)):
        crowded = (share > low) & (share <= high)
        if crowded.any():
            part = np.where(np.append(False, crowded)[segments], image, np.float32(0))
            finer = {**options, "deblend_cont": contrast * float(np.median(share[crowded]))}
            objects, segments = _replaced(objects, segments, crowded, *_extract(part, finer))
            share = np.concatenate([share[~crowded], np.full(len(objects) - np.sum(~crowded), np.inf)])
    return objects, segments


def _share_of_brightest(
    objects: NDArray[np.void], segments: NDArray[np.int32], star_area: float
) -> NDArray[np.float64]:
    """For each peak, the share that the brightest star of its whole footprint has in the flux of that."""
    from scipy import ndimage

    labels, n_labels = ndimage.label(segments > 0, structure=np.ones((3, 3), int))
    label = labels[objects["ypeak"], objects["xpeak"]]
    total = np.bincount(label, objects["flux"], n_labels + 1)
    brightest = np.zeros(n_labels + 1)
    np.maximum.at(brightest, label, objects["peak"])
    return (star_area * brightest / np.maximum(total, np.finfo(float).tiny))[label]


def _replaced(
    objects: NDArray[np.void],
    segments: NDArray[np.int32],
    old: NDArray[np.bool_],
    new_objects: NDArray[np.void],
    new_segments: NDArray[np.int32],
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """Peaks and their pixels with the chosen ones replaced by others in the same pixels."""
    kept = np.flatnonzero(~old)
    number = np.zeros(len(objects) + 1, segments.dtype)
    number[kept + 1] = np.arange(1, len(kept) + 1)
    renumbered = number[segments]
    found = new_segments > 0
    renumbered[found] = new_segments[found] + len(kept)
    return np.concatenate([objects[kept], new_objects]), renumbered


def _extract(image: NDArray[np.float32], options: Mapping[str, Any]) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """`sep.extract`, repeated with wider limits as long as it runs out of them."""
    import sep

    with _sep_limits(max(image.size // 8, FIRST_PIXEL_STACK), FIRST_OBJECT_LIMIT) as widen:
        while True:
            try:
                return sep.extract(image, **options)
            except Exception as error:  # sep raises plain Exceptions; what they say is all there is to tell them by
                if not widen(str(error), image.size):
                    raise


@contextmanager
def _sep_limits(pixels: int, objects: int) -> Iterator[Any]:
    """Sets the limits of `sep`, hands out what widens them after a message, and restores them."""
    import sep

    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_extract_pixstack(pixels)
    sep.set_sub_object_limit(objects)

    def widen(message: str, most: int) -> bool:
        if "pixel buffer" in message and sep.get_extract_pixstack() < 4 * most:
            sep.set_extract_pixstack(4 * sep.get_extract_pixstack())
            return True
        if "deblending" in message and sep.get_sub_object_limit() < most:
            sep.set_sub_object_limit(4 * sep.get_sub_object_limit())
            return True
        return False

    try:
        yield widen
    finally:
        sep.set_extract_pixstack(before[0])
        sep.set_sub_object_limit(before[1])
