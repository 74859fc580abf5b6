"""Header cards by quantity: what each quantity is called in the headers of cameras, pipelines and surveys.

A user may name the card of a quantity; then no other is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psfmatch_cli.errors import InputError


@dataclass(frozen=True)
class Quantity:
    """What to look for.

    Parameters
    ----------
    cards : tuple of str
        In order of preference.
    amplifiers : tuple of str
        Cards of the parts of a detector, averaged where none of `cards` is there.
    unit : str
    text : bool
        Whether the value is a text rather than a positive number.
    """

    cards: tuple[str, ...]
    amplifiers: tuple[str, ...] = ()
    unit: str = ""
    text: bool = False


#: Numbers beyond are damage; their squares would leave the range of floating point numbers.
SMALLEST, LARGEST = 1e-100, 1e100

#: Quantities whose card a user may name. EGAIN comes before GAIN: where a camera writes both, GAIN is its setting.
#: EFFGAIN is not there: pipelines write it for other quantities, too. DATAMAX comes last among the saturation
#: levels: many programs write the largest value of the image there.
QUANTITIES: dict[str, Quantity] = {
    "gain": Quantity(
        ("EGAIN", "CELL.GAIN", "GAIN", "ATODGAIN", "CCDGAIN"),
        ("GAINA", "GAINB", "ATODGNA", "ATODGNB", "ATODGNC", "ATODGND"),
        "e-/count",
    ),
    "read_noise": Quantity(
        ("RDNOISE", "READNOI", "READNOIS", "RON", "ENOISE", "CELL.READNOISE"),
        ("RDNOISEA", "RDNOISEB", "READNSEA", "READNSEB", "READNSEC", "READNSED"),
        "e-",
    ),
    "dark_variance": Quantity(("DARKVAR",), unit="counts2"),
    "sky_level": Quantity(("SKYADU", "BACKGR", "MDRIZSKY", "SKYLEVEL", "GMEDIAN"), unit="counts"),
    "saturation": Quantity(
        ("SATURATE", "SATURA", "SATLEVEL", "CELL.SATURATION", "SATURATA", "SATURATB", "DATAMAX"), unit="counts"
    ),
    "exposure_time": Quantity(
        ("EXPTIME", "EXPOSURE", "XPOSURE", "EFFEXPTM", "EXP_TIME", "TEXPTIME", "ITIME"), unit="s"
    ),
    "zero_point": Quantity(("MAGZP", "MAGZPT", "MAGZERO", "PHOTZP", "MAG_ZP", "ZEROPNT", "ZP"), unit="mag"),
    "fwhm": Quantity(
        ("FWHM", "PSF_FWHM", "PSFFWHM", "IMFWHM", "SEXFWHM", "L1FWHM", "CHIP.SEEING", "SEEING", "STELFWHM"), unit="pix"
    ),
    "filter": Quantity(("FILTER", "FPA.FILTERID", "FPA.FILTER", "FILTNAM", "FILTERS"), text=True),
    "date": Quantity(("DATE-OBS", "DATE_OBS", "DATE-BEG", "MJD-OBS", "MJD_OBS", "EXPSTART"), text=True),
    "unit": Quantity(("BUNIT", "BUNITS"), text=True),
}


@dataclass(frozen=True)
class Found:
    """The value of a quantity, and the card or cards that it came from; none for one that the user gave."""

    value: Any
    cards: tuple[str, ...]

    @property
    def source(self) -> str:
        """How that is told."""
        if not self.cards:
            return "option"
        return ("mean of header " if len(self.cards) > 1 else "header ") + ", ".join(self.cards)


@dataclass(frozen=True)
class Cards:
    """A header read by quantity.

    Parameters
    ----------
    header : mapping
    named : mapping of str to str
        Card of each quantity that the user named.
    given : mapping of str to float
        Values that the user gave; they win.
    """

    header: Mapping[str, Any]
    named: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, float] = field(default_factory=dict)

    def names(self, quantity: str) -> tuple[str, ...]:
        """Cards to look at, in order."""
        return (self.named[quantity],) if quantity in self.named else QUANTITIES[quantity].cards

    def number(self, quantity: str) -> Found | None:
        """The value that was given, else the first positive finite number, or None."""
        if quantity in self.given:
            return Found(self.given[quantity], ())
        for name in self.names(quantity):
            number = card_number(self.header, name)
            if number is not None:
                return Found(number, (name,))
        return None if quantity in self.named else self._mean(QUANTITIES[quantity].amplifiers)

    def _mean(self, names: tuple[str, ...]) -> Found | None:
        numbers = {name: number for name in names if (number := card_number(self.header, name)) is not None}
        return Found(sum(numbers.values()) / len(numbers), tuple(numbers)) if numbers else None

    def text(self, quantity: str) -> Found | None:
        """The first value that is not empty, as a text, or None."""
        for name in self.names(quantity):
            value = self.header.get(name)
            if isinstance(value, (str, int, float)) and str(value).strip():
                return Found(str(value).strip(), (name,))
        return None

    def check_named(self, where: str) -> None:
        """Refuse cards that the user named and that are not there, or hold no positive number.

        Raises
        ------
        InputError
            If there is such a card.
        """
        for quantity, name in self.named.items():
            if name not in self.header:
                raise InputError(f"{where}: no card {name}, which was named for the {told(quantity)}")
            if not QUANTITIES[quantity].text and card_number(self.header, name) is None:
                raise InputError(
                    f"{where}: the card {name}, named for the {told(quantity)}, must hold a positive number, "
                    f"got {self.header[name]!r}"
                )


def told(quantity: str) -> str:
    """Name of a quantity in a sentence."""
    return "FWHM" if quantity == "fwhm" else quantity.replace("_", " ")


def card_number(header: Mapping[str, Any], name: str) -> float | None:
    """Positive number of a card (numbers in quotes count), or None; so for one that no quantity can have."""
    value = header.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if SMALLEST <= number <= LARGEST else None
