"""How far the stamps of candidates reach."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import CandidateConfig
from psfmatch_cli.source_entries import FOOTPRINT_COLUMNS

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)


def grown_by(kernel_size: int, config: CandidateConfig) -> int:
    """Pixels by which a source, or its footprint, is grown to its stamp on each side; never scaled for the finder."""
    if not config.scale_by_fwhm or config.finder == "footprints":
        return config.fp_grow_pix
    return int((config.fp_grow_kernel_scaling or 1.0) * kernel_size + 0.5)


def nearest_pixels(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Nearest pixel of each position, halves up; far outside any image where it has no number."""
    far = 2.0**40
    return np.floor(np.clip(np.where(np.isfinite(values), values, -far), -far, far) + 0.5).astype(np.int64)


def reaches(table: Table, grow: int, config: CandidateConfig) -> dict[str, NDArray[np.int64]]:
    """Half width and height of every full stamp: around the source's pixel, with its footprint grown on all sides.

    A footprint that is too large is replaced by its central pixel, as upstream's finder does: bright extended
    objects still contribute, and no stamp is much larger than the others.
    """
    half = {axis: np.full(len(table), grow) for axis in "xy"}
    if FOOTPRINT_COLUMNS[0] not in table.colnames:
        return half
    x0, y0, x1, y1 = (np.asarray(table[name]) for name in FOOTPRINT_COLUMNS)
    x, y = nearest_pixels(table["x"]), nearest_pixels(table["y"])
    around = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
    # A long and narrow box makes a stamp as large as a square one does.
    grows = around & (np.maximum(x1 - x0 + 1, y1 - y0 + 1) ** 2 <= config.fp_npix_max)
    if not grows.all():
        log.info("%d footprints are too large, or not around their sources: their central pixels count", (~grows).sum())
    for axis, center, low, high in (("x", x, x0, x1), ("y", y, y0, y1)):
        half[axis] += np.where(grows, np.maximum(center - low, high - center), 0)
    return half
