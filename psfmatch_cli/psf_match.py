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
from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import (
    DisagreementError,
    FitError,
    ImageTooSmallError,
    NoCandidatesError,
    SingleFitsFailedError,
)
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.match import MatchResult, match
from psfmatch_cli.plan import Direction, Plan, better, directions, make_plan, worth_more
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.register import Registered, Widths, fwhm_of
from psfmatch_cli.select_task import SelectTask
from psfmatch_cli.settings import Settings
from psfmatch_cli.task import timed

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.background import BackgroundFit
    from psfmatch_cli.detect import Detection

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
class Look:
    """What was seen on the science image alone.

    Parameters
    ----------
    width : (float or None, str)
        FWHM in pixels and where it came from, see `psfmatch_cli.register.fwhm_of`.
    background : BackgroundFit or None
        By the settings of the detection; None where no search was asked for.
    found : Detection or None
        None where no search was asked for, or the width is not known.
    """

    width: tuple[float | None, str]
    background: BackgroundFit | None
    found: Detection | None


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

    @property
    def _searches(self) -> bool:
        """Whether sources come from a search of the science image, not from the old finder."""
        return self.config.candidates.finder != "footprints"

    def _look_at(self, science: Exposure, fwhm: float | None, search: bool) -> Look:
        """The width of the science image and, if it is to be searched, its sources: all that needs no template."""
        if not search:
            return Look(fwhm_of(science, fwhm, "science"), None, None)
        background = self.background.run(science.masked_image)
        # Stars are measured above the usual background whatever the settings say about that of the search.
        usual = self.config.detection.background == BackgroundConfig()
        width = fwhm_of(science, fwhm, "science", background=background if usual else None)
        if width[0] is None:
            return Look(width, background, None)
        return Look(width, background, self._found(science, width[0] / FWHM_PER_SIGMA, background))

    def _found(self, science: Exposure, psf_sigma: float, background: BackgroundFit | None = None) -> Detection:
        """What a search of the science image finds."""
        threshold = self.config.detection.threshold_value
        return self.get_select_sources(science, threshold, psf_sigma=psf_sigma, background=background, shapes=False)

    def _detect(self, pair: Pair, look: Look | None = None) -> Pair:
        """The pair with the sources that are found on the science image, or with the footprints of the old finder.

        A look at the science image, if there was one already, spares the search or a part of it.
        """
        if not self._searches:
            return replace(pair, sources=self._footprints(pair.registered.exposure, pair.science), marked=pair.science)
        found = look.found if look else None
        if found is None:
            found = self._found(pair.science, pair.widths.search_sigma, look.background if look else None)
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
        """The best of the plans for the directions and the bases that are open.

        The directions are compared with the first basis of each that has a plan; those after it are tried for the
        better direction alone, and only where bright stars show more than noise.
        """
        firsts: list[Plan] = []
        failure: NoCandidatesError | None = None
        for direction in directions(pair.widths.template, pair.widths.science, convolve_template):
            try:
                firsts.append(self._first_plan(pair, direction))
            except NoCandidatesError as error:
                failure = failure or error
        if not firsts:
            raise failure
        plan = self._with_richer_basis(pair, functools.reduce(better, firsts))
        self.log.info("convolving the %s (%s); basis %s", plan.direction.convolved, plan.direction.reason, plan.spec)
        return plan

    def _first_plan(self, pair: Pair, direction: Direction) -> Plan:
        """The plan with the preferred basis, or with the first that has a plan."""
        failure: NoCandidatesError | None = None
        for spec in self._specs(pair, direction):
            try:
                return self._planned(pair, direction, spec)
            except NoCandidatesError as error:
                failure = failure or error
        raise failure

    def _with_richer_basis(self, pair: Pair, plan: Plan) -> Plan:
        """The plan, or one with a basis further down the list if that is better."""
        for spec in self._specs(pair, plan.direction)[1:]:
            if worth_more(plan):
                try:
                    plan = better(plan, self._planned(pair, plan.direction, spec))
                except NoCandidatesError as error:
                    self.log.info("basis %s: %s", spec, error)
        return plan

    def _planned(self, pair: Pair, direction: Direction, spec: Spec) -> Plan:
        """The plan for one direction and basis."""
        candidates = self._candidates(pair, spec)
        return make_plan(direction, spec, candidates, pair.registered.exposure, pair.marked, self.config)

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
