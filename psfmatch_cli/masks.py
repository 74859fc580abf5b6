"""Mask planes from what mask images hold: bits named by ``MP_`` cards, or by a table of flag values."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES

log = logging.getLogger(__name__)

PLANE_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def mask_planes_from_header(header: Mapping[str, Any], where: str) -> dict[str, int]:
    """Bit of each mask plane from the cards ``MP_<NAME> = bit``.

    Raises
    ------
    InputError
        If a name appears twice, two names share a bit, or a bit is not within 0..31.
    """
    planes: dict[str, int] = {}
    for key in header:
        if not key.upper().startswith("MP_"):
            continue
        name = key[3:].strip().upper()
        if name in planes:
            raise InputError(f"{where}: mask plane {name} is given twice")
        bit = header[key]
        if isinstance(bit, bool) or not isinstance(bit, int) or not 0 <= bit < 32:
            raise InputError(f"{where}: mask plane {name} has bit {bit!r}, allowed are 0 to 31")
        if bit in planes.values():
            other = next(known for known, used in planes.items() if used == bit)
            raise InputError(f"{where}: mask planes {other} and {name} share bit {bit}")
        planes[name] = bit
    return planes


def integer_mask(values: NDArray, where: str) -> NDArray:
    """Mask values as integers; a mask stored as whole floating point numbers is accepted.

    Raises
    ------
    InputError
        If there are other values.
    """
    if values.dtype.kind in "iu":
        return values
    whole = np.nan_to_num(values, nan=0.5, posinf=0.5, neginf=0.5)
    if (whole != np.floor(whole)).any() or np.abs(whole).max() >= 2**31:
        raise InputError(f"{where}: a mask must hold whole numbers below 2**31")
    return whole.astype(np.int64)


def lsst_mask(values: NDArray, planes: Mapping[str, int], where: str) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Mask as int32 with all its set bits named.

    Set bits that have no card are kept as planes ``UNNAMED<bit>``, with a warning. Values of 32 bits are not copied.

    Raises
    ------
    InputError
        If a value needs more than 32 bits.
    """
    values = integer_mask(values, where)
    if values.dtype.itemsize > 4 and ((values < -(2**31)) | (values >= 2**32)).any():
        raise InputError(f"{where}: mask values need more than 32 bits")
    mask = (values if values.dtype == np.int32 else values.astype(np.uint32)).view(np.int32)
    used = int(np.bitwise_or.reduce(mask, axis=None).view(np.uint32))
    planes = dict(planes)
    for bit in sorted(set(range(32)) - set(planes.values())):
        if used >> bit & 1:
            name = f"UNNAMED{bit}"
            while name in planes:
                name += "_"
            log.warning("%s: mask bit %d is set but has no name; kept as %s", where, bit, name)
            planes[name] = bit
    return mask, planes


def nonzero_mask(values: NDArray, where: str) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Mask and its planes from flags of which nothing is known: every value but 0 means BAD.

    Raises
    ------
    InputError
        If the values are not whole numbers.
    """
    flagged = integer_mask(values, where) != 0
    planes = dict(DEFAULT_PLANES)
    mask = np.zeros(values.shape, np.int32)
    mask[flagged] = 1 << planes["BAD"]
    log.info("%s: no mask plane names and no mask map: %d pixels that are not 0 are BAD", where, flagged.sum())
    return mask, planes
