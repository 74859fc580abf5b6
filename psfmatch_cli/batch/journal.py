"""The log of a folder of outputs, one JSON object a line, which is also the state that a second run goes on from.

A line is added when a pair is begun and when it has ended, so whatever is killed, at most the pairs in flight are
without an end. A last line that was cut short by such a death is passed over.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from psfmatch_cli.batch.job import Job, Outcome
from psfmatch_cli.errors import OutputError
from psfmatch_cli.strict_json import to_json

_FIELDS = tuple(entry.name for entry in fields(Outcome))


@dataclass(frozen=True)
class Ended:
    """The last known end of a pair.

    Parameters
    ----------
    key : str
        `Job.key` of the job that ended.
    outcome : Outcome
    """

    key: str
    outcome: Outcome


class Journal:
    """The log of a folder; used in a ``with`` statement, by one batch at a time.

    Parameters
    ----------
    path : Path
        Made if it does not exist.

    Attributes
    ----------
    ended : dict of str to Ended
        Last end of each pair, by its name.
    begun : set of str
        All files that some pair was to make: they may be replaced.
    """

    def __init__(self, path: Path):
        self.path = path
        self.ended: dict[str, Ended] = {}
        self.begun: set[str] = set()

    def __enter__(self) -> Self:
        """Lock and read it.

        Raises
        ------
        OutputError
            If it cannot be written, or another batch is at work in the folder.
        """
        try:
            self._file = self.path.open("a+b")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(f"{self.path.parent}: another batch is at work here; wait for its end") from error
        self._read()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        for entry in _entries(content):
            if entry.get("event") == "begun":
                self.begun.update(entry["outputs"])
            elif entry.get("event") == "ended":
                outcome = Outcome(**{name: entry[name] for name in _FIELDS if name in entry})
                self.ended[outcome.name] = Ended(entry["key"], outcome)
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        """Add a line.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        entry = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        try:
            self._file.write(f"{to_json(entry)}\n".encode())
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error

    def begin(self, job: Job, reason: str) -> None:
        """Note that a pair is begun, and why."""
        self.write("begun", {"name": job.name, "reason": reason, "outputs": job.files})

    def end(self, job: Job, outcome: Outcome) -> None:
        """Note how a pair ended."""
        key = job.key()
        self.ended[job.name] = Ended(key, outcome)
        self.write("ended", {"key": key, **asdict(outcome)})


def _entries(content: bytes) -> Iterator[dict[str, Any]]:
    """The objects of all whole lines."""
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut short by the death of the process that wrote it
        if isinstance(entry, dict):
            yield entry
