"""Settings of the sources of a difference image."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from psfmatch_cli.config.base import Group


class DifferenceSourceConfig(Group):
    """Sources of a difference image: detection, apertures, dipoles."""

    threshold: float = Field(5.0, gt=0, description="significance from which a source of the difference is listed")
    polarity: Literal["both", "positive", "negative"] = Field(
        "both", description="sign of the sources: brighter in the science image, in the template, or both"
    )
    aperture_radius: float = Field(1.0, gt=0, le=5, description="radius of the aperture, in FWHM of the PSF")
    dipole_chi2: float = Field(
        30.0, ge=0, description="by how much chi2 must be less for a dipole than for a point source"
    )
    dipole_ratio: float = Field(
        0.3, gt=0, le=1, description="least ratio of the fluxes of a dipole, the weaker over the stronger"
    )
    dipole_separation: float = Field(1.5, gt=0, le=3, description="largest separation of a dipole, in FWHM of the PSF")
