"""Settings of the kernel candidates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from psfmatch_cli.config.base import Group, Planes


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
    scale_by_fwhm: bool = Field(
        True, description="growth of a source, or its footprint, to its stamp from the kernel; off: fp_grow_pix"
    )
    fp_grow_kernel_scaling: float | None = Field(
        None,
        ge=1,
        le=100,
        description="that growth on each side, in kernel sides; none: 1, or 1.5 with delta functions, whose flat part "
        "a smaller stamp cannot tell from its background",
    )
    fp_grow_pix: int = Field(
        30,
        ge=10,
        le=10000,
        description="growth on each side if scale_by_fwhm is off, and by the footprint finder, pixels",
    )
    min_snr: float = Field(10.0, ge=0, description="smallest signal to noise ratio of a candidate's flux")
    finder: Literal["sources", "footprints"] = Field(
        "sources",
        description="sources: detection on the science image; footprints: the old finder of upstream, thresholded and "
        "grown footprints without smoothing or background",
    )
    det_threshold: float = Field(10.0, ge=3, description="threshold of the footprint finder")
    det_threshold_type: Literal["value", "stdev", "variance", "pixel_stdev"] = Field(
        "pixel_stdev", description="its units, as for detection.threshold_type"
    )
    det_on_template: bool = Field(
        True, description="the footprint finder searches the template; off: the science image"
    )
    fp_npix_min: int = Field(5, ge=5, description="smallest footprint of the footprint finder, pixels")
    fp_npix_max: int = Field(
        500,
        ge=1,
        le=500,
        description="footprints of more pixels (of a list of footprints: in the square of the longer side) are "
        "replaced by their central pixel before growing",
    )
