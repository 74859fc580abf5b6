"""A fitted kernel and what must be known to apply it to another pair."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psfmatch_cli.errors import BoxMismatchError, InputError, UsageError
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
from psfmatch_cli.plan import Direction
from psfmatch_cli.register import Widths

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Relative change of an FWHM that is warned of: as much as that leaves about 5 % of a star's light.
FWHM_TOLERANCE = 0.05


@dataclass(frozen=True)
class KnownKernel:
    """A fitted kernel and what must be known to apply it.

    Parameters
    ----------
    kernel : MatchingKernel
    background : BackgroundModel
    direction : Direction
    fwhms : dict of str to float or None
        Of "template" and "science" of the pair that it was fitted on, pixels.
    candidates : Table
        That it was fitted on: here they are stars kept out of the fit.
    origin : str
        Its file.
    """

    kernel: MatchingKernel
    background: BackgroundModel
    direction: Direction
    fwhms: Mapping[str, float | None]
    candidates: Table
    origin: str

    @classmethod
    def of(
        cls,
        kernel: MatchingKernel,
        background: BackgroundModel,
        candidates: Table | None,
        info: Mapping[str, Any],
        origin: str = "",
    ) -> KnownKernel:
        """Known kernel from what a kernel file holds.

        Raises
        ------
        InputError
            If it does not say which image the kernel convolves.
        """
        from astropy.table import Table

        convolved = info.get("convolved")
        if convolved not in ("template", "science"):
            raise InputError(f"{origin}: the kernel file must say which image is convolved, got {convolved!r}")
        direction = Direction(convolved == "template", "as the kernel was fitted")
        fwhms = {role: info.get(f"{role}_fwhm") for role in ("template", "science")}
        if candidates is None:
            names, types = ("id", "x", "y", "snr", "status", "reason"), ("i8", "f8", "f8", "f8", "U8", "U16")
            candidates = Table(names=names, dtype=types)
        return cls(kernel, background, direction, fwhms, candidates, origin)


def check_direction(known: KnownKernel, convolve_template: bool | None) -> None:
    """Refuse another direction than the kernel's; None: any.

    Raises
    ------
    UsageError
    """
    if convolve_template not in (None, known.direction.convolve_template):
        wanted = Direction(convolve_template, "").convolved
        raise UsageError(
            f"the kernel {known.origin} convolves the {known.direction.convolved} image, not the {wanted} image"
        )


def check_box(known: KnownKernel, box: Box) -> None:
    """Refuse pixels beyond those that the kernel was fitted on.

    Raises
    ------
    BoxMismatchError
    """
    region = known.kernel.spatial.region
    corners = ((box.x_min, box.y_min), (box.x_max, box.y_max))
    if not all(region.contains(*corner) for corner in corners):
        raise BoxMismatchError(
            f"the kernel {known.origin} was fitted on pixels {region}, the science image covers {box}; it must not "
            "reach beyond"
        )


def warn_of_other_widths(known: KnownKernel, widths: Widths) -> None:
    """Warn of FWHMs that are not those of the fit."""
    for role, now in (("template", widths.template), ("science", widths.science)):
        before = known.fwhms[role]
        if now is not None and before is not None and abs(now / before - 1.0) > FWHM_TOLERANCE:
            log.warning(
                "the FWHM of the %s image is %.2f px, and was %.2f px where the kernel was fitted: its PSF will not be "
                "matched",
                role,
                now,
                before,
            )
