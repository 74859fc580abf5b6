"""The quality of the difference of a match."""

from __future__ import annotations

import logging

from psfmatch_cli.difference import Difference
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.match import MatchResult
from psfmatch_cli.photometry import SumCheck
from psfmatch_cli.plan import Plan
from psfmatch_cli.quality import Quality, Subject, assess
from psfmatch_cli.register import Widths
from psfmatch_cli.settings import Settings

log = logging.getLogger(__name__)


def quality_of(
    plan: Plan,
    fit: MatchResult,
    images: Difference,
    science: Exposure,
    widths: Widths,
    sum_check: SumCheck,
    settings: Settings,
) -> Quality:
    """Quality of a difference; a warning if it is bad.

    Parameters
    ----------
    plan, fit, images : Plan, MatchResult, Difference
    science : Exposure
    widths : Widths
    sum_check : SumCheck
    settings : Settings
    """
    subject = Subject(
        difference=images.difference,
        science=science,
        kernel=fit.kernel,
        convolved=plan.direction.convolved,
        normalize=images.normalize,
        fwhm=wider(widths),
        candidates=fit.candidates.table,
        sky_width=images.sky_width,
        masked_fraction=images.masked_fraction,
        decorrelated=images.decorrelated,
        calibration_ratio=sum_check.ratio,
        condition_number=fit.condition_number,
        condition_limit=settings.kernel.max_spatial_condition_number,
    )
    return told(assess(subject, settings.quality))


def wider(widths: Widths) -> float | None:
    """FWHM of the wider image, pixels: that of the difference; None if neither is known."""
    return max((width for width in (widths.template, widths.science) if width is not None), default=None)


def told(quality: Quality) -> Quality:
    """The same quality, once it is logged."""
    log.log(logging.WARNING if quality.verdict.level == "bad" else logging.INFO, "quality: %s", quality.verdict)
    return quality
