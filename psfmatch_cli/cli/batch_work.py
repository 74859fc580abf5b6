"""One pair of a batch, in whatever process it is done."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psfmatch_cli.batch.job import DONE, FAILED, Job, Outcome
from psfmatch_cli.cli.exits import outcome
from psfmatch_cli.cli.run import running
from psfmatch_cli.cli.template_cache import TemplateCache

if TYPE_CHECKING:
    from psfmatch_cli.cli.run import Run

#: Templates that a process keeps: that of this pair, and the one before.
TEMPLATES = 2
#: Level of -q at which a run tells nothing at all: the errors are in the outcome, the warnings too.
_SILENT = 9

_templates = TemplateCache(TEMPLATES)
# Warnings, log handlers and signals belong to the process, so a process does one pair at a time.
_alone = threading.Lock()


def subtract_pair(job: Job) -> Outcome:
    """Do a job and write its products; whatever fails is in the outcome."""
    with _alone:
        clock, cpu = time.monotonic(), time.process_time()
        made = _subtract(job)
        return replace(
            made,
            seconds=time.monotonic() - clock,
            cpu_seconds=time.process_time() - cpu,
            worker=f"{platform.node()}:{os.getpid()}",
        )


def _subtract(job: Job) -> Outcome:
    from psfmatch_cli.batch.resume import mtime

    times = {role: mtime(path) for role, path in job.inputs.items()}
    given = {**job.given, "quiet": _SILENT, "verbose": 0}
    run: Run | None = None
    summary: Mapping[str, Any] = {}
    try:
        with running("subtract", given, job.inputs, job.outputs, line=job.arguments, loaded=job.loaded) as run:
            summary = _make_products(run)
    except Exception as error:
        code, message = outcome(error)
        return Outcome(name=job.name, status=FAILED, error=message, exit_code=code, **_facts(run, times))
    written = {name: Path(name).stat().st_size for name in job.files}
    return Outcome(name=job.name, status=DONE, summary=summary, outputs=written, **_facts(run, times))


def _make_products(run: Run) -> dict[str, Any]:
    """Do the work of ``psfmatch subtract`` and write its products; the summary."""
    from psfmatch_cli.cli.subtract import write_all

    made = replace(run.work, reader=_templates.read).subtract()
    with run.writing(made.summary) as names:
        write_all(run, names, made)
    return made.summary


def _facts(run: Run | None, times: Mapping[str, int | None]) -> dict[str, Any]:
    """What is known of a run, however it ended."""
    from psfmatch_cli.batch.resume import describe_inputs

    if run is None:
        return {}
    return {"inputs": describe_inputs(run.record.inputs(), times), "warnings": tuple(run.record.warnings)}
