"""Signals that end the process, turned into an exception, and sections that they do not cut short.

A signal may come at any line. `unwind_on_signals` makes of SIGINT, SIGTERM and SIGHUP an exception that unwinds the
stack, so that what was begun is cleaned up. Where files are renamed or removed, `held` keeps a signal waiting until
the section has ended; Python's own handlers are used, not a signal mask, because the system may deliver the signal
to another thread of the process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Signals of the same wish to end that follow within this time, seconds, are taken as one: a second Ctrl-C must not
#: cut short the cleaning up after the first. A later one is heard again, should the first have got lost.
GRACE = 3.0
#: Time after which a signal that Python could not deliver is sent again, seconds.
_AGAIN = 0.02


class Stopped(BaseException):
    """A signal asked the process to end; its argument is the number of the signal."""

    def __str__(self) -> str:
        number = signal.Signals(self.args[0])
        return "interrupted" if number == signal.SIGINT else f"ended by {number.name}"


class _State:
    """What is known about signals in this process."""

    def __init__(self) -> None:
        self.held = 0
        self.waiting: int | None = None
        self.stopped: int | None = None
        self.stopped_at = 0.0
        self.closed = False


_state = _State()


def unwind_on_signals() -> None:
    """Raise `Stopped` on SIGINT, SIGTERM and SIGHUP, unless they are ignored (as under nohup)."""
    for number in _numbers():
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    sys.unraisablehook = _lost


def _numbers() -> list[int]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP


def _stop(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.closed or (_state.stopped is not None and now - _state.stopped_at < GRACE):
        return
    if _state.held:
        _state.waiting = number
        return
    _state.stopped, _state.stopped_at = number, now
    raise Stopped(number)


def _lost(unraisable: Any) -> None:
    """Send a signal again that was raised where Python drops exceptions, as in the callback of a weak reference."""
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)
        return
    import threading

    _state.stopped = None
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), unraisable.exc_value.args[0]))
    again.daemon = True
    again.start()


@contextmanager
def held() -> Iterator[None]:
    """A section that no signal cuts short; one that came meanwhile is raised at its end."""
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
        if not _state.held:
            _raise_waiting()


def checkpoint() -> None:
    """Raise a signal that waits, at a place inside a section where that does no harm."""
    _raise_waiting()


def _raise_waiting() -> None:
    number, _state.waiting = _state.waiting, None
    if number is not None:
        _state.stopped, _state.stopped_at = number, time.monotonic()
        raise Stopped(number)


def stopping_signal() -> int | None:
    """Number of the signal that is ending the process, if one is."""
    return _state.stopped


def close() -> None:
    """Hear no more signals: the status is known, and the process is about to end.

    The interpreter puts back the default handlers in its own end, but not where signals are ignored.
    """
    _state.closed = True
    for number in _numbers():
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_IGN)
