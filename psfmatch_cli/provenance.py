"""The record of a run: what was done, with which inputs, settings and versions, and how it ended.

It is written as JSON in the form of `TaskMetadata`: the containers of the tasks, and beside them
one container "run".
"""

from __future__ import annotations

import importlib.metadata
import platform
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.errors import PsfMatchError
from psfmatch_cli.inputs import check_regular
from psfmatch_cli.metadata import TaskMetadata
from psfmatch_cli.version import __version__

if TYPE_CHECKING:
    from pydantic import BaseModel

    from psfmatch_cli.exposure import Exposure

FORMAT, FORMAT_VERSION = "psfmatch-metadata", 1

_PACKAGES = ("numpy", "scipy", "astropy", "sep", "reproject")


def new_run_id() -> str:
    """Identifier of a run, 16 hexadecimal digits, that no other run has; all its files carry it."""
    return secrets.token_hex(8)


@dataclass(kw_only=True)
class WorkRecord:
    """What is known so far about the work on one image or one pair of images.

    Parameters
    ----------
    noise, reading : dict
        Of each role: where its variance came from, and how its file was understood.
    summary : dict
        What was found and chosen.
    warnings : list of str
    tasks : TaskMetadata
        Containers of the tasks.
    files : dict of str to Path
        Files beside the inputs that were read, by role and content.
    ending : dict
        How it ended, as in `RunRecord.document`.
    """

    noise: dict[str, dict[str, Any]] = field(default_factory=dict)
    reading: dict[str, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tasks: TaskMetadata = field(default_factory=TaskMetadata)
    files: dict[str, Path] = field(default_factory=dict)
    ending: dict[str, Any] = field(default_factory=dict)

    def items(self) -> dict[str, Any]:
        """What the part "run" of a document has of it."""
        return {
            **self.ending,
            "warnings": self.warnings,
            "noise": self.noise,
            "reading": self.reading,
            "summary": self.summary,
        }

    def section(self) -> TaskMetadata:
        """The part of a document on one extension: the containers of the tasks, and "run"."""
        made = TaskMetadata()
        for name, container in self.tasks.metadata.items():
            made[name] = container
        made["run"] = without_none(self.items())
        return made

    def add_noise(self, role: str, exposure: Exposure) -> None:
        """Note where the variance of an exposure came from."""
        self.noise[role] = asdict(exposure.noise)

    def add_reading(self, role: str, exposure: Exposure) -> None:
        """Note how the file of an exposure was understood, the files beside it that were read, and its noise."""
        self.add_noise(role, exposure)
        facts = exposure.facts
        self.files |= {f"{role}_{plane}": Path(path) for plane, path in facts.files.items()}
        self.reading[role] = {
            "layout": facts.layout,
            "planes": dict(facts.planes),
            "quantities": {name: asdict(fact) for name, fact in facts.quantities.items()},
        }


@dataclass
class RunRecord(WorkRecord):
    """What is known about a run so far.

    Parameters
    ----------
    command : str
        Name of the command.
    arguments : list of str
        The command line, without the program.

    Attributes
    ----------
    id : str
        Identifier of the run, which all its files carry.
    """

    command: str
    arguments: list[str]
    settings: BaseModel | None = None
    setting_sources: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, WorkRecord] = field(default_factory=dict)

    def __post_init__(self):
        self.id = new_run_id()
        self.started = datetime.now(UTC)
        self._clock = time.monotonic()
        # Hashing leaves the interpreter free, so it runs beside the work.
        self._hasher = ThreadPoolExecutor(1)
        self._inputs: dict[str, Future[dict[str, Any]]] = {}

    def add_input(self, role: str, path: Path) -> None:
        """Note an input file; its digest is computed in the background."""
        self._inputs[role] = self._hasher.submit(describe_file, path)

    def add_reading(self, role: str, exposure: Exposure) -> None:
        """Note also that the files beside the exposure's are inputs."""
        super().add_reading(role, exposure)
        self.add_files(self)

    def add_files(self, record: WorkRecord) -> None:
        """Note the files that were read beside the inputs, each once, as inputs."""
        for role, path in record.files.items():
            if role not in self._inputs:
                self.add_input(role, path)

    def inputs(self) -> dict[str, dict[str, Any]]:
        """What `describe_file` says of each input so far, by role."""
        return {role: future.result() for role, future in self._inputs.items()}

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
                **self.items(),
                **outcome,
                "id": self.id,
                "command": self.command,
                "arguments": self.arguments,
                "startedUtc": self.started.replace(tzinfo=None).isoformat(timespec="microseconds"),
                "wallSeconds": time.monotonic() - self._clock,
                "inputs": self.inputs(),
                "outputs": self.outputs,
                "settings": self.settings.model_dump() if self.settings else {},
                "settingSources": self.setting_sources,
                "versions": versions(),
            }
        )
        for label, record in self.extensions.items():
            # A period would lead into a further container.
            made[f"extensions.{label.replace('.', ':')}"] = record.section()
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


def failure_path(record: Path) -> Path:
    """Where the record of a failed run goes if an earlier run has its record there: "x_failed.json" for "x.json"."""
    return record.with_name(f"{record.stem}_failed{record.suffix}")


def is_failed_record(path: Path) -> bool:
    """Whether a file is the record of a run that failed, so that a new run may replace it."""
    if not path.is_file():
        return False
    try:
        document = TaskMetadata.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False
    return document.get("__format__") == FORMAT and document.get("run.status") == "failed"


def describe_file(path: Path) -> dict[str, Any]:
    """Path as given, size in bytes and SHA-256 of a file; only the path where it cannot be read."""
    from psfmatch_cli.fitsfile import file_digest, parse_path

    try:
        file = parse_path(path).path
        check_regular(file, "an input")
        return {"path": str(path), "bytes": file.stat().st_size, "sha256": file_digest(path)}
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
