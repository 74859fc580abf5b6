"""`PsfMatchTask`: from two exposures on one grid to a fit, also where candidates are few."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

from psfmatch_cli import adapt
from psfmatch_cli.basis_sets import Spec, specs_to_try, wanted_parameters
from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.errors import (
    DisagreementError,
    FitError,
    ImageTooSmallError,
    NoCandidatesError,
    PsfMatchError,
    SingleFitsFailedError,
)
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.match import MatchResult, match
from psfmatch_cli.plan import Direction, Plan, better, directions, make_plan
from psfmatch_cli.register import Registered, Widths
from psfmatch_cli.select_task import SelectTask
from psfmatch_cli.settings import Settings
from psfmatch_cli.task import timed

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
    same_noise : bool
        Whether both are copies of one image.
    """

    registered: Registered
    science: Exposure
    widths: Widths
    sources: Table | None
    marked: Exposure
    own_sources: bool
    same_noise: bool = False


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


class PsfMatchTask(SelectTask):
    """Plan and solve for the kernel of a pair, and adapt to few candidates; parameters as `ImagePsfMatchTask`."""

    def _detect(self, pair: Pair) -> Pair:
        """The pair with the sources that are found on the science image, or with the footprints of the old finder."""
        if self.config.candidates.finder == "footprints":
            return replace(pair, sources=self._footprints(pair.registered.exposure, pair.science), marked=pair.science)
        found = self.get_select_sources(
            pair.science, self.config.detection.threshold_value, psf_sigma=pair.widths.search_sigma
        )
        self.metadata["sourcePositions"] = "detected on the science image"
        marked = pair.science.with_pixels(found.mark(pair.science.masked_image))
        return replace(pair, sources=found.sources, marked=marked)

    def _specs(self, pair: Pair, direction: Direction) -> list[Spec]:
        """The bases to try for one direction."""
        fwhms = (pair.widths.template, pair.widths.science)
        return specs_to_try(*(fwhms if direction.convolve_template else fwhms[::-1]), self.config.kernel)

    def _candidates(self, pair: Pair, spec: Spec) -> CandidateSet:
        """The candidates for the kernel size of a basis."""
        height, width = pair.science.shape
        if min(height, width) < spec.size:
            raise ImageTooSmallError(
                f"the images, {width} x {height} pixels, are smaller than the kernel, {spec.size} x {spec.size}; "
                "give a smaller one (--kernel-size)"
            )
        sources = pair.sources if pair.own_sources else self._checked(pair.sources, pair.science)
        n_parameters = wanted_parameters(spec, self.config.kernel)
        return self._select(sources, pair.registered.exposure, pair.marked, spec.size, n_parameters)

    def _plan(self, pair: Pair, convolve_template: bool | None) -> Plan:
        """The best of the plans for the directions and the bases that are open."""
        plans: list[Plan] = []
        failure: PsfMatchError | None = None
        template = pair.registered.exposure
        for direction in directions(pair.widths.template, pair.widths.science, convolve_template):
            for spec in self._specs(pair, direction):
                try:
                    candidates = self._candidates(pair, spec)
                    plans.append(make_plan(direction, spec, candidates, template, pair.marked, self.config))
                except NoCandidatesError as error:
                    failure = failure or error
        if not plans:
            raise failure
        plan = functools.reduce(better, plans)
        self.log.info("convolving the %s (%s); basis %s", plan.direction.convolved, plan.direction.reason, plan.spec)
        return plan

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
