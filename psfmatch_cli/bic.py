"""Degrees of an Alard-Lupton basis by the Bayesian information criterion.

Every candidate votes for the degrees with which its own fit has the smallest
``BIC = sum(D^2 / V) + k ln(n)``, with the residuals D of n pixels, their variances V, and k functions
(Schwarz 1978, Ann. Statist. 6, 461). A basis of lower degrees is a part of the full one, so that all are solved
from one set of normal equations. Upstream keeps whoever one trial rejected out of all later ones, and fails with
fewer than three different votes; here every trial starts afresh, and one vote is enough.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import BasisSpec
from psfmatch_cli.fitted import FittedStamps
from psfmatch_cli.kernel import n_terms
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.solve import solve_each

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DegreeChoice:
    """Degrees and how the candidates voted.

    Parameters
    ----------
    degrees : tuple of int
        One per Gaussian, the wing included.
    votes : dict of tuple to int
        Votes by degrees, most first.
    """

    degrees: tuple[int, ...]
    votes: dict[tuple[int, ...], int]

    def __str__(self) -> str:
        votes = ", ".join(f"{' '.join(map(str, degrees))}: {n}" for degrees, n in self.votes.items())
        return f"degrees {' '.join(map(str, self.degrees))} by the votes of {sum(self.votes.values())} ({votes})"


def degrees_by_bic(pool: CandidatePool) -> DegreeChoice:
    """Degrees, each from 1 to that of the pool's basis, that most candidates vote for.

    Parameters
    ----------
    pool : CandidatePool
        Its candidates are fitted, not rejected.

    Raises
    ------
    NoCandidatesError
        If there is no candidate.
    """
    places = pool.visit()
    if len(places) == 0:
        raise pool.nobody_left()
    pool.build(places)
    fitted, spec = pool.at(places), pool.basis.spec
    trials = trial_degrees(spec)
    criteria = np.array([_criterion(pool, fitted, kept_functions(spec, degrees)) for degrees in trials])
    good = np.isfinite(criteria).any(axis=0)
    if not good.any():
        # No candidate is fitted well by any of them: let the loop say why.
        return DegreeChoice(spec.degrees, {})
    best = Counter(int(k) for k in np.argmin(criteria[:, good], axis=0))
    votes = {trials[k]: n for k, n in sorted(best.items(), key=lambda item: (-item[1], item[0]))}
    choice = DegreeChoice(next(iter(votes)), votes)
    log.info("basis: %s", choice)
    return choice


def trial_degrees(spec: BasisSpec) -> list[tuple[int, ...]]:
    """All combinations of degrees from 1 to that of each Gaussian; a Gaussian of degree 0, as the wing, stays so."""
    return list(product(*(range(min(1, degree), degree + 1) for degree in spec.degrees)))


def kept_functions(spec: BasisSpec, degrees: tuple[int, ...]) -> NDArray[np.intp]:
    """Places, in the basis of `spec`, of the functions of the basis with lower degrees."""
    starts = np.cumsum([0, *(n_terms(degree) for degree in spec.degrees)])
    return np.concatenate([start + np.arange(n_terms(d)) for start, d in zip(starts, degrees, strict=False)])


def _criterion(pool: CandidatePool, fitted: FittedStamps, kept: NDArray[np.intp]) -> NDArray[np.float64]:
    """BIC of every candidate for some of the functions, (N,); infinite where its fit is beyond the limits."""
    equations, n_basis = fitted.equations, len(fitted.basis)
    use = np.concatenate([kept, np.arange(n_basis, equations.matrix.shape[1])])
    part = replace(equations, matrix=equations.matrix[:, use[:, None], use], vector=equations.vector[:, use])
    local = np.zeros_like(fitted.solutions)
    local[:, use] = solve_each(part)
    stats = pool.statistics(fitted, pool.pixels(fitted, local))
    n = equations.n_pixels
    with np.errstate(divide="ignore"):
        criterion = stats.chi2 * n + len(kept) * np.log(n)
    bad = pool.exceeds(stats) if pool.config.single_kernel_clipping else ~np.isfinite(stats.rms)
    return np.where(bad | ~np.isfinite(criterion), np.inf, criterion)
