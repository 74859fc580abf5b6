"""What a run found and chose, as one flat table of names and values."""

from __future__ import annotations

from typing import Any

from psfmatch_cli.difference import Difference
from psfmatch_cli.match import MatchResult
from psfmatch_cli.plan import Plan
from psfmatch_cli.register import Registered, Widths


def summarise(
    plan: Plan, fit: MatchResult, images: Difference, widths: Widths, registered: Registered
) -> dict[str, Any]:
    """Summary of a match, for the line on the terminal, the header cards and scripts."""
    statuses = list(fit.candidates.table["status"])
    return {
        "convolved": plan.direction.convolved,
        "direction_reason": plan.direction.reason,
        "warped": registered.warped,
        "registration_offset": registered.offset,
        "overlap_fraction": registered.overlap,
        "template_fwhm": widths.template,
        "science_fwhm": widths.science,
        "n_sources": len(statuses),
        "n_candidates": len(fit.candidates),
        "n_used": fit.n_used,
        "n_rejected": fit.n_rejected,
        "reasons": {name: n for name, n in fit.candidates.counts().items() if name != "candidates"},
        "kernel_sum": fit.kernel.center_sum,
        "kernel_size": fit.kernel.size,
        "basis": str(plan.spec),
        "spatial_order": fit.kernel.spatial.order,
        "background_order": images.background.spatial.order,
        "condition_number": fit.condition_number,
        "model_error": fit.model_error,
        "converged": fit.converged,
        "sky_width": images.sky_width,
        "variance_scale": images.variance_scale,
        "masked_fraction": images.masked_fraction,
    }
