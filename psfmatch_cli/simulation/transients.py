"""Point sources that are in one exposure only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.simulation.config import SimulationConfig
from psfmatch_cli.simulation.detector import Detector, saturated_pixels
from psfmatch_cli.simulation.render import PsfField, add_stars, moffat_stamp
from psfmatch_cli.simulation.sky import Catalogue, around, to_template

TRANSIENTS = 150.0 / 2048**2  # a pixel
ON_GALAXY = 0.2
NEGATIVE = 0.1
FAINTEST, BRIGHTEST = 5.0, 150.0  # S/N
HALF = 12  # pixels around a transient that count for its S/N
ATTEMPTS = 60  # draws for each transient before a field counts as full


def draw_transients(
    config: SimulationConfig,
    field: PsfField,
    truth: dict[str, NDArray],
    detectors: dict[str, Detector],
    galaxies: Catalogue,
    rng: np.random.Generator,
) -> Catalogue:
    """Transients of S/N 5 to 150, a fifth of them on galaxies, a tenth negative.

    They keep 5 FWHM away from the border and from saturated pixels, and 8 from one another. Columns:
    ``x, y, x_template, y_template, flux, snr, host``.
    """
    found = _draw_positions(config, truth, detectors, galaxies, rng)
    x, y = found["x"], found["y"]
    found["x_template"], found["y_template"] = to_template(config, x, y)
    found["snr"] = np.exp(rng.uniform(np.log(FAINTEST), np.log(BRIGHTEST), len(x)))
    sign = np.where(rng.uniform(size=len(x)) < NEGATIVE, -1.0, 1.0)
    science = detectors["science"].variance(truth["science"])
    template = config.flux_ratio**2 * detectors["template"].variance(truth["template"])
    flux = np.zeros(len(x))
    for n, psf in enumerate(field.at(x, y)):
        # On a rotated grid the template's pixels differ, its noise hardly: the central pixel stands for all.
        added = around(template, found["x_template"][n], found["y_template"][n], 0)[0, 0]
        variance = around(science, x[n], y[n], HALF) + added
        flux[n] = _flux_of(found["snr"][n], moffat_stamp(psf, 0.0, 0.0, HALF), variance, config.gain)
    found["flux"] = sign * flux
    return found


def _draw_positions(
    config: SimulationConfig,
    truth: dict[str, NDArray],
    detectors: dict[str, Detector],
    galaxies: Catalogue,
    rng: np.random.Generator,
) -> Catalogue:
    """Positions ``x, y`` in the science image, and ``host``: whether each was put on a galaxy."""
    number = config.n_transients
    if number is None:
        number = round(TRANSIENTS * config.width * config.height)
    fwhm = max(config.science_fwhm, config.template_fwhm)
    distance = max(5.0 * fwhm, HALF + 2.0)
    saturated = {role: saturated_pixels(truth[role], detectors[role].saturation) for role in truth}
    placed = np.zeros((0, 3))
    for _ in range(ATTEMPTS * number):
        if len(placed) == number:
            break
        x, y, host = _propose(config, galaxies, rng)
        x_template, y_template = (float(c[0]) for c in to_template(config, np.array([x]), np.array([y])))
        clear = _is_clear(saturated["science"], x, y, distance)
        clear = clear and _is_clear(saturated["template"], x_template, y_template, distance)
        if clear and (np.hypot(placed[:, 0] - x, placed[:, 1] - y) > 8.0 * fwhm).all():
            placed = np.vstack([placed, [x, y, host]])
    return {"x": placed[:, 0], "y": placed[:, 1], "host": placed[:, 2] > 0}


def _propose(config: SimulationConfig, galaxies: Catalogue, rng: np.random.Generator) -> tuple[float, float, bool]:
    """A position (x, y) anywhere or on a galaxy, and which of the two."""
    if len(galaxies["x"]) and rng.uniform() < ON_GALAXY:
        n = rng.integers(len(galaxies["x"]))
        offset = rng.normal(0.0, galaxies["radius"][n], 2)
        return float(galaxies["x"][n] + offset[0]), float(galaxies["y"][n] + offset[1]), True
    return rng.uniform(0.0, config.width), rng.uniform(0.0, config.height), False


def _is_clear(saturated: NDArray[np.bool_], x: float, y: float, distance: float) -> bool:
    """Whether a position is this far inside the image and from its saturated pixels."""
    height, width = saturated.shape
    inside = distance <= x < width - distance and distance <= y < height - distance
    return inside and not around(saturated, x, y, int(distance)).any()


def _flux_of(snr: float, profile: NDArray, variance: NDArray, gain: float) -> float:
    """Flux of a point source of the given optimal signal-to-noise ratio on a background of that variance."""
    flux = snr / np.sqrt(np.sum(profile**2 / variance))
    # Its own photons add to the noise: a fixed point that 30 steps reach to better than 1e-4.
    for _ in range(30):
        flux = snr / np.sqrt(np.sum(profile**2 / (variance + flux * profile / gain)))
    return float(flux)


def add_transients(
    config: SimulationConfig, fields: dict[str, PsfField], truth: dict[str, NDArray], transients: Catalogue
) -> None:
    """Add the transients to the noise-free images, in place: positive ones to science, negative to the template."""
    flux = transients["flux"]
    for role, suffix, own, ratio in (
        ("science", "", flux > 0, 1.0),
        ("template", "_template", flux < 0, -1.0 / config.flux_ratio),
    ):
        x, y = transients["x" + suffix][own], transients["y" + suffix][own]
        add_stars(truth[role], fields[role], x, y, ratio * flux[own], faintest=1.0)
