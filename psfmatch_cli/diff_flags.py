"""Flags of the sources of a difference: the mask planes at their places."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.flags import FLAG_PLANES

#: Unit and meaning of each column.
FLAG_COLUMNS: dict[str, tuple[None, str]] = {
    f"{name}{suffix}": (None, f"{' or '.join(planes)} {where}")
    for name, planes in FLAG_PLANES.items()
    for suffix, where in (("", "within one FWHM"), ("_center", "in the 3 x 3 pixels at the position"))
}


def mask_flags(
    image: MaskedImage, x: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> dict[str, NDArray[np.bool_]]:
    """Flag columns of array positions; beyond the border of the image is its edge, and without data.

    Parameters
    ----------
    image : MaskedImage
        For its mask.
    x, y : ndarray, (n,)
    radius : float
        Pixels: of ``flag_*``. ``flag_*_center`` are of the 3 x 3 pixels at the position.
    """
    near, center = (_bits_within(image, x, y, reach) for reach in (radius, math.sqrt(2.0)))
    columns = {}
    for name, planes in FLAG_PLANES.items():
        bits = image.with_planes(["EDGE", "NO_DATA"]).bits(planes)
        columns[name], columns[f"{name}_center"] = (near & bits) != 0, (center & bits) != 0
    return columns


def _bits_within(
    image: MaskedImage, x: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> NDArray[np.int32]:
    """OR of the mask over the pixels within a radius of the pixels of the positions, (n,)."""
    known = image.with_planes(["EDGE", "NO_DATA"])
    outside = np.int32(known.bits(["EDGE", "NO_DATA"]))
    reach = math.floor(radius)
    padded = np.pad(known.mask, reach, constant_values=outside)
    height, width = image.shape
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    column, row = (np.where(inside, np.floor(v + 0.5), 0).astype(np.intp) + reach for v in (x, y))
    out = np.zeros(len(x), np.int32)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if math.hypot(dx, dy) <= radius:
                out |= padded[row + dy, column + dx]
    return np.where(inside, out, outside)
