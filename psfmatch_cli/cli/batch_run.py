"""A batch at work: what is left to do is done, noted as it comes, and summed up however it ends."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.batch.job import DONE, Job, Outcome
from psfmatch_cli.batch.journal import Journal
from psfmatch_cli.cli.batch_work import subtract_pair
from psfmatch_cli.cli.console import say
from psfmatch_cli.cli.exits import arguments
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import OutputError, PsfMatchError

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.cli.batch_plan import Planned

log = logging.getLogger(__name__)

LOG, SUMMARY = "batch.jsonl", "batch_summary.ecsv"
#: Input files that are looked at for the largest image, spread over the list.
_LOOKED_AT = 32


def run_batch(planned: Planned, output: Path, given: Mapping[str, Any]) -> int:
    """Do what is left to do, and tell of all; the exit status.

    Parameters
    ----------
    planned : Planned
    output : Path
        Folder for the products, the log and the summary.
    given : mapping
        Values of the options.

    Raises
    ------
    OutputError
        If the folder cannot be written, another batch is at work there, or a product would replace a file that no
        batch has made.
    """
    begun, now = time.monotonic(), dict[str, Outcome]()
    summary = given["summary"] or output / SUMMARY
    _make_folders([output, *(Path(file).parent for job in planned.jobs for file in job.files)])
    with Journal(output / LOG) as journal:
        todo = left_to_do(planned.jobs, journal, given)
        _check_products(todo, journal, given["overwrite"])
        before = {name: end.outcome for name, end in journal.ended.items() if name not in todo}
        journal.write("batch", {"pairs": len(planned.jobs), "left": len(todo), "arguments": arguments()})
        for outcome in planned.failed:
            log.error("%s failed: %s", outcome.name, outcome.error)
        try:
            _work_through(todo, journal, now, given)
        finally:
            table = _write_summary(summary, planned, before | now, now)
    _tell(table, time.monotonic() - begun, summary, given)
    return 0 if all(status == DONE for status in table["status"]) else 1


def _make_folders(folders: Iterable[Path]) -> None:
    for folder in dict.fromkeys(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: the folder cannot be made ({error.strerror})") from error


def left_to_do(jobs: Iterable[Job], journal: Journal, given: Mapping[str, Any]) -> dict[str, tuple[Job, str]]:
    """The jobs that are to be done, by name, with the reason."""
    from psfmatch_cli.batch.resume import reason_to_run

    found = {}
    for job in jobs:
        ended = None if given["redo"] else journal.ended.get(job.name)
        reason = reason_to_run(job, ended, retry_failed=given["retry_failed"])
        if reason is not None:
            found[job.name] = job, reason
    return found


def _check_products(todo: Mapping[str, tuple[Job, str]], journal: Journal, overwrite: bool) -> None:
    """Refuse to replace a file that no batch has made in this folder."""
    from psfmatch_cli.cli.products import check

    for job, _ in todo.values():
        others = {role: path for role, path in job.outputs.items() if str(path) not in journal.begun}
        check(others, [], overwrite)


def _work_through(
    todo: Mapping[str, tuple[Job, str]], journal: Journal, now: dict[str, Outcome], given: Mapping[str, Any]
) -> None:
    """Have the jobs done; their ends go to the journal, and to `now` by name."""
    from psfmatch_cli.cli.batch_progress import showing

    if not todo:
        return
    jobs = [job for job, _ in todo.values()]
    with showing(len(jobs), quiet=bool(given["quiet"])) as progress, closing(_ends(jobs, given)) as ends:
        for job, outcome in ends:
            if outcome is None:
                journal.begin(job, todo[job.name][1])
                continue
            journal.end(job, outcome)
            now[job.name] = outcome
            progress.count(ok=outcome.status == DONE)
            _report(outcome, progress.describe())


def _report(outcome: Outcome, count: str) -> None:
    if outcome.status == DONE:
        log.info("%s done in %.2f s; %s", outcome.name, outcome.seconds, count)
    else:
        log.error("%s failed: %s", outcome.name, outcome.error)


def _ends(jobs: list[Job], given: Mapping[str, Any]) -> Iterator[tuple[Job, Outcome | None]]:
    """The beginnings and ends of jobs, on this machine or a cluster."""
    if given["scheduler"] or given["scheduler_file"]:
        from psfmatch_cli.batch.cluster import run_cluster

        return run_cluster(jobs, subtract_pair, given["scheduler"], given["scheduler_file"])
    from psfmatch_cli.batch.pool import run_local

    wanted = given["jobs"] or len(os.sched_getaffinity(0))
    return run_local(jobs, _workers_that_fit(jobs, wanted), subtract_pair)


def _workers_that_fit(jobs: list[Job], wanted: int) -> int:
    """Processes that the memory is enough for, at least one."""
    from psfmatch_cli.memory import available_memory, describe_size, needed_memory

    wanted, available = min(wanted, len(jobs)), available_memory()
    need = needed_memory(_largest_image(jobs))
    if available is None or wanted * need <= available:
        return wanted
    fitting = max(1, int(available // need))
    log.warning(
        "%d processes instead of %d: each may need %s, and %s are available",
        fitting, wanted, describe_size(need), describe_size(available),
    )  # fmt: skip
    return fitting


def _largest_image(jobs: list[Job]) -> int:
    """Pixels of the largest image in some of the files; of one that cannot be read the pair itself will tell."""
    from psfmatch_cli.cli.memory_check import largest_plane

    files = list(dict.fromkeys(path for job in jobs for path in job.inputs.values()))
    largest = 0
    for path in files[:: max(1, len(files) // _LOOKED_AT)]:
        try:
            largest = max(largest, math.prod(largest_plane(path)))
        except PsfMatchError:
            continue
    return largest


def _write_summary(path: Path, planned: Planned, ended: Mapping[str, Outcome], now: Iterable[str]) -> Table:
    from psfmatch_cli.cli.batch_summary import summary_table
    from psfmatch_cli.tables import write_table

    table = summary_table(planned, ended, now)
    write_table(path, table, overwrite=True)
    return table


def _tell(table: Table, seconds: float, summary: Path, given: Mapping[str, Any]) -> None:
    """Print the counts, as a line or as JSON with a part for each pair."""
    from psfmatch_cli.cli.batch_summary import describe, totals

    counts = totals(table, seconds)
    if given["as_json"]:
        from psfmatch_cli.strict_json import to_json

        pairs = {row["pair"]: {name: _plain(row[name]) for name in table.colnames[1:]} for row in table}
        say(to_json({**counts, "summary": str(summary), "pairs": pairs}, indent=2))
    elif not given["quiet"]:
        say(one_line(f"batch: {describe(counts, table, given['retry_failed'])} -> {summary}"))


def _plain(value: Any) -> Any:
    """A cell of a table; None where it is masked."""
    import numpy as np

    return None if value is np.ma.masked else value
