"""How far a difference can be trusted: numbers from samples of its sky and its stars, and a verdict.

Everything is read off the difference as it is written, not off the fit: a kernel that was fitted well to wrong stars
shows here. Samples bound the cost: 64 squares of sky, 150 stars of the fit and 150 that were kept out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from psfmatch_cli.config import QualityConfig
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.kernel import MatchingKernel
from psfmatch_cli.kernel_shape import kernel_grid
from psfmatch_cli.psf_measure import MAD_TO_SIGMA
from psfmatch_cli.quality_cells import QualityCells, quality_cells
from psfmatch_cli.quality_sky import SkySample, largest_correlation, robust_width, sample_sky
from psfmatch_cli.quality_sources import SourceCounts, count_sources
from psfmatch_cli.quality_stars import FEWEST, MOST_STARS, StarResiduals, star_residuals
from psfmatch_cli.quality_verdict import Verdict, verdict

if TYPE_CHECKING:
    from astropy.table import Table

#: Side of the grid on which the kernel is looked at.
KERNEL_GRID = 5
#: FWHM, pixels, where none could be measured.
COMMON_FWHM = 3.5
#: Part of its light that a star leaves that is no star of both images; stars for which a fraction of such is meant.
SPOILED, ENOUGH_BRIGHT = 0.15, 20
#: Sources of a sparse field, a pixel: where there are fewer, real changes may be as many as stars.
SPARSE = 1e-4


@dataclass(frozen=True)
class Subject:
    """What is judged.

    Parameters
    ----------
    difference : MaskedImage
        As it is written.
    science : Exposure
    kernel : MatchingKernel
    convolved : str
        ``"template"`` or ``"science"``.
    normalize : str
        Whose photometric scale the difference has.
    fwhm : float or None
        Of the stars of the difference, pixels.
    candidates : Table
        ``x, y, status, snr``, and of those fitted ``kernel_sum``.
    sky_width, masked_fraction : float
        See `psfmatch_cli.difference.Difference`.
    decorrelated : bool
    calibration_ratio : float or None
        Kernel sum over the zero points' ratio.
    condition_number, condition_limit : float
        Of the spatial fit; NaN where there was none.
    """

    difference: MaskedImage
    science: Exposure
    kernel: MatchingKernel
    convolved: str
    normalize: str
    fwhm: float | None
    candidates: Table
    sky_width: float
    masked_fraction: float
    decorrelated: bool
    calibration_ratio: float | None
    condition_number: float
    condition_limit: float

    @property
    def scale(self) -> float:
        """Counts of the difference per count of the science image."""
        if self.normalize == "science":
            return 1.0
        total = self.kernel.center_sum
        return 1.0 / total if self.convolved == "template" else total


@dataclass(frozen=True)
class Quality:
    """What the samples of a difference say.

    Parameters
    ----------
    numbers : dict of str to float
        See the documentation of the outputs; NaN for what is not known.
    cells : QualityCells
    sources : SourceCounts or None
        None if they were not counted.
    verdict : Verdict
    """

    numbers: dict[str, float]
    cells: QualityCells
    sources: SourceCounts | None
    verdict: Verdict


def assess(subject: Subject, config: QualityConfig) -> Quality:
    """Quality of a difference."""
    sample = sample_sky(subject.difference)
    in_fit, held_out, rejected = (_stars(subject, sample, status) for status in ("used", "unused", "rejected"))
    cells = quality_cells(subject.difference.box, sample, [in_fit, held_out])
    sources = count_sources(subject.difference, subject.science.wcs, _fwhm(subject)) if config.level == "full" else None
    numbers = {
        **_of_sky(subject, sample, cells),
        **_of_stars(in_fit, held_out, rejected),
        **_of_kernel(subject),
        "condition_number": subject.condition_number,
        "masked_fraction": subject.masked_fraction,
        "calibration_deviation": np.nan if subject.calibration_ratio is None else subject.calibration_ratio - 1.0,
        "source_ratio": np.nan if sources is None else _source_ratio(sources, len(subject.candidates)),
    }
    numbers = {name: float(value) for name, value in numbers.items()}
    problems = _problems(subject, len(in_fit) + len(held_out), config)
    return Quality(numbers, cells, sources, verdict(numbers, config, problems))


def _source_ratio(sources: SourceCounts, n_science: int) -> float:
    """Sources of the difference over those of the science image, or over what a sparse field has."""
    return sources.total / max(n_science, SPARSE * sources.usable_pixels, 1.0)


def _fwhm(subject: Subject) -> float:
    return subject.fwhm or COMMON_FWHM


def _stars(subject: Subject, sample: SkySample, status: str) -> StarResiduals:
    """Residuals of the brightest candidates of a status."""
    table = subject.candidates
    rows = np.flatnonzero(np.asarray(table["status"]).astype(str) == status)
    snr = np.nan_to_num(np.asarray(table["snr"], float)[rows], nan=0.0)
    rows = rows[np.argsort(-snr, kind="stable")[:MOST_STARS]]
    x, y = (np.asarray(table[name], float)[rows] for name in "xy")
    level = np.nan_to_num(sample.mean_absolute)
    return star_residuals(
        subject.difference,
        subject.science.masked_image,
        x,
        y,
        fwhm=_fwhm(subject),
        scale=subject.scale,
        sky_level=level,
    )


def _of_sky(subject: Subject, sample: SkySample, cells: QualityCells) -> dict[str, float]:
    correlation = largest_correlation(sample)
    # A small image has too few sky pixels for the width that the variance is scaled by, not for that of the sample.
    width = subject.sky_width if np.isfinite(subject.sky_width) else sample.width
    known = cells.sky_mean[np.isfinite(cells.sky_mean)]
    widths, residuals = (values[np.isfinite(values)] for values in (cells.sky_width, cells.star_residual))
    return {
        "sky_width": sample.width,
        "sky_width_factor": max(width, 1.0 / width) if width > 0 else np.nan,
        "largest_sky_mean": known[np.argmax(np.abs(known))] if known.size else np.nan,
        "sky_width_range": np.ptp(widths) if widths.size else np.nan,
        "worst_cell_residual": residuals.max() if residuals.size else np.nan,
        "autocorrelation": correlation,
        "white_autocorrelation": correlation if subject.decorrelated else np.nan,
    }


def _of_stars(in_fit: StarResiduals, held_out: StarResiduals, rejected: StarResiduals) -> dict[str, float]:
    flux = max(in_fit.flux_residual, held_out.flux_residual, key=lambda value: np.nan_to_num(abs(value), nan=-1.0))
    enough = len(in_fit) >= FEWEST
    return {
        "n_stars": len(in_fit),
        "n_held_out": len(held_out),
        "n_rejected": len(rejected),
        "star_width": robust_width(in_fit.z),
        "held_out_width": robust_width(held_out.z),
        "star_chi2": in_fit.median_chi2,
        "held_out_chi2": held_out.median_chi2,
        "star_residual": in_fit.relative_residual,
        "held_out_residual": held_out.relative_residual,
        "rejected_residual": rejected.relative_residual,
        "spoiled_fraction": _spoiled_fraction([in_fit, held_out, rejected]),
        "flux_residual": flux,
        "ratio_mean": in_fit.ratio.mean() if enough else np.nan,
        "ratio_std": in_fit.ratio.std() if enough else np.nan,
    }


def _spoiled_fraction(stars: list[StarResiduals]) -> float:
    """Fraction of the bright stars that leave much of their light; NaN where there are few."""
    excess = np.concatenate([kind.excess[kind.bright] for kind in stars])
    return float(np.mean(excess > SPOILED**2)) if len(excess) >= ENOUGH_BRIGHT else float("nan")


def _of_kernel(subject: Subject) -> dict[str, float]:
    shapes = kernel_grid(subject.kernel, KERNEL_GRID, KERNEL_GRID).shapes
    sums = np.array([shape.sum for shape in shapes])
    return {
        "kernel_sum_range": np.ptp(sums) / abs(sums.mean()),
        "kernel_sum_scatter": _scatter(subject.candidates),
        "kernel_shift": max(shape.shift for shape in shapes),
    }


def _scatter(table: Table) -> float:
    """Robust relative scatter of the kernel sums of the brighter half of the candidates in the fit."""
    if "kernel_sum" not in table.colnames:
        return float("nan")
    used = np.asarray(table["status"]).astype(str) == "used"
    sums, snr = (np.asarray(table[name], float)[used] for name in ("kernel_sum", "snr"))
    sums = sums[np.isfinite(sums) & (snr >= np.median(snr))] if sums.size else sums
    if sums.size < FEWEST:
        return float("nan")
    middle = np.median(sums)
    return float(MAD_TO_SIGMA * np.median(np.abs(sums - middle)) / abs(middle))


def _problems(subject: Subject, n_stars: int, config: QualityConfig) -> tuple[str, ...]:
    found = []
    if n_stars < config.min_stars:
        found.append(f"{n_stars} star{'s' * (n_stars != 1)} to judge by, doubtful below {config.min_stars}")
    condition, limit = subject.condition_number, subject.condition_limit
    if condition < 0 or condition > limit:
        found.append(f"condition number of the fit is {condition:.2g}, doubtful above {limit:.2g}")
    return tuple(found)
