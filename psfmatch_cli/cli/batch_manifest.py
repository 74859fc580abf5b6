"""The pairs of a batch as the user lists them: a table, or a template and images that it is subtracted from."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psfmatch_cli.errors import InputError, UsageError

#: Columns that are not options and not settings.
PAIR_COLUMNS = ("template", "science", "output", "extension")


@dataclass(frozen=True)
class Row:
    """One pair as it is listed.

    Parameters
    ----------
    where : str
        What to call it in messages.
    template, science : Path
    output : str or None
        Name of the difference, if it is not to be made up.
    extension : str or None
        Name of the chip, if it is one of several.
    values : mapping of str to str
        Options and settings of this pair by their column, as text.
    """

    where: str
    template: Path
    science: Path
    output: str | None = None
    extension: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def list_pairs(pairs: Path, science: Sequence[str]) -> list[Row]:
    """The pairs of a manifest; or, with science images or patterns, of the template that each is paired with.

    Raises
    ------
    InputError
        If a manifest cannot be read or has no rows, or nothing goes by a pattern.
    UsageError
        If it lacks a column, or a row a value.
    """
    if not science:
        return list(_manifest_rows(pairs))
    found = [path for pattern in science for path in _matching(pattern)]
    rows = [Row(str(path), pairs, path) for path in dict.fromkeys(found) if path.absolute() != pairs.absolute()]
    if not rows:
        raise InputError(f"{' '.join(science)}: no image but the template itself")
    return rows


def _matching(pattern: str) -> list[Path]:
    """Files that a pattern of the shell means, in order of their names; a name that exists is no pattern."""
    if not glob.has_magic(pattern) or Path(pattern).exists():
        return [Path(pattern)]
    paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]
    if not paths:
        raise InputError(f"{pattern}: no file has such a name")
    return paths


def _manifest_rows(path: Path) -> Iterator[Row]:
    names, rows = _read(path)
    for name in PAIR_COLUMNS[:2]:
        if name not in names:
            raise UsageError(
                f"{path}: a manifest has the columns template and science, got {', '.join(names)}; for a template and "
                "science images give both: psfmatch batch TEMPLATE SCIENCE... -o FOLDER"
            )
    if not rows:
        raise InputError(f"{path}: no pair is listed")
    for number, cells in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        for name in PAIR_COLUMNS[:2]:
            if not cells.get(name):
                raise UsageError(f"{where}: no {name}")
        own = {name: value for name, value in cells.items() if name not in PAIR_COLUMNS and value}
        pair = (Path(cells["template"]), Path(cells["science"]))
        yield Row(where, *pair, cells.get("output") or None, cells.get("extension") or None, own)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Names of the columns, and the cells of each row as text; "" where there is no value."""
    if path.name.lower().endswith(".csv"):
        return _read_csv(path)
    from psfmatch_cli.tables import read_table

    table = read_table(path)
    return table.colnames, [{name: _text(row[name]) for name in table.colnames} for row in table]


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """As `_read`; all cells stay as they are written, so that a chip 01 is not 1."""
    from psfmatch_cli.inputs import check_regular

    check_regular(path, "a manifest")
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip() and line[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable table ({error})") from error
    cells = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    names = cells[0] if cells else []
    for number, row in enumerate(cells[1:], start=1):
        if len(row) != len(names):
            raise InputError(f"{path}, row {number}: {len(row)} values, expected {len(names)}")
    return names, [dict(zip(names, row, strict=True)) for row in cells[1:]]


def _text(value: Any) -> str:
    import numpy as np

    if value is np.ma.masked or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    return str(value).strip()
