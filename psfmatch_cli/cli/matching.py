"""What match and subtract have in common: their options, their products and the summary line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import Run

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.image_psf_match import MatchExposuresResult
    from psfmatch_cli.score import Score

all_options = options.chain(
    options.product("kernel", "Kernel, background and candidates", "OUTPUT_kernel.fits beside it"),
    options.product("candidates", "Table of all sources with their fate in the fit", "none, it is in the kernel file"),
    options.product("warped", "Template on the science grid", "none"),
    options.regions,
    options.metadata,
    options.quality,
    options.summary,
    options.sources,
    options.direction,
    options.registration,
    options.kernel_size,
    options.kernel,
    options.adapt,
    options.strict,
    options.bad_planes,
    options.mask_policy,
    options.sigma,
    reading("template"),
    reading("science"),
    options.common,
)


def further_products(output: Path, given: Mapping[str, Any]) -> dict[str, Path | None]:
    """The products of both commands besides the images, by role."""
    suffixes = {"metadata": "_metadata.json", "kernel": "_kernel.fits", "candidates": "", "warped": "", "regions": ""}
    roles = {"warped": "warped template"}
    return {
        roles.get(name, name): beside(output, given[name], given[f"no_{name}"], suffix)
        for name, suffix in suffixes.items()
    }


def write_products(
    run: Run,
    names: Mapping[str, Path],
    result: MatchExposuresResult,
    difference: Exposure | None = None,
    score: Score | None = None,
) -> None:
    """Write all products that are wanted to their names."""
    from psfmatch_cli.cli.cards import history, match_cards
    from psfmatch_cli.io import write_exposure
    from psfmatch_cli.kernel_io import SavedKernel, save_kernel
    from psfmatch_cli.photometry import with_scale_of

    lines = history(run.record.command, run.record.arguments, run.settings, result.summary["adaptations"])
    matched, scale = result.matched_exposure, result.matched_to
    if scale == "template":
        # A file's zero point must be that of its counts.
        matched = with_scale_of(matched, result.warped_exposure)
    exposures = {
        "warped template": (result.warped_exposure, "template"),
        "matched image": (matched, scale),
        "difference": (difference, result.summary["normalize"]),
        "score": (None if score is None else score.exposure, "science"),
    }

    def cards(photometry: str) -> list[Any]:
        return match_cards(result, run.inputs, run.settings, run.outputs.get("difference"), photometry)

    if "candidates" in names:
        run.write_table(names["candidates"], result.kernel_cell_set.table)
    if "regions" in names:
        run.write_regions(names["regions"], result.kernel_cell_set, result.matched_exposure.xy0)
    if "kernel" in names:
        saved = SavedKernel(
            result.psf_matching_kernel,
            result.background_model,
            result.kernel_cell_set.table,
            run.settings.model_dump(),
            result.summary,
        )
        save_kernel(names["kernel"], saved, cards=cards(scale), history=lines)
    for role, (exposure, photometry) in exposures.items():
        if role in names:
            write_exposure(names[role], exposure, cards=cards(photometry), history=lines)


def describe(summary: Mapping[str, Any]) -> str:
    """What a match found, in one line."""
    how = (
        f"{summary['n_used']} of {summary['n_sources']} sources used"
        if "n_used" in summary
        else f"nothing fitted, {summary['kernel_file']} applied"
    )
    return (
        f"{summary['convolved']} convolved, {how}, "
        f"kernel {summary['kernel_size']} px of order {summary['spatial_order']}, "
        f"sum {summary['kernel_sum']:.4f}{_expectation(summary)}, "
        f"sky width {summary['sky_width']:.3f}{_scaling(summary)}, "
        f"quality: {_verdict(summary)}"
    )


def _verdict(summary: Mapping[str, Any]) -> str:
    """The verdict on the difference, with its reasons."""
    from psfmatch_cli.quality_verdict import Verdict

    return str(Verdict(summary["quality"], tuple(summary["quality_reasons"])))


def _expectation(summary: Mapping[str, Any]) -> str:
    """The kernel sum beside what the calibrations of the two exposures say."""
    ratio = summary["kernel_sum_ratio"]
    return "" if ratio is None else f" ({ratio:.3f} of the calibrations')"


def _scaling(summary: dict[str, Any]) -> str:
    """What was done about a sky that is not as noisy as predicted."""
    scale = summary["variance_scale"]
    return "" if scale == 1.0 else f" (variance of the difference x {scale:.3f})"
