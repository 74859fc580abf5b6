"""What a user may say about an input file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from psfmatch_cli.errors import UsageError
from psfmatch_cli.instruments import LAYOUTS
from psfmatch_cli.keywords import QUANTITIES
from psfmatch_cli.layouts import VarianceKind
from psfmatch_cli.masks import PLANE_NAME
from psfmatch_cli.widths import FWHM_RANGE, is_width
from psfmatch_cli.zero_points import PLAUSIBLE


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about an input; None where the file decides.

    Parameters
    ----------
    image_hdu : int or str, optional
        Number or name of the image HDU: 1, "SCI", "SCI,2".
    layout : str, optional
        Name of the layout, one of `psfmatch_cli.instruments.LAYOUTS`.
    keywords : mapping of str to str, optional
        Header card of a quantity, {"gain": "EGAIN"}; the quantities are `psfmatch_cli.keywords.QUANTITIES`.
    mask, variance, noise, weight : str or Path, optional
        Files of the image's shape, each with an HDU in brackets if need be: quality flags, variance, its
        root, its inverse. At most one of the last three.
    mask_map : mapping of int to str, optional
        Mask plane of each flag value, {4: "BAD", 256: "SAT"}, for masks that do not name their planes.
    gain, read_noise, saturation : float, optional
        e-/count of this image as it is, e-, counts.
    sky_level, pedestal : float, optional
        Counts of sky that were subtracted, and counts that are not light.
    fwhm : float, optional
        Of the PSF, pixels, within `psfmatch_cli.widths.FWHM_LIMITS`.
    psf : str or Path, optional
        Image of the PSF, or a PSFEx model.
    exposure_time : float, optional
        Seconds.
    zero_point : float, optional
        Magnitude of one count.
    band : str, optional
        Filter name.

    Raises
    ------
    UsageError
        If a value is out of range or two options exclude each other.
    """

    image_hdu: int | str | None = None
    layout: str | None = None
    keywords: Mapping[str, str] | None = None
    mask: str | Path | None = None
    variance: str | Path | None = None
    noise: str | Path | None = None
    weight: str | Path | None = None
    mask_map: Mapping[int, str] | None = None
    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    sky_level: float | None = None
    pedestal: float | None = None
    fwhm: float | None = None
    psf: str | Path | None = None
    exposure_time: float | None = None
    zero_point: float | None = None
    band: str | None = None

    def __post_init__(self):
        self._check_numbers()
        self._check_exclusions()
        self._check_names()

    def _check_numbers(self) -> None:
        if self.fwhm is not None and not is_width(self.fwhm):
            raise UsageError(f"fwhm must be a number of pixels from {FWHM_RANGE}, got {self.fwhm}")
        for name in ("gain", "exposure_time"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be a positive number, got {value}")
        if self.read_noise is not None and not 0 <= self.read_noise < math.inf:
            raise UsageError(f"read_noise must be 0 or a positive number, got {self.read_noise}")
        if self.zero_point is not None and not PLAUSIBLE[0] <= self.zero_point <= PLAUSIBLE[1]:
            raise UsageError(
                f"zero_point must be a magnitude from {PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g}, got {self.zero_point}"
            )
        for name in ("saturation", "sky_level", "pedestal"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{name} must be a finite number, got {value}")

    def _check_exclusions(self) -> None:
        for pair in (("variance", "noise", "weight"), ("fwhm", "psf")):
            given = [name for name in pair if getattr(self, name) is not None]
            if len(given) > 1:
                raise UsageError(f"{' and '.join(given)} exclude each other; give one of them")

    def _check_names(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            raise UsageError(f"unknown layout {self.layout!r}; known are {', '.join(LAYOUTS)}")
        for quantity in self.keywords or {}:
            if quantity not in QUANTITIES:
                raise UsageError(f"unknown quantity {quantity!r}; cards can be named for {', '.join(QUANTITIES)}")
        for flag, plane in (self.mask_map or {}).items():
            if isinstance(flag, bool) or not isinstance(flag, int) or not 0 < flag < 2**63:
                raise UsageError(f"a mask map has positive whole flag values, got {flag!r}")
            if not PLANE_NAME.fullmatch(plane):
                raise UsageError(f"a mask plane is named in capitals, like BAD or SAT, got {plane!r}")

    @property
    def noise_file(self) -> tuple[VarianceKind, str | Path] | None:
        """The file that gives the variance, and as what."""
        for kind in ("variance", "noise", "weight"):
            path = getattr(self, kind)
            if path is not None:
                return kind, path
        return None
