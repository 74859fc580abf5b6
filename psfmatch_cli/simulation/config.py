"""What to simulate: the settings and the named cases."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from psfmatch_cli.config import Group
from psfmatch_cli.errors import UsageError


class SimulationConfig(Group):
    """What to simulate. Numbers of sources that are None follow the area at the standard density."""

    width: int = Field(2048, ge=64, description="pixels")
    height: int = Field(2048, ge=64, description="pixels")
    seed: int = Field(1, ge=0, description="seed of everything random")
    template_fwhm: float = Field(3.4, ge=1.2, description="FWHM of the template's PSF, pixels")
    science_fwhm: float = Field(4.6, ge=1.2, description="FWHM of the science PSF, pixels")
    beta: float = Field(3.5, gt=2.0, description="exponent of the Moffat PSFs")
    psf_variation: float = Field(0.08, ge=0, le=0.5, description="peak-to-peak range of the FWHM over the field")
    n_stars: int | None = Field(None, ge=0, description="stars in the science image; None: 2000 in 2048 x 2048")
    n_galaxies: int | None = Field(None, ge=0, description="galaxies; None: 600 in 2048 x 2048")
    n_transients: int | None = Field(None, ge=0, description="transients; None: 150 in 2048 x 2048")
    faintest_snr: float = Field(5.0, gt=0, description="signal-to-noise ratio of the faintest stars")
    sky: float = Field(1000.0, gt=0, description="sky level of the science image, counts")
    template_sky: float = Field(700.0, gt=0, description="sky level of the template, counts")
    flux_ratio: float = Field(1.25, gt=0, description="science counts per template count of one source")
    depth: float = Field(4.0, gt=0, description="exposure time of the template over that of the science image")
    gain: float = Field(2.0, gt=0, description="electrons per count of the science image")
    read_noise: float = Field(6.0, ge=0, description="electrons, of one science exposure")
    saturation: float = Field(60000.0, gt=0, description="counts at which a science pixel is full")
    cosmic_rays: int = Field(60, ge=0, description="flagged cosmic rays in the science image; the template has a fifth")
    dead_pixels: int = Field(40, ge=0, description="flagged dead pixels in each image")
    bad_columns: int = Field(2, ge=0, description="flagged bad columns in each image")
    unflagged: int = Field(0, ge=0, description="cosmic rays in the science image that its mask misses")
    variance_from: Literal["image", "expected"] = Field(
        "image", description="variance planes from the noisy image, as pipelines make them, or from the noise-free one"
    )
    rotation: float = Field(0.0, description="rotation of the template's grid, degrees")
    scale: float = Field(1.0, gt=0.5, lt=2.0, description="template pixels per science pixel")
    shift: tuple[float, float] = Field((0.0, 0.0), description="displacement (x, y) of the template's grid, pixels")
    xy0: tuple[int, int] = Field((0, 0), description="parent position of the first pixel of both images")
    attach_psf: bool = Field(False, description="give both exposures the PSF image at their centre")
    wcs: bool = Field(True, description="give both exposures a celestial WCS")


#: Fields of `SimulationConfig` that make the named cases.
PRESETS: dict[str, dict[str, Any]] = {
    "standard": {},
    "crowded": {"n_stars": 24000},
    "empty": {"n_stars": 10, "n_galaxies": 10, "faintest_snr": 30.0},
    "varying": {"psf_variation": 0.30},
    "equal": {"template_fwhm": 4.0, "science_fwhm": 4.1},
    "undersampled": {"template_fwhm": 1.7, "science_fwhm": 2.2},
    "reversed": {"template_fwhm": 4.6, "science_fwhm": 3.4},
    "warped": {"rotation": 3.0, "scale": 1.01, "shift": (20.0, -20.0)},
    "demo": {"width": 768, "height": 768, "cosmic_rays": 12, "dead_pixels": 6, "bad_columns": 1},
}


def preset(name: str, **changes) -> SimulationConfig:
    """Configuration of a named case, with other values for some of its fields.

    Raises
    ------
    UsageError
        If there is no such case.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no simulation {name!r}; known are {', '.join(PRESETS)}")
    return SimulationConfig(**{**PRESETS[name], **changes})
