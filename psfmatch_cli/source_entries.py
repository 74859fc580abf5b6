"""Lists of single sources: positions, footprints, objects and dicts, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from psfmatch_cli.errors import SourceTypeError, UsageError
from psfmatch_cli.exposure import Box, Exposure, MaskedImage

if TYPE_CHECKING:
    from astropy.table import Table

#: Columns of a source's own box in parent pixels, both ends included.
FOOTPRINT_COLUMNS = ("footprint_x0", "footprint_y0", "footprint_x1", "footprint_y1")

#: What is taken for a source, for messages.
ALLOWED = "(x, y), a Footprint, a SkyCoord, a table row, or what has x and y, ra and dec, or a source of these"


@dataclass(frozen=True)
class Footprint:
    """Where a source is.

    Parameters
    ----------
    box : Box
        Parent pixels that it covers.
    center : (float, float), optional
        Its parent position (x, y); default: the middle of the box.

    Raises
    ------
    UsageError
        If the box is empty, or the centre does not lie in it.
    """

    box: Box
    center: tuple[float, float] | None = None

    def __post_init__(self):
        if self.box.width < 1 or self.box.height < 1:
            raise UsageError(f"a footprint covers at least one pixel, got {self.box}")
        if self.center is not None and not (np.isfinite(self.center).all() and self.box.contains(*self.center)):
            raise UsageError(f"the centre {self.center} of a footprint is not in its {self.box}")

    @property
    def position(self) -> tuple[float, float]:
        """Parent position (x, y) of the source."""
        return self.box.center if self.center is None else self.center


def table_of_entries(entries: Sequence[Any]) -> Table:
    """Table of a list of sources of one type.

    Parameters
    ----------
    entries : sequence
        At least one; see `ALLOWED`. Of exposures and masked images the box counts.

    Returns
    -------
    Table
        With ``x, y`` or ``ra, dec`` (degrees), a column of SkyCoord, or what the rows and dicts have, and
        `FOOTPRINT_COLUMNS` if the entries are or have footprints.

    Raises
    ------
    SourceTypeError
        If the types differ, or are those of no source.
    """
    from astropy.coordinates import SkyCoord
    from astropy.table import Row, Table

    _check_one_type(entries)
    first = entries[0]
    if isinstance(first, Footprint | Exposure | MaskedImage):
        return _of_footprints([e if isinstance(e, Footprint) else Footprint(e.box) for e in entries])
    if isinstance(first, Row):
        return _of_rows(entries)
    if isinstance(first, SkyCoord) and first.isscalar:
        return Table({"sky": SkyCoord(list(entries))})
    if isinstance(first, Mapping):
        return _of_mappings(entries)
    if _is_pair(first):
        return Table(np.array(entries, np.float64), names=("x", "y"))
    return _of_objects(entries)


def _check_one_type(entries: Sequence[Any]) -> None:
    types = tuple(dict.fromkeys("(x, y)" if _is_pair(entry) else type(entry).__name__ for entry in entries))
    if len(types) > 1:
        raise SourceTypeError(f"the entries of a source list must be of one type, got {', '.join(types)}", types)


def _is_pair(entry: Any) -> bool:
    """Whether an entry is a bare position (x, y); a named tuple tells by its names what it is."""
    if not isinstance(entry, tuple | list | np.ndarray) or hasattr(entry, "_fields"):
        return False
    return len(entry) == 2 and all(isinstance(value, Real) for value in entry)


def _of_footprints(footprints: Sequence[Footprint]) -> Table:
    from astropy.table import Table

    table = Table(np.array([f.position for f in footprints], np.float64), names=("x", "y"))
    _add_boxes(table, footprints)
    return table


def _add_boxes(table: Table, footprints: Sequence[Footprint]) -> None:
    corners = np.array([(f.box.x_min, f.box.y_min, f.box.x_max, f.box.y_max) for f in footprints], np.int64)
    for name, values in zip(FOOTPRINT_COLUMNS, corners.T, strict=True):
        table[name] = values


def _of_rows(rows: Sequence[Any]) -> Table:
    """Rows with the units of their tables."""
    from astropy.table import vstack

    table = rows[0].table
    if all(row.table is table for row in rows):
        return table[[row.index for row in rows]]
    return vstack(
        [row.table[row.index : row.index + 1] for row in rows], join_type="inner", metadata_conflicts="silent"
    )


def _of_mappings(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Dicts of columns, or with a source and its footprint as upstream's `makeCandidateList` gives them."""
    from astropy.table import Table

    keys = set.intersection(*(set(entry) for entry in entries))
    footprints = [entry["footprint"] for entry in entries] if "footprint" in keys else []
    if not all(isinstance(footprint, Footprint) for footprint in footprints):
        types = tuple(dict.fromkeys(type(footprint).__name__ for footprint in footprints))
        raise SourceTypeError(f'"footprint" of a source must be a Footprint, got {", ".join(types)}', types)
    if "source" in keys:
        table = table_of_entries([entry["source"] for entry in entries])
        if footprints:
            _add_boxes(table, footprints)
        return table
    if footprints:
        return _of_footprints(footprints)
    if not keys:
        raise SourceTypeError(
            f"entries of type dict are no sources if they share no key; a source is {ALLOWED}", ("dict",)
        )
    return Table({key: [entry[key] for entry in entries] for key in entries[0] if key in keys})


def _of_objects(entries: Sequence[Any]) -> Table:
    """Objects with the attributes x and y, or ra and dec, or both."""
    from astropy.table import Table

    pairs = [pair for pair in (("x", "y"), ("ra", "dec")) if all(hasattr(entries[0], name) for name in pair)]
    if not pairs:
        name = type(entries[0]).__name__
        raise SourceTypeError(f"an entry of type {name} is no source; a source is {ALLOWED}", (name,))
    return Table({name: [_number(entry, name) for entry in entries] for pair in pairs for name in pair})


def _number(entry: Any, name: str) -> float:
    """An attribute as a number, degrees if it is an angle."""
    value = getattr(entry, name, None)
    if hasattr(value, "to_value"):
        value = value.to_value("deg") if name in ("ra", "dec") else value.value
    try:
        return float(value)
    except (TypeError, ValueError):
        kind = type(entry).__name__
        raise SourceTypeError(f"{name} of a source of type {kind} must be a number, got {value!r}", (kind,)) from None
