"""Which image is convolved, with which basis and spatial order: decided before the final fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.basis import NEARLY_EQUAL, BasisSpec, for_faint_field
from psfmatch_cli.basis_sets import Spec, make_basis, make_regularizer
from psfmatch_cli.bic import degrees_by_bic
from psfmatch_cli.candidates import CandidateSet, total_snr
from psfmatch_cli.choose import OrderChoice, choose_kernel_order, clearly_worse
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.settings import Settings

log = logging.getLogger(__name__)

#: Signal to noise ratio of all candidates together below which the basis does without its broadest terms.
FAINT_FIELD = 500.0
#: Logarithm of the residual power of bright left-out candidates above which a richer basis is considered.
WORTH_MORE = np.log(1.5)


@dataclass(frozen=True)
class Direction:
    """A direction of the convolution and why it was taken.

    Parameters
    ----------
    convolve_template : bool
    reason : str
    """

    convolve_template: bool
    reason: str

    @property
    def convolved(self) -> str:
        return "template" if self.convolve_template else "science"


@dataclass(frozen=True)
class Plan:
    """All that is settled before the final fit.

    Parameters
    ----------
    direction : Direction
    spec : BasisSpec or DeltaFunctionSpec
    pool : CandidatePool
        Candidates, cleaned by their own fits.
    kernel_order : int
    order_choice : OrderChoice
        What the left-out candidates say of the order, or of several.
    background_order : int or None
        Of the background fitted along with the kernel; None if the candidates' own constants are eliminated,
        or none is fitted.
    """

    direction: Direction
    spec: Spec
    pool: CandidatePool
    kernel_order: int
    order_choice: OrderChoice
    background_order: int | None


def directions(
    template_fwhm: float | None, science_fwhm: float | None, convolve_template: bool | None
) -> list[Direction]:
    """Directions to try: one, or both if nothing decides.

    Parameters
    ----------
    template_fwhm, science_fwhm : float or None
        In pixels of the science grid.
    convolve_template : bool or None
        What the caller wants; None to decide by the FWHMs: the sharper image is convolved.
    """
    if convolve_template is not None:
        return [Direction(convolve_template, "as asked for")]
    if template_fwhm is None or science_fwhm is None:
        return [Direction(True, "the FWHMs are not known"), Direction(False, "the FWHMs are not known")]
    described = f"template FWHM {template_fwhm:.2f} px, science {science_fwhm:.2f} px"
    if abs(science_fwhm / template_fwhm - 1) < NEARLY_EQUAL:
        return [Direction(way, f"{described}: nearly equal") for way in (True, False)]
    return [Direction(template_fwhm < science_fwhm, described)]


def make_plan(
    direction: Direction,
    spec: Spec,
    candidates: CandidateSet,
    template: Exposure,
    science: Exposure,
    settings: Settings,
) -> Plan:
    """Fit the candidates one by one in one direction and let them choose the basis' degrees and the spatial order.

    Raises
    ------
    NoCandidatesError
        If none survives.
    """
    kernel = settings.kernel
    if isinstance(spec, BasisSpec) and total_snr(candidates) < FAINT_FIELD:
        spec = for_faint_field(spec)
    exposures = (template, science) if direction.convolve_template else (science, template)
    levels = tuple(sky_level(exposure) for exposure in exposures) if kernel.fit_for_background else (0.0, 0.0)

    def pool_with(spec: Spec) -> CandidatePool:
        return CandidatePool(
            candidates.copy(),
            template,
            science,
            make_basis(spec),
            kernel,
            direction.convolve_template,
            levels,
            tuple(settings.candidates.bad_mask_planes),
            make_regularizer(spec, kernel),
            settings.threads,
        )

    pool = pool_with(spec)
    if isinstance(spec, BasisSpec) and kernel.use_bic_for_kernel_basis:
        spec = replace(spec, degrees=degrees_by_bic(pool).degrees)
        pool = pool_with(spec)
    background_order = kernel.spatial_bg_order if kernel.fit_for_background else None
    choice = choose_kernel_order(pool, background_order, kernel.spatial_kernel_order)
    log.info("%s convolved, %s: %s", direction.convolved, spec, choice)
    return Plan(direction, spec, pool, choice.order, choice, background_order)


def sky_level(exposure: Exposure, step: int = 7) -> float:
    """Median of the finite pixels, from every seventh pixel in x and y."""
    sample = exposure.image[::step, ::step]
    return float(np.median(sample[np.isfinite(sample)]))


def worth_more(plan: Plan) -> bool:
    """Whether bright left-out candidates show more than noise.

    Only then a richer basis can pay; elsewhere it finds stars to overfit.
    """
    choice = plan.order_choice
    return bool(np.mean(choice.left_out[_bright(plan, choice.rows)]) >= WORTH_MORE)


def better(one: Plan, other: Plan) -> Plan:
    """The plan whose left-out candidates have the smaller residuals; the first if nothing tells them apart.

    Two bases for one direction are compared on bright candidates alone.
    """
    first, second = (_by_row(plan) for plan in (one, other))
    common = sorted(first.keys() & second.keys())
    if not common:
        return one if len(first) >= len(second) else other
    simple, other_scores = (np.array([of[row] for row in common]) for of in (first, second))
    if one.direction == other.direction:
        bright = _bright(one, common)
        simple, other_scores = simple[bright], other_scores[bright]
    return other if clearly_worse(simple, other_scores) else one


def _bright(plan: Plan, rows: ArrayLike) -> NDArray[np.bool_]:
    """Which of the candidates in these rows of the table are of the brightest quarter, by their rating."""
    rating = np.asarray(plan.pool.candidates.table["rating"])[rows]
    return rating >= np.quantile(rating, 0.75)


def _by_row(plan: Plan) -> dict[int, float]:
    return dict(zip(plan.order_choice.rows.tolist(), plan.order_choice.left_out.tolist(), strict=True))
