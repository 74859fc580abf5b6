"""What is known about a file besides its pixels, and where each piece came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fact:
    """One quantity.

    Parameters
    ----------
    value : float or str
    source : str
        The card, HDU, option or measurement that it came from.
    unit : str
        Empty for a text or a pure number.
    """

    value: float | str
    source: str
    unit: str = ""


@dataclass(frozen=True)
class FileFacts:
    """What the headers of a file and of those beside it say.

    Parameters
    ----------
    layout : str
        Name of the layout; empty for an exposure that no file holds.
    planes : mapping of str to str
        HDU or file of each plane that was read: ``image``, ``mask``, ``variance``, ``psf``...
    quantities : mapping of str to Fact
        ``gain``, ``exposure_time``, ``zero_point``, ``fwhm`` (in pixels)...; what no header says is not in it.
    files : mapping of str to str
        Path of each further file that was read because it lies beside this one, by what it holds.
    """

    layout: str = ""
    planes: Mapping[str, str] = field(default_factory=dict)
    quantities: Mapping[str, Fact] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> float | None:
        """Value of a quantity that is a number, or None."""
        fact = self.quantities.get(name)
        return fact.value if fact is not None and isinstance(fact.value, float) else None
