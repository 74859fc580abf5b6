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
#: Pixels that touch, also at a corner, are of one footprint.
NEIGHBOURS = np.ones((3, 3), int)


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
    if config.include_threshold_multiplier > 1:
        limit = config.include_threshold_multiplier * level * (1 if noise is None else noise)
        objects, segments = _reaching(objects, segments, image >= limit)
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


def _reaching(
    objects: NDArray[np.void], segments: NDArray[np.int32], high: NDArray[np.bool_]
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """The peaks, and their pixels, of the footprints that have a pixel in `high`."""
    from scipy import ndimage

    labels, _ = ndimage.label(segments > 0, structure=NEIGHBOURS)
    low = ~np.isin(labels[objects["ypeak"], objects["xpeak"]], labels[high])
    return _replaced(objects, segments, low, objects[:0], np.zeros_like(segments))


def refind_peaks(
    found: tuple[NDArray[np.void], NDArray[np.int32]],
    searched: NDArray[np.float32],
    image: NDArray[np.float32],
    level: float,
    noise: NDArray[np.float32] | None,
    config: DetectionConfig,
    star_area: float,
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """Peaks of which those in complex footprints are looked for again in another image.

    A footprint is complex if it has more than ``n_peaks_max_simple`` pixels that are not below any of their
    neighbours. One that has no peak in the other image keeps its brightest.

    Parameters
    ----------
    found : (structured ndarray, ndarray)
        Objects and segments from `extract_peaks`.
    searched : ndarray, (H, W), float32
        The image in which they were found.
    image, level, noise, config, star_area
        The other image and its threshold, as for `extract_peaks`.

    Returns
    -------
    objects, segments
        As `extract_peaks`; pixels below the threshold of the other image belong to no peak any more.
    """
    from scipy import ndimage

    objects, segments = found
    labels, n_labels = ndimage.label(segments > 0, structure=NEIGHBOURS)
    maxima = (labels > 0) & (searched == ndimage.maximum_filter(searched, size=3))
    complex_ones = np.bincount(labels[maxima], minlength=n_labels + 1) > config.n_peaks_max_simple
    complex_ones[0] = False
    if not complex_ones.any():
        return found
    new, new_segments = extract_peaks(
        np.where(complex_ones[labels], image, np.float32(0)), level, noise, config, star_area
    )
    label = labels[objects["ypeak"], objects["xpeak"]]
    again = np.isin(label, labels[new["ypeak"], new["xpeak"]])
    first = np.zeros(len(objects), bool)
    first[_places_of_brightest(objects, label)] = True
    return _replaced(objects, segments, complex_ones[label] & (again | ~first), new, new_segments)


def _places_of_brightest(objects: NDArray[np.void], label: NDArray[np.int32]) -> NDArray[np.intp]:
    """Place of the highest peak of each label."""
    order = np.argsort(-objects["peak"], kind="stable")
    return order[np.unique(label[order], return_index=True)[1]]


def one_of_each(
    objects: NDArray[np.void], above: NDArray[np.bool_], labels: NDArray[np.int32]
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """The highest peak of each footprint, with all the footprint's pixels.

    Parameters
    ----------
    objects : structured ndarray
        Peaks, at least one for every label.
    above : ndarray, (H, W), bool
        Pixels above the threshold.
    labels : ndarray, (H, W), int32
        Number of the footprint, from 1.

    Returns
    -------
    objects, segments
        As `extract_peaks`, in the order of the labels.
    """
    highest = objects[_places_of_brightest(objects, labels[objects["ypeak"], objects["xpeak"]])]
    segments = np.where(above, labels, 0)
    highest["npix"] = np.bincount(segments.ravel(), minlength=len(highest) + 1)[1:]
    return highest, segments


def _share_of_brightest(
    objects: NDArray[np.void], segments: NDArray[np.int32], star_area: float
) -> NDArray[np.float64]:
    """For each peak, the share that the brightest star of its whole footprint has in the flux of that."""
    from scipy import ndimage

    labels, n_labels = ndimage.label(segments > 0, structure=NEIGHBOURS)
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
