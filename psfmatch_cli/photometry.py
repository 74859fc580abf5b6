"""Photometric scales: what the calibrations say about the kernel sum, and the cards that go with a scale.

A count of one exposure is not a count of the other. With Z the counts of a magnitude 0 source, the same flux is
``Z_target / Z_convolved`` times as many counts in the image that was matched to, and that is what the kernel sum has
to be: ``10^(-0.4 (ZP_convolved - ZP_target))`` with the magnitudes ZP of one count.
"""

from __future__ import annotations

import copy
import logging
import re
from dataclasses import dataclass
from typing import Any

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.grid_cards import put
from psfmatch_cli.keywords import QUANTITIES
from psfmatch_cli.units import parse_unit

log = logging.getLogger(__name__)

#: Header cards of a zero point or of another calibration of counts, as cameras and pipelines call them.
ZERO_POINT_CARDS = re.compile(
    r"L?MAGZ[\w-]*|(AB)?M?ZP[\w-]?|ABMAGZP|ZPT[\w-]?|ZEROP[\w-]*|PHOTZ\w*|PHOT(FLAM|FNU|MJSR|UJA2|CALIB)"
    r"|FLUXMAG0(ERR)?|FLUX20?|PHOT(PLAM|BW|ZPT)|FPA\.ZP|BUNIT"
)
#: Those that hold for counts per second: they need the exposure time of the same image.
_PER_SECOND = re.compile(r"PHOT(FLAM|FNU|PLAM|BW|ZPT)|FPA\.ZP")
#: Cards of quantities in counts, or per count.
_COUNT_CARDS = {
    card
    for quantity in ("gain", "sky_level", "saturation")
    for card in (*QUANTITIES[quantity].cards, *QUANTITIES[quantity].amplifiers)
}
#: Cards of a constant that was added to all counts.
PEDESTAL_CARDS = ("SOFTBIAS", "PEDESTAL")
#: Relative deviation of the kernel sum from the calibrations' ratio that is warned of.
LARGEST_DEVIATION = 0.1
#: Relative difference of exposure times that are the same: 0.1 mmag.
SAME_TIME = 1e-4


@dataclass(frozen=True)
class SumCheck:
    """A kernel sum beside what the calibrations say it is.

    Parameters
    ----------
    fitted : float
        Kernel sum of the fit, at the centre of the region.
    expected : float or None
        Ratio of the calibrations; None where one is not known.
    """

    fitted: float
    expected: float | None

    @property
    def ratio(self) -> float | None:
        """Fitted over expected sum."""
        return None if self.expected is None else self.fitted / self.expected


def check_sum(fitted: float, convolved: Exposure, target: Exposure) -> SumCheck:
    """The kernel sum beside the one that the exposures' calibrations give; a warning if they differ by over 10 %.

    Parameters
    ----------
    fitted : float
        Kernel sum.
    convolved, target : Exposure
        The exposure that was convolved, and the one that was matched to.
    """
    if not (_is_calibrated(convolved) and _is_calibrated(target)):
        return SumCheck(fitted, None)
    check = SumCheck(fitted, target.fluxmag0 / convolved.fluxmag0)
    deviates = abs(check.ratio - 1) > LARGEST_DEVIATION
    log.log(
        logging.WARNING if deviates else logging.INFO,
        "kernel sum %.4f, %.3f times that of the calibrations (%.4f)%s",
        fitted,
        check.ratio,
        check.expected,
        "; are both zero points right?" if deviates else "",
    )
    return check


def _is_calibrated(exposure: Exposure) -> bool:
    return exposure.fluxmag0 is not None and 0 < exposure.fluxmag0 < float("inf")


def is_scale_card(keyword: str) -> bool:
    """Whether a header card belongs to the scale of the counts: a zero point, a unit, a gain, a level in counts."""
    keyword = keyword.upper()
    return keyword in _COUNT_CARDS or ZERO_POINT_CARDS.fullmatch(keyword) is not None


def with_scale_of(exposure: Exposure, other: Exposure) -> Exposure:
    """The exposure with the calibration of another: its zero point, unit, and cards in counts or per count.

    The pixels are not touched: it is for pixels that are on the other's scale already. What the other does not know
    is left out, as the exposure's own would be wrong. So are calibrations of counts per second of an image of counts
    where the exposure times are not known to be equal: the exposure time in the header stays the own one.
    """
    header = _header_with_scale(exposure.header, other.header, _rates_hold(exposure, other))
    return exposure.with_pixels(exposure.masked_image, fluxmag0=other.fluxmag0, header=header)


def _rates_hold(exposure: Exposure, other: Exposure) -> bool:
    """Whether a calibration of the other's counts per second is true with the own exposure time."""
    if parse_unit((other.header or {}).get("BUNIT")).per_second:
        return True
    times = [image.facts.number("exposure_time") for image in (exposure, other)]
    return None not in times and abs(times[0] / times[1] - 1) < SAME_TIME


def _header_with_scale(own: Any, other: Any, rates_hold: bool) -> Any:
    if own is None:
        return None
    made = copy.deepcopy(own)
    for keyword in {name for name in own if is_scale_card(name)}:
        del made[keyword]
    for keyword in other or ():
        if is_scale_card(keyword) and (rates_hold or not _PER_SECOND.fullmatch(keyword.upper())):
            put(made, keyword, other)
    return made


def without_pedestals(header: Any) -> Any:
    """Copy of a header without the cards of constants that were added to all counts: a difference has none left."""
    made = copy.deepcopy(header)
    for keyword in {name for name in header or () if name.upper() in PEDESTAL_CARDS}:
        del made[keyword]
    return made


def without_zero_points(header: Any) -> Any:
    """Copy of a header without the cards of a zero point; the unit stays."""
    made = copy.deepcopy(header)
    for keyword in {name for name in header if ZERO_POINT_CARDS.fullmatch(name.upper()) and name != "BUNIT"}:
        del made[keyword]
    return made
