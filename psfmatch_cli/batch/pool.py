"""Processes of this machine that do the jobs, each with a pipe of its own.

One pipe to each process, instead of one queue for all, tells which job a process had that died, and by which signal;
the others go on. A process whose parent has died finds its pipe closed when it has finished its job, and ends.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from psfmatch_cli.batch.job import Job, Outcome, failed
from psfmatch_cli.interrupts import Stopped, held, unwind_on_signals

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

Work = Callable[[Job], Outcome]

#: Times that a job is tried whose process dies.
ATTEMPTS = 2
#: Time that a process has to clean up after a signal, seconds.
GRACE = 10.0


class Queue:
    """Jobs that wait, by the template that they share.

    Parameters
    ----------
    jobs : iterable of Job
    """

    def __init__(self, jobs: Iterable[Job]):
        self._groups: dict[str, deque[Job]] = {}
        for job in jobs:
            self._groups.setdefault(job.template, deque()).append(job)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def put_back(self, job: Job) -> None:
        """Have a job done next of those with its template."""
        self._groups.setdefault(job.template, deque()).appendleft(job)

    def take(self, template: str | None, in_use: Iterable[str]) -> Job:
        """The next job: one with this template, else with one that is not in use, else of the longest group."""
        if template not in self._groups:
            unused = [name for name in self._groups if name not in set(in_use)]
            template = unused[0] if unused else max(self._groups, key=lambda name: len(self._groups[name]))
        group = self._groups[template]
        job = group.popleft()
        if not group:
            del self._groups[template]
        return job


class Worker:
    """A process that does one job after another.

    Parameters
    ----------
    context : BaseContext
        Makes the process.
    work : callable
    """

    def __init__(self, context: BaseContext, work: Work):
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.template: str | None = None

    def start(self, job: Job) -> None:
        """Hand a job over."""
        self.job, self.template = job, job.template
        with suppress(ConnectionError):  # it has died: that is told when its result is taken
            self.connection.send(job)

    def take_result(self) -> Outcome | None:
        """The outcome of its job; None if it died."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return None

    def ask_to_end(self) -> None:
        """Tell the process to end; what it has in hand is given up, and its unfinished files are removed."""
        if self.job is not None:
            self.process.terminate()
        self.connection.close()

    def end(self) -> None:
        """Wait until the process has ended, but not for ever."""
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection, work: Work) -> None:
    """Do the jobs that come, until the pipe is closed or a signal says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent tells them
    unwind_on_signals()
    try:
        while True:
            connection.send(work(connection.recv()))
    except (EOFError, ConnectionError, Stopped):
        return


def run_local(jobs: Iterable[Job], n_workers: int, work: Work) -> Iterator[tuple[Job, Outcome | None]]:
    """Have jobs done by processes of this machine.

    Parameters
    ----------
    jobs : iterable of Job
    n_workers : int
        Most processes.
    work : callable
        Does a job; a function of a module.

    Yields
    ------
    tuple of Job and Outcome or None
        None when a job is begun, then its outcome. A job whose process dies is begun once more.
    """
    queue, lost = Queue(jobs), {}
    workers: list[Worker] = []
    context = process_context()
    try:
        while queue or any(worker.job for worker in workers):
            while queue and len(workers) < n_workers:
                workers.append(Worker(context, work))
            for worker in workers:
                if worker.job is None and queue:
                    job = queue.take(worker.template, [other.template for other in workers if other.template])
                    yield job, None
                    worker.start(job)
            for worker in _ready(workers):
                job, outcome = worker.job, worker.take_result()
                worker.job = None
                if outcome is None:
                    workers.remove(worker)
                    outcome = _after_death(worker, job, queue, lost)
                if outcome is not None:
                    yield job, outcome
    finally:
        with held():
            for worker in workers:
                worker.ask_to_end()
            for worker in workers:
                worker.end()


def process_context() -> BaseContext:
    """How processes are made: each a fresh interpreter, which is safe whatever threads this process has."""
    return multiprocessing.get_context("spawn")


def _ready(workers: list[Worker]) -> list[Worker]:
    """The workers that have ended a job, or died with one; waits for the first."""
    busy = {worker.connection: worker for worker in workers if worker.job is not None}
    return [busy[connection] for connection in wait(list(busy))]


def _after_death(worker: Worker, job: Job, queue: Queue, lost: dict[str, int]) -> Outcome | None:
    """Try a job again whose process died, or its failure."""
    lost[job.name] = lost.get(job.name, 0) + 1
    worker.connection.close()
    if lost[job.name] < ATTEMPTS:
        queue.put_back(job)
        return None
    return failed(job.name, f"its process died {lost[job.name]} times: {describe_end(worker.process.exitcode)}")


def describe_end(exitcode: int | None) -> str:
    """How a process ended, in words."""
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name}, as of a lack of memory" if name == "SIGKILL" else name
