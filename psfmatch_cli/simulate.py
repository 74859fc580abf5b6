"""Seeded pairs of exposures of one simulated sky, with everything that is true about them.

Both exposures are rendered from one catalogue on their own pixel grids, never resampled. What is true of
the difference ``science - (template * K) - background``:

- the kernel sum is `SimulationConfig.flux_ratio` everywhere (science counts per template count);
- the differential background is `SimulatedPair.background` (sky level and gradient of each);
- constant stars and galaxies vanish, transients remain with the flux of their table, negative where the
  source is only in the template;
- the exact PSF of either exposure at any place is `SimulatedPair.psf_image`.

Positions are 0-based parent pixels of the science image (array index + xy0) unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Exposure, NoiseModel
from psfmatch_cli.psf import Psf
from psfmatch_cli.simulation import sky
from psfmatch_cli.simulation.config import PRESETS, SimulationConfig, preset
from psfmatch_cli.simulation.detector import Detector
from psfmatch_cli.simulation.render import PsfField, moffat_stamp
from psfmatch_cli.simulation.transients import add_transients, draw_transients

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["PRESETS", "Role", "SimulatedPair", "SimulationConfig", "preset", "simulate_pair"]

Role = Literal["template", "science"]
ROLES: tuple[Role, Role] = ("template", "science")


@dataclass(frozen=True)
class SimulatedPair:
    """Two exposures and the truth about them.

    Parameters
    ----------
    template, science : Exposure
        Images with their sky, masks and variances.
    stars : Table
        Constant stars inside the science image: ``x, y, flux, x_template, y_template, flux_template``, ``snr`` and
        ``saturated`` (in either image).
    transients : Table
        ``x, y, flux`` (science counts; negative: only in the template), ``snr`` (of the best detection in a
        difference whose noise is that of both images before any convolution) and ``host`` (on a galaxy).
    galaxies : Table
        As the stars, with ``radius, nu, e1, e2`` instead of the last two.
    config : SimulationConfig
        What was asked for.
    template_truth, science_truth : ndarray, (H, W), float32
        The noise-free images, sky included, before saturation.
    fields : dict of str to PsfField
        The PSFs of "template" and "science", at array positions.
    """

    template: Exposure
    science: Exposure
    stars: Table
    transients: Table
    galaxies: Table
    config: SimulationConfig
    template_truth: NDArray[np.float32]
    science_truth: NDArray[np.float32]
    fields: dict[str, PsfField] = field(repr=False)

    def psf_image(self, role: Role, x: float, y: float, half: int = 25) -> NDArray:
        """Unit-flux PSF at a parent position of that image, centred on its middle pixel, (2 half + 1)^2."""
        x0, y0 = self.config.xy0
        return moffat_stamp(self.fields[role].at(x - x0, y - y0)[0], 0.0, 0.0, half)

    def background(self) -> NDArray[np.float64]:
        """Differential background, science counts, (H, W); for grids that are the same."""
        return sky.sky_image(self.config, "science") - self.config.flux_ratio * sky.sky_image(self.config, "template")


def simulate_pair(config: SimulationConfig | None = None) -> SimulatedPair:
    """Both exposures of one random sky.

    Parameters
    ----------
    config : SimulationConfig, optional
        Default: the standard case.
    """
    config = config or SimulationConfig()
    # One stream for each purpose: another number of cosmic rays leaves the stars where they are.
    names = ("psf", "stars", "galaxies", "transients", "template", "science")
    rng = dict(zip(names, np.random.default_rng(config.seed).spawn(len(names)), strict=True))
    fields = _psf_fields(config, rng["psf"])
    detectors = {role: _detector(config, role) for role in ROLES}
    sigma = {role: sky.sky_sigma(config, detectors[role], role) for role in ROLES}
    stars = sky.draw_stars(config, sigma["science"], rng["stars"])
    galaxies = sky.draw_galaxies(config, sigma["science"], rng["galaxies"])
    truth = {role: sky.render(config, role, fields[role], stars, galaxies, sigma[role]) for role in ROLES}
    transients = draw_transients(config, fields["science"], truth, detectors, galaxies, rng["transients"])
    add_transients(config, fields, truth, transients)
    exposures = {role: _expose(config, role, fields[role], truth[role], detectors[role], rng[role]) for role in ROLES}
    _describe_stars(config, stars, fields, exposures, sigma["science"])
    return SimulatedPair(
        **exposures,
        stars=_table(config, stars),
        transients=_table(config, transients),
        galaxies=_table(config, galaxies),
        config=config,
        template_truth=truth["template"].astype(np.float32),
        science_truth=truth["science"].astype(np.float32),
        fields=fields,
    )


def _psf_fields(config: SimulationConfig, rng: np.random.Generator) -> dict[Role, PsfField]:
    """Independent patterns for the two exposures."""
    shape = (config.height, config.width)
    fwhm = {"template": config.template_fwhm, "science": config.science_fwhm}
    return {role: PsfField.random(fwhm[role], config.beta, config.psf_variation, shape, rng) for role in ROLES}


def _detector(config: SimulationConfig, role: Role) -> Detector:
    """The template is a stack: more electrons a count, the read noise of many frames, wells as deep."""
    common = {
        "dead_pixels": config.dead_pixels,
        "bad_columns": config.bad_columns,
        "variance_from": config.variance_from,
    }
    if role == "science":
        own = {"cosmic_rays": config.cosmic_rays, "unflagged": config.unflagged}
        return Detector(config.gain, config.read_noise, config.saturation, **own, **common)
    return Detector(
        config.gain * config.flux_ratio * config.depth,
        config.read_noise * np.sqrt(config.depth),
        config.saturation / config.flux_ratio,
        cosmic_rays=config.cosmic_rays // 5,
        **common,
    )


def _expose(
    config: SimulationConfig,
    role: Role,
    psf_field: PsfField,
    truth: NDArray,
    detector: Detector,
    rng: np.random.Generator,
) -> Exposure:
    """The exposure that the detector makes of a noise-free image."""
    middle = psf_field.at(0.5 * (config.width - 1), 0.5 * (config.height - 1))[0]
    half = int(np.ceil(5.0 * middle.fwhm))
    return Exposure(
        detector.expose(truth, config.xy0, rng),
        wcs=sky.make_wcs(config, role) if config.wcs else None,
        psf=Psf.from_image(moffat_stamp(middle, 0.0, 0.0, half), "simulated") if config.attach_psf else None,
        noise=NoiseModel("plane", detector.gain, detector.read_noise, saturation=detector.saturation),
        name=role,
    )


def _describe_stars(
    config: SimulationConfig,
    stars: sky.Catalogue,
    fields: dict[Role, PsfField],
    exposures: dict[Role, Exposure],
    sigma: float,
) -> None:
    """Add the columns ``snr`` (on empty science sky) and ``saturated`` (a SAT pixel near the centre in either)."""
    shapes = fields["science"].at(stars["x"], stars["y"])
    noise = sigma * np.sqrt([sky.noise_pixels(shape.fwhm) for shape in shapes])
    stars["snr"] = stars["flux"] / np.sqrt(noise**2 + stars["flux"] / config.gain)
    stars["saturated"] = np.zeros(len(stars["x"]), bool)
    for role, suffix in (("science", ""), ("template", "_template")):
        flagged = exposures[role].masked_image.flagged(["SAT"])
        for n, (x, y) in enumerate(zip(stars["x" + suffix], stars["y" + suffix], strict=True)):
            stars["saturated"][n] |= sky.around(flagged, x, y, 1).any()


def _table(config: SimulationConfig, catalogue: sky.Catalogue) -> Table:
    """Table of the sources inside the science image, at parent positions."""
    from astropy.table import Table

    size = (config.width - 0.5, config.height - 0.5)
    inside = np.all([(catalogue[c] >= -0.5) & (catalogue[c] < end) for c, end in zip("xy", size, strict=True)], axis=0)
    table = Table({name: values[inside] for name, values in catalogue.items()})
    for name, offset in zip(("x", "y", "x_template", "y_template"), config.xy0 * 2, strict=True):
        table[name] += offset
    return table
