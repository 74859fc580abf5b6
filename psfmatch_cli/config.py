"""Every setting once: its default, its range, its meaning.

Names are Python's spelling of the upstream task's; the upstream (camelCase) spelling is accepted too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Planes = list[str]


class Group(BaseModel):
    """A group of settings: unknown names and values out of range are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class BackgroundConfig(Group):
    """Background model that is subtracted before detection."""

    bin_size: int = Field(128, ge=1, description="side of a bin, pixels")
    statistics_property: Literal["MEANCLIP", "MEAN", "MEDIAN"] = Field("MEANCLIP", description="statistic of a bin")
    approx_order: int = Field(6, ge=0, description="order of the Chebyshev surface through the bins")
    weighting: bool = Field(True, description="weight bins by the inverse standard error of their value")
    weight_by: Literal["error", "variance"] = Field(
        "error", description="weight: one over the standard error of a bin's value, or over its square"
    )
    ignored_pixel_mask: Planes = Field(
        ["BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA"], description="mask planes left out of the bins"
    )


class DetectionConfig(Group):
    """Detection and measurement of sources."""

    threshold_value: float = Field(10.0, gt=0, description="detection threshold, in units of threshold_type")
    threshold_type: Literal["auto", "pixel_stdev", "stdev", "value", "variance"] = Field(
        "auto",
        description="pixel_stdev: times the smoothed noise of each pixel; stdev: times the clipped standard deviation "
        "of the smoothed image; value: counts; variance: times the clipped variance; auto: pixel_stdev, or stdev "
        "where the variance is not known",
    )
    min_pixels: int = Field(1, ge=1, description="smallest number of pixels above the threshold")
    n_sigma_for_kernel: float = Field(7.0, gt=0, description="full width of the smoothing kernel, PSF sigmas")
    n_sigma_to_grow: float = Field(2.4, ge=0, description="growth of footprints, PSF sigmas")
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
    deblend_thresholds: int = Field(32, ge=1, description="levels at which a footprint is searched for peaks")
    background: BackgroundConfig = BackgroundConfig()


class WarpConfig(Group):
    """Warping the template onto the science pixels."""

    warping_kernel_name: Literal["bilinear", "lanczos3", "lanczos4", "lanczos5"] = Field(
        "lanczos3", description="resampling kernel of image and variance"
    )
    mask_warping_kernel_name: Literal["", "bilinear", "lanczos3", "lanczos4", "lanczos5"] = Field(
        "bilinear", description="resampling kernel of the mask; empty: that of the image"
    )
    grow_full_mask: Planes = Field(["EDGE"], description="mask planes that spread over the whole resampling kernel")
    max_lost_weight: float = Field(
        5e-3,
        ge=0,
        lt=1,
        description="largest fraction of the resampling weight on pixels without a value; also the "
        "fraction on SAT, BAD or CR pixels above which an output gets their plane",
    )
    interp_length: int = Field(16, ge=0, description="pixels between exact positions of the mapping; 0: every pixel")
    registration_tolerance: float = Field(
        1e-3, ge=0, description="largest offset, in pixels, at which two pixel grids count as the same"
    )


class CandidateConfig(Group):
    """Which sources may constrain the kernel."""

    bad_mask_planes: Planes = Field(
        ["NO_DATA", "EDGE", "SAT", "BAD", "CR"],
        description="mask planes that disqualify a stamp; BAD and CR pixels that are also INTRP do not",
    )
    mask_policy: Literal["exclude", "reject"] = Field(
        "exclude", description="bad pixels far from the core: leave them out of the fit, or refuse the candidate"
    )
    core_radius: int = Field(4, ge=1, description="pixels around the centre that must be fitted, if policy is exclude")
    fp_grow_kernel_scaling: float = Field(1.0, ge=1, description="half side of a stamp, kernel sides")
    min_snr: float = Field(10.0, ge=0, description="smallest signal to noise ratio of a candidate's flux")


class KernelConfig(Group):
    """The matching kernel, its spatial model and the rejection of candidates."""

    alard_sig_gauss: list[Annotated[float, Field(gt=0)]] = Field(
        [0.7, 1.5, 3.0], description="Gaussian sigmas in pixels, if not scaled by the FWHMs"
    )
    alard_deg_gauss: list[Annotated[int, Field(ge=0)]] = Field([4, 2, 2], description="polynomial degree per Gaussian")
    richer_deg_gauss: list[Annotated[int, Field(ge=0)]] = Field(
        [6, 4, 2],
        description="degrees of a richer basis, tried as well and taken if it predicts left-out candidates clearly "
        "better; empty: none",
    )
    wing_gaussian: bool = Field(
        True, description="add a Gaussian of degree 0, beta times the widest: the wings (upstream has none)"
    )
    alard_gauss_beta: float = Field(2.0, gt=1, description="ratio of successive sigmas")
    alard_min_sig: float = Field(0.7, ge=0.25, description="smallest sigma when convolving, pixels")
    alard_min_sig_deconv: float = Field(0.4, ge=0.25, description="smallest sigma when deconvolving, pixels")
    scale_by_fwhm: bool = Field(True, description="take sigmas and size from the two FWHMs")
    kernel_size: int | None = Field(None, ge=3, description="side of the kernel in pixels, odd; none: from the basis")
    kernel_size_fwhm_scaling: float = Field(6.0, ge=1, description="side of the kernel per largest sigma")
    kernel_size_per_fwhm: float = Field(
        6.8, ge=0, description="side of the kernel at least this times the larger FWHM (upstream has no such rule)"
    )
    kernel_size_min: int = Field(27, ge=3, description="smallest side from the rule, odd")
    kernel_size_max: int = Field(35, ge=3, description="largest side from the rule, odd")
    spatial_model_type: Literal["chebyshev1", "polynomial"] = Field("chebyshev1", description="spatial functions")
    spatial_kernel_order: int | None = Field(None, ge=0, le=6, description="order of the kernel; none: from the data")
    spatial_bg_order: int | None = Field(None, ge=0, le=6, description="order of the background; none: from the data")
    fit_for_background: bool = Field(True, description="fit a differential background with the kernel")
    size_cell_x: int = Field(128, ge=32, description="width of a spatial cell, pixels")
    size_cell_y: int = Field(128, ge=32, description="height of a spatial cell, pixels")
    n_star_per_cell: int = Field(5, description="candidates used per cell; 0 or less: all")
    max_candidates: int = Field(
        500, ge=10, description="candidates used at most: cells of a large image are made larger for that"
    )
    max_spatial_iterations: int = Field(3, ge=1, le=20, description="rounds of spatial rejection")
    single_kernel_clipping: bool = Field(True, description="reject by residuals of the own fit")
    kernel_sum_clipping: bool = Field(True, description="reject by kernel sum")
    spatial_kernel_clipping: bool = Field(True, description="reject by residuals of the spatial model")
    candidate_residual_mean_max: float = Field(0.25, ge=0, description="limit of |mean| of residual/noise")
    candidate_residual_std_max: float = Field(1.5, ge=0, description="limit of the rms of residual/noise")
    correct_noise_bias: bool = Field(
        True, description="take what the convolved image's noise adds off the normal equations (upstream does not)"
    )
    refine_background: bool = Field(True, description="refine the background on the sky of the difference")
    kernel_sum_errors: bool = Field(
        True, description="add each kernel sum's own error to the clipped scatter of all (upstream does not)"
    )
    max_ksum_sigma: float = Field(3.0, ge=0, description="kernel sum limit in clipped sigmas")
    max_spatial_condition_number: float = Field(1e10, ge=0, description="warning limit of the spatial system")


class SubtractionConfig(Group):
    """The difference image."""

    scale_variance: bool = Field(
        True, description="scale the variance of the difference so that it is true of its sky, if it is 1 to 40 % off"
    )
