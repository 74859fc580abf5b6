"""What of a batch is done already.

A file counts as unchanged if its size and its time are those of before, and else if its size and SHA-256 are: a file
that was only touched or copied costs one reading of it, and a night that is unchanged none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psfmatch_cli.batch.job import FAILED, Job
from psfmatch_cli.batch.journal import Ended
from psfmatch_cli.fitsfile import file_digest, parse_path

#: Its effect is in the settings, which are compared themselves.
_NOT_COMPARED = ("config",)


def reason_to_run(job: Job, ended: Ended | None, *, retry_failed: bool) -> str | None:
    """Why a job has to be done; None if it need not.

    Parameters
    ----------
    job : Job
    ended : Ended or None
        What is known of an earlier end.
    retry_failed : bool
        Whether what failed is tried again though nothing has changed.
    """
    if ended is None:
        return "new"
    if ended.key != job.key():
        return "other settings or options"
    changed = [role for role, file in ended.outcome.inputs.items() if role not in _NOT_COMPARED and has_changed(file)]
    if changed:
        return f"changed: {', '.join(changed)}"
    if ended.outcome.status == FAILED:
        return "failed before" if retry_failed else None
    gone = [name for name, size in ended.outcome.outputs.items() if _size(name) != size]
    return f"missing or altered: {', '.join(gone)}" if gone else None


def describe_inputs(files: Mapping[str, Mapping[str, Any]], times: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Files that were read, by role, with their times.

    Parameters
    ----------
    files : mapping of str to mapping
        Of each, "path", "bytes", and "sha256" as the record of the run has them.
    times : mapping of str to int
        Time of each from before it was read, nanoseconds, where it was known then.
    """
    return {role: {**file, "mtime_ns": times.get(role, mtime(file["path"]))} for role, file in files.items()}


def mtime(path: str | Path) -> int | None:
    """Time of the last change of a file, nanoseconds; None if there is none."""
    try:
        return parse_path(path).path.stat().st_mtime_ns
    except OSError:
        return None


def has_changed(file: Mapping[str, Any]) -> bool:
    """Whether a file is another one than that described."""
    path = parse_path(file["path"]).path
    try:
        found = path.stat()
        if "sha256" not in file or found.st_size != file["bytes"]:
            return True
        return found.st_mtime_ns != file["mtime_ns"] and file_digest(path) != file["sha256"]
    except OSError:
        return "sha256" in file


def _size(name: str) -> int | None:
    path = Path(name)
    return path.stat().st_size if path.is_file() else None
