"""The constant sky: catalogues of stars and galaxies and how they fall on each pixel grid.

Inside this module positions are array indices; a catalogue is a dict of equally long arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.simulation.config import SimulationConfig
from psfmatch_cli.simulation.detector import Detector
from psfmatch_cli.simulation.render import PsfField, add_galaxies, add_stars

PIXEL_SCALE = 0.3  # arcsec
MARGIN = 40  # pixels beyond the detector in which sources are drawn, as their wings reach into it
GRADIENT = 0.02  # peak-to-peak slope of the sky over the field, as a fraction of its level
STARS, GALAXIES = 2000.0 / 2048**2, 600.0 / 2048**2  # a pixel
# Cumulative counts N(> flux) ~ flux^-0.7; the brightest star has 20 times the flux that saturates.
LUMINOSITY_SLOPE = 0.7
BRIGHTEST = 20.0

Catalogue = dict[str, NDArray]


def sky_image(config: SimulationConfig, role: str) -> NDArray[np.float64]:
    """Sky with a slope along x in the science image and along y in the template, counts, (H, W)."""
    v, u = np.mgrid[-0.5 : 0.5 : config.height * 1j, -0.5 : 0.5 : config.width * 1j]
    level, slope = (config.sky, u) if role == "science" else (config.template_sky, v)
    return level * (1.0 + GRADIENT * slope)


def template_jacobian(config: SimulationConfig) -> NDArray[np.float64]:
    """Template pixels per science pixel, (2, 2)."""
    angle = np.deg2rad(config.rotation)
    return config.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _center(config: SimulationConfig) -> NDArray[np.float64]:
    return np.array([0.5 * (config.width - 1), 0.5 * (config.height - 1)])


def to_template(config: SimulationConfig, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Position in the template of a position in the science image."""
    center = _center(config)
    moved = template_jacobian(config) @ (np.stack([x, y]) - center[:, None]) + (center + config.shift)[:, None]
    return moved[0], moved[1]


def make_wcs(config: SimulationConfig, role: str):
    """TAN projections with one tangent point, so that the two grids are related by `to_template` exactly."""
    from astropy.wcs import WCS

    scale = PIXEL_SCALE / 3600.0
    cd, center = np.diag([-scale, scale]), _center(config)
    if role == "template":
        cd, center = cd @ np.linalg.inv(template_jacobian(config)), center + config.shift
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [150.0, 2.2]
    wcs.wcs.crpix = center + 1.0
    wcs.wcs.cd = cd
    wcs.wcs.set()
    return wcs


def _draw_positions(
    config: SimulationConfig, number: int | None, density: float, rng: np.random.Generator
) -> Catalogue:
    """Uniform positions: `number` (None: by density) inside the science image and as dense around it."""
    size = np.array([config.width, config.height])
    if number is None:
        number = round(density * config.width * config.height)
    corners = np.array([[0.0, 0.0, size[0], size[0]], [0.0, size[1], 0.0, size[1]]])
    reach = MARGIN + np.abs(np.stack(to_template(config, *corners)) - corners).max()
    inside = rng.uniform(-0.5, size - 0.5, (number, 2))
    larger = rng.uniform(-0.5 - reach, size - 0.5 + reach, (round(number * np.prod(1.0 + 2.0 * reach / size)), 2))
    outside = ((larger < -0.5) | (larger >= size - 0.5)).any(axis=1)
    x, y = np.concatenate([inside, larger[outside]]).T
    x_template, y_template = to_template(config, x, y)
    return {"x": x, "y": y, "x_template": x_template, "y_template": y_template}


def noise_pixels(fwhm: float) -> float:
    """Number of pixels of sky whose noise a matched filter for a Moffat PSF of beta 3.5 collects."""
    return 3.44 * fwhm**2


def sky_sigma(config: SimulationConfig, detector: Detector, role: str) -> float:
    """Noise of an empty pixel, counts."""
    return float(np.sqrt(detector.variance(config.sky if role == "science" else config.template_sky)))


def draw_stars(config: SimulationConfig, sigma: float, rng: np.random.Generator) -> Catalogue:
    """Stars with a power law of fluxes from the faintest S/N to some that saturate; sigma of the science sky."""
    stars = _draw_positions(config, config.n_stars, STARS, rng)
    faintest = config.faintest_snr * sigma * np.sqrt(noise_pixels(config.science_fwhm))
    # A Moffat PSF of FWHM w has its peak at 0.7 / w^2 of the flux.
    brightest = max(BRIGHTEST * config.saturation * config.science_fwhm**2 / 0.7, 2.0 * faintest)
    rest = (faintest / brightest) ** LUMINOSITY_SLOPE
    u = rng.uniform(rest, 1.0, len(stars["x"]))
    stars["flux"] = faintest * u ** (-1.0 / LUMINOSITY_SLOPE)
    stars["flux_template"] = stars["flux"] / config.flux_ratio
    return stars


def draw_galaxies(config: SimulationConfig, sigma: float, rng: np.random.Generator) -> Catalogue:
    """Galaxies of S/N about 10 to 1000: discs (nu = 0.5) to bulges (nu = -0.5)."""
    galaxies = _draw_positions(config, config.n_galaxies, GALAXIES, rng)
    n = len(galaxies["x"])
    faintest = 15.0 * sigma * np.sqrt(noise_pixels(config.science_fwhm))
    galaxies["flux"] = faintest * rng.uniform(0.01, 1.0, n) ** (-1.0 / 0.9)
    galaxies["flux_template"] = galaxies["flux"] / config.flux_ratio
    galaxies["radius"] = np.clip(rng.lognormal(np.log(1.8), 0.4, n), 0.6, 5.0)
    galaxies["nu"] = rng.uniform(-0.5, 0.5, n)
    e, angle = rng.uniform(0.0, 0.6, n), rng.uniform(0.0, 2.0 * np.pi, n)
    galaxies["e1"], galaxies["e2"] = e * np.cos(angle), e * np.sin(angle)
    return galaxies


def render(
    config: SimulationConfig, role: str, field: PsfField, stars: Catalogue, galaxies: Catalogue, sigma: float
) -> NDArray[np.float64]:
    """Noise-free image of the constant sky, counts, (H, W); wings are followed to 5 % of the sky noise."""
    image = sky_image(config, role)
    suffix = "" if role == "science" else "_template"
    x, y, flux = (stars[name + suffix] for name in ("x", "y", "flux"))
    add_stars(image, field, x, y, flux, faintest=0.05 * sigma)
    here = {name: galaxies[name + suffix] for name in ("x", "y", "flux")}
    jacobian = np.eye(2) if role == "science" else template_jacobian(config)
    add_galaxies(image, field, {**galaxies, **here}, jacobian)
    return image


def around(image: NDArray, x: float, y: float, half: int) -> NDArray:
    """Cut-out around the pixel nearest to a position, cropped at the border."""
    ix, iy = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    return image[max(iy - half, 0) : iy + half + 1, max(ix - half, 0) : ix + half + 1]
