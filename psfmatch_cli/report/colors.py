"""The one palette of all pictures, and the colours of charts and candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Grey levels, from the first colour on; more would double the size of a page of noise, and cannot be told apart.
N_GREYS = 96
#: Levels from blue over white to red, after the greys; odd, so that one is white.
N_SIGNED = 97
FIRST_SIGNED = N_GREYS
#: Colour of what has no value, and of the gap between pictures.
NO_VALUE = N_GREYS + N_SIGNED
GAP = NO_VALUE + 1

_BLUE, _WHITE, _RED = (np.array(rgb, float) for rgb in ((20, 70, 170), (247, 247, 247), (178, 24, 43)))

#: Colour of a candidate by its status or reason.
FATES: Mapping[str, str] = {
    "used": "#1a9850",
    "unused": "#17becf",
    "single-fit": "#d62728",
    "kernel-sum": "#ff7f0e",
    "spatial-fit": "#e377c2",
    "singular": "#8c1b4f",
    "condition-number": "#b15928",
    "components": "#f781bf",
    "science-mask": "#9467bd",
    "template-mask": "#c5a3e0",
    "near-brighter": "#8c8c8c",
    "in-one-image": "#e6c700",
    "faint": "#a6b1c2",
    "too-small": "#5f7fbf",
    "outside": "#5b5b5b",
    "not-finite": "#3f3f3f",
}
#: Of a reason that is not known here.
OTHER_FATE = "#bcbd22"


def palette() -> NDArray[np.uint8]:
    """Red, green, blue of all colours, (GAP + 1, 3)."""
    grey = np.round(np.linspace(0, 255, N_GREYS))
    made = np.empty((GAP + 1, 3))
    made[:N_GREYS] = grey[:, None]
    made[FIRST_SIGNED:NO_VALUE] = signed_colors(np.linspace(-1, 1, N_SIGNED))
    made[NO_VALUE], made[GAP] = (96, 108, 128), (128, 128, 128)
    return np.round(made).astype(np.uint8)


def signed_colors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Red, green, blue of values from -1 (blue) over 0 (white) to 1 (red), (..., 3)."""
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    end = np.where((values < 0)[..., None], _BLUE, _RED)
    return _WHITE + strength * (end - _WHITE)


def greys(values: NDArray) -> NDArray[np.uint8]:
    """Colours of values from 0 (black) to 1 (white); not finite: no value."""
    return _levels(values, N_GREYS, 0)


def signed(values: NDArray) -> NDArray[np.uint8]:
    """Colours of values from -1 (blue) to 1 (red); not finite: no value."""
    return _levels(0.5 + 0.5 * values, N_SIGNED, FIRST_SIGNED)


def _levels(values: NDArray, n: int, first: int) -> NDArray[np.uint8]:
    known = np.isfinite(values)
    level = np.rint(np.clip(np.where(known, values, 0), 0, 1) * (n - 1)) + first
    return np.where(known, level, NO_VALUE).astype(np.uint8)


def hex_color(value: float) -> str:
    """Colour of a value from -1 to 1 for a chart."""
    return "#" + "".join(f"{round(c):02x}" for c in signed_colors(np.array(value)))
