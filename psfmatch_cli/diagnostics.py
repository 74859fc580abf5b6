"""Whether enough candidates hold the spatial model, and whether its system can be trusted.

A candidate fixes all local coefficients of the kernel at its place, so a kernel of nk spatial terms needs at least
nk candidates, a background of nt_b terms as many as these. With fewer the model is underconstrained: what it says
between the candidates is made up. With up to twice as many every candidate still has the word on its surroundings.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from psfmatch_cli.errors import FitError, IllConditionedError, SingularSystemError, UnderconstrainedError
from psfmatch_cli.match import MatchResult

log = logging.getLogger(__name__)

#: The solver's name where eigenvalues near 0 were left out.
RANK_DEFICIENT = "eigen"


@dataclass(frozen=True)
class Constraint:
    """How well the candidates constrain a spatial model.

    Parameters
    ----------
    what : str
        "kernel" or "background".
    n_good, n_terms : int
        Candidates in the last fit; spatial terms of the model, 0 where the candidates do not fit it.
    """

    what: str
    n_good: int
    n_terms: int

    @property
    def state(self) -> str:
        """``"underconstrained"``, ``"poorly constrained"`` or ``"fine"``."""
        if self.n_good < self.n_terms:
            return "underconstrained"
        return "poorly constrained" if self.n_good <= 2 * self.n_terms else "fine"

    def __str__(self) -> str:
        if self.n_terms == 0:
            return f"the candidates fit no spatial model of the {self.what}"
        candidates, terms = _counted(self.n_good, "good candidate"), _counted(self.n_terms, "spatial term")
        return f"the {self.what} is {self.state}: {candidates} for {terms}"


@dataclass(frozen=True)
class Diagnosis:
    """What a match rests on.

    Parameters
    ----------
    kernel, background : Constraint
    n_total, n_bad, n_good : int
        Candidates in all cells, those rejected, those in the last fit.
    kernel_sum : float
        At the centre of the region.
    condition_number, condition_limit : float
        Of the spatial system, and the largest that is not warned of.
    solver : str
    """

    kernel: Constraint
    background: Constraint
    n_total: int
    n_bad: int
    n_good: int
    kernel_sum: float
    condition_number: float
    condition_limit: float
    solver: str

    def problems(self) -> list[FitError]:
        """What is an error where warnings about the fit are (``strict``): too few candidates, or a bad system."""
        found: list[FitError] = [
            UnderconstrainedError(f"{constraint}; lower its spatial order, or give more sources")
            for constraint in (self.kernel, self.background)
            if constraint.state == "underconstrained"
        ]
        if self.solver == RANK_DEFICIENT:
            found.append(
                SingularSystemError(
                    "the spatial system is singular; it was solved without the parameters that nothing determines "
                    "(rank deficient): lower the spatial orders"
                )
            )
        if self.condition_number < 0:
            found.append(
                IllConditionedError(
                    f"the spatial system is badly conditioned: condition number {self.condition_number:.3g} is negative"
                )
            )
        elif self.condition_number > self.condition_limit:
            found.append(
                IllConditionedError(
                    f"the spatial system is badly conditioned: condition number {self.condition_number:.3g}, the "
                    f"limit is {self.condition_limit:.3g}"
                )
            )
        return found


def diagnose(fit: MatchResult, condition_limit: float) -> Diagnosis:
    """Diagnosis of a match.

    Parameters
    ----------
    fit : MatchResult
    condition_limit : float
        Largest condition number of the spatial system that is not warned of.
    """
    layout = fit.solution.layout
    n_background = 0 if layout.background is None else layout.background.size
    return Diagnosis(
        Constraint("kernel", fit.n_used, layout.kernel.size),
        Constraint("background", fit.n_used, n_background),
        len(fit.candidates),
        fit.n_rejected,
        fit.n_used,
        fit.kernel.center_sum,
        fit.condition_number,
        condition_limit,
        fit.solution.solver,
    )


def report(diagnosis: Diagnosis, strict: bool = False) -> None:
    """Log the diagnosis; what may not be trusted as warnings.

    Parameters
    ----------
    diagnosis : Diagnosis
    strict : bool
        Whether an underconstrained model or a bad system is an error.

    Raises
    ------
    UnderconstrainedError, SingularSystemError, IllConditionedError
        The first problem, if `strict`.
    """
    log.info("kernel sum %.3f, condition number %.3g", diagnosis.kernel_sum, diagnosis.condition_number)
    counts = diagnosis.n_total, diagnosis.n_good, diagnosis.n_bad
    many_bad = diagnosis.n_bad > 2 * diagnosis.n_good
    log.log(_level(many_bad), "%d kernel candidates: %d good, %d bad%s", *counts, ", many" if many_bad else "")
    problems = diagnosis.problems()
    if strict and problems:
        raise problems[0]
    for problem in problems:
        log.warning("%s", problem)
    for constraint in (diagnosis.kernel, diagnosis.background):
        if constraint.state != "underconstrained":
            log.log(_level(constraint.state != "fine"), "%s", constraint)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _level(is_warning: bool) -> int:
    return logging.WARNING if is_warning else logging.INFO
