"""The record of a run: what was done, with which inputs, settings and versions, and how it ended.

It is written as JSON in the form of `TaskMetadata`: the containers of the tasks, and beside them
one container "run".
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.errors import PsfMatchError
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.version import __version__

if TYPE_CHECKING:
    from pydantic import BaseModel

    from psfmatch_cli.exposure import Exposure

FORMAT, FORMAT_VERSION = "psfmatch-metadata", 1

_PACKAGES = ("numpy", "scipy", "astropy", "sep", "reproject")


@dataclass
class RunRecord:
    """What is known about a run so far.

    Parameters
    ----------
    command : str
        Name of the command.
    arguments : list of str
        The command line, without the program.
    """

    command: str
    arguments: list[str]
    settings: BaseModel | None = None
    setting_sources: Mapping[str, str] = field(default_factory=dict)
    noise: dict[str, dict[str, Any]] = field(default_factory=dict)
    reading: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tasks: TaskMetadata = field(default_factory=TaskMetadata)

    def __post_init__(self):
        self.started = datetime.now(UTC)
        self._clock = time.monotonic()
        # Hashing leaves the interpreter free, so it runs beside the work.
        self._hasher = ThreadPoolExecutor(1)
        self._inputs: dict[str, Future[dict[str, Any]]] = {}

    def add_input(self, role: str, path: Path) -> None:
        """Note an input file; its digest is computed in the background."""
        self._inputs[role] = self._hasher.submit(describe_file, path)

    def add_noise(self, role: str, exposure: Exposure) -> None:
        """Note where the variance of an exposure came from."""
        self.noise[role] = asdict(exposure.noise)

    def add_reading(self, role: str, exposure: Exposure) -> None:
        """Note how the file of an exposure was understood, the files beside it that were read, and its noise."""
        self.add_noise(role, exposure)
        facts = exposure.facts
        for plane, path in facts.files.items():
            self.add_input(f"{role}_{plane}", Path(path))
        self.reading[role] = {
            "layout": facts.layout,
            "planes": dict(facts.planes),
            "quantities": {name: asdict(fact) for name, fact in facts.quantities.items()},
        }

    def document(self, outcome: Mapping[str, Any]) -> TaskMetadata:
        """The whole JSON document.

        Parameters
        ----------
        outcome : mapping
            How it ended: "status" ("ok" or "failed"), "exitCode", and for a failure what `failure` returns.
        """
        made = TaskMetadata({"__format__": FORMAT, "__formatVersion__": FORMAT_VERSION})
        for name, container in self.tasks.metadata.items():
            made[name] = container
        made["run"] = without_none(
            {
                **outcome,
                "command": self.command,
                "arguments": self.arguments,
                "startedUtc": self.started.replace(tzinfo=None).isoformat(timespec="microseconds"),
                "wallSeconds": time.monotonic() - self._clock,
                "warnings": self.warnings,
                "inputs": {role: future.result() for role, future in self._inputs.items()},
                "outputs": self.outputs,
                "noise": self.noise,
                "reading": self.reading,
                "summary": self.summary,
                "settings": self.settings.model_dump() if self.settings else {},
                "settingSources": self.setting_sources,
                "versions": versions(),
            }
        )
        return made

    def close(self) -> None:
        """Stop the background work."""
        self._hasher.shutdown(cancel_futures=True)


def failure(error: BaseException, exit_code: int, message: str) -> dict[str, Any]:
    """The outcome of a run that an exception ended, with the line that the user was shown.

    Counts that the exception carries (of candidates by reason) are kept.
    """
    return {
        "status": "failed",
        "exitCode": exit_code,
        "errorType": type(error).__name__,
        "errorMessage": message,
        "counts": dict(getattr(error, "counts", {})),
    }


def is_failed_record(path: Path) -> bool:
    """Whether a file is the record of a run that failed, so that a new run may replace it."""
    try:
        document = TaskMetadata.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False
    return document.get("__format__") == FORMAT and document.get("run.status") == "failed"


def describe_file(path: Path) -> dict[str, Any]:
    """Path as given, size in bytes and SHA-256 of a file; only the path where it cannot be read."""
    from psfmatch_cli.fitsfile import file_digest, parse_path

    try:
        return {"path": str(path), "bytes": parse_path(path).path.stat().st_size, "sha256": file_digest(path)}
    except (OSError, PsfMatchError):  # the reader of the input reports it
        return {"path": str(path)}


def versions() -> dict[str, str]:
    """Versions of Python, psfmatch and the packages whose numbers enter the results."""
    return {
        "python": platform.python_version(),
        "psfmatch": __version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping, and the mappings in it, without the values None and with text for paths."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            kept[name] = without_none(value)
        elif value is not None:
            kept[name] = str(value) if isinstance(value, Path) else value
    return kept
