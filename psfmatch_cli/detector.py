"""Gain, read noise and subtracted sky, from options and header cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psfmatch_cli.keywords import Cards, Found
from psfmatch_cli.units import parse_unit

#: Cards that programs which drive cameras write beside a GAIN that is a setting.
_CAMERA_CARDS = ("OFFSET", "BLKLEVEL", "USBLIMIT")
#: A whole GAIN from here on in an image of integers is a camera's setting: no detector and converter has so many
#: electrons per count (300,000 electrons fill 16 bits at 5, and 14 bits at 18).
_SMALLEST_SETTING = 20.0

#: Values by quantity, with the source of each.
Claims = Mapping[str, tuple[float, str]]


@dataclass(frozen=True)
class DetectorTerms:
    """What an option or the header says about the noise; None where nothing does.

    Parameters
    ----------
    gain : float or None
        e-/count of this image, the exposure time of a rate included.
    read_noise : float or None
        e-.
    dark_variance : float or None
        Variance of read noise and dark current, counts squared.
    sky_level : float or None
        Sky that was subtracted from the image, counts.
    pedestal : float
        Counts that are not light.
    sources : mapping of str to str
        Card or option behind each value.
    remark : str
        What was there and not believed.
    """

    gain: float | None = None
    read_noise: float | None = None
    dark_variance: float | None = None
    sky_level: float | None = None
    pedestal: float = 0.0
    sources: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    @property
    def gain_is_option(self) -> bool:
        return self.sources.get("gain") == "option"

    @property
    def offset(self) -> float:
        """What to add to the image to get the light that fell on a pixel, counts."""
        return (self.sky_level or 0.0) - self.pedestal

    def constant(self, gain: float) -> float | None:
        """Variance without light, counts squared, or None where it is not known."""
        if self.dark_variance is not None:
            return self.dark_variance
        return None if self.read_noise is None else (self.read_noise / gain) ** 2


def detector_terms(
    cards: Cards, image_sky: float, *, claims: Claims | None = None, **options: float | None
) -> DetectorTerms:
    """Gain, read noise and subtracted sky from options, else from the header, else from what is known of a survey.

    Parameters
    ----------
    cards : Cards
        Of the image.
    image_sky : float
        Sky level of the image, counts. A subtracted sky level that no option states counts only if the image holds
        less than half of it, a pedestal only if the sky is above it.
    claims : mapping of str to (float, str), optional
        What the layout says (a survey's table of gains): value and source of each quantity.
    **options : float or None
        ``gain``, ``read_noise``, ``sky_level``, ``pedestal``; None where not given.
    """
    claims = claims or {}
    found = {name: (value, "option") for name, value in options.items() if value is not None}
    gain, remark = _header_gain(cards)
    found.setdefault("gain", gain or claims.get("gain"))
    if "read_noise" not in found:
        for name in ("read_noise", "dark_variance"):
            found[name] = _entry(cards.number(name)) or claims.get(name)
    if "sky_level" not in found:
        level = _entry(cards.number("sky_level")) or claims.get("sky_level")
        found["sky_level"] = level if level and image_sky < 0.5 * level[0] else None
    if "pedestal" not in found and "pedestal" in claims and image_sky > claims["pedestal"][0]:
        found["pedestal"] = claims["pedestal"]
    known = {name: entry for name, entry in found.items() if entry is not None}
    return DetectorTerms(
        **{name: value for name, (value, _) in known.items()},
        sources={name: source for name, (_, source) in known.items()},
        remark=remark,
    )


def _entry(found: Found | None) -> tuple[float, str] | None:
    return None if found is None else (found.value, found.source)


def _header_gain(cards: Cards) -> tuple[tuple[float, str] | None, str]:
    """Gain from unit or cards, and a remark on a card that is none; that of a rate is multiplied by the time."""
    unit = parse_unit(cards.header.get("BUNIT"))
    remark = ""
    if unit.kind == "electrons":
        gain: tuple[float, str] | None = (1.0, f"unit {unit.text.upper()}")
    else:
        found = cards.number("gain")
        if found is not None and "gain" not in cards.named and is_camera_setting(cards.header, found):
            remark = f"GAIN = {found.value:g} is taken for the camera's setting, not for e-/count"
            found = None
        gain = _entry(found)
    if gain is None or not unit.per_second:
        return gain, remark
    time = cards.number("exposure_time")
    return (None if time is None else (gain[0] * time.value, f"{gain[1]} times {time.source}")), remark


def is_camera_setting(header: Mapping[str, Any], found: Found) -> bool:
    """Whether a GAIN is the amplification that a camera was set to, which has no unit."""
    if found.cards != ("GAIN",) or found.value != int(found.value):
        return False
    of_integers = int(header.get("BITPIX", -32)) > 0
    return any(name in header for name in _CAMERA_CARDS) or (of_integers and found.value >= _SMALLEST_SETTING)
