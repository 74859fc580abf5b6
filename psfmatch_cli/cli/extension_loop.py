"""The work of a command on one chip after another, of which some may fail."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, TypeVar

from psfmatch_cli.cli.exits import arguments, outcome
from psfmatch_cli.cli.extensions import Extension, Extensions
from psfmatch_cli.cli.work import Work
from psfmatch_cli.errors import OutputError, PsfMatchError, UsageError
from psfmatch_cli.provenance import WorkRecord, failure

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.cli.run import Run

log = logging.getLogger(__name__)

Result = TypeVar("Result")

DONE, FAILED, SKIPPED = "done", "failed", "skipped"


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
        raise error_of_all(errors)
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
    work = Work(extension.inputs, extension.given, run.settings, record, run.written)
    result, failed = attempt(lambda: do(work), extension.label)
    if failed is None:
        record.ending = {"status": "ok", "exitCode": 0}
        run.tell(f"{title}: {keep(extension, result)}")
    else:
        record.ending = failure(failed, *outcome(failed))
    record.warnings = run.record.warnings[warned:]
    record.ending["wallSeconds"] = time.monotonic() - begun
    run.record.add_files(record)
    return failed


def attempt(do: Callable[[], Result], label: str) -> tuple[Result, None] | tuple[None, Exception]:
    """Result of the work on one chip, or the error that ended it, which is told.

    Raises
    ------
    UsageError, OutputError, MemoryError
        These would come again.
    """
    try:
        return do(), None
    except (UsageError, OutputError, MemoryError):
        raise
    except Exception as error:
        if "--debug" in arguments():
            traceback.print_exc()
        log.error("extension %s failed: %s", label, outcome(error)[1])
        # The frames of a traceback keep the images of the chip in memory.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        return None, error


def exit_status(errors: Iterable[Exception]) -> int:
    """Status of a run in which some chips failed: the least of theirs; 0 if none did."""
    return min((outcome(error)[0] for error in errors), default=0)


def error_of_all(errors: Mapping[str, Exception]) -> Exception:
    """The error of a run whose chips all failed."""
    label, error = min(errors.items(), key=lambda item: outcome(item[1])[0])
    if len(errors) == 1 or not isinstance(error, PsfMatchError):
        return error
    made = copy(error)
    made.args = (f"all {len(errors)} extensions failed; {label}: {error}",)
    return made


#: Counts of a summary that are added up, where all chips have them.
_COUNTS = ("n_sources", "n_difference_sources")


def _end(run: Run, found: Extensions, errors: Mapping[str, Exception]) -> None:
    """Note how a run ends of which at least one chip is done, and its totals."""
    if errors:
        run.ending = {"status": "partial", "exitCode": exit_status(errors.values())}
    done = [record.summary for record in run.record.extensions.values() if record.ending["status"] == "ok"]
    run.record.summary = {
        "n_extensions": len(found.chips),
        "n_done": len(done),
        "n_failed": len(errors),
        "n_skipped": len(found.skipped),
        "matched_by": found.by,
        **{name: sum(made[name] for made in done) for name in _COUNTS if all(name in made for made in done)},
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
