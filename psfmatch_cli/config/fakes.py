"""Settings of the trial with injected sources."""

from __future__ import annotations

from pydantic import Field, model_validator

from psfmatch_cli.config.base import Group


class FakesConfig(Group):
    """Point sources that are injected to learn what a subtraction finds and how well it measures."""

    density: float = Field(150.0, gt=0, le=1000, description="injected sources per megapixel at most")
    on_galaxies: float = Field(
        1 / 3, ge=0, le=1, description="part of them on extended sources of the science image, as far as there are any"
    )
    min_snr: float = Field(2.0, gt=0, description="signal-to-noise ratio of the faintest")
    max_snr: float = Field(100.0, gt=0, le=10000, description="signal-to-noise ratio of the brightest")
    separation: float = Field(8.0, ge=2, le=100, description="least distance of two of them, in FWHM of the PSF")
    match_radius: float = Field(
        0.5, gt=0, le=1, description="largest distance of a detection that is an injected source, in FWHM of the PSF"
    )
    seed: int = Field(1, ge=0, description="seed of places, fluxes and photon noise")

    @model_validator(mode="after")
    def _range_is_one(self) -> FakesConfig:
        if self.min_snr >= self.max_snr:
            raise ValueError(f"min_snr must be below max_snr, got {self.min_snr:g} and {self.max_snr:g}")
        return self
