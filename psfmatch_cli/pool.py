"""The candidates of a match: which are fitted, which are rejected and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.cutouts import cut_stamps
from psfmatch_cli.errors import AllRejectedError, NobodyTookPartError, NoCandidatesError, SingleFitsFailedError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.fit import FitOptions, Regularizer, fit_stamps
from psfmatch_cli.fitted import FittedStamps, ResidualPixels, kernel_sum_errors, noise_products, residual_pixels
from psfmatch_cli.kernel_sums import kernel_sum_range, precisely_nothing
from psfmatch_cli.regularise import relative_strength
from psfmatch_cli.residuals import Residuals, residuals
from psfmatch_cli.solve import NormalEquations, condition_number
from psfmatch_cli.spatial import SpatialLayout, SpatialSystem, accumulate, accumulate_noise

#: Largest factor by which the limits of residuals follow what is usual.
MAX_TYPICAL = 3.0
#: Reasons of a candidate's own fit.
SINGLE_FIT_REASONS = {"singular", "condition-number", "single-fit", "components"}


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
    regularizer : Regularizer or None
        Of the single fits with `basis`.
    threads : int
        Threads that share the candidates' pixels.
    """

    candidates: CandidateSet
    template: Exposure
    science: Exposure
    basis: KernelBasis
    config: KernelConfig
    convolve_template: bool
    levels: tuple[float, float]
    bad_mask_planes: tuple[str, ...] = ("NO_DATA", "EDGE", "SAT", "BAD", "CR")
    regularizer: Regularizer | None = None
    threads: int = 1
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
        #: Round of the loop, which is noted with a rejection.
        self.round = 1
        table["round"] = np.zeros(len(table), np.int64)

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
        fitted = self._fit(new, self.basis, self.regularizer)
        start = 0 if self.fitted is None else len(self.fitted)
        self.fitted = fitted if self.fitted is None else FittedStamps.concatenated([self.fitted, fitted])
        self.index[new] = start + np.arange(len(new))
        self._note_fits(new, fitted)
        return new

    def refitted(self, places: NDArray[np.intp], basis: KernelBasis) -> FittedStamps:
        """The candidates at these places fitted with another basis, without regularisation."""
        return self._fit(places, basis, None)

    def _fit(self, places: NDArray[np.intp], basis: KernelBasis, regularizer: Regularizer | None) -> FittedStamps:
        config = self.config
        images = self.template.masked_image, self.science.masked_image
        unjudged = config.bad_mask_planes or ()
        stamps = cut_stamps(self.candidates, self.rows[places], *images, self.bad_mask_planes, unjudged)
        options = FitOptions(
            convolve_template=self.convolve_template,
            fit_background=config.fit_for_background,
            levels=self.levels,
            pixel_weights=not config.constant_variance_weighting,
            iterate=config.iterate_single_kernel,
            regularizer=regularizer,
            with_spread=config.calculate_kernel_uncertainty,
        )
        return fit_stamps(stamps, basis, options, self.threads)

    def at(self, places: NDArray[np.intp]) -> FittedStamps:
        return self.fitted.take(self.index[places])

    def system(self, fitted: FittedStamps, layout: SpatialLayout) -> SpatialSystem:
        """Global normal equations of some candidates."""
        own = self.own_constants(layout)
        equations = fitted.equations
        if self.config.spatial_regularization:
            equations = replace(equations, matrix=fitted.penalised())
        matrix, vector = accumulate(without_constants(equations, own), fitted.x, fitted.y, layout)
        if not self.config.correct_noise_bias:
            return SpatialSystem(matrix, vector, np.zeros_like(matrix))
        noise = accumulate_noise(noise_products(fitted.basis), fitted.noise_bias, fitted.x, fitted.y, layout)
        return SpatialSystem(matrix, vector, noise)

    def spread(self, fitted: FittedStamps, layout: SpatialLayout) -> NDArray[np.float64] | None:
        """Covariance of the vector of `system`, if the settings want uncertainties."""
        if not self.config.calculate_kernel_uncertainty:
            return None
        spread = fitted.spread
        if self.own_constants(layout):
            spread = fitted.equations.spread_without_last(spread)
        equations = replace(fitted.equations, matrix=spread, vector=np.zeros(spread.shape[:2]))
        return accumulate(equations, fitted.x, fitted.y, layout)[0]

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
                table[name] = np.full(len(table), np.nan if values.dtype.kind == "f" else 0, values.dtype)
            table[name][self.rows[places]] = values

    def reject_singles(self) -> None:
        """Fit all that are due and reject by their own fits, until nobody new is rejected."""
        while len(new := self.build(self.visit())):
            # All that were ever fitted are judged along: a few new ones cannot tell what is usual.
            built = np.flatnonzero(self.index >= 0)
            built, fitted = built[np.argsort(self.index[built])], self.fitted
            stats = self.statistics(fitted, fitted.own)
            self.note(built, own_mean=stats.mean, own_rms=stats.rms)
            is_new = np.isin(built, new)
            singular = ~np.isfinite(fitted.kernel_sums()) | ~np.isfinite(stats.rms) | self._has_few_pixels(fitted)
            self.reject(built[singular & is_new], "singular")
            if self.config.check_condition_number:
                conditions = np.asarray(self.candidates.table["condition_number"])[self.rows[built]]
                # Upstream lets a negative ratio pass, which is a matrix that is not positive.
                bad = ~((conditions > 0) & (conditions <= self.config.condition_limit))
                self.reject(built[bad & ~singular & is_new], "condition-number")
            if self.config.single_kernel_clipping:
                self.reject(built[self.exceeds(stats) & ~singular & is_new], "single-fit")

    def reject(self, places: NDArray[np.intp], reason: str) -> None:
        """Reject candidates, unless they are rejected already."""
        new = places[self.reason[places] == ""]
        self.reason[new] = reason
        self.note(new, round=np.full(len(new), self.round))

    def pixels(self, fitted: FittedStamps, local: NDArray[np.float64]) -> ResidualPixels:
        """Residuals of candidates for local parameters, (N, n)."""
        return residual_pixels(fitted, local, self.threads)

    def statistics(self, fitted: FittedStamps, pixels: ResidualPixels) -> Residuals:
        """Statistics of the residuals of candidates, judged as the settings want it."""
        return residuals(fitted, pixels, self.config.candidate_core_radius if self.config.use_core_stats else None)

    def _note_fits(self, places: NDArray[np.intp], fitted: FittedStamps) -> None:
        """Columns that the own fit of a candidate decides, whatever the others are."""
        sums = fitted.kernel_sums()
        columns = {
            "kernel_sum": sums,
            "kernel_sum_err": kernel_sum_errors(fitted),
            "n_pixels": fitted.equations.n_pixels,
        }
        if self.regularizer is not None:
            columns["lambda"] = fitted.strengths
            each = zip(fitted.strengths, fitted.equations.matrix, strict=True)
            relative = [relative_strength(strength, matrix, fitted.penalty) for strength, matrix in each]
            columns["lambda_relative"] = np.array(relative)
        if self.config.check_condition_number:
            kind = self.config.condition_number_type
            columns["condition_number"] = np.array([condition_number(m, kind) for m in fitted.penalised()])
        if self.config.fit_for_background:
            # As if the sky levels had not been taken off before the fit.
            columns["background"] = fitted.solutions[:, len(fitted.basis)] + self.levels[1] - sums * self.levels[0]
        self.note(places, **columns)

    @staticmethod
    def _has_few_pixels(fitted: FittedStamps) -> NDArray[np.bool_]:
        """Whether a candidate has no more pixels than parameters: no residual is left then, whatever the kernel.

        Regularised parameters are not independent; a quarter of the pixels is enough.
        """
        n = fitted.solutions.shape[1] if fitted.penalty is None else fitted.solutions.shape[1] // 4
        return fitted.equations.n_pixels <= n

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
            self.reject(places[nothing], "kernel-sum")
            return int(nothing.sum())
        center, spread = kernel_sum_range(sums, errors if self.config.kernel_sum_errors else None)
        out = places[np.abs(sums - center) > self.config.max_ksum_sigma * spread]
        self.reject(out, "kernel-sum")
        return len(out)

    def counts(self) -> dict[str, int]:
        """Number of sources, of candidates among them, and of those that fell to each reason."""
        rejected = Counter(str(r) for r in self.reason if r)
        return {"sources": len(self.candidates.table), **self.candidates.counts(), **rejected}

    def nobody_left(self) -> NoCandidatesError:
        """The error that nobody is left, with the count of every reason."""
        if len(self.rows) == 0:
            return NobodyTookPartError("there is no kernel candidate in any cell: nobody took part", self.counts())
        counts = Counter(str(r) for r in self.reason if r)
        described = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
        kind = SingleFitsFailedError if set(counts) <= SINGLE_FIT_REASONS else AllRejectedError
        return kind(
            f"all {len(self.rows)} kernel candidates were rejected ({described}); do the two images show the "
            "same field, and are their masks and variances right?",
            self.counts(),
        )


def without_constants(equations: NormalEquations, own: bool) -> NormalEquations:
    """The equations without the candidates' own constants, if they have them."""
    return equations.without_last() if own else equations
