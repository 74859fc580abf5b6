"""Header cards that describe the pixel grid rather than the exposure: sections of the detector, sizes of pixels.

A template that was resampled is on the grid of the science image; its own cards of this kind are no longer true.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

#: Sizes, sections of the detector (CCDSEC, DATASECA), offsets to physical pixels (LTV1, LTM1_1), sizes of pixels on the
#: sky and on the chip, binning, and the plate solutions of scanned plates (AMDX1, PLTSCALE).
GRID_CARDS = re.compile(
    r"NAXIS\d*|(DATA|TRIM|BIAS|CCD|DET|AMP|ORIG)SEC[A-Z]?\d*|(CCD|DET)SIZE|CCDSUM|(LTV|ATV|DTV)\d|(LTM|ATM|DTM)\d_\d"
    r"|PIXAR_(SR|A2)|PIXSCA?LE?\d?|PIXELSCL|SECPIX\d?|[XY](BINNING|PIXSZ|PIXELSZ|ORGSUBF)"
    r"|AMD[XY]\d+|PPO\d|CNPIX\d|PLT(SCALE|SIZE[XY]|RA[HMS]|DEC(SN|[DMS]))"
)


def is_grid_card(keyword: str) -> bool:
    """Whether a card describes the grid."""
    return GRID_CARDS.fullmatch(keyword.upper()) is not None


def with_grid_of(own: Any, other: Any) -> Any:
    """Copy of a header with the cards of the grid taken from another; None stays None.

    Parameters
    ----------
    own, other : Header, mapping or None
    """
    if own is None:
        return None
    made = copy.deepcopy(own)
    for keyword in {name for name in own if is_grid_card(name)}:
        del made[keyword]
    for keyword in other or ():
        if is_grid_card(keyword):
            put(made, keyword, other)
    return made


def put(header: Any, keyword: str, source: Mapping[str, Any]) -> None:
    """Set a card to that of another header, with its comment where both have one."""
    comments = getattr(source, "comments", None)
    header[keyword] = source[keyword] if comments is None else (source[keyword], comments[keyword])
