"""What aligned two images and what their stars say of it: for the record, the summary and the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from psfmatch_cli.asterisms import EXTRA
from psfmatch_cli.grid import GridComparison
from psfmatch_cli.pixel_map import PixelMap
from psfmatch_cli.star_match import StarOffsets

log = logging.getLogger(__name__)

#: Stars in both images from which it means something that none coincide.
ENOUGH_STARS = 10
#: Offset, or scatter beyond that of the centroids, pixels, from which a warning is due; `psfmatch_cli.align` tells what
#: the matching kernel takes up.
WARN_ABOVE = 0.3


@dataclass(frozen=True)
class Alignment:
    """How two images are aligned.

    Parameters
    ----------
    pixel_map : PixelMap or None
        From science to template pixels; None if the template is on the science pixels as it is.
    grids : GridComparison
        Of the pixel grids, before the stars had a say.
    method : str
        ``wcs``, ``pixels`` (equal pixels taken as aligned), ``asterisms``; with ``+stars`` where stars refined it.
    offsets : StarOffsets or None
        What stars say of the final alignment; None if too few match.
    first_offsets : StarOffsets or None
        Of the alignment before they refined it.
    note : str
        What the stars changed, or why not.
    """

    pixel_map: PixelMap | None
    grids: GridComparison
    method: str
    offsets: StarOffsets | None
    first_offsets: StarOffsets | None
    note: str

    def metadata(self) -> dict[str, Any]:
        """Items for the record; NaN where no stars match."""
        return {
            "registrationMethod": self.method,
            "registrationNote": self.note,
            **_items(self.offsets, "registrationStar{}", "nRegistrationStars"),
            **_items(self.first_offsets, "registrationStar{}Before", "nRegistrationStarsBefore"),
        }

    def summary(self) -> dict[str, Any]:
        """Items for the summary; None where no stars match."""
        stars = self.offsets
        return {
            "registration_method": self.method,
            "registration_note": self.note,
            "registration_star_offset": None if stars is None else [stars.dx, stars.dy],
            "registration_star_rms": None if stars is None else stars.rms,
            "n_registration_stars": 0 if stars is None else stars.n,
        }


def _items(offsets: StarOffsets | None, name: str, number: str) -> dict[str, Any]:
    nan = float("nan")
    dx, dy, rms, n = (nan, nan, nan, 0) if offsets is None else (offsets.dx, offsets.dy, offsets.rms, offsets.n)
    return {name.format("OffsetX"): dx, name.format("OffsetY"): dy, name.format("Rms"): rms, number: n}


def tell(made: Alignment, names: tuple[str, str], numbers: tuple[int, int]) -> None:
    """Say what the stars say, and warn if that is bad.

    Parameters
    ----------
    made : Alignment
    names : (str, str)
        Of template and science image.
    numbers : (int, int)
        Of the stars in them.
    """
    log.info("registration by %s; %s", made.method, made.note)
    found = made.offsets
    if found is None:
        log.info("registration: no star offsets, too few stars match")
        if min(numbers) >= ENOUGH_STARS:
            log.warning(
                "registration: the stars of %s (%d) and %s (%d) do not coincide; if the images are not aligned, try "
                "--register asterisms (%s)",
                names[0],
                numbers[0],
                names[1],
                numbers[1],
                EXTRA,
            )
        return
    line = (
        "registration: stars of the template at (%+.3f, %+.3f) px from those of the science image, rms %.3f px, of %d"
    )
    log.info(line, found.dx, found.dy, found.rms, found.n)
    beyond = np.sqrt(max(found.rms**2 - found.noise**2, 0.0))
    if max(found.distance, beyond) > WARN_ABOVE:
        log.warning(
            "registration: the template's stars lie (%+.2f, %+.2f) px from the science image's, with an rms of %.2f px "
            "(%d stars); try --register stars",
            found.dx,
            found.dy,
            found.rms,
            found.n,
        )
