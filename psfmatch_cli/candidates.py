"""Kernel candidates: which sources may constrain the kernel, and the stamps around them.

Rejection is data: every source of the list has one row in the table of a `CandidateSet`, with a
status and, when refused, the reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.candidate_boxes import grown_by, nearest_pixels, reaches
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.errors import AllRefusedError, BoxMismatchError, EmptySourceListError
from psfmatch_cli.exposure import Box, Exposure, MaskedImage
from psfmatch_cli.rating import cell_sizes, cells_of, core_significances, ranks, worse_neighbours
from psfmatch_cli.source_entries import FOOTPRINT_COLUMNS
from psfmatch_cli.stacks import holds_unfit

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
    "outside": "centre, or grown footprint of the finder, outside the science image",
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
    "condition-number": "condition number of its own fit too large",
    "components": "residuals with the basis of principal components too large",
}


@dataclass(frozen=True)
class CandidateSet:
    """Sources with their fate, and where their stamps are.

    Parameters
    ----------
    table : astropy Table
        One row per source: ``id`` (from 1), ``source_id`` (in the list), ``x, y`` (parent pixels), ``ra, dec``
        (degrees) if they are known, ``box_x0, box_y0, box_x1, box_y1`` (parent pixels of the stamp), ``snr``,
        ``rating``, ``cell_x, cell_y, rank`` (in the cell, 0 is the best; -1 if refused), ``status``, ``reason``.
    half_size : int
        Half side of the square that every stamp fits in, pixels.
    kernel_size : int
        Side of the kernel that the stamps were cut for.
    core_radius : int
        Half side of the core that was rated, pixels.
    """

    table: Table
    half_size: int
    kernel_size: int
    core_radius: int

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
        Columns ``x, y`` (parent pixels); optionally ``source_id`` or ``id``, ``ra, dec``, ``psf_flux`` and
        ``psf_flux_err``, and the boxes of footprints, as `psfmatch_cli.source_list.source_table` makes it; and, as
        `psfmatch_cli.footprints.find_footprints` makes it, ``refused``, a reason for which a source is refused.
    template, science : Exposure
        On one pixel grid.
    config, kernel : CandidateConfig, KernelConfig
        Settings; of `kernel` the cells, the core and the mask planes of the rating are used.
    kernel_size : int
        Side of the kernel; see `grown_by` for the size of the stamps.
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
    table = _initial_table(sources)
    grow = grown_by(kernel_size, config)
    _cut_boxes(table, science.box, reaches(table, grow, config), kernel_size, n_parameters)
    _refuse_masked(table, template.masked_image, "template-mask", kernel_size, config)
    _refuse_masked(table, science.masked_image, "science-mask", kernel_size, config)
    snr = np.asarray(table["snr"])
    _refuse(table, np.isfinite(snr) & (snr < config.min_snr), "faint")
    _rate(table, template.masked_image, science.masked_image, config, kernel)
    _order(table, science.box, kernel, kernel_size)
    made = CandidateSet(table, _largest_half(table, grow), kernel_size, kernel.candidate_core_radius)
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


def _initial_table(sources: Table) -> Table:
    from astropy.table import Table

    names, n = sources.colnames, len(sources)
    table = Table({"id": np.arange(1, n + 1)})
    table["source_id"] = next((np.asarray(sources[k]) for k in ("source_id", "id") if k in names), table["id"])
    for name in ("x", "y", "ra", "dec"):
        if name in names:
            table[name] = np.asarray(sources[name], float)
            table[name].unit = "pix" if name in "xy" else "deg"
    for name in FOOTPRINT_COLUMNS:
        if name in names:
            table[name] = np.asarray(sources[name], np.int64)
    snr = np.full(n, np.nan)
    if "psf_flux" in names and "psf_flux_err" in names:
        with np.errstate(divide="ignore", invalid="ignore"):
            snr = np.asarray(sources["psf_flux"], float) / np.asarray(sources["psf_flux_err"], float)
    table["snr"] = snr
    table["status"] = np.full(n, "unused", dtype="U8")
    table["reason"] = np.full(n, "", dtype="U16")
    _refuse(table, ~(np.isfinite(table["x"]) & np.isfinite(table["y"])), "not-finite")
    given = np.asarray(sources["refused"]) if "refused" in names else np.full(n, "")
    for reason in set(given) - {""}:
        _refuse(table, given == reason, str(reason))
    return table


def _refuse(table: Table, where: NDArray[np.bool_], reason: str) -> None:
    """Refuse the rows, among those not refused yet."""
    rows = where & (np.asarray(table["status"]) != "refused")
    table["status"][rows] = "refused"
    table["reason"][rows] = reason


def _cut_boxes(
    table: Table, image: Box, reach: dict[str, NDArray[np.int64]], kernel_size: int, n_parameters: int
) -> None:
    """Stamp of every source: `reach` around its pixel, cut on both sides where it sticks out on one."""
    ends = []
    for axis, low, high in (("x", image.x_min, image.x_max), ("y", image.y_min, image.y_max)):
        center = nearest_pixels(table[axis])
        _refuse(table, (center < low) | (center > high), "outside")
        half = np.minimum(reach[axis], np.minimum(center - low, high - center))
        table[f"box_{axis}0"], table[f"box_{axis}1"] = center - half, center + half
        ends.append(2 * half + 2 - kernel_size)
    fitted = np.where(np.minimum(*ends) > 0, ends[0] * ends[1], 0)
    # Half of the wanted pixels may be lost at a border; fewer cannot tell the parameters apart.
    _refuse(table, fitted < 2 * n_parameters, "too-small")


def _largest_half(table: Table, at_least: int) -> int:
    """Half side of the square that every stamp fits in."""
    open_rows = table[np.asarray(table["status"]) != "refused"]
    sides = [np.asarray(open_rows[f"box_{axis}1"] - open_rows[f"box_{axis}0"]) for axis in "xy"]
    return int(max(at_least, np.max(sides, initial=0) // 2))


def _refuse_masked(table: Table, image: MaskedImage, reason: str, kernel_size: int, config: CandidateConfig) -> None:
    """Refuse stamps with an unusable pixel.

    Where bad pixels are excluded, only those near the core refuse: a fitted pixel needs its whole kernel square, and
    these must be clean for the core to be fitted.
    """
    rows, boxes = _open_boxes(table, image.xy0)
    if config.mask_policy == "exclude":
        reach = kernel_size // 2 + config.core_radius
        trim = np.maximum((boxes[:, 2:] - boxes[:, :2]) // 2 - reach, 0)
        boxes = boxes + np.concatenate([trim, -trim], axis=1)
    where = np.zeros(len(table), bool)
    where[rows] = holds_unfit(image, boxes, config.bad_mask_planes)
    _refuse(table, where, reason)


def _open_boxes(table: Table, xy0: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Rows that are not refused, and their stamps ``x0, y0, x1, y1`` in the indices of an image that starts at xy0."""
    rows = np.flatnonzero(np.asarray(table["status"]) != "refused")
    corners = [np.asarray(table[f"box_{corner}"])[rows] for corner in ("x0", "y0", "x1", "y1")]
    return rows, np.stack(corners, axis=1) - np.tile(xy0, 2)


def _rate(
    table: Table, template: MaskedImage, science: MaskedImage, config: CandidateConfig, kernel: KernelConfig
) -> None:
    """Rating: significance of the core, see `psfmatch_cli.rating.core_significances`, in the science image.

    A source without a significant flux in both cores is variable, moving or spurious: it has nothing to
    match, and is refused.
    """
    planes = config.bad_mask_planes if kernel.bad_mask_planes is None else kernel.bad_mask_planes
    radius = kernel.candidate_core_radius
    rows, boxes = _open_boxes(table, science.xy0)
    values = [core_significances(image, boxes, planes, radius) for image in (template, science)]
    rating, absent = np.full(len(table), np.nan), np.zeros(len(table), bool)
    rating[rows] = values[1]
    # Independent pixels: the mean of (2 radius + 1)^2 of them has a noise of 1 / (2 radius + 1).
    absent[rows] = np.fmin(*values) * (2 * radius + 1) < MIN_SIGNIFICANCE
    table["rating"] = rating
    _refuse(table, ~np.isfinite(rating), "not-finite")
    _refuse(table, absent, "in-one-image")


def _order(table: Table, region: Box, kernel: KernelConfig, kernel_size: int) -> None:
    """Refuse the lesser of close neighbours; give every source its cell, and its rank there to those that are open."""
    x, y, rating = (np.asarray(table[name]) for name in ("x", "y", "rating"))
    rows = np.flatnonzero(np.asarray(table["status"]) != "refused")
    worse = np.zeros(len(table), bool)
    worse[rows[worse_neighbours(x[rows], y[rows], rating[rows], kernel_size // 2)]] = True
    _refuse(table, worse, "near-brighter")
    rows = rows[~worse[rows]]
    table["cell_x"], table["cell_y"] = cells_of(x, y, region, cell_sizes(x[rows], y[rows], region, kernel))
    rank = np.full(len(table), -1)
    rank[rows] = ranks(np.asarray(table["cell_x"])[rows], np.asarray(table["cell_y"])[rows], rating[rows])
    table["rank"] = rank


def total_snr(candidates: CandidateSet) -> float:
    """Signal to noise ratio of all candidates' cores together."""
    table = candidates.table
    rating = np.asarray(table["rating"])[np.asarray(table["status"]) != "refused"]
    return float(np.sqrt(np.nansum(rating**2)) * (2 * candidates.core_radius + 1))
