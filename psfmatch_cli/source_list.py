"""Lists of sources, in whatever form the caller has them, as a table of positions on the science image.

Sky positions go through the WCS of the science image, so that a list made on any grid works; pixels are used where
there are none, or where the science image has no WCS.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.candidates import CandidateSet
from psfmatch_cli.errors import EmptySourceListError, SourceTypeError, UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.grid import has_sky
from psfmatch_cli.sky_positions import Positions, pixels_of, pixels_of_sky, sky_of
from psfmatch_cli.source_columns import PositionColumns, choose, degrees, find_pixels, find_sky, numbers
from psfmatch_cli.source_entries import ALLOWED, FOOTPRINT_COLUMNS, table_of_entries

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Columns with the caller's names of the sources; the first that a table has is taken.
ID_COLUMNS = ("source_id", "id", "ID", "NUMBER", "label", "objectId")
#: Columns of a list of DS9 regions: the system, and two coordinates in it (degrees, or pixels from 1).
REGION_COLUMNS = ("ds9_system", "ds9_first", "ds9_second")


@dataclass(frozen=True)
class SourceList:
    """A table of sources and how its positions are to be read.

    Parameters
    ----------
    table : Table
    columns : (str, str), optional
        The columns with the positions; default: found by their names, see `psfmatch_cli.source_columns`.
    origin : {0, 1}, optional
        Number of the first pixel in pixel columns; default: by their names, 0 where those are not known.
    name : str
        For messages: the file's name.
    """

    table: Table
    columns: tuple[str, str] | None = None
    origin: Literal[0, 1] | None = None
    name: str = "the source list"


def source_table(candidate_list: Any, science: Exposure) -> Table:
    """Positions of the caller's sources on the science image.

    Parameters
    ----------
    candidate_list : SourceList, Table, SkyCoord, CandidateSet, ndarray of shape (n, 2), mapping of columns, or iterable
        Of an iterable the entries must be of one type: positions (x, y) in parent pixels, `Footprint`, SkyCoord, table
        rows, exposures or masked images (their boxes), objects or dicts with ``x, y`` or ``ra, dec`` (degrees), dicts
        with ``source`` and ``footprint``. Of candidates that were refused before, none is taken again.
    science : Exposure

    Returns
    -------
    Table
        ``source_id, x, y`` (parent pixels), with a WCS also ``ra, dec`` (degrees), and what there is of ``psf_flux,
        psf_flux_err, footprint_x0, footprint_y0, footprint_x1, footprint_y1``; ``meta["positions"]`` says which
        columns were used.

    Raises
    ------
    EmptySourceListError
        If there is no source.
    SourceTypeError
        If this is no list, or its entries differ in type or are no sources.
    UsageError
        If there are no positions that can be read.
    """
    given = candidate_list if isinstance(candidate_list, SourceList) else SourceList(_as_table(candidate_list))
    given = replace(given, table=_not_refused(given))
    if len(given.table) == 0:
        raise EmptySourceListError(
            f"{given.name} is empty: there is nothing to make kernel candidates from", {"sources": 0, "candidates": 0}
        )
    try:
        found = _located(given, science)
    except UsageError as error:
        raise UsageError(f"{given.name}: {error}") from error
    log.info("%s: %d positions from %s", given.name, len(found), found.meta["positions"])
    return found


def _as_table(candidate_list: Any) -> Table:
    """The list as a table; which of its columns are positions is not settled yet."""
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    if isinstance(candidate_list, CandidateSet):
        return candidate_list.table
    if isinstance(candidate_list, Table):
        return candidate_list
    if isinstance(candidate_list, SkyCoord):
        return Table({"sky": candidate_list.reshape(-1)})
    if isinstance(candidate_list, np.ndarray):
        return _of_array(candidate_list)
    if isinstance(candidate_list, Mapping):
        return Table(dict(candidate_list))
    if isinstance(candidate_list, str | bytes) or not isinstance(candidate_list, Iterable):
        name = type(candidate_list).__name__
        raise SourceTypeError(
            f"a source list is a table or a list of sources, got {name}; a source is {ALLOWED}", (name,)
        )
    entries = list(candidate_list)
    return table_of_entries(entries) if entries else Table()


def _of_array(array: NDArray) -> Table:
    from astropy.table import Table

    if array.dtype.names:
        return Table(array)
    if array.size == 0:
        return Table()
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iuf" or hasattr(array, "unit"):
        raise SourceTypeError(
            f"an array of positions holds plain numbers (x, y) in the shape (n, 2), got {type(array).__name__} of "
            f"shape {array.shape} and type {array.dtype}",
            (type(array).__name__,),
        )
    return Table(np.asarray(array, np.float64), names=("x", "y"))


def _not_refused(given: SourceList) -> Table:
    """The table without the sources that an earlier search for candidates refused."""
    table = given.table
    if not {"status", "reason"} <= set(table.colnames):
        return table
    kept = np.asarray(table["status"]) != "refused"
    if kept.all():
        return table
    log.info("%s: %d of %d sources were not refused before", given.name, kept.sum(), len(table))
    if not kept.any():
        raise EmptySourceListError(f"{given.name}: all {len(table)} sources were refused as candidates before")
    return table[kept]


def _located(given: SourceList, science: Exposure) -> Table:
    """The table of `source_table`."""
    from astropy.table import Table

    table = given.table
    found = Table({"source_id": _ids(table)})
    if set(REGION_COLUMNS) <= set(table.colnames):
        (found["x"], found["y"]), how = _region_positions(given, science)
    else:
        columns = _columns(given, science)
        found["x"], found["y"] = _positions(table, columns, science)
        how = str(columns) + (" through the science WCS" if columns.is_sky else "")
        if columns.is_sky and len(columns.names) == 2:
            found["ra"], found["dec"] = (degrees(table, name) for name in columns.names)
    if has_sky(science) and "ra" not in found.colnames:
        found["ra"], found["dec"] = sky_of(science, found["x"], found["y"])
    for name in ("psf_flux", "psf_flux_err"):
        if name in table.colnames:
            found[name] = numbers(table, name)
    for name in FOOTPRINT_COLUMNS:
        if name in table.colnames:
            found[name] = np.asarray(table[name], np.int64)
    found.meta["positions"] = how
    return found


def _ids(table: Table) -> NDArray:
    """The caller's names of the sources, else running numbers from 1."""
    for name in ID_COLUMNS:
        if name in table.colnames and table[name].ndim == 1 and table[name].dtype.kind in "iuUS":
            return np.ma.filled(table[name])
    return np.arange(1, len(table) + 1)


def _columns(given: SourceList, science: Exposure) -> PositionColumns:
    """The columns to take the positions from.

    Raises
    ------
    UsageError
        If there are none that can be used, or an origin of pixels is given that would not be used.
    """
    table = given.table
    if given.columns is not None:
        return choose(table, given.columns, given.origin)
    sky, pixels = find_sky(table), find_pixels(table, given.origin)
    if sky is not None and (has_sky(science) or pixels is None):
        if given.origin is not None:
            raise UsageError(
                f"an origin is for pixels, but the positions are {sky}; name the pixel columns (--sources-columns)"
            )
        if pixels is not None:
            _compare(table, sky, pixels, science)
        return sky
    if pixels is None:
        raise UsageError(
            "a source list needs the columns x and y, ra and dec, or others that are known; name the two that are "
            f"meant (--sources-columns) among {', '.join(table.colnames)}"
        )
    return pixels


def _compare(table: Table, sky: PositionColumns, pixels: PositionColumns, science: Exposure) -> None:
    """Tell how far the positions that are not used are from those that are."""
    used, unused = (_positions(table, columns, science) for columns in (sky, pixels))
    distance = np.hypot(used[0] - unused[0], used[1] - unused[1])
    known = distance[np.isfinite(distance)]
    if known.size:
        log.info("%s are used; %s, not used, are %.3g px from them (median)", sky, pixels, np.median(known))


def _positions(table: Table, columns: PositionColumns, science: Exposure) -> Positions:
    """Parent positions of the rows; NaN where unknown."""
    if columns.is_sky:
        if len(columns.names) == 1:
            return pixels_of_sky(science, table[columns.names[0]])
        return pixels_of(science, *(degrees(table, name) for name in columns.names))
    values = np.array([numbers(table, name) for name in columns.names])
    origin = np.zeros(2) if columns.counting == "parent" else np.array(science.xy0, np.float64)
    first = 1.0 if columns.counting == "fits" else 0.0
    x, y = values + (origin - first)[:, None]
    return x, y


def _region_positions(given: SourceList, science: Exposure) -> tuple[Positions, str]:
    """Parent positions of DS9 regions, each in its own system, and the systems."""
    from astropy.coordinates import SkyCoord

    if given.columns is not None or given.origin is not None:
        raise UsageError("regions say themselves how they count; leave columns and origin out")
    systems = np.asarray(given.table["ds9_system"])
    values = np.array([numbers(given.table, name) for name in REGION_COLUMNS[1:]])
    out = np.empty_like(values)
    for system in dict.fromkeys(systems.tolist()):
        rows = systems == system
        if system in ("image", "physical"):
            image = values[:, rows] if system == "image" else _image_pixels(values[:, rows], science)
            out[:, rows] = image - 1.0 + np.array(science.xy0)[:, None]
        else:
            out[:, rows] = pixels_of_sky(science, SkyCoord(*values[:, rows], unit="deg", frame=system))
    return (out[0], out[1]), f"DS9 regions ({', '.join(dict.fromkeys(systems.tolist()))})"


def _image_pixels(physical: NDArray[np.float64], science: Exposure) -> NDArray[np.float64]:
    """Image pixels, from 1, of physical ones (2, n): ``LTM * physical + LTV`` with these cards of the header."""
    header = science.header or {}
    scale = [float(header.get(card, 1.0)) for card in ("LTM1_1", "LTM2_2")]
    shift = [float(header.get(card, 0.0)) for card in ("LTV1", "LTV2")]
    return np.array(scale)[:, None] * physical + np.array(shift)[:, None]
