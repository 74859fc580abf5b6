"""Counts of a magnitude 0 source from what headers say, unit by unit and survey by survey.

AB magnitudes where a flux is known (magnitude 0 is 3631 Jy), else those of the header. Nothing in a match depends on
them; they are carried to the outputs.
"""

from __future__ import annotations

import math

from psfmatch_cli.facts import Fact
from psfmatch_cli.keywords import Cards, card_number
from psfmatch_cli.units import Unit

#: Flux of magnitude 0, Jy.
_ZERO_MAGNITUDE = 3631.0
#: Magnitudes of one count that are taken for such.
PLAUSIBLE = (-50.0, 100.0)


def header_zero_point(cards: Cards, unit: Unit, pixel_area: float | None, layout: str) -> Fact | None:
    """Magnitude of a source of one count, or None where no header tells a plausible one.

    Parameters
    ----------
    cards : Cards
    unit : Unit
        Of the image.
    pixel_area : float or None
        Steradians, from the WCS.
    layout : str
        Name of the layout.
    """
    found = _zero_point(cards, unit, pixel_area, layout)
    return found if found is not None and PLAUSIBLE[0] <= found.value <= PLAUSIBLE[1] else None


def _zero_point(cards: Cards, unit: Unit, pixel_area: float | None, layout: str) -> Fact | None:
    if "zero_point" not in cards.named:
        for found in (_flux_unit(unit), _surface_brightness(cards, unit, pixel_area), _hst(cards, unit, layout)):
            if found is not None:
                return found
        if layout == "panstarrs":
            return _panstarrs(cards)
        counts = card_number(cards.header, "FLUX20") if layout == "sdss" else None
        if counts is not None:
            return _fact(20.0 + 2.5 * math.log10(counts), "header FLUX20")
    found = cards.number("zero_point")
    return None if found is None else _fact(found.value, found.source)


def _fact(magnitude: float, source: str) -> Fact:
    return Fact(magnitude, source, "mag")


def _flux_unit(unit: Unit) -> Fact | None:
    if unit.kind != "flux":
        return None
    return _fact(2.5 * math.log10(_ZERO_MAGNITUDE / unit.scale), f"unit {unit.text}")


def _surface_brightness(cards: Cards, unit: Unit, pixel_area: float | None) -> Fact | None:
    if unit.kind != "surface brightness":
        return None
    stated = card_number(cards.header, "PIXAR_SR")
    area, source = (pixel_area, "the WCS") if pixel_area else (stated, "header PIXAR_SR")
    if area is None:
        return None
    janskys = unit.scale * 1e6 * area
    return _fact(2.5 * math.log10(_ZERO_MAGNITUDE / janskys), f"unit {unit.text} and the pixel area of {source}")


def _hst(cards: Cards, unit: Unit, layout: str) -> Fact | None:
    """AB zero point from the flux (erg/cm2/s/A) of one count per second and the pivot wavelength (A)."""
    flux, pivot = (card_number(cards.header, name) for name in ("PHOTFLAM", "PHOTPLAM"))
    if layout != "hst" or flux is None or pivot is None:
        return None
    rate = -2.5 * math.log10(flux) - 21.10 - 5.0 * math.log10(pivot) + 18.6921
    if unit.per_second:
        return _fact(rate, "header PHOTFLAM, PHOTPLAM")
    time = cards.number("exposure_time")
    if time is None:
        return None
    return _fact(rate + 2.5 * math.log10(time.value), f"header PHOTFLAM, PHOTPLAM and {time.source}")


def _panstarrs(cards: Cards) -> Fact | None:
    """Zero point of the counts of the whole exposure time."""
    zero, time = card_number(cards.header, "FPA.ZP"), cards.number("exposure_time")
    if zero is None or time is None:
        return None
    return _fact(zero + 2.5 * math.log10(time.value), f"header FPA.ZP and {time.source}")
