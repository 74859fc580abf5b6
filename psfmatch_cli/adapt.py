"""What is done where candidates are few: search deeper, then ask less of the spatial model. Every step is told.

First the sources are detected again at a lower threshold (a list that the caller gave is never replaced). Then, of a
spatial model that has more terms than there are good candidates, the order is lowered by one until it has not
(upstream solves such a system by dividing by the eigenvalues that rounding left it, and warns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.errors import DisagreementError, NoCandidatesError, TooFewCandidatesError
from psfmatch_cli.kernel import n_terms
from psfmatch_cli.settings import Settings

Made = TypeVar("Made")

#: Fewer candidates than these are few: of two that differ nothing tells which is wrong.
ENOUGH = 3
#: Where as many candidates were tried and none held, more would not help: the images differ.
MANY = 10
#: Thresholds that are tried, relative to the one that is set (10: 7 and 5), and the lowest, in sigmas. At 5 sigmas
#: noise makes one peak in 3 million independent pixels, at 4 it would make a hundred.
FACTORS, LOWEST_THRESHOLD = (0.7, 0.5), 5.0
#: Smallest threshold that the footprint finder takes.
LOWEST_FINDER_THRESHOLD = 3.0
#: Types of thresholds that are in units of the noise.
IN_SIGMAS = ("auto", "pixel_stdev", "stdev")


def lower_thresholds(settings: Settings) -> list[Settings]:
    """The settings with lower detection thresholds, in the order in which they are tried.

    The smallest signal to noise ratio of a candidate falls with the threshold. A threshold in counts or as a
    variance stays: nothing tells how deep it is.
    """
    detection, candidates = settings.detection, settings.candidates
    if detection.threshold_type not in IN_SIGMAS:
        return []
    made: list[Settings] = []
    for factor in FACTORS:
        threshold = max(factor * detection.threshold_value, LOWEST_THRESHOLD)
        lowest = made[-1].detection.threshold_value if made else detection.threshold_value
        if threshold < lowest:
            ratio = threshold / detection.threshold_value
            limits = {
                "min_snr": ratio * candidates.min_snr,
                "det_threshold": max(ratio * candidates.det_threshold, LOWEST_FINDER_THRESHOLD),
            }
            lower = {
                "detection": detection.model_copy(update={"threshold_value": threshold}),
                "candidates": candidates.model_copy(update=limits),
            }
            made.append(settings.model_copy(update=lower))
    return made


@dataclass(frozen=True)
class LowerOrders:
    """Spatial orders that the candidates can hold.

    Parameters
    ----------
    settings : Settings
        With these orders.
    described : str
    """

    settings: Settings
    described: str


def lower_orders(
    settings: Settings, kernel_order: int, background_order: int | None, n_good: int
) -> LowerOrders | None:
    """The next lower order of each model that has more terms than good candidates; None if none has.

    Parameters
    ----------
    settings : Settings
    kernel_order : int
    background_order : int or None
        None where the candidates fit no background.
    n_good : int
        Candidates in the last fit.
    """
    orders = {"spatial_kernel_order": kernel_order, "spatial_bg_order": background_order}
    names = {"spatial_kernel_order": "kernel", "spatial_bg_order": "background"}
    lower, told = {}, []
    for key, order in orders.items():
        if order and n_good < n_terms(order):
            lower[key] = order - 1
            told.append(f"spatial order of the {names[key]} lowered from {order} to {order - 1}")
    if not lower:
        return None
    # An order that was chosen, not given, must not be chosen again.
    kernel = settings.kernel.model_copy(update={"spatial_kernel_order": kernel_order, **lower})
    described = f"{' and '.join(told)}: {n_good} good candidate{'s' * (n_good != 1)}"
    return LowerOrders(settings.model_copy(update={"kernel": kernel}), described)


def lacks_candidates(error: NoCandidatesError) -> bool:
    """Whether more sources could help: few were tried, and it is not that many disagree."""
    return not isinstance(error, DisagreementError) and error.counts.get("candidates", 0) < MANY


def first_with_enough(
    ladder: Sequence[Settings],
    attempt: Callable[[Settings], Made],
    count: Callable[[Made], int],
    tell: Callable[[str], None],
) -> Made:
    """The first attempt that has enough candidates, else the one that has most.

    Parameters
    ----------
    ladder : sequence of Settings
        To try, the first as they were given.
    attempt : callable
        What to do with some settings.
    count : callable
        Number of candidates of what it returned.
    tell : callable
        Takes a line for every further attempt.

    Raises
    ------
    NoCandidatesError
        If no attempt has a candidate: the error of the last one.
    """
    best: Best[Made] | None = None
    failure: NoCandidatesError | None = None
    for step, settings in enumerate(ladder):
        if step > 0:
            tell(_deeper(ladder[step - 1], settings, best, failure))
        try:
            made = attempt(settings)
        except NoCandidatesError as error:
            failure = error
            if not lacks_candidates(error):
                break
            continue
        if best is None or count(made) > best.n:
            best = Best(made, count(made), step)
        if best.n >= ENOUGH:
            break
    if best is None:
        raise failure
    if best.step < step:
        tell(f"the threshold stays at {_threshold(ladder[best.step])}: a lower one gives no more candidates")
    return best.made


def check_enough(candidates: CandidateSet, n_used: int, help_text: str) -> None:
    """Refuse a match of fewer candidates than can check each other.

    Raises
    ------
    TooFewCandidatesError
        If fewer than `ENOUGH` were used; with the count of every reason.
    """
    if n_used >= ENOUGH:
        return
    n_sources, counts = len(candidates.table), candidates.counts()
    fallen = [f"{n} {reason}" for reason, n in counts.items() if reason != "candidates"]
    described = f" ({', '.join(fallen)})" if fallen else ""
    raise TooFewCandidatesError(
        f"only {n_used} of {n_sources} sources can be used for the kernel{described}; it takes {ENOUGH} to check each "
        "other",
        {"sources": n_sources, **counts},
    ).advised(help_text)


@dataclass(frozen=True)
class Best(Generic[Made]):
    """The attempt with most candidates so far, their number, and its place on the ladder."""

    made: Made
    n: int
    step: int


def _deeper(before: Settings, after: Settings, best: Best | None, failure: NoCandidatesError | None) -> str:
    found = f"{best.n} usable candidate{'s' * (best.n != 1)}" if best is not None else str(failure)
    return f"detection threshold lowered from {_threshold(before)} to {_threshold(after)}: {found}"


def _threshold(settings: Settings) -> str:
    return f"{settings.detection.threshold_value:g}"


def advice(settings: Settings, own_sources: bool, tried: Sequence[Settings]) -> str:
    """What else could be tried where candidates lack.

    Parameters
    ----------
    settings : Settings
    own_sources : bool
        Whether the caller gave the list of sources.
    tried : sequence of Settings
        Settings with lower thresholds that were tried in vain.
    """
    if own_sources:
        return "more sources may help (--sources); a list that was given is not replaced by a search"
    if tried:
        return f"detection thresholds down to {_threshold(tried[-1])} were tried"
    if not settings.adapt and lower_thresholds(settings):
        return "a lower detection threshold may help (--sigma, or --adapt to have it lowered)"
    return ""
