"""Runs of the command line in processes of their own that cost no start of the interpreter.

A process imports everything once and is copied for each run, so that a test can afford dozens of them.
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ending:
    """How a run ended: exit status (negative for the signal that killed it) and what it printed."""

    status: int
    out: str
    err: str


class Runs:
    """Starts runs in a folder; `close` ends what makes them."""

    def __init__(self, warm_up):
        self._server = subprocess.Popen(
            [sys.executable, __file__, json.dumps([str(argument) for argument in warm_up])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._server.stdout.readline() == "ready\n"
        self._n = 0

    def start(self, folder, *arguments, prepare="", stdout=None):
        """Begin a run in a folder; code given as `prepare` comes before it."""
        self._n += 1
        out, err = (Path(folder).parent / f"{self._n}.{name}" for name in ("out", "err"))
        pid = self._ask(
            folder=str(folder),
            arguments=[str(argument) for argument in arguments],
            prepare=prepare,
            out=str(stdout or out),
            err=str(err),
        )
        return Started(self, pid, out if stdout is None else None, err)

    def run(self, folder, *arguments, **options):
        """A whole run."""
        return self.start(folder, *arguments, **options).wait()

    def _ask(self, **request):
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@dataclass(frozen=True)
class Started:
    """A run that is going on."""

    runs: Runs
    pid: int
    out: Path | None
    err: Path

    def wait(self):
        status = self.runs._ask(wait=self.pid)
        return Ending(status, self.out.read_text() if self.out else "", self.err.read_text())

    def signal_after(self, seconds, *numbers):
        """Send signals, one soon after the other."""
        time.sleep(seconds)
        for number in numbers:
            os.kill(self.pid, number)
            time.sleep(0.002)


def _serve(warm_up):
    from psfmatch_cli import cli

    assert cli.exit_status(warm_up) == 0
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        print(_waited_for(request["wait"]) if "wait" in request else _forked(request), flush=True)


def _waited_for(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _forked(request):
    """Process number of a copy that becomes the run, once it minds signals."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        _run(request, writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return pid


def _run(request, writer):
    """In the copy: become the run, and end with it."""
    from psfmatch_cli.__main__ import main
    from psfmatch_cli.interrupts import unwind_on_signals

    # A shell starts its background jobs, and so these tests may run, with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    for name, number in (("out", 1), ("err", 2)):
        descriptor = os.open(request[name], os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["psfmatch", *request["arguments"]]
    # One that hangs is a failure that says where.
    faulthandler.dump_traceback_later(30, exit=True)
    unwind_on_signals()
    os.close(writer)
    exec(request["prepare"], {})
    main()


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
