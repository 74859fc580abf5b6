"""Gain, read noise and subtracted sky, from options and header cards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Header cards, in order of preference. EGAIN comes first: where a camera writes both, GAIN is its setting.
#: EFFGAIN is not among them: pipelines write it for other quantities too (1 in noise images).
GAIN_CARDS = ("EGAIN", "GAIN", "CCDGAIN")
AMPLIFIER_GAIN_CARDS = ("GAINA", "GAINB", "ATODGNA", "ATODGNB", "ATODGNC", "ATODGND")
READ_NOISE_CARDS = ("RDNOISE", "READNOI", "READNOIS", "RON", "ENOISE")
AMPLIFIER_READ_NOISE_CARDS = ("RDNOISEA", "RDNOISEB", "READNSEA", "READNSEB", "READNSEC", "READNSED")
DARK_VARIANCE_CARDS = ("DARKVAR",)
SUBTRACTED_SKY_CARDS = ("SKYADU", "BACKGR", "MDRIZSKY", "SKYLEVEL", "GMEDIAN")
ELECTRON_UNITS = ("ELECTRON", "ELECTRONS", "E-", "E", "PHOTON", "PHOTONS")
RATE_SUFFIXES = ("/S", "/SEC", "/SECOND", " S-1", " S**-1")


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
    """

    gain: float | None = None
    read_noise: float | None = None
    dark_variance: float | None = None
    sky_level: float | None = None
    pedestal: float = 0.0
    sources: Mapping[str, str] = field(default_factory=dict)

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


def detector_terms(header: Mapping[str, Any], image_sky: float, **options: float | None) -> DetectorTerms:
    """Gain, read noise and subtracted sky from options, else from the header.

    Parameters
    ----------
    header : mapping
        Cards of the image.
    image_sky : float
        Sky level of the image, counts. A header's sky level counts as subtracted only if the image holds
        less than half of it.
    **options : float or None
        ``gain``, ``read_noise``, ``sky_level``, ``pedestal``; None where not given.
    """
    found = {name: (value, "option") for name, value in options.items() if value is not None}
    found.setdefault("gain", _header_gain(header))
    if "read_noise" not in found:
        found["read_noise"] = _first_card(header, READ_NOISE_CARDS) or _mean_card(header, AMPLIFIER_READ_NOISE_CARDS)
        found["dark_variance"] = _first_card(header, DARK_VARIANCE_CARDS)
    if "sky_level" not in found:
        level = _first_card(header, SUBTRACTED_SKY_CARDS)
        found["sky_level"] = level if level and image_sky < 0.5 * level[0] else None
    known = {name: entry for name, entry in found.items() if entry is not None}
    return DetectorTerms(
        **{name: value for name, (value, _) in known.items()},
        sources={name: source for name, (_, source) in known.items()},
    )


def card_number(header: Mapping[str, Any], name: str) -> float | None:
    """Positive finite number of a card (numbers in quotes count), or None."""
    value = header.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _first_card(header: Mapping[str, Any], names: tuple[str, ...]) -> tuple[float, str] | None:
    for name in names:
        number = card_number(header, name)
        if number is not None:
            return number, f"header {name}"
    return None


def _mean_card(header: Mapping[str, Any], names: tuple[str, ...]) -> tuple[float, str] | None:
    """Mean over the amplifiers that the header names."""
    numbers = {name: number for name in names if (number := card_number(header, name)) is not None}
    if not numbers:
        return None
    return sum(numbers.values()) / len(numbers), "mean of header " + ", ".join(numbers)


def _header_gain(header: Mapping[str, Any]) -> tuple[float, str] | None:
    """Gain from unit or cards; that of a rate is multiplied by the exposure time."""
    unit = str(header.get("BUNIT", "")).strip().upper()
    suffix = next((s for s in RATE_SUFFIXES if unit.endswith(s)), "")
    if unit.removesuffix(suffix).strip() in ELECTRON_UNITS:
        gain: tuple[float, str] | None = (1.0, f"unit {unit}")
    else:
        gain = _first_card(header, GAIN_CARDS) or _mean_card(header, AMPLIFIER_GAIN_CARDS)
    if gain is None or not suffix:
        return gain
    time = card_number(header, "EXPTIME")
    return (gain[0] * time, f"{gain[1]} times header EXPTIME") if time else None
