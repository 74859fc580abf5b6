"""The candidates of a match: which are fitted, which are rejected and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.cutouts import cut_stamps
from psfmatch_cli.errors import NoCandidatesError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.fit import FittedStamps, Residuals, fit_stamps, kernel_sum_errors, noise_equations, residuals
from psfmatch_cli.solve import NormalEquations
from psfmatch_cli.spatial import SpatialLayout, SpatialSystem, accumulate

#: Largest factor by which the limits of residuals follow what is usual.
MAX_TYPICAL = 3.0
#: Number of errors by which a kernel sum must differ from 0.
NO_SUM = 3.0


@dataclass
class CandidatePool:
    """The candidates while the loop runs: which are fitted, which are rejected and why.

    Parameters
    ----------
    candidates : CandidateSet
    template, science : Exposure
        On one grid.
    basis : KernelBasis
    config : KernelConfig
    convolve_template : bool
    levels : (float, float)
        Sky levels of the convolved and the target image.
    bad_mask_planes : tuple of str
        Pixels to leave out of the fits.
    """

    candidates: CandidateSet
    template: Exposure
    science: Exposure
    basis: KernelBasis
    config: KernelConfig
    convolve_template: bool
    levels: tuple[float, float]
    bad_mask_planes: tuple[str, ...] = ("NO_DATA", "EDGE", "SAT", "BAD", "CR")
    fitted: FittedStamps | None = field(default=None, init=False)

    def __post_init__(self):
        table = self.candidates.table
        rows = np.flatnonzero(np.asarray(table["status"]) != "refused")
        cells = np.asarray(table["cell_y"]) * 2**32 + np.asarray(table["cell_x"])
        order = np.lexsort((np.asarray(table["rank"])[rows], cells[rows]))
        #: Rows of the table, cell by cell, the best of each first; all places below are into this list.
        self.rows = rows[order]
        self.cells = cells[self.rows]
        self.reason = np.full(len(self.rows), "", dtype="U16")
        self.index = np.full(len(self.rows), -1)

    def visit(self) -> NDArray[np.intp]:
        """Places of the best n_star_per_cell candidates of each cell that are not rejected."""
        alive = np.flatnonzero(self.reason == "")
        limit = self.config.n_star_per_cell
        if limit <= 0 or len(alive) == 0:
            return alive
        starts = np.flatnonzero(np.r_[True, np.diff(self.cells[alive]) != 0])
        place = np.arange(len(alive)) - np.repeat(starts, np.diff(np.r_[starts, len(alive)]))
        return alive[place < limit]

    def build(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Fit the candidates at these places that are not fitted yet; returns those."""
        new = places[self.index[places] < 0]
        if len(new) == 0:
            return new
        images = self.template.masked_image, self.science.masked_image
        stamps = cut_stamps(self.candidates, self.rows[new], *images, self.bad_mask_planes)
        fitted = fit_stamps(
            stamps,
            self.basis,
            convolve_template=self.convolve_template,
            fit_background=self.config.fit_for_background,
            levels=self.levels,
        )
        start = 0 if self.fitted is None else len(self.fitted)
        self.fitted = fitted if self.fitted is None else self.fitted.joined(fitted)
        self.index[new] = start + np.arange(len(new))
        return new

    def at(self, places: NDArray[np.intp]) -> FittedStamps:
        return self.fitted.take(self.index[places])

    def system(self, fitted: FittedStamps, layout: SpatialLayout) -> SpatialSystem:
        """Global normal equations of some candidates."""
        own = self.own_constants(layout)
        matrix, vector = accumulate(without_constants(fitted.equations, own), fitted.x, fitted.y, layout)
        if not self.config.correct_noise_bias:
            return SpatialSystem(matrix, vector, np.zeros_like(matrix))
        noise = without_constants(noise_equations(fitted), own)
        return SpatialSystem(matrix, vector, accumulate(noise, fitted.x, fitted.y, layout)[0])

    def own_constants(self, layout: SpatialLayout) -> bool:
        """Whether every candidate has a background of its own, and the model none."""
        return self.config.fit_for_background and layout.background is None

    def local(self, fitted: FittedStamps, layout: SpatialLayout, parameters: NDArray) -> NDArray[np.float64]:
        """Local parameters of some candidates for a global solution, (N, n)."""
        local = layout.local(parameters, fitted.x, fitted.y)
        if not self.own_constants(layout):
            return local
        return np.column_stack([local, fitted.equations.best_last(local)])

    def note(self, places: NDArray[np.intp], **columns: NDArray) -> None:
        """Write columns of the candidate table."""
        table = self.candidates.table
        for name, values in columns.items():
            if name not in table.colnames:
                table[name] = np.full(len(table), np.nan)
            table[name][self.rows[places]] = values

    def reject_singles(self) -> None:
        """Fit all that are due and reject by their own residuals, until nobody new is rejected."""
        while len(new := self.build(self.visit())):
            # All that were ever fitted are judged along: a few new ones cannot tell what is usual.
            built = np.flatnonzero(self.index >= 0)
            built, fitted = built[np.argsort(self.index[built])], self.fitted
            stats = residuals(fitted, fitted.solutions)
            n_basis = len(self.basis)
            sums = fitted.solutions[:, :n_basis] @ self.basis.images.sum(axis=(1, 2))
            errors = kernel_sum_errors(fitted)
            self.note(built, kernel_sum=sums, kernel_sum_err=errors, own_mean=stats.mean, own_rms=stats.rms)
            if self.config.fit_for_background:
                # As if the sky levels had not been taken off before the fit.
                background = fitted.solutions[:, n_basis] + self.levels[1] - sums * self.levels[0]
                self.note(built, background=background)
            # Fewer pixels than parameters leave no residual, whatever the kernel.
            few = fitted.equations.n_pixels <= fitted.solutions.shape[1]
            singular = ~np.isfinite(sums) | ~np.isfinite(stats.rms) | few
            is_new = np.isin(built, new)
            self.reason[built[singular & is_new]] = "singular"
            if self.config.single_kernel_clipping:
                self.reason[built[self.exceeds(stats) & ~singular & is_new]] = "single-fit"

    def exceeds(self, stats: Residuals) -> NDArray[np.bool_]:
        """Whether residuals are beyond the limits (or not computable).

        Where most candidates are noisier than their variances say (correlated noise), the limit of the rms is
        relative to theirs.
        """
        with np.errstate(invalid="ignore"):
            typical = np.clip(np.nanmedian(stats.rms), 1.0, MAX_TYPICAL) if np.isfinite(stats.rms).any() else 1.0
            fine = (np.abs(stats.mean) <= self.config.candidate_residual_mean_max * typical) & (
                stats.rms <= self.config.candidate_residual_std_max * typical
            )
        return ~fine

    def reject_kernel_sums(self) -> int:
        """Reject by the kernel sums of the own fits; returns how many."""
        places = self.visit()
        if len(places) == 0:
            raise self.nobody_left()
        table = self.candidates.table
        sums, errors = (np.asarray(table[k])[self.rows[places]] for k in ("kernel_sum", "kernel_sum_err"))
        if not self.config.kernel_sum_clipping or len(sums) < 2:
            return 0
        if self.config.kernel_sum_errors and (nothing := precisely_nothing(sums, errors)).any():
            # No flux of the one image is in the other: such candidates agree with each other on nothing.
            self.reason[places[nothing]] = "kernel-sum"
            return int(nothing.sum())
        center, spread = kernel_sum_range(sums, errors if self.config.kernel_sum_errors else None)
        out = places[np.abs(sums - center) > self.config.max_ksum_sigma * spread]
        self.reason[out] = "kernel-sum"
        return len(out)

    def nobody_left(self) -> NoCandidatesError:
        counts = Counter(str(r) for r in self.reason if r)
        described = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
        return NoCandidatesError(
            f"all {len(self.rows)} kernel candidates were rejected ({described}); do the two images show the "
            "same field, and are their masks and variances right?",
            {**self.candidates.counts(), **counts},
        )


def kernel_sum_range(
    sums: NDArray[np.float64], errors: NDArray[np.float64] | None
) -> tuple[float, float | NDArray[np.float64]]:
    """Centre of the kernel sums, and the standard deviation to expect of each.

    Without errors both are clipped statistics. With them the centre is the weighted median, and the deviation
    of each sum is its own error and the weighted median deviation of all: of ten sums the two precise ones
    then say more than the eight that are a faint star beside a variable one.
    """
    if errors is None:
        stats = clipped_mean_std(sums)
        return stats.mean, stats.std
    # Below a thousandth the error is not what limits a sum.
    weights = 1.0 / np.hypot(errors, 1e-3 * np.abs(np.median(sums))) ** 2
    center = weighted_median(sums, weights)
    return center, np.hypot(errors, 1.4826 * weighted_median(np.abs(sums - center), weights))


def precisely_nothing(sums: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Sums that are 0 within their errors though these would show a sum like the others'."""
    significant = sums > NO_SUM * errors
    if not significant.any():
        return np.zeros(len(sums), bool)
    return ~significant & (NO_SUM * errors < np.median(sums[significant]))


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Value at which half of the weight is reached."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, 0.5 * reached[-1])])


def without_constants(equations: NormalEquations, own: bool) -> NormalEquations:
    """The equations without the candidates' own constants, if they have them."""
    return equations.without_last() if own else equations
