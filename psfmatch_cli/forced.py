"""Forced photometry: the flux of a point source at a place where one may be, in one image or a series of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels, fit_background
from psfmatch_cli.diff_columns import described, magnitudes
from psfmatch_cli.diff_flags import FLAG_COLUMNS, mask_flags
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure
from psfmatch_cli.image_kind import is_difference
from psfmatch_cli.matched_filter import difference_pixels, matched_filter, psf_half
from psfmatch_cli.observation import observed
from psfmatch_cli.psf import Psf
from psfmatch_cli.psf_photometry import fit_points
from psfmatch_cli.whitened import psf_model_of

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Magnitude of one unit of the fluxes of different images on a common scale.
COMMON_ZERO_POINT = 25.0

#: Unit and meaning of each column of a light curve.
COLUMNS: dict[str, tuple[str | None, str]] = {
    "image": (None, "file"),
    "source_id": (None, "name of the position"),
    "mjd": ("d", "modified Julian date, of the card in mjd_card"),
    "mjd_card": (None, "header card that the date is from"),
    "filter": (None, "filter"),
    "x": ("pix", "position in this image, 0-based parent pixels"),
    "y": ("pix", "position in this image, 0-based parent pixels"),
    "ra": ("deg", "right ascension"),
    "dec": ("deg", "declination"),
    "psf_flux": ("ct", "flux of the PSF at the position"),
    "psf_flux_err": ("ct", "its error"),
    "snr": (None, "flux over error"),
    "psf_chi2": (None, "squared residuals of the PSF over the variance"),
    "psf_npix": (None, "pixels of that sum"),
    "zero_point": ("mag", "magnitude of one count"),
    "mag": ("mag", "magnitude of the absolute flux"),
    "mag_err": ("mag", "its error"),
    "flux_zp25": (None, "flux on the scale on which magnitude 25 is 1"),
    "flux_zp25_err": (None, "its error"),
}


@dataclass(frozen=True)
class ForcedFluxes:
    """Fluxes at positions, each an array (n,); NaN where too few pixels are good.

    Parameters
    ----------
    flux, flux_err : ndarray
        Counts; the error is true of correlated noise, too.
    chi2, n_pixels : ndarray
        Of the fit of the PSF.
    """

    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    n_pixels: NDArray[np.float64]


def image_pixels(exposure: Exposure) -> SkyPixels:
    """Usable pixels above the background, which a difference has none of."""
    masked = exposure.masked_image
    if is_difference(exposure):
        return difference_pixels(masked)
    background = fit_background(masked).image
    return difference_pixels(exposure.with_pixels(_minus(masked, background)).masked_image)


def _minus(masked: Any, background: NDArray[np.float32]) -> Any:
    from dataclasses import replace

    return replace(masked, image=masked.image - background)


def forced_fluxes(
    exposure: Exposure, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], pixels: SkyPixels | None = None
) -> ForcedFluxes:
    """PSF fluxes at parent positions.

    Parameters
    ----------
    exposure : Exposure
        Its background is subtracted unless it is a difference.
    psf : Psf
    x, y : ndarray, (n,)
        Parent positions; where they are not on the image, or NaN, the flux is NaN.
    pixels : SkyPixels, optional
        Its pixels above the background, where they are known already.
    """
    pixels = image_pixels(exposure) if pixels is None else pixels
    half = psf_half(psf)
    not_sky = exposure.masked_image.flagged(DETECTED_PLANES)
    width = matched_filter(pixels, psf, exposure.xy0, not_sky).width
    here = np.isfinite(x) & np.isfinite(y)
    made = np.full((4, len(x)), np.nan)
    if here.any():
        at = np.asarray(x)[here] - exposure.xy0[0], np.asarray(y)[here] - exposure.xy0[1]
        fit = fit_points(pixels, psf, exposure.xy0, *at, half)
        made[:, here] = fit.flux, fit.flux_err * width, fit.chi2, fit.n_pixels
    return ForcedFluxes(*made)


def light_curve(exposures: Iterable[tuple[str, Exposure, Table]]) -> Table:
    """One row per image and position.

    Parameters
    ----------
    exposures : iterable of (str, Exposure, Table)
        Name of the file, the image, and its positions: ``source_id, x, y`` and perhaps ``ra, dec``, as
        `psfmatch_cli.source_list.source_table` makes them.

    Raises
    ------
    InputError
        If an image has no PSF, and none can be measured on it.
    """
    from astropy.table import vstack

    rows = [measure_at(exposure, positions, name) for name, exposure, positions in exposures]
    # An image without a zero point or WCS has fewer columns: what it does not know is masked, here NaN.
    table = vstack(rows, metadata_conflicts="silent").filled(np.nan) if len(rows) > 1 else rows[0]
    described(table, COLUMNS | FLAG_COLUMNS)
    return table


def measure_at(exposure: Exposure, positions: Table, name: str) -> Table:
    """Forced photometry of one image: the rows of a light curve.

    Parameters
    ----------
    exposure : Exposure
    positions : Table
        As for `light_curve`.
    name : str
        For the column ``image``.

    Raises
    ------
    InputError
        If it has no PSF, and none can be measured on it.
    """
    from astropy.table import Table

    psf = exposure.psf if is_difference(exposure) else psf_model_of(exposure)
    if psf is None:
        raise InputError(f"{name}: fluxes are measured with the PSF, and there is none; give it (--psf)")
    x, y = (np.asarray(positions[axis], np.float64) for axis in "xy")
    found = forced_fluxes(exposure, psf, x, y)
    n = len(x)
    sky = {axis: np.asarray(positions[axis]) for axis in ("ra", "dec") if axis in positions.colnames}
    table = Table(
        {
            "image": np.full(n, name),
            "source_id": np.asarray(positions["source_id"]).astype(str),
            **{key: np.full(n, value) for key, value in observed(exposure).items()},
            "x": x,
            "y": y,
            **sky,
            "psf_flux": found.flux,
            "psf_flux_err": found.flux_err,
            "snr": found.flux / found.flux_err,
            "psf_chi2": found.chi2,
            "psf_npix": np.nan_to_num(found.n_pixels).astype(np.int64),
            **_calibrated(exposure.fluxmag0, found),
            **mask_flags(exposure.masked_image, x - exposure.xy0[0], y - exposure.xy0[1], psf.fwhm),
        }
    )
    described(table, COLUMNS | FLAG_COLUMNS)
    log.info("%s: %d positions measured, %d of them on good pixels", name, n, np.isfinite(found.flux).sum())
    return table


def _calibrated(fluxmag0: float | None, found: ForcedFluxes) -> dict[str, NDArray[np.float64]]:
    """Columns on the scale of magnitudes; NaN without a zero point."""
    counts = np.nan if fluxmag0 is None else fluxmag0
    scale = 10.0 ** (0.4 * COMMON_ZERO_POINT) / counts
    return {
        "zero_point": np.full(len(found.flux), 2.5 * np.log10(counts)),
        **magnitudes(counts, found.flux, found.flux_err),
        "flux_zp25": found.flux * scale,
        "flux_zp25_err": found.flux_err * scale,
    }
