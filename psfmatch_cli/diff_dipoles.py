"""The columns of the dipole fit of the sources of a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import DifferenceSourceConfig
from psfmatch_cli.dipole import fit_dipoles, is_dipole
from psfmatch_cli.exposure import Exposure

if TYPE_CHECKING:
    from psfmatch_cli.diff_detect import Found

#: Unit and meaning of each column.
COLUMNS: dict[str, tuple[str | None, str]] = {
    "dipole_separation": ("pix", "distance of the poles; NaN where no pole of the other sign is near the source"),
    "dipole_separation_err": ("pix", "its error"),
    "dipole_angle": ("deg", "direction from the negative to the positive pole, from the x axis towards the y axis"),
    "dipole_x": ("pix", "middle between the poles, 0-based parent pixels"),
    "dipole_y": ("pix", "middle between the poles, 0-based parent pixels"),
    "dipole_flux_pos": ("ct", "flux of the positive pole"),
    "dipole_flux_pos_err": ("ct", "its error"),
    "dipole_flux_neg": ("ct", "flux of the negative pole, negative"),
    "dipole_flux_neg_err": ("ct", "its error"),
    "dipole_chi2": (None, "squared residuals of the dipole over the variance, on the pixels of psf_chi2"),
    "is_dipole": (None, "two poles describe it clearly better than one, and neither is faint beside the other"),
}


def dipole_columns(
    difference: Exposure, found: Found, config: DifferenceSourceConfig, width: float
) -> dict[str, NDArray]:
    """Columns of the dipoles of what was found.

    Parameters
    ----------
    difference : Exposure
    found : Found
    config : DifferenceSourceConfig
    width : float
        What errors of fluxes are multiplied by, where noise is correlated.
    """
    fit = fit_dipoles(
        found.pixels,
        found.psf,
        difference.xy0,
        found.filtered.significance,
        found.fit.x,
        found.fit.y,
        found.half,
        config.dipole_separation,
    )
    x0, y0 = difference.xy0
    return {
        "dipole_separation": fit.separation,
        "dipole_separation_err": fit.separation_err * width,
        "dipole_angle": fit.angle,
        "dipole_x": 0.5 * (fit.x_pos + fit.x_neg) + x0,
        "dipole_y": 0.5 * (fit.y_pos + fit.y_neg) + y0,
        "dipole_flux_pos": fit.flux_pos,
        "dipole_flux_pos_err": fit.flux_pos_err * width,
        "dipole_flux_neg": fit.flux_neg,
        "dipole_flux_neg_err": fit.flux_neg_err * width,
        "dipole_chi2": fit.chi2,
        "is_dipole": np.asarray(is_dipole(fit, found.fit.chi2, found.psf.fwhm, config), bool),
    }
