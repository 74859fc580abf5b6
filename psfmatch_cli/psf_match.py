"""`PsfMatchTask`: from two exposures on one grid to a fit, also where candidates are few."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from psfmatch_cli import adapt
from psfmatch_cli.basis_sets import Spec
from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.errors import DisagreementError, FitError, NoCandidatesError, SingleFitsFailedError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.match import MatchResult, match
from psfmatch_cli.plan import Plan, make_plan
from psfmatch_cli.register import Registered, Widths
from psfmatch_cli.settings import Settings
from psfmatch_cli.task import Task, timed

if TYPE_CHECKING:
    from astropy.table import Table

Made = TypeVar("Made")


@dataclass(frozen=True)
class Pair:
    """Two exposures ready for the search of candidates.

    Parameters
    ----------
    registered : Registered
        The template.
    science : Exposure
        As it was given.
    widths : Widths
    sources : Table or None
    marked : Exposure
        The science exposure with the detections in its mask.
    own_sources : bool
        Whether the caller gave the sources.
    """

    registered: Registered
    science: Exposure
    widths: Widths
    sources: Table | None
    marked: Exposure
    own_sources: bool


@dataclass(frozen=True)
class Attempt:
    """A match of a pair under some settings.

    Parameters
    ----------
    pair : Pair
    settings : Settings
    plan : Plan
    fit : MatchResult or None
        None where the spatial orders are too high for a solution.
    n_good : int
        Candidates in the last fit.
    """

    pair: Pair
    settings: Settings
    plan: Plan
    fit: MatchResult | None
    n_good: int

    def lower_orders(self) -> adapt.LowerOrders | None:
        """Orders to try next; None if these are held by the candidates, or must not be changed."""
        if not self.settings.adapt:
            return None
        return adapt.lower_orders(self.settings, self.plan.kernel_order, self.plan.background_order, self.n_good)


class PsfMatchTask(Task):
    """Solve for the kernel of a plan, and adapt to few candidates.

    The classes below it say how a pair is searched and how its candidates are selected.
    """

    ConfigClass = Settings

    def _detect(self, pair: Pair) -> Pair:
        """The pair with the sources that are found on the science image."""
        raise NotImplementedError

    def _candidates(self, pair: Pair, spec: Spec) -> CandidateSet:
        """The candidates for the kernel size of a basis."""
        raise NotImplementedError

    @timed
    def _solve(self, plan: Plan) -> MatchResult:
        return match(plan.pool, plan.kernel_order, plan.background_order)

    def _adapted(
        self,
        pair: Pair,
        attempt: Callable[[Self, Pair], Made],
        count: Callable[[Made], int],
    ) -> Made:
        """An attempt on the pair, repeated with sources of lower thresholds where it has few candidates."""
        self.metadata["adaptations"] = []
        deeper = self._deeper(pair)

        def tried(settings: Settings) -> Made:
            if settings is self.config:
                return attempt(self, pair)
            task = self._under(settings)
            return attempt(task, task._detect(pair))

        try:
            return adapt.first_with_enough([self.config, *deeper], tried, count, self._tell)
        except NoCandidatesError as error:
            if not adapt.lacks_candidates(error):
                raise
            raise error.advised(self._advice(pair)) from error

    def _deeper(self, pair: Pair) -> list[Settings]:
        """Settings with lower thresholds that may be tried on a pair."""
        return adapt.lower_thresholds(self.config) if self.config.adapt and not pair.own_sources else []

    def _advice(self, pair: Pair) -> str:
        return adapt.advice(self.config, pair.own_sources, self._deeper(pair))

    def _check_enough(self, attempt: Attempt) -> None:
        """Refuse a match of very few candidates where nothing may be adapted to them, or no doubt is allowed."""
        if self.config.strict or not self.config.adapt:
            adapt.check_enough(attempt.fit.candidates, attempt.fit.n_used, self._advice(attempt.pair))

    def _under(self, settings: Settings) -> Self:
        """This task under other settings: its metadata and subtasks are this one's."""
        other = copy.copy(self)
        other.config = settings
        return other

    def _tell(self, adaptation: str) -> None:
        self.log.warning("%s", adaptation)
        self.metadata.add("adaptations", adaptation)

    def _tried(self, pair: Pair, plan: Plan) -> Attempt:
        """A fit of the plan; without a solution where the order can be lowered to have one."""
        try:
            fit = self._solve(plan)
        except (DisagreementError, SingleFitsFailedError):
            raise
        except (FitError, NoCandidatesError) as error:
            attempt = Attempt(pair, self.config, plan, None, len(plan.pool.visit()))
            many = isinstance(error, NoCandidatesError) and not adapt.lacks_candidates(error)
            if many or attempt.lower_orders() is None:
                raise
            return attempt
        return Attempt(pair, self.config, plan, fit, fit.n_used)

    def _with_supported_orders(self, attempt: Attempt) -> Attempt:
        """The attempt, repeated with lower spatial orders while a model has more terms than good candidates."""
        while (lower := attempt.lower_orders()) is not None:
            self._tell(lower.described)
            task, pair, plan = self._under(lower.settings), attempt.pair, attempt.plan
            candidates = task._candidates(pair, plan.spec)
            template = pair.registered.exposure
            attempt = task._tried(
                pair, make_plan(plan.direction, plan.spec, candidates, template, pair.marked, lower.settings)
            )
        return attempt
