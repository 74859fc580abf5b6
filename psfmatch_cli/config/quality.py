"""Settings of the verdict on a difference."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from psfmatch_cli.config.base import Group


class QualityConfig(Group):
    """The verdict on a difference: good, doubtful or bad.

    Each number has two limits. The defaults lie between what good pairs and what deliberately spoiled ones give
    (`benchmarks/quality.py`; measured values in the method's page on quality).
    """

    level: Literal["fast", "full"] = Field(
        "fast", description="what is measured: fast, samples of sky and stars; full, also the sources of the difference"
    )
    min_stars: int = Field(5, ge=1, description="fewest stars to judge by; with fewer the difference is doubtful")
    sky_width_doubtful: float = Field(
        1.2, gt=1, description="factor by which the sky may be noisier, or quieter, than the inputs' variances say"
    )
    sky_width_bad: float = Field(1.4, gt=1, description="the same for bad: where the variance is not mended any more")
    star_residual_doubtful: float = Field(
        0.055, gt=0, description="relative residual that bright stars, in the fit or kept out of it, have at least"
    )
    star_residual_bad: float = Field(0.1, gt=0, description="the same for bad")
    cell_residual_doubtful: float = Field(
        0.08, gt=0, description="median relative residual of bright stars in the worst cell"
    )
    cell_residual_bad: float = Field(0.12, gt=0, description="the same for bad")
    spoiled_doubtful: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="fraction of the bright candidates, also of those that the fit rejected, that leave more than 15 % "
        "of their light: stars that are saturated unnoticed",
    )
    spoiled_bad: float = Field(0.2, gt=0, lt=1, description="the same for bad")
    flux_residual_doubtful: float = Field(
        0.03, gt=0, description="median part of bright stars' flux that is left, or over-subtracted"
    )
    flux_residual_bad: float = Field(0.1, gt=0, description="the same for bad")
    ratio_mean_bad: float = Field(
        0.2, gt=0, description="mean over the candidates of the residual over the light, without the sky's: upstream's"
    )
    ratio_std_bad: float = Field(0.4, gt=0, description="standard deviation of the same, 1/n form: upstream's")
    sky_mean_doubtful: float = Field(0.2, gt=0, description="largest mean of a cell of sky, in units of its noise")
    sky_mean_bad: float = Field(0.5, gt=0, description="the same for bad")
    kernel_range_doubtful: float = Field(
        0.2, gt=0, description="largest minus smallest kernel sum over the field, over their mean"
    )
    kernel_range_bad: float = Field(0.5, gt=0, description="the same for bad")
    kernel_scatter_doubtful: float = Field(
        0.15, gt=0, description="robust relative scatter of the kernel sums of the bright candidates' own fits"
    )
    kernel_shift_doubtful: float = Field(
        0.5, gt=0, description="largest distance of the kernel's centroid from its centre, pixels: a misalignment"
    )
    autocorrelation_doubtful: float = Field(
        0.05, gt=0, lt=1, description="largest autocorrelation of the noise of a difference that was made white"
    )
    calibration_doubtful: float = Field(
        0.1, gt=0, description="relative deviation of the kernel sum from the zero points' ratio"
    )
    masked_doubtful: float = Field(0.5, gt=0, lt=1, description="fraction of the pixels that are not usable")
    masked_bad: float = Field(0.9, gt=0, lt=1, description="the same for bad")
    sources_doubtful: float = Field(
        0.6, gt=0, description="sources of the difference above 5 sigma over those of the science image (level full)"
    )
    sources_bad: float = Field(1.0, gt=0, description="the same for bad")

    @model_validator(mode="after")
    def _bad_is_worse(self) -> Self:
        for name in type(self).model_fields:
            other = name.replace("_doubtful", "_bad")
            if other != name and hasattr(self, other) and getattr(self, other) < getattr(self, name):
                raise ValueError(f"{other} must be at least {name}, which is {getattr(self, name)}")
        return self
