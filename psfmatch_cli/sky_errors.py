"""Positions on the sky with the errors that follow from those on the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.grid import has_sky
from psfmatch_cli.sky_positions import sky_of

#: Half the step of the derivatives of the WCS, pixels.
STEP = 0.5
ARCSEC = 3600.0


def sky_columns(
    exposure: Exposure,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    x_err: NDArray[np.float64],
    y_err: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Columns ra, dec (degrees), ra_err, dec_err (arcsec on the sky) of parent positions; none without a WCS.

    Parameters
    ----------
    exposure : Exposure
        For its WCS.
    x, y, x_err, y_err : ndarray, (n,)
        Pixels; the errors are taken as independent.
    """
    if not has_sky(exposure):
        return {}
    ra, dec = sky_of(exposure, x, y)
    along_x = _gradient(exposure, (x - STEP, y), (x + STEP, y))
    along_y = _gradient(exposure, (x, y - STEP), (x, y + STEP))
    ra_err, dec_err = (np.hypot(ax * x_err, ay * y_err) for ax, ay in zip(along_x, along_y, strict=True))
    return {"ra": ra, "dec": dec, "ra_err": ra_err, "dec_err": dec_err}


def _gradient(exposure: Exposure, before: tuple, after: tuple) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Arcsec along right ascension and declination from one position to another, a pixel apart."""
    (ra0, dec0), (ra1, dec1) = sky_of(exposure, *before), sky_of(exposure, *after)
    turn = (ra1 - ra0 + 180.0) % 360.0 - 180.0
    return turn * np.cos(np.radians(0.5 * (dec0 + dec1))) * ARCSEC, (dec1 - dec0) * ARCSEC
