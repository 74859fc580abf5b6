"""Flags and mask bits spread over squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dilate(mask: NDArray, radius: int) -> NDArray:
    """Every bit (or truth) spread over a square of side 2 radius + 1, all planes at once; a new array."""
    return spread(np.pad(mask, radius), 2 * radius + 1)


def spread(mask: NDArray, size: int) -> NDArray:
    """OR of the pixels of each square of this side that lies in the mask, ``(H - size + 1, W - size + 1)``.

    The reach is doubled with each step along an axis.
    """
    if size == 1:
        return mask.copy()
    for axis in (0, 1):
        covered = 1
        while covered < size:
            step = min(covered, size - covered)
            first, second = (mask[:-step], mask[step:]) if axis == 0 else (mask[:, :-step], mask[:, step:])
            mask = first | second
            covered += step
    return mask


def spread_at(mask: NDArray, rows: slice, columns: slice, radius: int) -> NDArray:
    """`dilate` of some rows and columns only; nothing lies beyond the mask."""
    margins = [with_margin(part, size, radius) for part, size in zip((rows, columns), mask.shape, strict=True)]
    (inner_rows, pad_rows), (inner_columns, pad_columns) = margins
    part = mask[inner_rows, inner_columns]
    if any(pad_rows) or any(pad_columns):
        part = np.pad(part, (pad_rows, pad_columns))
    return spread(part, 2 * radius + 1)


def with_margin(part: slice, size: int, radius: int) -> tuple[slice, tuple[int, int]]:
    """A slice grown by the radius as far as there are pixels, and how many are missing at its ends."""
    first, last = part.start - radius, part.stop + radius
    return slice(max(first, 0), min(last, size)), (max(-first, 0), max(last - size, 0))
