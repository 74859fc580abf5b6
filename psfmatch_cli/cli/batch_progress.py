"""How far a batch is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

#: Time between two lines, seconds.
INTERVAL = 30.0


class Progress:
    """Counts pairs, and tells how long the rest takes.

    Parameters
    ----------
    total : int
        Pairs to do.
    """

    def __init__(self, total: int):
        self.total, self.done, self.failed = total, 0, 0
        self._begun = time.monotonic()

    def count(self, *, ok: bool) -> None:
        """Note the end of a pair."""
        self.done += 1
        self.failed += not ok

    def describe(self) -> str:
        """Pairs, failures, rate, and time left."""
        passed = time.monotonic() - self._begun
        text = f"{self.done} of {self.total} pairs, {self.failed} failed"
        if not self.done:
            return text
        left = clock(passed / self.done * (self.total - self.done))
        return f"{text}, {60 * self.done / passed:.3g} a minute, {left} left"


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds: "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


@contextmanager
def showing(total: int, *, quiet: bool) -> Iterator[Progress]:
    """A count that is shown on stderr while the block runs."""
    progress = Progress(total)
    if quiet or sys.stderr is None:
        yield progress
    elif sys.stderr.isatty():
        with _bar(progress):
            yield progress
    else:
        with _lines(progress):
            yield progress


@contextmanager
def _bar(progress: Progress) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = BarColumn(), TextColumn("{task.fields[text]}", markup=False)
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=progress.total, text=progress.describe())

        def show() -> None:
            bars.update(task, completed=progress.done, text=progress.describe())

        with _repeated(show, 0.5):
            yield


@contextmanager
def _lines(progress: Progress) -> Iterator[None]:
    with _repeated(lambda: click.echo(f"batch: {progress.describe()}", err=True), INTERVAL):
        yield


@contextmanager
def _repeated(show, interval: float) -> Iterator[None]:
    """Call a function from time to time, in a thread, so that a batch that waits is not taken for a dead one."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(interval):
            show()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
