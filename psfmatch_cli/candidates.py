"""Kernel candidates: which sources may constrain the kernel, and the stamps around them.

Rejection is data: every source of the list has one row in the table of a `CandidateSet`, with a
status and, when refused, the reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.errors import AllRefusedError, BoxMismatchError, EmptySourceListError, UsageError
from psfmatch_cli.exposure import Box, Exposure, MaskedImage

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Significance of the core's flux, in both images, below which a source is no candidate.
MIN_SIGNIFICANCE = 5.0

#: Statuses of a candidate, in the order of its life.
STATUSES = ("refused", "unused", "rejected", "used")

#: Reasons and what they mean; the reasons of the fit are added by `psfmatch_cli.pool`.
REASONS = {
    "": "not refused",
    "not-finite": "no finite position, or no core pixel with a known noise",
    "outside": "centre outside the science image",
    "too-small": "too few pixels between the stamp and the image border",
    "template-mask": "bad pixels in the template's stamp",
    "science-mask": "bad pixels in the science stamp",
    "faint": "signal to noise ratio too small",
    "in-one-image": "no significant flux in the core of one of the images",
    "near-brighter": "a better candidate lies within the kernel's half side",
    "single-fit": "residuals of its own fit too large",
    "kernel-sum": "kernel sum too far from the others'",
    "spatial-fit": "residuals of the spatial model too large",
    "singular": "its own fit has no solution",
}


@dataclass(frozen=True)
class CandidateSet:
    """Sources with their fate, and where their stamps are.

    Parameters
    ----------
    table : astropy Table
        One row per source: ``id, x, y`` (parent pixels), ``box_x0, box_y0, box_x1, box_y1`` (parent pixels of the
        stamp), ``snr``, ``rating``, ``cell_x, cell_y, rank``, ``status``, ``reason``.
    half_size : int
        Half side of a full stamp, pixels.
    kernel_size : int
        Side of the kernel that the stamps were cut for.
    """

    table: Table
    half_size: int
    kernel_size: int

    def __len__(self) -> int:
        return int(np.count_nonzero(self.table["status"] != "refused"))

    def counts(self) -> dict[str, int]:
        """Number of sources per reason of refusal or rejection, and of those not refused under ``"candidates"``."""
        reasons = Counter(str(reason) for reason in self.table["reason"] if reason)
        return {"candidates": len(self), **dict(sorted(reasons.items()))}

    def copy(self) -> CandidateSet:
        """The same set with a table of its own."""
        return replace(self, table=self.table.copy())


def select_candidates(
    sources: Table,
    template: Exposure,
    science: Exposure,
    config: CandidateConfig,
    kernel: KernelConfig,
    *,
    kernel_size: int,
    n_parameters: int,
) -> CandidateSet:
    """Sources whose stamps are clean in both images, ranked within spatial cells.

    Parameters
    ----------
    sources : Table
        Columns ``x, y`` (0-based parent pixels) or ``ra, dec`` (degrees); optionally ``id``, ``psf_flux`` and
        ``psf_flux_err``.
    template, science : Exposure
        On one pixel grid.
    config, kernel : CandidateConfig, KernelConfig
        Settings; of `kernel` only the cells are used.
    kernel_size : int
        Side of the kernel; the half side of a stamp is this times ``fp_grow_kernel_scaling``.
    n_parameters : int
        Number of local parameters: a stamp must leave twice as many fitted pixels.

    Raises
    ------
    EmptySourceListError
        If the list is empty.
    AllRefusedError
        If no source survives; with the count of every reason.
    BoxMismatchError
        If the exposures differ in size or origin.
    """
    if template.shape != science.shape or template.xy0 != science.xy0:
        raise BoxMismatchError(
            f"template {template.shape} at {template.xy0} and science {science.shape} at {science.xy0} "
            "are not on one pixel grid"
        )
    if len(sources) == 0:
        raise EmptySourceListError(
            "the source list is empty: there is nothing to make kernel candidates from", {"sources": 0, "candidates": 0}
        )
    half = int(config.fp_grow_kernel_scaling * kernel_size + 0.5)
    table = _initial_table(sources, science)
    _cut_boxes(table, science.box, half, kernel_size, n_parameters)
    # A fitted pixel needs its whole kernel square: these must be clean for the core to be fitted.
    reach = half if config.mask_policy == "reject" else min(half, kernel_size // 2 + config.core_radius)
    _refuse_masked(table, template.masked_image, "template-mask", reach, config)
    _refuse_masked(table, science.masked_image, "science-mask", reach, config)
    snr = np.asarray(table["snr"])
    _refuse(table, np.isfinite(snr) & (snr < config.min_snr), "faint")
    _rate(table, template.masked_image, science.masked_image)
    _refuse_neighbours(table, kernel_size // 2)
    _rank_in_cells(table, science.box, kernel)
    made = CandidateSet(table, half, kernel_size)
    counts = made.counts()
    log.info("candidates: %d of %d sources%s", len(made), len(table), _describe(counts))
    if len(made) == 0:
        raise AllRefusedError(
            f"none of {len(table)} sources can be a kernel candidate{_describe(counts)}",
            {"sources": len(table), **counts},
        )
    return made


def _describe(counts: dict[str, int]) -> str:
    refused = [f"{n} {reason}" for reason, n in counts.items() if reason != "candidates"]
    return f" (refused: {', '.join(refused)})" if refused else ""


def _initial_table(sources: Table, science: Exposure) -> Table:
    from astropy.table import Table

    x, y = _positions(sources, science)
    names, n = sources.colnames, len(sources)
    table = Table()
    table["id"] = np.asarray(sources["id"]) if "id" in names else np.arange(1, n + 1)
    table["x"], table["y"] = x, y
    for name in ("ra", "dec"):
        if name in names:
            table[name] = sources[name]
    snr = np.full(n, np.nan)
    if "psf_flux" in names and "psf_flux_err" in names:
        with np.errstate(divide="ignore", invalid="ignore"):
            snr = np.asarray(sources["psf_flux"], float) / np.asarray(sources["psf_flux_err"], float)
    table["snr"] = snr
    table["status"] = np.full(n, "unused", dtype="U8")
    table["reason"] = np.full(n, "", dtype="U16")
    _refuse(table, ~(np.isfinite(x) & np.isfinite(y)), "not-finite")
    return table


def _positions(sources: Table, science: Exposure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    names = sources.colnames
    if "x" in names and "y" in names:
        return np.asarray(sources["x"], float), np.asarray(sources["y"], float)
    if "ra" in names and "dec" in names:
        if science.wcs is None:
            raise UsageError("the source list has only ra and dec, and the science image has no WCS; give x and y")
        x, y = science.wcs.all_world2pix(np.asarray(sources["ra"], float), np.asarray(sources["dec"], float), 0)
        return x + science.xy0[0], y + science.xy0[1]
    raise UsageError(f"a source list needs the columns x and y, or ra and dec; it has {', '.join(names)}")


def _refuse(table: Table, where: NDArray[np.bool_], reason: str) -> None:
    """Refuse the rows, among those not refused yet."""
    rows = where & (np.asarray(table["status"]) != "refused")
    table["status"][rows] = "refused"
    table["reason"][rows] = reason


def _cut_boxes(table: Table, image: Box, half: int, kernel_size: int, n_parameters: int) -> None:
    """Stamp of every source: `half` around its pixel, cut on both sides where it sticks out on one."""
    ends = []
    for axis, low, high in (("x", image.x_min, image.x_max), ("y", image.y_min, image.y_max)):
        value = np.asarray(table[axis])
        center = np.floor(np.where(np.isfinite(value), value, low - 1.0) + 0.5)
        center = np.clip(center, low - 2**30, high + 2**30).astype(np.int64)
        _refuse(table, (center < low) | (center > high), "outside")
        reach = np.minimum(half, np.minimum(center - low, high - center))
        table[f"box_{axis}0"], table[f"box_{axis}1"] = center - reach, center + reach
        ends.append(2 * reach + 2 - kernel_size)
    fitted = np.where(np.minimum(*ends) > 0, ends[0] * ends[1], 0)
    # Half of the wanted pixels may be lost at a border; fewer cannot tell the parameters apart.
    _refuse(table, fitted < 2 * n_parameters, "too-small")


def _refuse_masked(table: Table, image: MaskedImage, reason: str, reach: int, config: CandidateConfig) -> None:
    """Refuse stamps with an unusable pixel within `reach` of their centre, counted with a summed-area table."""
    bad = unfit_pixels(image, config.bad_mask_planes)
    summed = np.zeros((bad.shape[0] + 1, bad.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(bad, axis=0, dtype=np.int64), axis=1, out=summed[1:, 1:])
    open_rows = np.flatnonzero(np.asarray(table["status"]) != "refused")
    x0, y0 = image.xy0
    ends = []
    for axis, origin in (("x", x0), ("y", y0)):
        first, last = (np.asarray(table[f"box_{axis}{i}"])[open_rows] - origin for i in (0, 1))
        trim = np.maximum((last - first) // 2 - reach, 0)
        ends += [first + trim, last - trim + 1]
    left, right, low, high = ends
    count = summed[high, right] - summed[low, right] - summed[high, left] + summed[low, left]
    where = np.zeros(len(table), bool)
    where[open_rows[count > 0]] = True
    _refuse(table, where, reason)


def unfit_pixels(image: MaskedImage, bad_mask_planes: Iterable[str]) -> NDArray[np.bool_]:
    """Pixels that no fit can use, (H, W): masked, or without a value or a variance whatever the mask says."""
    return image.unusable(bad_mask_planes) | ~(np.isfinite(image.image) & np.isfinite(image.variance))


def _rate(table: Table, template: MaskedImage, science: MaskedImage, core: int = 3) -> None:
    """Rating: mean over the core of (image - local level) / noise, in the science image.

    A source without a significant flux in both cores is variable, moving or spurious: it has nothing to
    match, and is refused.
    """
    rating, absent = np.full(len(table), np.nan), np.zeros(len(table), bool)
    for row in np.flatnonzero(np.asarray(table["status"]) != "refused"):
        box = Box(*(int(table[f"box_{k}"][row]) for k in ("x0", "y0", "x1", "y1")))
        values = [_core_significance(image.cutout(box), core) for image in (template, science)]
        rating[row] = values[1]
        # Independent pixels: the mean of (2 core + 1)^2 of them has a noise of 1 / (2 core + 1).
        absent[row] = min(values) * (2 * core + 1) < MIN_SIGNIFICANCE
    table["rating"] = rating
    _refuse(table, ~np.isfinite(rating), "not-finite")
    _refuse(table, absent, "in-one-image")


def _core_significance(stamp: MaskedImage, core: int) -> float:
    """Mean of (image - local level) / noise over the core's pixels whose noise is known; NaN if there are none."""
    cy, cx = stamp.shape[0] // 2, stamp.shape[1] // 2
    at = (slice(cy - core, cy + core + 1), slice(cx - core, cx + core + 1))
    image, variance = stamp.image[at], stamp.variance[at]
    known = np.isfinite(image) & (variance > 0) & (variance < np.inf)
    if not known.any():
        return float("nan")
    level = np.median(stamp.image[np.isfinite(stamp.image)])
    return float(((image[known] - level) / np.sqrt(variance[known], dtype=np.float64)).mean())


def _refuse_neighbours(table: Table, radius: int) -> None:
    """Of candidates closer than `radius` keep the best rated: the others see the same pixels."""
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(np.asarray(table["status"]) != "refused")
    if len(rows) < 2:
        return
    rows = rows[np.argsort(-np.asarray(table["rating"])[rows], kind="stable")]
    tree = cKDTree(np.column_stack([np.asarray(table["x"])[rows], np.asarray(table["y"])[rows]]))
    refused = np.zeros(len(rows), bool)
    for near in range(len(rows)):
        if not refused[near]:
            others = [k for k in tree.query_ball_point(tree.data[near], radius) if k > near]
            refused[others] = True
    where = np.zeros(len(table), bool)
    where[rows[refused]] = True
    _refuse(table, where, "near-brighter")


def _rank_in_cells(table: Table, region: Box, kernel: KernelConfig) -> None:
    """Cell of every source, and its rank by rating among the open ones of its cell (0 is best)."""
    # Positions outside, or without a number, are refused: any cell will do.
    x = np.clip(np.nan_to_num(np.asarray(table["x"], float)), region.x_min, region.x_max)
    y = np.clip(np.nan_to_num(np.asarray(table["y"], float)), region.y_min, region.y_max)
    size_x, size_y = cell_sizes(region, kernel)
    table["cell_x"] = ((np.floor(x + 0.5) - region.x_min) // size_x).astype(np.int64)
    table["cell_y"] = ((np.floor(y + 0.5) - region.y_min) // size_y).astype(np.int64)
    rank = np.full(len(table), -1)
    rows = np.flatnonzero(np.asarray(table["status"]) != "refused")
    order = np.lexsort((-np.asarray(table["rating"])[rows], table["cell_x"][rows], table["cell_y"][rows]))
    previous, place = None, 0
    for row in rows[order]:
        cell = (table["cell_x"][row], table["cell_y"][row])
        place = place + 1 if cell == previous else 0
        rank[row], previous = place, cell
    table["rank"] = rank


def total_snr(candidates: CandidateSet, core: int = 3) -> float:
    """Signal to noise ratio of all candidates' cores together."""
    table = candidates.table
    rating = np.asarray(table["rating"])[np.asarray(table["status"]) != "refused"]
    return float(np.sqrt(np.nansum(rating**2)) * (2 * core + 1))


def cell_sizes(region: Box, kernel: KernelConfig) -> tuple[float, float]:
    """Width and height of the spatial cells, pixels: as configured, or larger to keep to max_candidates."""
    n_cells = np.ceil(region.width / kernel.size_cell_x) * np.ceil(region.height / kernel.size_cell_y)
    wanted = max(1.0, kernel.n_star_per_cell * n_cells / kernel.candidate_limit) ** 0.5
    return kernel.size_cell_x * wanted, kernel.size_cell_y * wanted
