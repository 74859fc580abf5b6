"""What match and subtract have in common: their options, their products and the summary line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import Run
from psfmatch_cli.cli.work import Matched

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.image_psf_match import MatchExposuresResult
    from psfmatch_cli.kernel_io import SavedKernel
    from psfmatch_cli.outputs import Card
    from psfmatch_cli.settings import Settings

all_options = options.chain(
    options.all_extensions,
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
    options.allow_identical,
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


@dataclass(frozen=True)
class Product:
    """What goes into a file: an exposure or a kernel, with its header cards and HISTORY lines."""

    content: Exposure | SavedKernel
    cards: list[Card]
    history: list[str]


def products_of(
    made: Matched, inputs: Mapping[str, Path], settings: Settings, difference: Path | None
) -> dict[str, Product]:
    """The exposures and the kernel of a match, by role.

    Parameters
    ----------
    made : Matched
    inputs : mapping of str to Path
        Template and science file.
    settings : Settings
    difference : Path or None
        Name of the file of the difference, if there is one.
    """
    from psfmatch_cli.cli.cards import adaptation_history, match_cards
    from psfmatch_cli.image_kind import kind_card
    from psfmatch_cli.kernel_io import SavedKernel
    from psfmatch_cli.photometry import with_scale_of

    result = made.result
    matched, scale = result.matched_exposure, result.matched_to
    if scale == "template":
        # A file's zero point must be that of its counts.
        matched = with_scale_of(matched, result.warped_exposure)
    kernel = SavedKernel(
        result.psf_matching_kernel,
        result.background_model,
        result.kernel_cell_set.table,
        settings.model_dump(),
        result.summary,
    )
    products = {
        "kernel": (kernel, scale),
        "warped template": (result.warped_exposure, "template"),
        "matched image": (matched, scale),
        "difference": (getattr(result, "subtracted_exposure", None), result.summary["normalize"]),
        "score": (None if made.score is None else made.score.exposure, "science"),
    }
    lines = adaptation_history(result.summary["adaptations"])
    return {
        role: Product(content, [*match_cards(result, inputs, settings, difference, photometry), kind_card(role)], lines)
        for role, (content, photometry) in products.items()
        if content is not None
    }


def write_products(run: Run, names: Mapping[str, Path], made: Matched) -> None:
    """Write all products that are wanted to their names."""
    from psfmatch_cli.cli.cards import history
    from psfmatch_cli.fitswrite import ExposureFile, write_exposures
    from psfmatch_cli.kernel_io import save_kernel
    from psfmatch_cli.outputs import run_card

    result = made.result
    if "candidates" in names:
        run.write_table(names["candidates"], result.kernel_cell_set.table)
    if "difference sources" in names:
        run.write_table(names["difference sources"], made.sources)
    if "regions" in names:
        run.write_regions(names["regions"], result.kernel_cell_set, result.matched_exposure.xy0)
    lines = history(run.record.command, run.record.arguments, run.settings)
    files = []
    for role, product in products_of(made, run.inputs, run.settings, run.outputs.get("difference")).items():
        if role in names:
            cards, told = [*product.cards, run_card(run.record.id)], [*lines, *product.history]
            if role == "kernel":
                save_kernel(names[role], product.content, cards=cards, history=told)
            else:
                files.append(ExposureFile(names[role], product.content, cards, told))
    write_exposures(files, threads=run.settings.threads)


def describe(made: Matched) -> str:
    """What a match found, in one line."""
    summary = made.result.summary
    how = (
        f"{summary['n_used']} of {summary['n_sources']} sources used"
        if "n_used" in summary
        else f"nothing fitted, {summary['kernel_file']} applied"
    )
    return (
        f"{summary['convolved']} convolved, {how}, "
        f"kernel {summary['kernel_size']} px of order {summary['spatial_order']}, "
        f"sum {summary['kernel_sum']:.4f}{_expectation(summary)}, "
        f"sky width {_sky_width(summary)}{_scaling(summary)}{_counts(made.result)}, "
        f"quality: {_verdict(summary)}"
    )


def _verdict(summary: Mapping[str, Any]) -> str:
    """The verdict on the difference, with its reasons."""
    from psfmatch_cli.quality_verdict import Verdict

    return str(Verdict(summary["quality"], tuple(summary["quality_reasons"])))


def _counts(result: MatchExposuresResult) -> str:
    """Whose counts a difference has, where they are not those of the science image."""
    normalize = getattr(result, "normalize", "science")
    return "" if normalize == "science" else f", in {normalize} counts"


def _expectation(summary: Mapping[str, Any]) -> str:
    """The kernel sum beside what the calibrations of the two exposures say."""
    ratio = summary["kernel_sum_ratio"]
    return "" if ratio is None else f" ({ratio:.3f} of the calibrations')"


def _sky_width(summary: Mapping[str, Any]) -> str:
    width = summary["sky_width"]
    return f"not measured: {summary['n_sky_pixels']} sky pixels" if width is None else f"{width:.3f}"


def _scaling(summary: dict[str, Any]) -> str:
    """What was done about a sky that is not as noisy as predicted."""
    scale = summary["variance_scale"]
    return "" if scale == 1.0 else f" (variance of the difference x {scale:.3f})"
