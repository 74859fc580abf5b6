"""Settings of the background, of detection and of measurement."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from psfmatch_cli.config.base import Group, Planes

Statistic = Literal["MEANCLIP", "MEAN", "MEDIAN"]


class BackgroundConfig(Group):
    """Background model that is subtracted before detection."""

    bin_size: int = Field(128, ge=1, description="side of a bin, pixels")
    bin_size_x: int = Field(0, ge=0, description="width of a bin, pixels; 0: bin_size")
    bin_size_y: int = Field(0, ge=0, description="height of a bin, pixels; 0: bin_size")
    statistics_property: Statistic = Field("MEANCLIP", description="statistic of a bin")
    undersample_style: Literal["THROW_EXCEPTION", "REDUCE_INTERP_ORDER", "INCREASE_NXNYSAMPLE"] = Field(
        "REDUCE_INTERP_ORDER", description="fewer bins than the order needs: an error, a lower order, or smaller bins"
    )
    algorithm: Literal["CONSTANT", "LINEAR", "NATURAL_SPLINE", "AKIMA_SPLINE", "NONE"] = Field(
        "AKIMA_SPLINE", description="interpolation between the bins if use_approx is off; NONE: no background"
    )
    ignored_pixel_mask: Planes = Field(
        ["BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA"], description="mask planes left out of the bins"
    )
    is_nan_safe: bool = Field(
        True, description="leave single NaN pixels out; off (upstream's default): leave out the bin that has one"
    )
    use_approx: bool = Field(True, description="fit a Chebyshev surface to the bins instead of interpolating")
    approx_order_x: int = Field(6, ge=0, description="order of the Chebyshev surface through the bins")
    approx_order_y: int = Field(-1, ge=-1, description="its order along y: -1 or the same as approx_order_x")
    weighting: bool = Field(True, description="weight bins by the inverse standard error of their value")
    weight_by: Literal["error", "variance"] = Field(
        "error", description="weight: one over the standard error of a bin's value, or over its square"
    )

    @model_validator(mode="after")
    def _orders_agree(self) -> Self:
        if self.approx_order_y not in (-1, self.approx_order_x):
            raise ValueError(
                f"approx_order_y must be -1 or the same as approx_order_x ({self.approx_order_x}): the surface has one "
                "order along both axes"
            )
        return self


class DetectionConfig(Group):
    """Detection and measurement of sources."""

    threshold_value: float = Field(10.0, gt=0, description="detection threshold, in units of threshold_type")
    threshold_type: Literal["auto", "pixel_stdev", "stdev", "value", "variance"] = Field(
        "auto",
        description="pixel_stdev: times the smoothed noise of each pixel; stdev: times the clipped standard deviation "
        "of the smoothed image; value: counts; variance: times the clipped variance; auto: pixel_stdev, or stdev "
        "where the variance is not known",
    )
    threshold_polarity: Literal["positive", "negative", "both"] = Field(
        "positive", description="search sources that are brighter, darker, or either"
    )
    include_threshold_multiplier: float = Field(
        1.0, ge=0, description="a footprint needs one pixel above this times the threshold"
    )
    min_pixels: int = Field(1, ge=1, le=10**9, description="smallest number of pixels above the threshold")
    n_sigma_for_kernel: float = Field(7.0, gt=0, le=100, description="full width of the smoothing kernel, PSF sigmas")
    n_sigma_to_grow: float = Field(2.4, ge=0, le=100, description="growth of footprints, PSF sigmas")
    isotropic_grow: bool = Field(False, description="grow by a disc; off: by a diamond, along rows and columns")
    combined_grow: bool = Field(True, description="merge footprints that touch after growing; off: keep them apart")
    return_original_footprints: bool = Field(
        False,
        description="list footprints as they were before growing; the mask planes get the grown ones",
    )
    re_estimate_background: bool = Field(
        False, description="fit the background again without the footprints and measure above that"
    )
    do_temp_local_background: bool = Field(
        False,
        description="look for the peaks of complex footprints again above a small-scale background, which the "
        "measurement does not see (upstream's default: on)",
    )
    do_temp_wide_background: bool = Field(
        False, description="take a large-scale background, footprints included, off for the search alone"
    )
    n_peaks_max_simple: int = Field(
        1,
        ge=0,
        description="with the temporary local background: footprints with more local maxima than this are complex",
    )
    adjust_background: float = Field(0.0, description="counts added to the background after its fit, for trials")
    stats_mask: Planes = Field(["BAD", "SAT", "EDGE", "NO_DATA"], description="mask planes left out of the statistics")
    exclude_mask_planes: Planes = Field(["EDGE", "NO_DATA"], description="mask planes that are not searched")
    deblend: bool = Field(True, description="every peak of a footprint is a source; off: one source per footprint")
    deblend_contrast: float = Field(
        0.005,
        gt=0,
        le=1,
        description="smallest share of the flux that makes a peak a source: of its footprint's, or of the brightest "
        "star's where a footprint is crowded",
    )
    deblend_thresholds: int = Field(32, ge=1, le=256, description="levels at which a footprint is searched for peaks")
    background: BackgroundConfig = BackgroundConfig()
    temp_local_background: BackgroundConfig = BackgroundConfig(bin_size=64, use_approx=False)
    temp_wide_background: BackgroundConfig = BackgroundConfig(
        bin_size=512, use_approx=False, ignored_pixel_mask=["BAD", "EDGE", "NO_DATA"]
    )
