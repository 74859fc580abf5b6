"""What a difference shows of the injected sources, and which of its detections are none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Exposure
from psfmatch_cli.fakes.place import Places
from psfmatch_cli.forced import forced_fluxes

if TYPE_CHECKING:
    from astropy.table import Table

#: Unit and meaning of each column of the injected sources.
COLUMNS: dict[str, tuple[str | None, str]] = {
    "id": (None, "number"),
    "x": ("pix", "true position, 0-based parent pixels"),
    "y": ("pix", "true position, 0-based parent pixels"),
    "on_galaxy": (None, "on an extended source of the science image; else on the sky"),
    "flux": ("ct", "true flux, counts of the difference"),
    "flux_science": ("ct", "true flux, counts of the science image"),
    "snr": (None, "true flux over the error of PSF photometry at the true position"),
    "forced_flux": ("ct", "PSF flux at the true position"),
    "forced_flux_err": ("ct", "its error"),
    "found": (None, "detected"),
    "found_x": ("pix", "measured position"),
    "found_y": ("pix", "measured position"),
    "found_x_err": ("pix", "its error"),
    "found_y_err": ("pix", "its error"),
    "found_snr": (None, "significance of the detection"),
    "found_flux": ("ct", "PSF flux at the measured position"),
    "found_flux_err": ("ct", "its error"),
}
#: Columns of a detection, and their names in the table of the injected sources.
_FOUND = {"x": "x", "y": "y", "x_err": "x_err", "y_err": "y_err", "snr": "snr", "psf_flux": "flux"} | {
    "psf_flux_err": "flux_err"
}


def nearest(
    x: NDArray[np.float64], y: NDArray[np.float64], table: Table, radius: float
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Row of the nearest entry of a table for each position, and whether it is within the radius, (n,) each.

    Parameters
    ----------
    x, y : ndarray, (n,)
    table : Table
        With columns ``x, y``.
    radius : float
        Pixels.
    """
    from scipy.spatial import cKDTree

    if not len(table) or not len(x):
        return np.zeros(len(x), np.intp), np.zeros(len(x), bool)
    distance, row = cKDTree(np.column_stack([table["x"], table["y"]])).query(np.column_stack([x, y]))
    return row, distance <= radius


def fakes_table(
    difference: Exposure, places: Places, flux: NDArray[np.float64], scale: float, detections: Table, radius: float
) -> Table:
    """One row per injected source: truth, forced photometry, and the detection that it is.

    Parameters
    ----------
    difference : Exposure
        With the sources in it.
    places : Places
    flux : ndarray, (n,)
        Counts of the science image.
    scale : float
        Counts of the difference per count of the science image.
    detections : Table
        Sources of the difference.
    radius : float
        Pixels within which a positive detection is the injected source.
    """
    from astropy.table import Table

    from psfmatch_cli.diff_columns import described

    positive = detections[np.asarray(detections["polarity"]) > 0]
    row, found = nearest(places.x, places.y, positive, radius)
    forced = forced_fluxes(difference, difference.psf, places.x, places.y)
    table = Table(
        {
            "id": np.arange(1, len(flux) + 1),
            "x": places.x,
            "y": places.y,
            "on_galaxy": places.on_galaxy,
            "flux": flux * scale,
            "flux_science": flux,
            "snr": flux * scale / forced.flux_err,
            "forced_flux": forced.flux,
            "forced_flux_err": forced.flux_err,
            "found": found,
        }
    )
    for name, own in _FOUND.items():
        values = np.full(len(flux), np.nan)
        values[found] = np.asarray(positive[name], float)[row[found]]
        table[f"found_{own}"] = values
    described(table, COLUMNS)
    return table


def with_origin(detections: Table, before: Table, fakes: Table, radius: float) -> Table:
    """Detections with columns that tell where they are from.

    ``is_fake``: an injected source; ``was_there``: a detection of the same sign in the difference without them.

    Parameters
    ----------
    detections : Table
        Of the difference with injected sources.
    before : Table
        Of the difference without.
    fakes : Table
        As `fakes_table` makes it.
    radius : float
        Pixels.
    """
    made = detections.copy()
    x, y = (np.asarray(made[axis], float) for axis in "xy")
    sign = np.asarray(made["polarity"])
    there = np.zeros(len(made), bool)
    for polarity in (1, -1):
        mine = sign == polarity
        there[mine] = nearest(x[mine], y[mine], before[np.asarray(before["polarity"]) == polarity], radius)[1]
    found = fakes[np.asarray(fakes["found"])]
    # The same numbers were copied from one table to the other.
    made["is_fake"] = nearest(x, y, _as_positions(found), 0.0)[1] & (sign > 0)
    made["was_there"] = there & ~made["is_fake"]
    return made


def _as_positions(found: Table) -> Table:
    from astropy.table import Table

    return Table({"x": found["found_x"], "y": found["found_y"]})
