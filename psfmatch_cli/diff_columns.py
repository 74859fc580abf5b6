"""The table of the sources of a difference.

==================================  ====================================================================
id                                  1..n, the most significant first
x, y, x_err, y_err                  of the fitted PSF, 0-based parent pixels
ra, dec, ra_err, dec_err            degrees, and arcsec on the sky; only with a WCS
polarity                            1: brighter in the science image, -1: in the template
snr                                 significance of the detection: flux over noise of the matched filter at the peak
psf_flux, psf_flux_err              of the PSF at the position, negative where the source became fainter
psf_chi2, psf_npix                  of that fit: sum of the squared residuals over the variance; pixels
ap_flux, ap_flux_err                within ``aperture_radius`` FWHM, over the part of the PSF's flux that is within
mag, mag_err                        of the absolute PSF flux; only with a zero point
Ixx, Iyy, Ixy                       adaptive moments of the source, times its polarity; NaN where there are none
fwhm, ellipticity                   of these moments; ellipticity is 1 minus the ratio of the axes
dipole_*, is_dipole                 see `psfmatch_cli.diff_dipoles`
flag_*, flag_*_center               mask planes within one FWHM of the position, and in the 3 x 3 pixels at it
flag_centroid                       no position was fitted: x, y are those of the peak, without errors
==================================  ====================================================================

Fluxes are counts of the difference. Errors hold the light of the source. Where neighbouring pixels have correlated
noise the errors are those of the variance plane times the width that the same filter has on the sky (meta
``FLUXWIDTH``, ``POSWIDTH``, ``APWIDTH``: 1 in white noise). Pixels that the mask calls unusable count in no sum. A flux
at a position that the same noise has decided is too large by about ``1 / snr^2`` of itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.apertures import Apertures, aperture_fluxes
from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.diff_dipoles import COLUMNS as DIPOLE_COLUMNS
from psfmatch_cli.diff_dipoles import dipole_columns
from psfmatch_cli.diff_flags import FLAG_COLUMNS, mask_flags
from psfmatch_cli.exposure import DETECTED_PLANES, Exposure
from psfmatch_cli.matched_filter import effective_area, filter_width, filtered, middle_of
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.psf_photometry import stamps_at
from psfmatch_cli.sky_errors import sky_columns
from psfmatch_cli.stamps import Stamps, adaptive_moments

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.diff_detect import Found

#: Unit and meaning of each column.
COLUMNS: dict[str, tuple[str | None, str]] = {
    "id": (None, "number, the most significant source first"),
    "x": ("pix", "position of the fitted PSF, 0-based parent pixels"),
    "y": ("pix", "position of the fitted PSF, 0-based parent pixels"),
    "x_err": ("pix", "its error"),
    "y_err": ("pix", "its error"),
    "ra": ("deg", "right ascension"),
    "dec": ("deg", "declination"),
    "ra_err": ("arcsec", "error of the position along right ascension, on the sky"),
    "dec_err": ("arcsec", "error of the position along declination"),
    "polarity": (None, "1: brighter in the science image, -1: brighter in the template"),
    "snr": (None, "significance of the detection in the matched filter"),
    "psf_flux": ("ct", "flux of the PSF, science minus template"),
    "psf_flux_err": ("ct", "its error"),
    "psf_chi2": (None, "squared residuals of the PSF over the variance"),
    "psf_npix": (None, "pixels of that sum"),
    "ap_flux": ("ct", "flux of the aperture over the part of the PSF in it"),
    "ap_flux_err": ("ct", "its error"),
    "mag": ("mag", "magnitude of the absolute PSF flux"),
    "mag_err": ("mag", "its error"),
    "Ixx": ("pix2", "adaptive moment"),
    "Iyy": ("pix2", "adaptive moment"),
    "Ixy": ("pix2", "adaptive moment"),
    "fwhm": ("pix", "FWHM of a Gaussian of these moments"),
    "ellipticity": (None, "1 - minor over major axis of the moments"),
    "flag_centroid": (None, "no position could be fitted, x and y are of the peak"),
}


def difference_table(difference: Exposure, found: Found, config: DifferenceSourceConfig) -> Table:
    """Table of what a search of the difference found.

    Parameters
    ----------
    difference : Exposure
    found : Found
    config : DifferenceSourceConfig
        Aperture.
    """
    from astropy.table import Table

    widths = _widths(difference, found)
    apertures = Apertures.of(found.psf, config.aperture_radius)
    widths["ap"] = _aperture_width(difference, found, apertures)
    sign = np.sign(found.peaks.significance)
    fit, (x0, y0) = found.fit, difference.xy0
    x_err, y_err = fit.x_err * widths["position"], fit.y_err * widths["position"]
    flux, flux_err = fit.flux, fit.flux_err * widths["flux"]
    columns: dict[str, Any] = {
        "id": np.arange(1, len(sign) + 1),
        "x": fit.x + x0,
        "y": fit.y + y0,
        "x_err": x_err,
        "y_err": y_err,
        **sky_columns(difference, fit.x + x0, fit.y + y0, x_err, y_err),
        "polarity": sign.astype(np.int16),
        "snr": np.abs(found.peaks.significance),
        "psf_flux": flux,
        "psf_flux_err": flux_err,
        "psf_chi2": fit.chi2,
        "psf_npix": fit.n_pixels.astype(np.int64),
        **_aperture_columns(found, apertures, widths["ap"]),
        **magnitudes(difference.fluxmag0, flux, flux_err),
        **_shape(found, sign),
        **dipole_columns(difference, found, config, widths["flux"]),
        **mask_flags(difference.masked_image, fit.x, fit.y, found.psf.fwhm),
        "flag_centroid": ~np.isfinite(fit.x_err),
    }
    table = Table(columns)
    described(table, COLUMNS | DIPOLE_COLUMNS | FLAG_COLUMNS)
    table.meta.update(_meta(difference, found, config, widths, apertures))
    return table


def described(table: Table, columns: dict[str, tuple[str | None, str]]) -> None:
    """Give the columns of a table their units and descriptions, in place."""
    for name, (unit, text) in columns.items():
        if name in table.colnames:
            table[name].unit, table[name].description = unit, text


def _widths(difference: Exposure, found: Found) -> dict[str, float]:
    """Widths of the filters of the flux and of the position on the sky."""
    image = middle_of(found.psf.image, found.half)
    slope = np.gradient(image, axis=1)
    significance = filtered(found.pixels, lambda x, y: slope, found.half, difference.xy0)
    not_sky = difference.masked_image.flagged(DETECTED_PLANES)
    return {
        "flux": found.filtered.width,
        "position": filter_width(significance, not_sky, effective_area(slope)),
    }


def _aperture_width(difference: Exposure, found: Found, apertures: Apertures) -> float:
    disc = apertures.disc()
    significance = filtered(found.pixels, lambda x, y: disc, len(disc) // 2, difference.xy0)
    return filter_width(significance, difference.masked_image.flagged(DETECTED_PLANES), effective_area(disc))


def _aperture_columns(found: Found, apertures: Apertures, width: float) -> dict[str, NDArray[np.float64]]:
    flux, error = aperture_fluxes(found.pixels, found.fit.x, found.fit.y, apertures)
    return {"ap_flux": flux, "ap_flux_err": error * width}


def magnitudes(
    fluxmag0: float | None, flux: NDArray[np.float64], flux_err: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Columns mag, mag_err of the absolute flux; none without a zero point."""
    if fluxmag0 is None:
        return {}
    size = np.where(np.abs(flux) > 0, np.abs(flux), np.nan)
    return {"mag": -2.5 * np.log10(size / fluxmag0), "mag_err": 2.5 / np.log(10) * flux_err / size}


def _shape(found: Found, sign: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Adaptive moments of the sources, turned positive."""
    fit, names = found.fit, ("Ixx", "Iyy", "Ixy")
    stamps, _, _ = stamps_at(found.pixels, fit.x, fit.y, found.half)
    upright = Stamps(
        stamps.rows, stamps.data * sign[:, None, None].astype(np.float32), stamps.variance, stamps.good,
        stamps.dx, stamps.dy,
    )  # fmt: skip
    moments = adaptive_moments(upright, found.psf.sigma)
    ixx, iyy, ixy = (moments[name] for name in names)
    gap = np.hypot(0.5 * (ixx - iyy), ixy)
    minor, major = 0.5 * (ixx + iyy) - gap, 0.5 * (ixx + iyy) + gap
    shape = {"fwhm": FWHM_PER_SIGMA * (minor * major) ** 0.25, "ellipticity": 1 - np.sqrt(minor / major)}
    return {name: moments[name] for name in names} | shape


def _meta(
    difference: Exposure,
    found: Found,
    config: DifferenceSourceConfig,
    widths: dict[str, float],
    apertures: Apertures,
) -> dict[str, Any]:
    """How the table was made."""
    meta: dict[str, Any] = {
        "THRESHOLD": config.threshold,
        "POLARITY": config.polarity,
        "PSFORIG": found.psf.origin,
        "PSFFWHM": found.psf.fwhm,
        "FLUXWIDTH": widths["flux"],
        "POSWIDTH": widths["position"],
        "APWIDTH": widths["ap"],
        "APRADIUS": apertures.radius,
        "APCORR": apertures.fraction,
    }
    return meta if difference.fluxmag0 is None else meta | {"MAGZERO": 2.5 * np.log10(difference.fluxmag0)}


def source_counts(sources: Table) -> dict[str, Any]:
    """What a summary says of the sources of a difference.

    Parameters
    ----------
    sources : Table
    """
    return {
        "n_difference_sources": len(sources),
        "n_positive": int((sources["polarity"] > 0).sum()),
        "n_negative": int((sources["polarity"] < 0).sum()),
        "n_dipoles": int(sources["is_dipole"].sum()),
        "significance_width": float(sources.meta["FLUXWIDTH"]),
    }
