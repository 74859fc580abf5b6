"""What kind of product an exposure is, as its header says."""

from __future__ import annotations

from psfmatch_cli.exposure import Exposure

#: Header card with the kind of a product of a match.
KIND_CARD = "PMIMAGE"
DIFFERENCE = "difference"


def is_difference(exposure: Exposure) -> bool:
    """Whether the exposure is a difference image that this program has written.

    Parameters
    ----------
    exposure : Exposure
    """
    header = exposure.header
    return header is not None and header.get(KIND_CARD) == DIFFERENCE


def kind_card(kind: str) -> tuple[str, str, str]:
    """The card that says so.

    Parameters
    ----------
    kind : str
        Role of the product, such as ``difference``.
    """
    return KIND_CARD, kind, "what this file is"
