"""What a run found and chose, as one flat table of names and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from psfmatch_cli.diagnostics import Diagnosis
from psfmatch_cli.difference import Difference
from psfmatch_cli.match import MatchResult
from psfmatch_cli.photometry import SumCheck
from psfmatch_cli.plan import Plan
from psfmatch_cli.quality import Quality
from psfmatch_cli.quality_items import metadata_items, summary_items
from psfmatch_cli.register import Registered, Widths


@dataclass(frozen=True)
class Findings:
    """All that is told about a match.

    Parameters
    ----------
    plan : Plan
    fit : MatchResult
    images : Difference
    widths : Widths
    registered : Registered
    diagnosis : Diagnosis
    sum_check : SumCheck
    adaptations : tuple of str
        What was changed because candidates were few.
    quality : Quality
    """

    plan: Plan
    fit: MatchResult
    images: Difference
    widths: Widths
    registered: Registered
    diagnosis: Diagnosis
    sum_check: SumCheck
    adaptations: tuple[str, ...]
    quality: Quality


def summarise(findings: Findings) -> dict[str, Any]:
    """Summary of a match, for the line on the terminal, the header cards and scripts; None for what is not known."""
    plan, fit, images = findings.plan, findings.fit, findings.images
    widths, registered = findings.widths, findings.registered
    statuses = list(fit.candidates.table["status"])
    return {
        "convolved": plan.direction.convolved,
        "direction_reason": plan.direction.reason,
        "warped": registered.warped,
        "registration_offset": registered.offset,
        "overlap_fraction": registered.overlap,
        **registered.alignment.summary(),
        "template_fwhm": widths.template,
        "science_fwhm": widths.science,
        "n_sources": len(statuses),
        "n_candidates": len(fit.candidates),
        "n_used": fit.n_used,
        "n_rejected": fit.n_rejected,
        "reasons": {name: n for name, n in fit.candidates.counts().items() if name != "candidates"},
        "kernel_sum": fit.kernel.center_sum,
        "expected_kernel_sum": findings.sum_check.expected,
        "kernel_sum_ratio": findings.sum_check.ratio,
        "kernel_size": fit.kernel.size,
        "basis": str(plan.spec),
        "spatial_order": fit.kernel.spatial.order,
        "background_order": images.background.spatial.order,
        "condition_number": fit.condition_number,
        "kernel_constraint": findings.diagnosis.kernel.state,
        "background_constraint": findings.diagnosis.background.state,
        "model_error": fit.model_error,
        "converged": fit.converged,
        "adaptations": list(findings.adaptations),
        "normalize": images.normalize,
        "sky_width": images.sky_width if np.isfinite(images.sky_width) else None,
        "n_sky_pixels": images.n_sky,
        "variance_scale": images.variance_scale,
        "masked_fraction": images.masked_fraction,
        "decorrelated": images.decorrelated,
        **summary_items(findings.quality),
    }


def match_items(findings: Findings) -> dict[str, Any]:
    """Metadata items of a match, under the names of the upstream task where it has them."""
    plan, fit, images, widths = findings.plan, findings.fit, findings.images, findings.widths
    return {
        "spatialConditionNum": fit.condition_number,
        "spatialKernelSum": fit.kernel.center_sum,
        "spatialKernelSumErr": fit.kernel.sum_error(*fit.kernel.spatial.region.center),
        "convolvedExposure": plan.direction.convolved.capitalize(),
        "convolvedReason": plan.direction.reason,
        "expectedKernelSum": _or_nan(findings.sum_check.expected),
        "kernelSumRatio": _or_nan(findings.sum_check.ratio),
        "kernelConstraint": findings.diagnosis.kernel.state,
        "backgroundConstraint": findings.diagnosis.background.state,
        "kernelBasisSet": plan.pool.config.kernel_basis_set,
        "principalComponents": plan.pool.config.uses_pca,
        "nBasis": len(fit.kernel.basis),
        "spatialModelType": fit.kernel.spatial.kind,
        "spatialKernelOrderUsed": fit.kernel.spatial.order,
        "spatialBgOrderUsed": images.background.spatial.order,
        "spatialBgParameters": images.background.coefficients.tolist(),
        "nSources": len(fit.candidates.table),
        "nCandidates": len(fit.candidates),
        "nGood": fit.n_used,
        "nBad": fit.n_rejected,
        "nUnused": int(np.count_nonzero(fit.candidates.table["status"] == "unused")),
        "nIterations": fit.n_iterations,
        "nTotalIterations": fit.n_iterations + fit.n_restarts,
        "converged": fit.converged,
        "solver": fit.solution.solver,
        "modelError": fit.model_error,
        "templateFwhmPix": _or_nan(widths.template),
        "scienceFwhmPix": _or_nan(widths.science),
        "templateFwhmFrom": widths.template_from,
        "scienceFwhmFrom": widths.science_from,
        "rejectReasons": [f"{name}:{n}" for name, n in fit.candidates.counts().items() if name != "candidates"],
        "skyWidth": images.sky_width,
        "nSkyPixels": images.n_sky,
        "varianceScale": images.variance_scale,
        "maskedFraction": images.masked_fraction,
        "normalize": images.normalize,
        "decorrelated": images.decorrelated,
        "backgroundsSubtracted": plan.pool.config.use_afw_background,
        **fit.quality,
        "quality": metadata_items(findings.quality),
    }


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
