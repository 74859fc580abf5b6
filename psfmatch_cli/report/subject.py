"""What a report is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import DETECTED_PLANES, MaskedImage

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
    from psfmatch_cli.metadata import TaskMetadata

#: Images in the order in which they are shown, before the difference.
ROLES = ("template", "science", "matched")
#: Planes whose pixels count in no statistic here; those of the defaults of the fit.
BAD_PLANES = ("NO_DATA", "EDGE", "SAT", "BAD", "CR")


@dataclass(frozen=True)
class Subject:
    """A difference and what is known of how it was made; what is missing is left out of the page.

    Parameters
    ----------
    title : str
        Name of the difference.
    difference : MaskedImage
    images : mapping of str to ndarray, (H, W)
        Those of `ROLES` that there are, on the grid of the difference.
    described : mapping of str to str
        What the template and the science image are images of, in a line.
    record : TaskMetadata or None
        The record of the run.
    kernel, background : MatchingKernel, BackgroundModel or None
    candidates : Table or None
        Every source with its fate.
    sources : Table or None
        Sources of the difference.
    missing : tuple of str
        What was not found or cannot be shown, a sentence each.
    """

    title: str
    difference: MaskedImage
    images: Mapping[str, NDArray[np.float32]]
    described: Mapping[str, str] = field(default_factory=dict)
    record: TaskMetadata | None = None
    kernel: MatchingKernel | None = None
    background: BackgroundModel | None = None
    candidates: Table | None = None
    sources: Table | None = None
    missing: tuple[str, ...] = ()

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Pixels of the difference with counts, a noise and no plane of `BAD_PLANES`, (H, W)."""
        image = self.difference
        usable = (image.mask & self._bits(BAD_PLANES)) == 0
        usable &= np.isfinite(image.image)
        usable &= image.variance > 0
        return usable

    @cached_property
    def sky(self) -> NDArray[np.bool_]:
        """Usable pixels away from detected sources, (H, W)."""
        return self.usable & ((self.difference.mask & self._bits(DETECTED_PLANES)) == 0)

    @cached_property
    def significance(self) -> NDArray[np.float32]:
        """Difference over its noise; NaN where it is not usable, (H, W)."""
        image = self.difference
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = image.image / np.sqrt(image.variance)
        ratio[~self.usable] = np.nan
        return ratio

    def item(self, path: str, default: object = None) -> object:
        """An item of the record, or the default where there is none."""
        return default if self.record is None else self.record.get(path, default)

    def items(self, path: str) -> list:
        """A list of the record; empty where there is none."""
        if self.record is None or path not in self.record:
            return []
        return self.record.get_array(path)

    @property
    def fwhm(self) -> float:
        """Of the wider image, pixels; 3 where it is not known."""
        known = [self.item(f"psfMatch.{role}FwhmPix") for role in ("template", "science")]
        widths = [width for width in known if isinstance(width, float) and width > 0]
        return max(widths, default=3.0)

    def _bits(self, planes: tuple[str, ...]) -> int:
        return sum(1 << self.difference.planes[name] for name in planes if name in self.difference.planes)


def described(name: str, header: Mapping[str, object]) -> str:
    """A file in a line: its name, and the object, filter, date and exposure time of its header."""
    words = [str(header[card]).strip() for card in ("OBJECT", "FILTER", "DATE-OBS") if header.get(card)]
    time = header.get("EXPTIME")
    if isinstance(time, int | float):
        words.append(f"{time:g} s")
    return ", ".join([name, *words])
