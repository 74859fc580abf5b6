"""FWHM from a header: which unit the number has, and how many pixels that is.

Seeing cards are in arcsec or in pixels, and many do not say which. The comment decides; else the range of the two
readings does; else the custom that SEEING is in arcsec and FWHM in pixels. A number that is neither a plausible width
in pixels nor in arcsec is not used.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Literal

from psfmatch_cli.facts import Fact
from psfmatch_cli.keywords import Cards, Found
from psfmatch_cli.widths import FWHM_LIMITS, is_width

log = logging.getLogger(__name__)

#: FWHMs, pixels, that an image of stars has.
PLAUSIBLE_PIXELS = (0.8, 40.0)
#: And arcsec, from a diffraction limit to small lenses.
PLAUSIBLE_ARCSEC = (0.02, 60.0)

#: Numbers that are a width in one unit or the other; beyond, a card is nonsense in any.
_CONCEIVABLE = (PLAUSIBLE_ARCSEC[0], max(FWHM_LIMITS[1], PLAUSIBLE_ARCSEC[1]))

_ARCSEC_WORDS = re.compile(r"arc-?\s?sec|\basec\b|\"|\bseconds? of arc", re.I)
_PIXEL_WORDS = re.compile(r"\bpix(el)?s?\b|\bpx\b", re.I)
#: Unit of a survey's cards.
_KNOWN: dict[tuple[str, str], Literal["pix", "arcsec"]] = {
    ("panstarrs", "CHIP.SEEING"): "pix",
    ("ztf", "SEEING"): "pix",
}


def stated_fwhm(
    cards: Cards, pixel_scale: float | None, layout: str = "plain", where: str = "the header"
) -> Fact | None:
    """FWHM of a header, pixels, or None; of a number that no PSF has a warning is given.

    Parameters
    ----------
    cards : Cards
    pixel_scale : float or None
        Arcsec per pixel; without it a FWHM in arcsec cannot be used.
    layout : str
        Name of the layout: surveys have customs of their own.
    where : str
        Name of the exposure, for messages.
    """
    for name in cards.names("fwhm"):
        found = Cards(cards.header, {"fwhm": name}).number("fwhm")
        if found is None:
            continue
        if not _within(found.value, _CONCEIVABLE):
            log.warning("%s: %s is no width of a PSF; it is not used", where, f"{found.source} = {found.value:g}")
            continue
        unit = _KNOWN.get((layout, name)) or fwhm_unit(name, found.value, card_comment(cards.header, name), pixel_scale)
        if unit is None or (unit == "arcsec" and pixel_scale is None):
            continue
        fact = _in_pixels(found, pixel_scale if unit == "arcsec" else None)
        if is_width(fact.value):
            return fact
        log.warning("%s: %s is %.4g pixels, no width of a PSF; it is not used", where, fact.source, fact.value)
    return None


def _in_pixels(found: Found, pixel_scale: float | None) -> Fact:
    """The FWHM in pixels: as it is, or with the pixel scale if it is in arcsec."""
    if pixel_scale is None:
        return Fact(found.value, found.source, "pix")
    source = f"{found.source}, {found.value:g} arcsec at {pixel_scale:.4g} arcsec/pixel"
    return Fact(found.value / pixel_scale, source, "pix")


def card_comment(header: Mapping[str, Any], name: str) -> str:
    """Comment of a card; empty for mappings that have none."""
    comments = getattr(header, "comments", None)
    return str(comments[name]) if comments is not None else ""


def fwhm_unit(name: str, value: float, comment: str, pixel_scale: float | None) -> Literal["pix", "arcsec"] | None:
    """Unit of a FWHM: by the comment, the range, or the custom; None for no width at all.

    Parameters
    ----------
    name : str
        Card.
    value : float
    comment : str
        Its comment.
    pixel_scale : float or None
        Arcsec per pixel.
    """
    arcsec, pixels = bool(_ARCSEC_WORDS.search(comment)), bool(_PIXEL_WORDS.search(comment))
    if arcsec != pixels:
        return "arcsec" if arcsec else "pix"
    as_pixels = _within(value, PLAUSIBLE_PIXELS)
    as_arcsec = _within(value, PLAUSIBLE_ARCSEC)
    if pixel_scale is not None:
        as_pixels = as_pixels and _within(value * pixel_scale, PLAUSIBLE_ARCSEC)
        as_arcsec = as_arcsec and _within(value / pixel_scale, PLAUSIBLE_PIXELS)
    if as_pixels and as_arcsec:
        return "arcsec" if "SEEING" in name else "pix"
    return "pix" if as_pixels else "arcsec" if as_arcsec else None


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]
