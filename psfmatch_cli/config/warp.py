"""Settings of the registration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from psfmatch_cli.config.base import Group, Planes

ResamplingKernelName = Literal["bilinear", "bicubic", "lanczos3", "lanczos4", "lanczos5", "kriging4"]


class WarpConfig(Group):
    """Warping the template onto the science pixels."""

    registration: Literal["auto", "wcs", "stars", "asterisms", "none"] = Field(
        "auto",
        description="what aligns the template with the science image: wcs, its WCS; stars, the WCS (or equal pixels) "
        "corrected by the stars of both; auto, the same where the stars clearly contradict it; asterisms, triangles of "
        "stars and no WCS; none, equal pixels count as aligned",
    )
    warping_kernel_name: ResamplingKernelName = Field("kriging4", description="resampling kernel of image and variance")
    mask_warping_kernel_name: Literal["", ResamplingKernelName] = Field(
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
