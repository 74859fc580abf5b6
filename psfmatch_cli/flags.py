"""Flags of sources: which mask planes touch them, and whether they are near a border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import variance_is_known
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.peaks import Peaks

#: Flag columns and the mask planes that raise them; each also has a form with ``_center``.
FLAG_PLANES: dict[str, tuple[str, ...]] = {
    "flag_edge": ("EDGE", "NO_DATA"),
    "flag_saturated": ("SAT",),
    "flag_cr": ("CR",),
    "flag_interpolated": ("INTRP",),
    "flag_bad": ("BAD",),
    "flag_suspect": ("SUSPECT",),
    "flag_nodata": ("NO_DATA",),
}


def flags(
    masked_image: MaskedImage, peaks: Peaks, segments: NDArray[np.int32], n_grow: int
) -> dict[str, NDArray[np.bool_]]:
    """Flag columns of the peaks.

    Parameters
    ----------
    masked_image : MaskedImage
        For its mask.
    peaks : Peaks
        What was found.
    segments : ndarray, (H, W)
        Number of the peak that a pixel above the threshold belongs to; 0 for none.
    n_grow : int
        Growth of the footprints, pixels.

    Returns
    -------
    dict of ndarray of bool, (n,)
        ``flag_*``: of the source's pixels and those within `n_grow` of its peak. ``flag_*_center``: of the 3 x 3 at
        its peak. A border that was not searched raises ``flag_edge`` as the plane does.
    """
    bits = {name: masked_image.bits(planes) for name, planes in FLAG_PLANES.items()}
    if not variance_is_known(masked_image):
        # Every pixel is BAD then, which says nothing about it.
        bits["flag_bad"] = 0
    wanted = int(np.bitwise_or.reduce(list(bits.values())))
    mask = masked_image.mask
    anywhere = _segment_bits(mask, wanted, peaks, segments) | _bits_near(mask, peaks, n_grow)
    center = _bits_near(mask, peaks, 1)
    columns = {}
    for name, value in bits.items():
        columns[name], columns[f"{name}_center"] = (anywhere & value) != 0, (center & value) != 0
    columns["flag_edge"] |= _near_border(peaks, mask.shape, n_grow)
    columns["flag_edge_center"] |= _near_border(peaks, mask.shape, 1)
    return columns


def _near_border(peaks: Peaks, shape: tuple[int, int], distance: int) -> NDArray[np.bool_]:
    """Whether a peak is closer than this to the border that was not searched."""
    height, width = shape
    reach = peaks.border + distance
    along_x = (peaks.x < reach) | (peaks.x >= width - reach)
    return along_x | (peaks.y < reach) | (peaks.y >= height - reach)


def _segment_bits(mask: NDArray[np.int32], wanted: int, peaks: Peaks, segments: NDArray[np.int32]) -> NDArray[np.int32]:
    """OR of the mask over the pixels above the threshold that belong to each peak."""
    flagged = np.flatnonzero(mask & wanted)
    flagged = flagged[segments.ravel()[flagged] > 0]
    out = np.zeros(int(peaks.segment.max(initial=0)) + 1, mask.dtype)
    np.bitwise_or.at(out, segments.ravel()[flagged], mask.ravel()[flagged])
    return out[peaks.segment]


def _bits_near(mask: NDArray[np.int32], peaks: Peaks, reach: int) -> NDArray[np.int32]:
    """OR of the mask over the square of side ``2 reach + 1`` around each peak."""
    height, width = mask.shape
    out = np.zeros(len(peaks), mask.dtype)
    for dy in range(-reach, reach + 1):
        rows = np.clip(peaks.y + dy, 0, height - 1)
        for dx in range(-reach, reach + 1):
            out |= mask[rows, np.clip(peaks.x + dx, 0, width - 1)]
    return out
