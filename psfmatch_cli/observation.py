"""When, and through which filter, an image was taken."""

from __future__ import annotations

import math
from typing import Any

from psfmatch_cli.exposure import Exposure

#: Cards of a modified Julian date, and of a date that is one after conversion, the middle of the exposure first.
MJD_CARDS = ("MJD-AVG", "MJD-MID", "MJD-OBS", "MJD-BEG", "MJD_OBS", "OBSMJD", "MJD")
DATE_CARDS = ("DATE-AVG", "DATE-OBS", "DATE-BEG")


def observed(exposure: Exposure) -> dict[str, Any]:
    """``mjd`` (NaN where no card tells), ``mjd_card``, ``filter`` (empty where not known) of an image.

    Parameters
    ----------
    exposure : Exposure
    """
    mjd, card = observation_mjd(exposure.header or {})
    return {"mjd": mjd, "mjd_card": card, "filter": exposure.filter or ""}


def observation_mjd(header: Any) -> tuple[float, str]:
    """Modified Julian date, days, and the card that it is from; NaN and an empty name where there is none.

    Parameters
    ----------
    header : mapping of str to value
    """
    for card in MJD_CARDS:
        value = header.get(card)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return float(value), card
    for card in DATE_CARDS:
        mjd = _mjd_of(header.get(card), header.get("TIME-OBS"))
        if mjd is not None:
            return mjd, card
    return math.nan, ""


def _mjd_of(date: Any, time: Any) -> float | None:
    """Date of a FITS date text, with the time of a card of its own where the text has none."""
    from astropy.time import Time

    if not isinstance(date, str):
        return None
    text = f"{date.strip()}T{time.strip()}" if "T" not in date and isinstance(time, str) else date.strip()
    try:
        return float(Time(text, format="isot", scale="utc").mjd)
    except ValueError:
        return None
