"""Which columns of a table are positions, and what they count from.

Pixels are counted in one of three ways. They agree for an image whose ``xy0`` is (0, 0), but for the 1:

========  ==========================================  ==============================================
counting  of the first stored pixel                   who does
========  ==========================================  ==============================================
parent    ``xy0``                                     psfmatch, the LSST pipelines
array     0                                           photutils, numpy
fits      1                                           SExtractor, the FITS standard, DS9
========  ==========================================  ==============================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from astropy.table import Table

Counting = Literal["parent", "array", "fits"]

#: Pairs of columns that are sky positions, the first that a table has is taken.
SKY_COLUMNS: tuple[tuple[str, str], ...] = (
    ("ra", "dec"),
    ("coord_ra", "coord_dec"),
    ("ALPHAWIN_J2000", "DELTAWIN_J2000"),
    ("ALPHAPSF_J2000", "DELTAPSF_J2000"),
    ("ALPHA_J2000", "DELTA_J2000"),
    ("X_WORLD", "Y_WORLD"),
    ("RAJ2000", "DEJ2000"),
    ("_RAJ2000", "_DEJ2000"),
    ("raJ2000", "decJ2000"),
    ("raMean", "decMean"),
)

#: Pairs of columns that are pixels, and how they count; the first that a table has is taken.
PIXEL_COLUMNS: dict[tuple[str, str], Counting] = {
    ("x", "y"): "parent",
    ("slot_Centroid_x", "slot_Centroid_y"): "parent",
    ("base_SdssCentroid_x", "base_SdssCentroid_y"): "parent",
    ("xcentroid", "ycentroid"): "array",
    ("x_centroid", "y_centroid"): "array",
    ("x_fit", "y_fit"): "array",
    ("xcenter", "ycenter"): "array",
    ("XWIN_IMAGE", "YWIN_IMAGE"): "fits",
    ("XPSF_IMAGE", "YPSF_IMAGE"): "fits",
    ("X_IMAGE", "Y_IMAGE"): "fits",
    ("XCENTER", "YCENTER"): "fits",
}

#: Sky columns that LSST writes in radians or in degrees: without a unit nobody knows.
_NEED_UNIT = ("coord_ra", "coord_dec")


@dataclass(frozen=True)
class PositionColumns:
    """Where the positions of a table are.

    Parameters
    ----------
    names : tuple of str
        Two columns, or the one that holds astropy's SkyCoord.
    counting : {'parent', 'array', 'fits'} or None
        How pixels count; None for sky positions.
    """

    names: tuple[str, ...]
    counting: Counting | None = None

    @property
    def is_sky(self) -> bool:
        return self.counting is None

    def __str__(self) -> str:
        kinds = {None: "sky", "parent": "pixels from 0", "array": "array pixels from 0", "fits": "pixels from 1"}
        return f"{', '.join(self.names)} ({kinds[self.counting]})"


def find_sky(table: Table) -> PositionColumns | None:
    """The sky columns of a table, if it has any that are known, or a column of SkyCoord."""
    names = _find(table, SKY_COLUMNS)
    if names is None:
        names = next(((name,) for name in table.colnames if _is_sky_coord(table[name])), None)
    return None if names is None else PositionColumns(names)


def find_pixels(table: Table, origin: int | None = None) -> PositionColumns | None:
    """The pixel columns of a table, if it has any that are known; `origin` as in `choose`."""
    names = _find(table, PIXEL_COLUMNS)
    if names is None:
        return None
    alike = {_folded(pair): counting for pair, counting in reversed(PIXEL_COLUMNS.items())}
    counting = PIXEL_COLUMNS.get(names) or alike[_folded(names)]
    return _recounted(PositionColumns(names, counting), origin)


def choose(table: Table, names: tuple[str, str], origin: int | None = None) -> PositionColumns:
    """The columns that the caller names, with what is known of them.

    Parameters
    ----------
    table : Table
    names : (str, str)
        Columns; known names and units of angles say that they are sky positions, all others are pixels.
    origin : {0, 1}, optional
        Number of the first pixel, where it is not that of the names.

    Raises
    ------
    UsageError
        If the table has no such column, or `origin` is given for sky positions.
    """
    for name in names:
        if name not in table.colnames:
            raise UsageError(f"there is no column {name!r}; the table has {', '.join(table.colnames)}")
    only = table[list(names)]
    pixels = find_pixels(only)
    angles = all(_is_angle(table[name]) for name in names)
    if pixels is None and (angles or find_sky(only) is not None):
        if origin is not None:
            raise UsageError(f"an origin is for pixels, and {', '.join(names)} are sky positions")
        return PositionColumns(names)
    counting = "parent" if pixels is None else pixels.counting
    return _recounted(PositionColumns(names, counting), origin)


def _recounted(columns: PositionColumns, origin: int | None) -> PositionColumns:
    """The columns with another number of the first pixel."""
    if origin == 1:
        return replace(columns, counting="fits")
    if origin == 0 and columns.counting == "fits":
        return replace(columns, counting="array")
    return columns


def _find(table: Table, pairs: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """The first pair that the table has, else the first that it has in other letter case."""
    pairs = tuple(pairs)
    for pair in pairs:
        if set(pair) <= set(table.colnames):
            return pair
    folded = {name.lower(): name for name in reversed(table.colnames)}
    for pair in pairs:
        if all(name.lower() in folded for name in pair):
            first, second = (folded[name.lower()] for name in pair)
            return first, second
    return None


def _folded(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _is_sky_coord(column: Any) -> bool:
    from astropy.coordinates import SkyCoord

    return isinstance(column, SkyCoord)


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """A column as numbers, (n,); missing values are NaN.

    Raises
    ------
    UsageError
        If it holds something else.
    """
    column = table[name]
    if getattr(column, "dtype", np.dtype(object)).kind not in "iuf" or column.ndim != 1:
        raise UsageError(f"column {name!r} holds no plain numbers, as positions must be (sky positions in degrees)")
    bare = getattr(column, "value", column)
    return np.ma.filled(np.ma.asarray(bare).astype(np.float64), np.nan)


def degrees(table: Table, name: str) -> NDArray[np.float64]:
    """A column of angles in degrees, (n,); without a unit they are degrees already.

    Raises
    ------
    UsageError
        If its unit is no angle, or it is one of LSST's without a unit.
    """
    unit = getattr(table[name], "unit", None)
    if unit is None:
        if name in _NEED_UNIT:
            raise UsageError(
                f"column {name!r} has no unit, and LSST writes radians as well as degrees; give the table as FITS or "
                "ECSV with units, or name the column ra or dec if it is in degrees"
            )
        return numbers(table, name)
    if not _is_angle(table[name]):
        raise UsageError(f"column {name!r} has the unit {unit}, which is no angle")
    from astropy import units

    return numbers(table, name) * units.Unit(unit).to(units.deg)


def _is_angle(column: Any) -> bool:
    from astropy import units

    unit = getattr(column, "unit", None)
    if unit is None:
        return False
    return units.Unit(unit, parse_strict="silent").is_equivalent(units.deg)
