"""Tables in FITS, ECSV and CSV files, by suffix."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from psfmatch_cli.errors import InputError, OutputError, UsageError
from psfmatch_cli.inputs import check_regular
from psfmatch_cli.outputs import Card, atomic_path, card_value

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU
    from astropy.table import Table

log = logging.getLogger(__name__)

#: Format of each suffix, as astropy calls it.
FORMATS = {".fits": "fits", ".fit": "fits", ".fits.gz": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}


def table_format(path: str | Path) -> str:
    """Format of a table file.

    Raises
    ------
    UsageError
        If the suffix is not one of `FORMATS`.
    """
    name = Path(path).name.lower()
    for suffix, kind in FORMATS.items():
        if name.endswith(suffix):
            return kind
    raise UsageError(f"{path}: a table file must end in {', '.join(FORMATS)}")


def read_table(path: str | Path) -> Table:
    """Table of a FITS (``file.fits``, ``file.fits[2]``, ``file.fits[NAME]``), ECSV or CSV file.

    Strings come back as str, flags as bool, in all three formats; units and header values in FITS and ECSV.

    Raises
    ------
    InputError
        If the file is missing, holds no table, or cannot be read.
    UsageError
        If the suffix is not known.
    """
    from astropy.io import fits
    from astropy.table import Table

    from psfmatch_cli.fitsfile import describe_hdus, find_hdu, list_hdus, open_fits, parse_path, read_data, reading_fits

    where = parse_path(path)
    kind = table_format(where.path)
    if kind != "fits":
        return _read_text_table(where.path, kind)
    with open_fits(where.path) as hdus:
        tables = [index for index, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        # An LDAC file of SExtractor has the header of the image in a table of its own, before the sources.
        names = [hdu.name for hdu in list_hdus(hdus)]
        index = next((index for index in tables if names[index] != "LDAC_IMHEAD"), None)
        if where.hdu is not None:
            index = find_hdu(hdus, where.hdu, where.path)
        if index not in tables:
            raise InputError(f"{where}: no table there; the file has {describe_hdus(hdus)}")
        read_data(hdus, index, where.path)
        with reading_fits(where.path, f"HDU {index} cannot be read, the file seems damaged"):
            return Table.read(hdus[index], format="fits", mask_invalid=False, character_as_bytes=False)


def _read_text_table(path: Path, kind: str) -> Table:
    from astropy.io.ascii import InconsistentTableError
    from astropy.table import Table

    check_regular(path, "a table")
    try:
        table = Table.read(path, format=kind)
    except (InconsistentTableError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["empty"])[0]
        raise InputError(f"{path}: not a readable table ({reason})") from error
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "U" and hasattr(column, "mask"):
            # An empty string is a value, not a missing one.
            table[name] = column = column.filled("")
        # CSV knows no bool: a column of nothing but True and False was one.
        if column.dtype.kind == "U" and len(column) and np.isin(column, ("True", "False")).all():
            table[name] = column == "True"
    return table


def write_table(path: str | Path, table: Table, *, cards: Iterable[Card] = (), overwrite: bool = False) -> None:
    """Write a table in the format of the suffix.

    Parameters
    ----------
    path : str or Path
        File ending in one of `FORMATS`.
    table : Table
        What to write; it is not changed.
    cards : iterable of (keyword, value, comment), optional
        Header cards; in ECSV they are the table's meta, in CSV they are left out.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    UsageError
        If the suffix is not known.
    OutputError
        If the file cannot be written, or a column cannot be stored.
    """
    kind = table_format(path)
    with atomic_path(path, overwrite) as temporary:
        try:
            if kind == "fits":
                table_hdu(table, cards=cards).writeto(temporary, checksum=True)
            else:
                copy = table.copy(copy_data=False)
                copy.meta.update({keyword: card_value(value) for keyword, value, _ in cards})
                copy.write(temporary, format=kind)
        except (ValueError, TypeError) as error:
            raise OutputError(f"{path}: the table cannot be stored ({error})") from error


def stack_tables(tables: Mapping[str, Table], column: str) -> Table:
    """Tables one below the other.

    Parameters
    ----------
    tables : mapping of str to Table
        At least one.
    column : str
        Name of a first column with the key of each row's table.

    Returns
    -------
    Table
        What a table does not have is NaN, -1, False or empty; of the meta values, those that all tables share.
    """
    from astropy.table import vstack

    marked = []
    for key, table in tables.items():
        marked.append(table.copy())
        marked[-1].add_column(np.full(len(table), key), name=column, index=0)
    stacked = vstack(marked, metadata_conflicts="silent")
    for name in stacked.colnames:
        values = stacked[name]
        if hasattr(values, "mask"):
            stacked[name] = values.filled({"f": np.nan, "i": -1, "b": False}.get(values.dtype.kind, ""))
    first, *others = (table.meta for table in tables.values())
    stacked.meta = {key: value for key, value in first.items() if all(meta.get(key) == value for meta in others)}
    return stacked


def table_hdu(table: Table, name: str | None = None, cards: Iterable[Card] = ()) -> BinTableHDU:
    """Binary table HDU with the columns, units, and those meta values that a FITS card can hold."""
    from astropy.io import fits

    from psfmatch_cli.fitswrite import announce_long_strings, append_cards

    bare = table.copy(copy_data=False)
    bare.meta = {}
    with warnings.catch_warnings():
        # Units that FITS does not know are written as they are.
        warnings.simplefilter("ignore")
        hdu = fits.table_to_hdu(bare)
    append_cards(hdu.header, [(key.upper(), value, "") for key, value in table.meta.items() if _fits_card(key, value)])
    append_cards(hdu.header, cards)
    if name is not None:
        hdu.name = name
    announce_long_strings(hdu.header)
    return hdu


def _fits_card(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, (bool, int, float, str, np.generic))
