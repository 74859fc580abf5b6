"""Arrays that a caller gives, as the planes of a masked image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError

#: Counts whose squares, summed over an image, single precision can hold; variances go up to the square.
LARGEST_COUNTS = 1e15


def numbers_of(values: Any, what: str) -> NDArray[Any]:
    """The values as an array of real numbers.

    Raises
    ------
    InputError
        If they are of another type: truth values, complex numbers, texts, objects.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{what} must hold real numbers, got an array of type {array.dtype}")
    return array


def counts_of(values: Any, what: str) -> NDArray[np.float32]:
    """A copy in single precision, (H, W); NaN where a masked array is masked, infinite beyond its range.

    Raises
    ------
    InputError
        If the values are no real numbers.
    """
    hidden = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    with np.errstate(over="ignore", under="ignore"):
        made = np.array(numbers_of(values, what), dtype=np.float32, order="C")
    if hidden is not None:
        made[hidden] = np.nan
    return made


def bits_of(values: Any) -> NDArray[np.int32]:
    """A copy of a mask as a bit field, (H, W); truth values set bit 0.

    Raises
    ------
    InputError
        If the values are no whole numbers of 32 bits.
    """
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return np.array(array, dtype=np.int32, order="C")
    array = numbers_of(array, "a mask")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.rint(array))).all():
        raise InputError("a mask must hold whole numbers, got fractions or NaN")
    if array.size and not (array.min() >= -(2**31) and array.max() < 2**32):
        raise InputError(f"a mask has 32 bits, got values from {array.min()} to {array.max()}")
    return np.array(array.astype(np.int64) & 0xFFFFFFFF, dtype=np.uint32, order="C").view(np.int32)


def can_be_used(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Finite counts of a size that can be squared, (H, W)."""
    with np.errstate(invalid="ignore"):
        return np.abs(counts) <= LARGEST_COUNTS


def is_variance(variance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Positive variances of counts that can be used, (H, W)."""
    with np.errstate(invalid="ignore"):
        return (variance > 0) & (variance <= LARGEST_COUNTS**2)
