"""What template and science image show at the places of the sources of their difference."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from psfmatch_cli.detect import detect
from psfmatch_cli.diff_columns import described
from psfmatch_cli.diff_detect import find_difference_sources
from psfmatch_cli.difference import scale_factor
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.forced import forced_fluxes
from psfmatch_cli.grid import has_sky
from psfmatch_cli.results import SubtractExposuresResult
from psfmatch_cli.settings import Settings
from psfmatch_cli.sky_positions import sky_of

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Unit and meaning of each column.
COLUMNS: dict[str, tuple[str | None, str]] = {
    "template_flux": ("ct", "PSF flux at the position in the matched template, counts of the difference"),
    "template_flux_err": ("ct", "its error"),
    "science_flux": ("ct", "PSF flux at the position in the science image, counts of the difference"),
    "science_flux_err": ("ct", "its error"),
    "nearest_separation": ("pix", "distance to the nearest source of the template"),
    "nearest_separation_sky": ("arcsec", "the same on the sky"),
    "nearest_flux": ("ct", "PSF flux of that source, counts of the difference"),
    "nearest_snr": (None, "its significance"),
}


def sources_of_pair(result: SubtractExposuresResult, science: Exposure, settings: Settings | None = None) -> Table:
    """Sources of the difference of a pair, with what template and science image show at their places.

    Parameters
    ----------
    result : SubtractExposuresResult
    science : Exposure
        As it was given to the subtraction.
    settings : Settings, optional

    Returns
    -------
    Table
        The columns of `psfmatch_cli.diff_columns` and those of `COLUMNS`.

    Raises
    ------
    InputError
        If the difference has no PSF and no stars to model it on, or no usable pixel.
    """
    settings = settings or Settings()
    table = find_difference_sources(result.subtracted_exposure, settings.difference_sources)
    _add_fluxes(table, result, science)
    _add_nearest(table, result, settings)
    described(table, COLUMNS)
    return table


def _add_fluxes(table: Table, result: SubtractExposuresResult, science: Exposure) -> None:
    """PSF fluxes on both images before the subtraction, with the PSF and on the scale that both have then."""
    forward = result.convolved == "template"
    images = {
        "template": result.matched_exposure if forward else result.warped_exposure,
        "science": science if forward else result.matched_exposure,
    }
    psf = result.target_psf
    factor = abs(scale_factor(forward, result.psf_matching_kernel.center_sum, result.normalize))
    x, y = (np.asarray(table[axis], np.float64) for axis in "xy")
    for role, exposure in images.items():
        flux, error = np.full((2, len(table)), np.nan)
        if psf is not None:
            found = forced_fluxes(exposure, psf, x, y)
            flux, error = found.flux * factor, found.flux_err * factor
        table[f"{role}_flux"], table[f"{role}_flux_err"] = flux, error


def _add_nearest(table: Table, result: SubtractExposuresResult, settings: Settings) -> None:
    """The nearest source of the template, at any distance; NaN where the template has none."""
    from scipy.spatial import cKDTree

    template = result.warped_exposure
    config = settings.detection.model_copy(update={"threshold_value": settings.difference_sources.threshold})
    sources = detect(template, config, psf_sigma=_sigma(result)).sources
    sources = sources[np.isfinite(sources["x"]) & np.isfinite(sources["y"]) & ~sources["flag_negative"]]
    names = ("nearest_separation", "nearest_flux", "nearest_snr")
    values = {name: np.full(len(table), np.nan) for name in names}
    sky = np.full(len(table), np.nan)
    if len(sources) and len(table):
        places = np.column_stack([sources["x"], sources["y"]])
        distance, nearest = cKDTree(places).query(np.column_stack([table["x"], table["y"]]))
        flux = np.asarray(sources["psf_flux"])[nearest] * _template_scale(result)
        values = dict(zip(names, (distance, flux, np.asarray(sources["significance"])[nearest]), strict=True))
        sky = _separation(template, table, places[nearest])
    for name, column in values.items():
        table[name] = column
    if has_sky(template):
        table.add_column(sky, name="nearest_separation_sky", index=table.colnames.index("nearest_flux"))


def _sigma(result: SubtractExposuresResult) -> float:
    """Gaussian sigma of the template's PSF, pixels."""
    from psfmatch_cli.psf import FWHM_PER_SIGMA

    return result.summary["template_fwhm"] / FWHM_PER_SIGMA


def _template_scale(result: SubtractExposuresResult) -> float:
    """Counts of the difference per count of the template."""
    if result.normalize == "template":
        return 1.0
    kernel_sum = result.psf_matching_kernel.center_sum
    return kernel_sum if result.convolved == "template" else 1.0 / kernel_sum


def _separation(exposure: Exposure, table: Table, places: np.ndarray) -> np.ndarray:
    """Distances on the sky, arcsec; NaN without a WCS."""
    if not has_sky(exposure):
        return np.full(len(table), np.nan)
    from astropy.coordinates import angular_separation

    here = sky_of(exposure, np.asarray(table["x"]), np.asarray(table["y"]))
    there = sky_of(exposure, places[:, 0], places[:, 1])
    return np.degrees(angular_separation(*map(np.radians, (*here, *there)))) * 3600.0
