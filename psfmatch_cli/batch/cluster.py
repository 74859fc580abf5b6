"""Processes of a Dask cluster that do the jobs: Dask schedules, moves them off lost workers, and watches the memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from psfmatch_cli.batch.job import Job, Outcome, failed
from psfmatch_cli.batch.pool import Work
from psfmatch_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

#: Time to wait for the scheduler's answer, seconds.
PATIENCE = 30


def run_cluster(
    jobs: Iterable[Job], work: Work, scheduler: str | None, scheduler_file: Path | None
) -> Iterator[tuple[Job, Outcome | None]]:
    """Have jobs done by the workers of a Dask scheduler; as `psfmatch_cli.batch.pool.run_local`.

    A job whose worker is lost is given to another one by Dask; after as many losses as its own setting
    ``distributed.scheduler.allowed-failures`` says, it has failed.

    Parameters
    ----------
    jobs : iterable of Job
    work : callable
        Does a job; a function of a module.
    scheduler : str or None
        Address, such as ``tcp://host:8786``.
    scheduler_file : Path or None
        File that the scheduler has written, instead of its address.

    Raises
    ------
    UsageError
        If the package distributed is not installed.
    InputError
        If no scheduler answers.
    """
    with closing(connect(scheduler, scheduler_file)) as client:
        futures = {}
        for job in jobs:
            yield job, None
            futures[client.submit(_work_within_limit, job, work, key=f"{job.name}-{job.key()[:16]}", pure=False)] = job
        try:
            yield from _collected(futures)
        finally:
            client.cancel(list(futures), force=True)


def connect(scheduler: str | None, scheduler_file: Path | None) -> Client:
    """A connection to a scheduler; errors as `run_cluster`."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            f"--scheduler and --scheduler-file need the package distributed ({error}); pip install 'psfmatch[cluster]'"
        ) from error
    where = scheduler or str(scheduler_file)
    if scheduler_file is not None and not scheduler_file.is_file():
        raise InputError(f"{scheduler_file}: no such file; dask scheduler --scheduler-file makes it")
    try:
        return Client(scheduler, scheduler_file=scheduler_file and str(scheduler_file), timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{where}: no Dask scheduler answers there ({error})") from error


def _collected(futures: dict[Future, Job]) -> Iterator[tuple[Job, Outcome]]:
    """The outcomes as they come."""
    from distributed import as_completed

    for future in as_completed(list(futures)):
        job = futures.pop(future)
        error = future.exception()
        outcome = future.result() if error is None else failed(job.name, f"{type(error).__name__}: {error}")
        future.release()
        yield job, outcome


def _work_within_limit(job: Job, work: Work) -> Outcome:
    """Do a job on a worker, with its part of the memory that the worker may take as the most that it may need."""
    from distributed import get_worker

    worker = get_worker()
    limit = getattr(worker.memory_manager, "memory_limit", None)
    if limit and job.given["max_memory"] is None:
        job = replace(job, given={**job.given, "max_memory": str(int(limit / worker.state.nthreads))})
    return work(job)
