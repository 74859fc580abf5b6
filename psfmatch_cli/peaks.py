"""Peaks and the footprints they lie in: growing, merging, numbering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import DetectionConfig
from psfmatch_cli.threshold import Smoothed, Threshold


@dataclass(frozen=True)
class Peaks:
    """Peaks in array indices, one element (or row) each, and the image in which they were found.

    Parameters
    ----------
    x, y : ndarray of int
        Pixel of the peak.
    value, significance : ndarray
        Smoothed counts, and over their noise.
    n_pixels, segment : ndarray of int
        Pixels above the threshold; number in the segment map.
    size : ndarray
        Root mean square extent above the threshold along the major axis, pixels.
    footprint : ndarray of int
        Number of the footprint.
    box : ndarray, (n, 4)
        x0, y0, x1, y1 of the footprint.
    smoothed : ndarray, (H, W)
        The image that was searched.
    border : int
        Width of the border that was not searched.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    value: NDArray[np.float64]
    significance: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    segment: NDArray[np.int64]
    size: NDArray[np.float64]
    footprint: NDArray[np.int64]
    box: NDArray[np.int64]
    smoothed: NDArray[np.float32]
    border: int

    def __len__(self) -> int:
        return len(self.x)


def grow(footprints: NDArray[np.bool_], n: int, *, isotropic: bool = False) -> NDArray[np.bool_]:
    """Footprints with all pixels within n pixels added: by Euclidean or by Manhattan distance, (H, W)."""
    if isotropic:
        return _grown_by_disc(footprints, n)
    grown = footprints
    for _ in range(n):
        inner, grown = grown, grown.copy()
        grown[1:] |= inner[:-1]
        grown[:-1] |= inner[1:]
        grown[:, 1:] |= inner[:, :-1]
        grown[:, :-1] |= inner[:, 1:]
    return grown


def _grown_by_disc(footprints: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    from scipy import ndimage

    if not footprints.any():
        return footprints
    return ndimage.distance_transform_edt(~footprints) <= n


def number_footprints(
    above: NDArray[np.bool_], grown: NDArray[np.bool_], n_grow: int, config: DetectionConfig
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of the footprint of each pixel above the threshold, and the box of each footprint.

    Grown together, footprints that touch are one. Grown apart, or listed as they were, they stay what they were.

    Parameters
    ----------
    above, grown : ndarray, (H, W), bool
        Pixels above the threshold, and those of the grown footprints.
    n_grow : int
        By how many pixels they were grown.
    config : DetectionConfig
        Whether growth merges, and whether the footprints are listed as they were.

    Returns
    -------
    labels : ndarray, (H, W), int32
        From 1; 0 for none.
    boxes : ndarray, (n, 4)
        x0, y0, x1, y1 of footprint 1, 2...; array indices, both ends included.
    """
    from scipy import ndimage

    merged = config.combined_grow and not config.return_original_footprints
    labels, n = ndimage.label(grown if merged else above, structure=np.ones((3, 3), int))
    corners = [(c.start, r.start, c.stop - 1, r.stop - 1) for r, c in ndimage.find_objects(labels, n)]
    boxes = np.array(corners, int).reshape(-1, 4)
    if not merged and not config.return_original_footprints:
        height, width = above.shape
        boxes += [-n_grow, -n_grow, n_grow, n_grow]
        boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    return labels, boxes


def make_peaks(
    objects: NDArray[np.void],
    labels: NDArray[np.int32],
    boxes: NDArray[np.int64],
    smoothed: Smoothed,
    threshold: Threshold,
) -> Peaks:
    """Peaks ordered by footprint, in each the brightest first.

    Parameters
    ----------
    objects : structured ndarray
        The records of `psfmatch_cli.extract.extract_peaks`.
    labels, boxes : ndarray
        Of the footprints, see `number_footprints`.
    smoothed, threshold : Smoothed, Threshold
        What was searched, and how.
    """
    x, y = objects["xpeak"].astype(np.intp), objects["ypeak"].astype(np.intp)
    label = labels[y, x]
    order = np.lexsort((-objects["peak"], label))
    value, noise = objects["peak"].astype(np.float64), threshold.noise_at(x, y)
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
