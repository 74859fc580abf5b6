"""What the pixels of an exposure tell about it: sky, noise, FWHM, stars, masked pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from psfmatch_cli import noise
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.facts import Fact
from psfmatch_cli.header_fwhm import header_fwhm
from psfmatch_cli.psf_map import fwhm_map
from psfmatch_cli.psf_measure import MeasuredPsf, measure_psf

if TYPE_CHECKING:
    from astropy.table import Table

_UNUSABLE = ("BAD", "SAT", "CR", "NO_DATA")


@dataclass(frozen=True)
class Surveyed:
    """Measurements on an exposure.

    Parameters
    ----------
    quantities : dict of str to Fact
        ``sky``, ``sky_noise`` (counts), ``predicted_noise`` (by the variance plane, counts), ``fwhm`` (pixels; of the
        PSF that a match would use, with its source), ``stars``...
    masked : dict of str to int
        Pixels of each mask plane that has any.
    fwhm_map : Table or None
        FWHM in cells, see `psfmatch_cli.psf_map.fwhm_map`; None if no star was measured.
    """

    quantities: dict[str, Fact]
    masked: dict[str, int]
    fwhm_map: Table | None


def survey(exposure: Exposure) -> Surveyed:
    """Measure sky, noise, FWHM and stars.

    Raises
    ------
    InputError
        If no pixel is usable.
    """
    masked = exposure.masked_image
    bad = masked.flagged(_UNUSABLE) | ~np.isfinite(exposure.image)
    sky = noise.measure_sky(exposure.image, bad)
    stated = exposure.facts.quantities.get("unit")
    unit = "counts" if stated is None else str(stated.value)
    predicted = float(np.sqrt(np.median(exposure.variance[~bad])))
    measured = measure_psf(exposure)
    quantities = {
        "sky": Fact(sky.level, "median of the pixels away from sources", unit),
        "sky_noise": Fact(sky.sigma, "width of the pixels away from sources", unit),
        "predicted_noise": Fact(predicted, "median of the variance", unit),
        **_used_noise(exposure, unit),
        **_widths(exposure, measured),
    }
    counts = {name: int(np.count_nonzero(masked.flagged([name]))) for name in masked.planes}
    table = None if measured is None else fwhm_map(measured, exposure.box)
    return Surveyed(quantities, {name: n for name, n in counts.items() if n}, table)


def _used_noise(exposure: Exposure, unit: str) -> dict[str, Fact]:
    """The gain and the saturation level that were used, where the reader had to find them."""
    model, made = exposure.noise, {}
    if model.gain is not None:
        made["gain"] = Fact(model.gain, model.sources.get("gain", model.origin), "e-/count")
    source = model.sources.get("saturation")
    if model.saturation is not None:
        made["saturation"] = Fact(model.saturation, source or "", unit)
    elif source is not None:
        made["saturation"] = Fact("as the mask says" if source.startswith("mask") else "none", source)
    return made


def _widths(exposure: Exposure, measured: MeasuredPsf | None) -> dict[str, Fact]:
    """The FWHM that a match would use, and the others that are known; number of stars."""
    found = {"stars": Fact(0.0 if measured is None else float(measured.n_stars), "fit for measuring the FWHM")}
    stated, widths = header_fwhm(exposure), {}
    if exposure.psf is not None:
        widths["psf_fwhm"] = Fact(exposure.psf.fwhm, f"PSF, {exposure.psf.origin}", "pix")
    if measured is not None:
        found["ellipticity"] = Fact(measured.ellipticity, "stars")
        widths["measured_fwhm"] = Fact(measured.fwhm, _how(measured), "pix")
    if stated is not None:
        widths["header_fwhm"] = Fact(*stated, "pix")
    used = next(iter(widths), None)
    if used is not None:
        found["fwhm"] = widths.pop(used)
    return {**found, **widths}


def _how(measured: MeasuredPsf) -> str:
    return (
        f"measured on {measured.n_stars} stars, scatter {measured.fwhm_scatter:.3f} px, "
        f"{measured.fwhm_min:.3f} to {measured.fwhm_max:.3f} px over the field"
    )
