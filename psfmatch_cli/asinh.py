"""Counts of images that were stored as their inverse hyperbolic sine, as the stacks of Pan-STARRS are.

A stored value C stands for ``BOFFSET + BSOFTEN (exp(C/a) - exp(-C/a))`` counts, a = 2.5 log10(e) (Waters et al. 2020,
ApJS 251, 4). The cards are there only where the scaling was applied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CARDS = ("BOFFSET", "BSOFTEN")
_A = 2.5 * math.log10(math.e)


def scaling(header: Mapping[str, Any]) -> tuple[float, float] | None:
    """Offset and softening, counts; None for an image that is linear."""
    values = [header.get(name) for name in CARDS]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return None
    offset, softening = map(float, values)
    return (offset, softening) if math.isfinite(offset) and math.isfinite(softening) and softening > 0 else None


def linear_counts(stored: NDArray, offset: float, softening: float) -> NDArray[np.float64]:
    """Counts of stored values; what overflows is infinite."""
    with np.errstate(over="ignore"):
        return offset + 2.0 * softening * np.sinh(np.asarray(stored, np.float64) / _A)
