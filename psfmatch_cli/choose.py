"""What the data decide: the order of the spatial model and, where it is open, the direction and the basis.

The judge is always the same: candidates that were left out of the fit. Whole cells are left out in turn,
the model is fitted to the others, and the power of the residuals of the left-out ones is compared between the
choices, candidate by candidate, as a logarithm: so no bright star outvotes all others. Of choices that do
not differ by more than half a standard error, the simplest wins: an order too low costs more than one too
high (`benchmarks/simulated_pairs.py`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.kernel import n_terms
from psfmatch_cli.left_out import left_out_scores
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.ready import make_ready, spatial_layout

log = logging.getLogger(__name__)

#: Highest order that is tried.
MAX_ORDER = 3
#: Most global parameters that are tried: a model of one function per kernel pixel takes minutes beyond.
MAX_PARAMETERS = 1500
#: Candidates from which on order 1 is preferred to order 0, unless it is clearly worse.
WORTH_A_PLANE = 12
#: Largest gain that one candidate can claim, as a natural logarithm: a variable star must not decide.
MAX_GAIN = 2.0


@dataclass(frozen=True)
class OrderChoice:
    """A spatial order and what the alternatives gave.

    Parameters
    ----------
    order : int
    scores : dict of int to float
        Geometric mean of the left-out candidates' residual power, in units of the noise, by order.
    left_out : ndarray, (N,)
        Score of each candidate when left out (see `psfmatch_cli.left_out.source_power`), for the order chosen.
    rows : ndarray, (N,)
        Rows of these candidates in their table.
    """

    order: int
    scores: dict[int, float]
    left_out: NDArray[np.float64]
    rows: NDArray[np.intp]

    @property
    def n_candidates(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        scores = ", ".join(f"{order}: {score:.3f}" for order, score in self.scores.items())
        return f"order {self.order} from {self.n_candidates} candidates (left-out residual power by order: {scores})"


def choose_kernel_order(pool: CandidatePool, background_order: int | None, wanted: int | None = None) -> OrderChoice:
    """The lowest order of the kernel's spatial model that the left-out candidates do not object to.

    Parameters
    ----------
    pool : CandidatePool
        Cleaned here by single fits and kernel sums.
    background_order : int or None
        Order of the background that is fitted along.
    wanted : int, optional
        The order, where it is settled: only its scores are of interest then, to compare with other bases.

    Raises
    ------
    NoCandidatesError
        If no candidate is left.
    """
    ready = make_ready(pool)
    n, basis = len(ready.places), ready.fitted.basis
    orders = range(MAX_ORDER + 1) if wanted is None else [wanted]
    layouts = {order: spatial_layout(pool, basis, order, background_order) for order in orders}
    if wanted is None:
        # With fewer than two candidates per term left-out candidates say little but noise.
        layouts = {
            order: layout
            for order, layout in layouts.items()
            if order == 0 or (n >= 2 * n_terms(order) + 2 and layout.n_parameters <= MAX_PARAMETERS)
        }
    logs = dict(zip(layouts, left_out_scores(pool, ready, list(layouts.values())), strict=True))
    best = min(logs, key=lambda order: robust_mean(logs[order]))
    # A plane costs little where there are candidates for it, and no telescope's PSF is the same everywhere.
    preferred = sorted(logs, key=lambda order: (order != 1, order)) if n >= WORTH_A_PLANE else list(logs)
    order = next(o for o in preferred if o == best or not clearly_worse(logs[o], logs[best]))
    return OrderChoice(
        order, {o: float(np.exp(robust_mean(v))) for o, v in logs.items()}, logs[order], ready.fitted.rows
    )


def clearly_worse(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the first choice leaves larger residuals than the second, beyond half a standard error."""
    with np.errstate(invalid="ignore"):
        gain = one - other
    gain = np.clip(np.nan_to_num(gain, nan=0.0, posinf=MAX_GAIN, neginf=-MAX_GAIN), -MAX_GAIN, MAX_GAIN)
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return bool(gain.mean() > 0.5 * error)


def robust_mean(values: NDArray[np.float64]) -> float:
    """Mean of the values, each cut at `MAX_GAIN` above their median."""
    return float(np.minimum(values, np.median(values) + MAX_GAIN).mean())
