"""Options on how to read an exposure, from the texts of a command line to what the reader takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli.reading_options import READING
from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from psfmatch_cli.read_options import ReadOptions


def read_options(given: Mapping[str, Any], role: str) -> ReadOptions:
    """What the options of a role say about its file.

    Parameters
    ----------
    given : mapping
        Values of the options of the command.
    role : str
        "template", "science", or "" for a command of one exposure.

    Raises
    ------
    UsageError
        If a value has another form or is out of range, or two options exclude each other.
    """
    from psfmatch_cli.read_options import ReadOptions

    prefix = f"{role}_" if role else ""
    values = {name: given[prefix + name] for name in READING}
    values["mask_map"] = mask_map(values["mask_map"])
    values["keywords"] = keyword_map(values.pop("keyword"))
    if values["layout"] == "auto":
        values["layout"] = None
    # The science FWHM is in the pixels of its own image, so it can stand for a PSF in the outputs, too.
    if role == "science" and values["psf"] is None:
        values["fwhm"] = given["science_fwhm"]
    try:
        return ReadOptions(**values)
    except UsageError as error:
        raise UsageError(f"options of the {role or 'input'} exposure: {error}") from error


def mask_map(text: str | None) -> dict[int, str] | None:
    """Plane of each mask value, from a text such as "1=INTRP,2=SAT".

    Raises
    ------
    UsageError
        If the text has another form.
    """
    if text is None:
        return None
    planes: dict[int, str] = {}
    for part in text.split(","):
        value, _, plane = (piece.strip() for piece in part.partition("="))
        try:
            planes[int(value, 0)] = plane
        except ValueError:
            raise UsageError(
                f'a mask map is given as "VALUE=PLANE,...", such as "1=INTRP,2=SAT", got {text!r}'
            ) from None
    return planes


def keyword_map(texts: Iterable[str]) -> dict[str, str] | None:
    """Card of each quantity, from texts such as "gain=EGAIN"; dashes in the quantity stand for underscores.

    Raises
    ------
    UsageError
        If a text has another form, or names a quantity again.
    """
    cards: dict[str, str] = {}
    for text in texts:
        quantity, _, card = (piece.strip() for piece in text.partition("="))
        quantity = quantity.replace("-", "_").lower()
        if not quantity or not card:
            raise UsageError(f'a card is named as "QUANTITY=CARD", such as "gain=EGAIN", got {text!r}')
        if quantity in cards:
            raise UsageError(f"the card of {quantity} is named twice: {cards[quantity]} and {card}")
        cards[quantity] = card.upper()
    return cards or None
