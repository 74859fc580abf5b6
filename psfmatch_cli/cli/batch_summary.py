"""What a batch comes to: a table with a row for each pair, a line, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.batch.job import DONE, FAILED, Outcome
from psfmatch_cli.cli.batch_plan import Planned

if TYPE_CHECKING:
    from astropy.table import Table

NOT_DONE = "not done"
#: Columns from the summary of a pair.
_FOUND = ("convolved", "sky_width", "kernel_sum", "n_used")
_UNITS = {"seconds": "s", "cpu_seconds": "s"}
_TEXT = ("pair", "status", "when", "error", "template", "science", "difference", "convolved")


def summary_table(planned: Planned, ended: Mapping[str, Outcome], now: Iterable[str]) -> Table:
    """A row for each pair, in the order of the list.

    Parameters
    ----------
    planned : Planned
    ended : mapping of str to Outcome
        What came of each pair, in this run or an earlier one.
    now : iterable of str
        Names of the pairs that ended in this run.
    """
    import numpy as np
    from astropy.table import MaskedColumn, Table

    fresh = {*now, *(entry.name for entry in planned.failed)}
    rows = [_row(job.name, ended.get(job.name), job.name in fresh, job.inputs, job.files) for job in planned.jobs]
    rows += [_row(entry.name, entry, True, {}, []) for entry in planned.failed]
    table = Table()
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in _TEXT:
            table[name] = ["" if value is None else str(value) for value in values]
            continue
        missing = [value is None for value in values]
        kind = int if name == "n_used" else float
        column = np.array([0 if value is None else value for value in values], kind)
        table[name] = MaskedColumn(column, mask=missing) if any(missing) else column
        table[name].unit = _UNITS.get(name)
    return table


def _row(
    name: str, outcome: Outcome | None, fresh: bool, inputs: Mapping[str, Path], files: list[str]
) -> dict[str, Any]:
    done = outcome is not None and outcome.status == DONE
    return {
        "pair": name,
        "status": NOT_DONE if outcome is None else outcome.status,
        "when": "" if outcome is None else "now" if fresh else "before",
        "error": "" if outcome is None else outcome.error,
        "template": inputs.get("template"),
        "science": inputs.get("science"),
        "difference": files[-1] if done else "",
        **{key: outcome.summary.get(key) if done else None for key in _FOUND},
        "seconds": None if outcome is None else outcome.seconds,
        "cpu_seconds": None if outcome is None else outcome.cpu_seconds,
    }


def totals(table: Table, seconds: float) -> dict[str, Any]:
    """Counts of a summary, and the time of this run."""
    status, when = (list(table[name]) for name in ("status", "when"))
    return {
        "n_pairs": len(table),
        "n_done": status.count(DONE),
        "n_failed": status.count(FAILED),
        "n_not_done": status.count(NOT_DONE),
        "n_before": when.count("before"),
        "seconds": round(seconds, 3),
    }


def describe(counts: Mapping[str, Any], table: Table, retry_failed: bool) -> str:
    """The line that a batch ends with."""
    parts = [f"{counts['n_done']} of {counts['n_pairs']} pairs done"]
    if counts["n_before"]:
        parts.append(f"{counts['n_before']} of them before")
    if counts["n_failed"]:
        parts.append(f"{counts['n_failed']} failed")
    if counts["n_not_done"]:
        parts.append(f"{counts['n_not_done']} not done")
    before = [row["when"] == "before" and row["status"] == FAILED for row in table]
    advice = "; --retry-failed tries those of before again" if any(before) and not retry_failed else ""
    return f"{', '.join(parts)}{advice}"
