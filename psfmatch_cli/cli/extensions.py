"""--all-extensions: the work of a command on every chip of its files, one after another."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from psfmatch_cli.cli.exits import outcome
from psfmatch_cli.cli.products import OFF
from psfmatch_cli.cli.reading import read_options
from psfmatch_cli.cli.work import Work
from psfmatch_cli.errors import OutputError, PsfMatchError, UsageError
from psfmatch_cli.provenance import WorkRecord, failure

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table

    from psfmatch_cli.cli.run import Run
    from psfmatch_cli.layouts import Hdu
    from psfmatch_cli.mosaic import Chip

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Options that name files with an image for each chip.
_IMAGE_FILES = ("mask", "variance", "noise", "weight")
DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@dataclass(frozen=True)
class Extension:
    """One chip of the input, or of both inputs.

    Parameters
    ----------
    chip : Chip
        Of the science image; it gives the name.
    inputs : mapping of str to Path
        The files by role, with the HDU in brackets.
    given : mapping
        The options, with the HDU in brackets of the files that they name.
    """

    chip: Chip
    inputs: Mapping[str, Path]
    given: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What the chip is called."""
        return self.chip.label


@dataclass(frozen=True)
class Extensions:
    """The chips of a run.

    Parameters
    ----------
    chips : tuple of Extension
    by : str
        What tells them apart: EXTNAME, the name of a card, or "order".
    skipped : mapping of str to str
        Chips that only one file has, and which one.
    headers : mapping of str to Header
        Primary header of each input.
    """

    chips: tuple[Extension, ...]
    by: str
    skipped: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, Header] = field(default_factory=dict)


def find_extensions(inputs: Mapping[str, Path], given: Mapping[str, Any]) -> Extensions:
    """The chips of the files, matched where there are two; what is said about it goes to the log.

    Raises
    ------
    UsageError
        If a file is given with an HDU in brackets, or an option does not go with several chips.
    InputError
        If a file cannot be read, or nothing tells which chips belong together.
    """
    from psfmatch_cli.mosaic import BY_ORDER, match_chips, name_chips

    _check_options(inputs, given)
    files = {role: _structure(path) for role, path in inputs.items()}
    listed = [hdus for hdus, _ in files.values()]
    where = [path.name for path in inputs.values()]
    layouts = [read_options(given, _prefix(role)).layout for role in inputs]
    skipped: dict[str, str] = {}
    if len(inputs) == 1:
        by, chips = name_chips(listed[0], where[0], layouts[0])
        rows = [(chip,) for chip in chips]
    else:
        pairing = match_chips(*listed, tuple(where), tuple(layouts))
        by, rows = pairing.by, list(pairing.pairs)
        for file, labels in zip(where, (pairing.only_template, pairing.only_science), strict=True):
            skipped |= dict.fromkeys(labels, f"only in {file}")
        if by == BY_ORDER and len(rows) > 1:
            log.warning("no names and no cards tell the extensions apart; they are matched by their order")
    for label, reason in skipped.items():
        log.warning("extension %s is %s; it is skipped", label, reason)
    roles = tuple(inputs)
    made = tuple(_extension(dict(zip(roles, row, strict=True)), inputs, given) for row in rows)
    return Extensions(made, by, skipped, {role: header for role, (_, header) in files.items()})


def _check_options(inputs: Mapping[str, Path], given: Mapping[str, Any]) -> None:
    from psfmatch_cli.fitsfile import parse_path

    for path in inputs.values():
        if parse_path(path).hdu is not None:
            raise UsageError(f"{path}: --all-extensions takes files without an HDU in brackets; it takes all of them")
    for role in inputs:
        for kind in (*_IMAGE_FILES, "psf"):
            name = f"{_prefix(role)}_{kind}".strip("_")
            if given.get(name) is not None and parse_path(given[name]).hdu is not None:
                option = name.replace("_", "-")
                raise UsageError(
                    f"--{option} {given[name]}: with --all-extensions the file is given without an HDU in brackets"
                )
    if given.get("regions") not in (None, OFF):
        raise UsageError("--regions are of one image, so they do not go with --all-extensions")


def _prefix(role: str) -> str:
    return "" if role == "exposure" else role


def _structure(path: Path) -> tuple[list[Hdu], Header]:
    """The HDUs of a file as the layouts see them, and the primary header."""
    from psfmatch_cli.fitsfile import list_hdus, open_fits, readable_cards

    with open_fits(path) as hdus:
        return list_hdus(hdus), readable_cards(hdus[0].header)


def _extension(chips: Mapping[str, Chip], inputs: Mapping[str, Path], given: Mapping[str, Any]) -> Extension:
    *_, named = chips.values()
    paths = {role: Path(f"{inputs[role]}[{chip.key}]") for role, chip in chips.items()}
    return Extension(named, paths, {**given, "extension": named.label, **_own_files(chips, given)})


def _own_files(chips: Mapping[str, Chip], given: Mapping[str, Any]) -> dict[str, str]:
    """The options that name files of images, with the HDU of this chip in brackets."""
    from psfmatch_cli.companions import matching_hdu

    names = {f"{_prefix(role)}_{kind}".strip("_"): chip for role, chip in chips.items() for kind in _IMAGE_FILES}
    return {
        name: f"{given[name]}[{matching_hdu(Path(given[name]), chip.hdu)}]"
        for name, chip in names.items()
        if given.get(name) is not None
    }


def work_through(
    run: Run, found: Extensions, do: Callable[[Work], Result], keep: Callable[[Extension, Result], str]
) -> Table:
    """Do the work on every chip, and keep the results as they come.

    Parameters
    ----------
    run : Run
    found : Extensions
    do : callable
        The work on one chip. A failure of it is noted, and the next chip follows.
    keep : callable
        Takes a chip and its result, writes it, sets the summary, and returns a line about it. A failure of it ends the
        run.

    Returns
    -------
    Table
        ``extension, status, message``, a row for each chip: done, failed or skipped.

    Raises
    ------
    PsfMatchError
        If all chips failed: the failure of one of them, of an exit status that is the least.
    UsageError, OutputError
        At once, as they would come again.
    """
    from astropy.table import Table

    rows, errors = [], {}
    for n, extension in enumerate(found.chips, start=1):
        record = run.record.extensions[extension.label] = WorkRecord()
        error = _one(
            run, extension, record, do, keep, f"{run.record.command}: {extension.label} ({n} of {len(found.chips)})"
        )
        if error is not None:
            errors[extension.label] = error
        message = "" if error is None else record.ending["errorMessage"]
        rows.append((extension.label, DONE if error is None else FAILED, message))
    if len(errors) == len(found.chips):
        raise _of_all(errors)
    _end(run, found, errors)
    rows += [(label, SKIPPED, reason) for label, reason in found.skipped.items()]
    return Table(rows=rows, names=("extension", "status", "message"))


def _one(
    run: Run,
    extension: Extension,
    record: WorkRecord,
    do: Callable[[Work], Result],
    keep: Callable[[Extension, Result], str],
    title: str,
) -> Exception | None:
    """Work on one chip; the error that it ended with."""
    warned, begun = len(run.record.warnings), time.monotonic()
    log.info("%s", title)
    try:
        result = do(Work(extension.inputs, extension.given, run.settings, record, run.written))
    except (UsageError, OutputError, MemoryError):
        raise
    except Exception as error:
        failed: Exception | None = error
        record.ending = failure(error, *outcome(error))
        if "--debug" in run.record.arguments:
            traceback.print_exc()
    else:
        failed = None
        record.ending = {"status": "ok", "exitCode": 0}
        run.tell(f"{title}: {keep(extension, result)}")
    record.warnings = run.record.warnings[warned:]
    record.ending["wallSeconds"] = time.monotonic() - begun
    run.record.add_files(record)
    if failed is not None:
        log.error("extension %s failed: %s", extension.label, record.ending["errorMessage"])
    return failed


def _of_all(errors: Mapping[str, Exception]) -> Exception:
    """The error of a run whose chips all failed."""
    label, error = min(errors.items(), key=lambda item: outcome(item[1])[0])
    if len(errors) == 1 or not isinstance(error, PsfMatchError):
        return error
    made = copy(error)
    made.args = (f"all {len(errors)} extensions failed; {label}: {error}",)
    return made


def _end(run: Run, found: Extensions, errors: Mapping[str, Exception]) -> None:
    """Note how a run ends of which at least one chip is done, and its totals."""
    if errors:
        run.ending = {"status": "partial", "exitCode": min(outcome(error)[0] for error in errors.values())}
    done = [record.summary for record in run.record.extensions.values() if record.ending["status"] == "ok"]
    run.record.summary = {
        "n_extensions": len(found.chips),
        "n_done": len(done),
        "n_failed": len(errors),
        "n_skipped": len(found.skipped),
        "matched_by": found.by,
        "n_sources": sum(summary["n_sources"] for summary in done),
    }


def totals(run: Run, extensions: Table) -> str:
    """The last line of a run: how many chips are done, and which are not."""
    summary = run.record.summary
    parts = [f"{summary['n_done']} of {summary['n_extensions']} extensions done"]
    for status in (FAILED, SKIPPED):
        labels = [str(row["extension"]) for row in extensions if row["status"] == status]
        if labels:
            parts.append(f"{len(labels)} {status} ({' '.join(labels)})")
    by = "" if summary["matched_by"] == "EXTNAME" else f", told apart by {summary['matched_by']}"
    return ", ".join(parts) + by
