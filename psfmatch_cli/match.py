"""The matching loop: fit every candidate, reject, solve the spatial model, assess, repeat."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.candidate_qa import quality_items
from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.errors import DisagreementError, KernelSumError
from psfmatch_cli.fitted import FittedStamps, ResidualPixels
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel, n_terms
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.ready import Ready, make_ready, spatial_layout
from psfmatch_cli.residuals import Residuals
from psfmatch_cli.solve import condition_number
from psfmatch_cli.spatial import SpatialSolution, solve_spatial

log = logging.getLogger(__name__)

#: Fraction of the fitted candidates that must agree on a kernel, where there are more than a few.
LEAST_AGREEMENT, FEW_CANDIDATES = 0.2, 10
#: Agreeing candidates that may be chance coincidences, where most sources are in one image only.
FEW_STARS = 6
#: Fewer candidates than these cannot check each other.
FEWEST = 3


@dataclass(frozen=True)
class MatchResult:
    """What the loop found.

    Parameters
    ----------
    kernel : MatchingKernel
    background : BackgroundModel
    candidates : CandidateSet
        With the fate of every source and the columns of its fits: ``kernel_sum``, ``background``,
        ``own_mean, own_rms, spatial_mean, spatial_rms`` (of residual / noise), ``chi2``.
    solution : SpatialSolution
    condition_number : float
        Largest over smallest eigenvalue of the spatial system.
    model_error : float
        Relative residual of bright candidates beyond the noise.
    n_used, n_rejected, n_iterations, n_restarts : int
        Candidates in the last fit, candidates rejected by the loop, rounds of it, and how often kernel sums or
        components made a round start again.
    converged : bool
        Whether the last assessment rejected nobody.
    quality : dict of str to float
        Statistics of the residuals of those in the last fit: see `psfmatch_cli.candidate_qa`.
    """

    kernel: MatchingKernel
    background: BackgroundModel
    candidates: CandidateSet
    solution: SpatialSolution
    condition_number: float
    model_error: float
    n_used: int
    n_rejected: int
    n_iterations: int
    n_restarts: int
    converged: bool
    quality: dict[str, float]


def match(pool: CandidatePool, kernel_order: int, background_order: int | None) -> MatchResult:
    """The loop over a pool of candidates.

    Single fits are rejected by their residuals, then by their kernel sums, until both are clean; the
    spatial model is solved and its residuals are assessed, and rejected candidates are replaced by the
    next of their cell, at most ``max_spatial_iterations`` times.

    Parameters
    ----------
    pool : CandidatePool
        Its state changes.
    kernel_order : int
        Order of the spatial model of the kernel.
    background_order : int or None
        That of the background. None: the candidates' own constants are eliminated, so that the kernel does not
        depend on any model of the background; a plane through them is returned as the background.

    Raises
    ------
    NoCandidatesError
        If nobody takes part, every candidate is rejected, or hardly any agree; with the count of every reason.
    FitError
        If the system has no solution, or the kernel sum is not positive.
    """
    rounds = _Rounds(pool, kernel_order, background_order)
    last = rounds.next()
    while not last.converged and rounds.n < pool.config.max_spatial_iterations:
        last = rounds.next()
    if not last.converged:
        # Whoever was rejected last is replaced and left out, but nobody is judged any more.
        last = rounds.next(reject=False)
    _check_agreement(pool, len(last.ready.places))
    _check_sum(last)
    return _result(pool, last, rounds)


@dataclass(frozen=True)
class _Round:
    """One pass of the loop."""

    ready: Ready
    solution: SpatialSolution
    local: NDArray[np.float64]
    pixels: ResidualPixels
    stats: Residuals
    converged: bool


class _Rounds:
    """The passes of the loop over one pool; counts them, and what made everything start again.

    Parameters
    ----------
    pool : CandidatePool
    kernel_order : int
    background_order : int or None
    """

    def __init__(self, pool: CandidatePool, kernel_order: int, background_order: int | None):
        self.pool = pool
        self.orders = kernel_order, background_order
        self.n = self.n_restarts = 0

    def next(self, *, reject: bool = True) -> _Round:
        """Make candidates ready, solve, assess; `reject` those beyond the limits."""
        pool = self.pool
        ready = make_ready(pool)
        self.n_restarts += ready.n_restarts
        fitted = ready.fitted
        layout = spatial_layout(pool, fitted.basis, *self.orders)
        solution = solve_spatial(pool.system(fitted, layout), layout, pool.spread(fitted, layout))
        local = pool.local(fitted, layout, solution.parameters)
        pixels = pool.pixels(fitted, local)
        stats = pool.statistics(fitted, pixels)
        pool.note(ready.places, spatial_mean=stats.mean, spatial_rms=stats.rms, chi2=stats.chi2)
        log.debug("spatial fit of %d candidates: model error %.4f", len(fitted), stats.model_error)
        out = np.zeros(len(fitted), bool)
        if reject:
            self.n += 1
            if pool.config.spatial_kernel_clipping:
                out = pool.exceeds(stats)
            pool.reject(ready.places[out], "spatial-fit")
            pool.round += 1
        return _Round(ready, solution, local, pixels, stats, reject and not out.any())


def _check_agreement(pool: CandidatePool, n_used: int) -> None:
    """Refuse a solution that hardly any candidate agrees with; warn of one that the lesser part agrees with.

    Raises
    ------
    DisagreementError
        If fewer than `LEAST_AGREEMENT` of the fitted candidates are left.
    """
    n_fitted = n_used + int(np.count_nonzero(pool.reason != ""))
    counts = Counter(str(r) for r in pool.reason if r)
    described = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
    absent = int(np.count_nonzero(pool.candidates.table["reason"] == "in-one-image"))
    chance = n_used < FEW_STARS and absent > 20 * n_used
    if chance or (n_fitted >= FEW_CANDIDATES and n_used < LEAST_AGREEMENT * n_fitted):
        raise DisagreementError(
            f"only {n_used} of {n_fitted} kernel candidates agree on a kernel ({described}), and {absent} sources are "
            "in one image only; do the two show the same field, and are they aligned?",
            pool.counts(),
        )
    if FEWEST <= n_used < 0.5 * n_fitted:
        log.warning(
            "only %d of %d kernel candidates agree on the kernel (%s): look at the difference before you believe it",
            n_used,
            n_fitted,
            described,
        )


def _check_sum(last: _Round) -> None:
    """Refuse a kernel that takes flux to nothing.

    Raises
    ------
    KernelSumError
        If the kernel sum at the centre is not positive.
    """
    kernel, _ = last.solution.models(last.ready.fitted.basis)
    if not kernel.center_sum > 0:
        raise KernelSumError(
            f"the kernel sum is {kernel.center_sum:.3g}, but a flux ratio is positive; do the images show the same "
            "field, and is the sharper one convolved?"
        )


def _plane_of_constants(fitted: FittedStamps, solution: SpatialSolution) -> BackgroundModel:
    """Plane (or constant, for few candidates) through the candidates' own constants for the solution."""
    constants = fitted.equations.best_last(solution.layout.local(solution.parameters, fitted.x, fitted.y))
    order = 1 if len(fitted) >= 3 * n_terms(1) else 0
    model = SpatialModel(solution.layout.kernel.kind, order, solution.layout.kernel.region)
    weight = np.sqrt(fitted.equations.matrix[:, -1, -1])
    terms = model.terms(fitted.x, fitted.y) * weight
    covariance = np.linalg.pinv(terms @ terms.T)
    return BackgroundModel(np.linalg.lstsq(terms.T, constants * weight, rcond=None)[0], model, covariance)


def _result(pool: CandidatePool, last: _Round, rounds: _Rounds) -> MatchResult:
    table, places, solution = pool.candidates.table, last.ready.places, last.solution
    rejected = pool.reason != ""
    table["status"][pool.rows[rejected]] = "rejected"
    table["reason"][pool.rows[rejected]] = pool.reason[rejected]
    table["status"][pool.rows[places]] = "used"
    kernel, background = _models(pool, last)
    condition = condition_number(solution.matrix, pool.config.condition_number_type)
    log.info(
        "kernel: %d candidates used, %d rejected, kernel sum %.4f, condition number %.2g",
        len(places),
        rejected.sum(),
        kernel.center_sum,
        condition,
    )
    return MatchResult(
        kernel,
        background,
        pool.candidates,
        solution,
        condition,
        last.stats.model_error,
        len(places),
        int(rejected.sum()),
        rounds.n,
        rounds.n_restarts,
        last.converged,
        quality_items(last.ready.fitted, last.local, last.pixels),
    )


def _models(pool: CandidatePool, last: _Round) -> tuple[MatchingKernel, BackgroundModel]:
    """Kernel and background, the sky levels put back."""
    kernel, background = last.solution.models(last.ready.fitted.basis)
    if pool.own_constants(last.solution.layout):
        background = _plane_of_constants(last.ready.fitted, last.solution)
    if pool.config.fit_for_background:
        shift = pool.levels[1] - kernel.center_sum * pool.levels[0]
        coefficients = background.coefficients.copy()
        coefficients[0] += shift
        background = replace(background, coefficients=coefficients)
    return kernel, background
