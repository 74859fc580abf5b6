"""The unit of a batch, one pair of one extension, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psfmatch_cli.settings import LoadedSettings

DONE, FAILED = "done", "failed"

#: Options that do not change a result: how much is told, of which computer, and how much of it may be used.
_WITHOUT_EFFECT = {"overwrite", "verbose", "quiet", "as_json", "metadata_flat", "no_host", "max_memory", "threads"}
#: Options whose effect is in the settings.
_IN_SETTINGS = {"config", "preset", "assignments"}


@dataclass(frozen=True)
class Job:
    """One pair of images to subtract.

    Parameters
    ----------
    name : str
        What the pair is called; unique in a batch.
    arguments : tuple of str
        The command line of ``psfmatch subtract`` that does the same, for the record of the run.
    inputs : mapping of str to Path
        Template and science file, an HDU in brackets if need be.
    outputs : mapping of str to Path or None
        Products by role, the main one last.
    given : mapping
        Values of the options, by their names in Python.
    loaded : LoadedSettings
    """

    name: str
    arguments: tuple[str, ...]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path | None]
    given: Mapping[str, Any]
    loaded: LoadedSettings

    @property
    def files(self) -> list[str]:
        """Names of the files that it makes."""
        return [str(path) for path in self.outputs.values() if path is not None]

    @property
    def template(self) -> str:
        """What the jobs have in common that can share the reading of one template."""
        return str(self.inputs["template"])

    def key(self) -> str:
        """SHA-256 of all that decides the result but the contents of the files."""
        left_out = _WITHOUT_EFFECT | _IN_SETTINGS
        parts = {
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "options": {name: value for name, value in self.given.items() if name not in left_out},
            "settings": {name: value for name, value in self.loaded.settings.model_dump().items() if name != "threads"},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job.

    Parameters
    ----------
    name : str
        Of the job.
    status : str
        "done" or "failed".
    error : str
        One line; empty if it is done.
    exit_code : int
        Status with which the command line would have ended.
    summary : mapping
        What was found and chosen, by name.
    warnings : tuple of str
    seconds, cpu_seconds : float
        Time that it took, and of the processor.
    inputs : mapping of str to dict
        Of each file that was read, by role: path, bytes, sha256, and mtime_ns, its time before the work.
    outputs : mapping of str to int
        Bytes of each file that was written, by its name.
    worker : str
        Host and number of the process.
    """

    name: str
    status: str
    error: str = ""
    exit_code: int = 0
    summary: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: Mapping[str, int] = field(default_factory=dict)
    worker: str = ""


def failed(name: str, error: str, exit_code: int = 1) -> Outcome:
    """The outcome of a job that came to nothing."""
    return Outcome(name=name, status=FAILED, error=error, exit_code=exit_code)
