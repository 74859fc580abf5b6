"""The files that a report is made of: which belong to a difference, and what is read from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.cli.products import beside
from psfmatch_cli.errors import InputError, PsfMatchError

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table

    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.metadata import TaskMetadata
    from psfmatch_cli.report.subject import Subject

log = logging.getLogger(__name__)

#: Card with the name of each input; role in the record of each product, and the end of its usual name.
_INPUT_CARDS = {"template": "PMTMPL", "science": "PMSCI"}
_PRODUCTS = {"matched": ("matched image", "_matched.fits"), "kernel": ("kernel", "_kernel.fits")}
_TABLE, _TABLE_ROLE = "diff_sources", "difference sources"


@dataclass
class Found:
    """Files of a difference by the name of their option, its record, and what was not found and why.

    Parameters
    ----------
    difference : Path
    header : Header
        Primary header of the difference.
    chip : str
        What stands in brackets after its files; empty but for a chip in a file of many.
    record : TaskMetadata or None
    paths : dict of str to Path
    missing : list of str
    named : set of str
        Those that an option names: that such a file cannot be read is an error.
    """

    difference: Path
    header: Header
    chip: str = ""
    record: TaskMetadata | None = None
    paths: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    named: set[str] = field(default_factory=set)


def find_files(difference: Path, given: Mapping[str, Any]) -> Found:
    """The files that belong to a difference: those that the options name, else those that its record and cards name.

    Of a path in the record a file is taken if it has the digest, or the run, that the record says; of a card only the
    file's name counts, beside the difference. So no header leads to another file.

    Raises
    ------
    InputError
        If the difference, or a file that an option names, cannot be read.
    """
    from psfmatch_cli.fitsfile import describe_key, parse_path
    from psfmatch_cli.layouts import MOSAIC_FORMAT

    where = parse_path(difference)
    found = Found(where.path, _primary_header(where.path))
    found.named = {name for name, value in given.items() if value is not None}
    if where.hdu is not None and found.header.get("PMFORMAT") == MOSAIC_FORMAT:
        found.chip = describe_key(where.hdu)
    found.record = _find_record(given["metadata"], found)
    for role in _INPUT_CARDS:
        _note(found, role, given[role] or _input_of(role, found))
    for role, (name, suffix) in _PRODUCTS.items():
        usual = beside(where.path, None, False, suffix)
        _note(found, role, given[role] or _product_of(name, usual, found))
    table = given[_TABLE] or _product_of(_TABLE_ROLE, None, found)
    if table is not None:
        found.paths[_TABLE] = Path(table)
    return found


def _note(found: Found, role: str, path: Path | str | None) -> None:
    if path is not None:
        found.paths[role] = Path(path)
    else:
        found.missing.append(f"{role}: no file of this run was found; --{role} names one")


def _primary_header(path: Path) -> Header:
    from psfmatch_cli.fitsfile import open_fits, readable_cards

    with open_fits(path) as hdus:
        return readable_cards(hdus[0].header)


def _find_record(given: str | None, found: Found) -> TaskMetadata | None:
    path = Path(given) if given is not None else beside(found.difference, None, False, "_metadata.json")
    if given is None and not path.is_file():
        found.missing.append(f"record: there is no {path.name}; --metadata names one")
        return None
    record = _of_chip(read_record(path), found.chip)
    if record.get("run.id") == found.header.get("PMRUN"):
        return record
    if given is None:
        found.missing.append(f"record: {path.name} is of another run; --metadata uses it all the same")
        return None
    log.warning("%s is the record of another run than the one that made %s", path, found.difference.name)
    return record


def _of_chip(record: TaskMetadata, chip: str) -> TaskMetadata:
    """The part of a record on one chip, with what holds for the whole run; the record itself if it has no such part."""
    from psfmatch_cli.metadata import TaskMetadata

    part = record.get(f"extensions.{chip.replace('.', ':')}") if chip else None
    if not isinstance(part, TaskMetadata):
        return record
    whole = dict(record.to_dict()["metadata"]["run"])
    own = part.to_dict()
    for kind, items in own["metadata"]["run"].items():
        whole[kind] = whole[kind] | items
    own["metadata"]["run"] = whole
    return TaskMetadata.from_dict(own)


def read_record(path: Path) -> TaskMetadata:
    """The record of a run.

    Raises
    ------
    InputError
        If there is none that can be read.
    """
    from psfmatch_cli.metadata import TaskMetadata
    from psfmatch_cli.provenance import FORMAT

    try:
        record = TaskMetadata.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        kind = "damaged JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{path}: not a record of psfmatch ({kind})") from error
    if record.get("__format__") != FORMAT:
        raise InputError(f"{path}: not a record of psfmatch (no __format__ of {FORMAT!r})")
    return record


def _places(recorded: object, found: Found) -> Iterator[Path]:
    """Where a recorded file may be: there, or moved beside the difference."""
    if isinstance(recorded, str) and recorded:
        yield _of_file(Path(recorded), found)
        yield _of_file(found.difference.parent / Path(recorded).name, found)


def _of_file(path: Path, found: Found) -> Path:
    """The file, with the chip in brackets in a run on many."""
    return Path(f"{path}[{found.chip}]") if found.chip else path


def _input_of(role: str, found: Found) -> Path | None:
    from psfmatch_cli.provenance import describe_file

    if found.record is not None:
        digest = found.record.get(f"run.inputs.{role}.sha256")
        for path in _places(found.record.get(f"run.inputs.{role}.path"), found):
            if digest is not None and describe_file(path).get("sha256") == digest:
                return path
        return None
    name = found.header.get(_INPUT_CARDS[role])
    return next((path for path in list(_places(name, found))[1:] if _is_file(path)), None)


def _product_of(role: str, usual: Path | None, found: Found) -> Path | None:
    """A product of the run of the difference, as its cards tell."""
    recorded = found.record.get(f"run.outputs.{role}") if found.record is not None else None
    places = [*_places(recorded, found), *([] if usual is None else [_of_file(usual, found)])]
    run = found.header.get("PMRUN")
    return next((path for path in places if _is_file(path) and run is not None and _run_of(path) == run), None)


def _is_file(path: Path) -> bool:
    from psfmatch_cli.fitsfile import parse_path

    return parse_path(path).path.is_file()


def _run_of(path: Path) -> str | None:
    """Run that a file tells in its cards; a table has them in its own header."""
    from psfmatch_cli.fitsfile import parse_path
    from psfmatch_cli.tables import read_table, table_format

    try:
        if table_format(parse_path(path).path) != "fits":
            return read_table(path).meta.get("PMRUN")
        header = _primary_header(parse_path(path).path)
        return header["PMRUN"] if "PMRUN" in header else read_table(path).meta.get("PMRUN")
    except PsfMatchError:
        return None


def subject_of_files(difference: Path, found: Found) -> Subject:
    """What the files hold.

    Raises
    ------
    InputError
        If a file cannot be read, or is no product of a match.
    """
    from psfmatch_cli.io import read_exposure
    from psfmatch_cli.kernel_io import load_kernel
    from psfmatch_cli.report.subject import Subject, described

    image = read_exposure(difference, role="difference")
    tried = {role: _read(role, found) for role in ("template", "science", "matched") if role in found.paths}
    read = {role: exposure for role, exposure in tried.items() if exposure is not None}
    shown = {role: _on_grid(role, exposure, image, found) for role, exposure in read.items()}
    saved = load_kernel(found.paths["kernel"]) if "kernel" in found.paths else None
    return Subject(
        difference.name,
        image.masked_image,
        {role: exposure.masked_image.image for role, exposure in shown.items() if exposure is not None},
        {role: described(read[role].name, read[role].header or {}) for role in _INPUT_CARDS if role in read},
        found.record,
        None if saved is None else saved.kernel,
        None if saved is None else saved.background,
        None if saved is None else saved.candidates,
        _sources(found.paths[_TABLE]) if _TABLE in found.paths else None,
        tuple(found.missing),
    )


def _sources(path: Path) -> Table:
    from psfmatch_cli.report.changes import COLUMNS
    from psfmatch_cli.tables import read_table

    table = read_table(path)
    lacking = [name for name in COLUMNS if name not in table.colnames]
    if lacking:
        raise InputError(f"{path}: no column {', '.join(lacking)}; a table of the sources of a difference has them")
    return table


def _read(role: str, found: Found) -> Exposure | None:
    """An image, taken for the layout that it had in the run; None if one that no option names cannot be read."""
    from psfmatch_cli.io import read_counts
    from psfmatch_cli.read_options import ReadOptions

    layout = found.record.get(f"run.reading.{role}.layout") if found.record is not None else None
    try:
        return read_counts(found.paths[role], ReadOptions(layout=layout), role=role)
    except PsfMatchError as error:
        if role in found.named:
            raise
        found.missing.append(f"{role}: {error}")
        return None


def _on_grid(role: str, exposure: Exposure, difference: Exposure, found: Found) -> Exposure | None:
    """An image on the grid of the difference; the template is resampled by its WCS if need be."""
    from psfmatch_cli.grid import compare_grids, has_sky
    from psfmatch_cli.warp import warp

    try:
        if exposure.shape == difference.shape and compare_grids(exposure, difference, 0.1).same:
            return exposure
        if role == "template" and has_sky(exposure) and has_sky(difference):
            return warp(exposure, difference).exposure
    except PsfMatchError as error:
        found.missing.append(f"{role}: {error}")
        return None
    found.missing.append(f"{role}: {found.paths[role].name} is not on the grid of the difference")
    return None
