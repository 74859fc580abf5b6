"""What a ``BUNIT`` says about the noise of an image and about its zero point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["counts", "electrons", "flux", "surface brightness", "unknown"]

_RATES = ("/S", "/SEC", "/SECOND", " S-1", " S**-1", " S^-1")
_ELECTRONS = ("ELECTRON", "ELECTRONS", "E-", "E", "PHOTON", "PHOTONS")
_COUNTS = ("ADU", "ADUS", "DN", "DNS", "COUNT", "COUNTS", "CT", "CTS")
#: Janskys in one unit of flux.
_JANSKYS = {
    "JY": 1.0,
    "MILLIJY": 1e-3,
    "UJY": 1e-6,
    "NJY": 1e-9,
    "NANOMAGGY": 3.631e-6,
    "NANOMAGGIES": 3.631e-6,
    "NMGY": 3.631e-6,
    "MAGGY": 3631.0,
}
#: Megajanskys per steradian in one unit of surface brightness.
_SURFACE = {"MJY/SR": 1.0, "MJY SR-1": 1.0, "MJY.SR-1": 1.0, "JY/SR": 1e-6}


@dataclass(frozen=True)
class Unit:
    """Kind of an image unit.

    Parameters
    ----------
    text : str
        As the header has it, without blanks at the ends.
    kind : str
    per_second : bool
        Whether it is a rate: counts or electrons per second.
    scale : float
        Janskys in one unit of flux, or megajanskys per steradian in one of surface brightness; else 1.
    """

    text: str = ""
    kind: Kind = "unknown"
    per_second: bool = False
    scale: float = 1.0


def parse_unit(text: Any) -> Unit:
    """Unit from the value of a card ``BUNIT``; anything that is not understood is of the kind "unknown"."""
    text = str(text or "").strip()
    # FITS tells mJy from MJy by the case of the first letter alone.
    name = "MILLIJY" if text in ("mJy", "mjy") else text.upper()
    if name in _JANSKYS:
        return Unit(text, "flux", scale=_JANSKYS[name])
    if name in _SURFACE:
        return Unit(text, "surface brightness", scale=_SURFACE[name])
    suffix = next((suffix for suffix in _RATES if name.endswith(suffix)), "")
    base = name.removesuffix(suffix).strip()
    kind: Kind = "electrons" if base in _ELECTRONS else "counts" if base in _COUNTS else "unknown"
    return Unit(text, kind, bool(suffix) and kind != "unknown")
