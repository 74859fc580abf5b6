"""Log lines, warnings and the progress line."""

import logging
import os
import pty
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from psfmatch_cli.cli.console import level_of, reporting

log = logging.getLogger("psfmatch_cli.some.stage")


def talk():
    log.debug("detail")
    log.info("stage")
    log.warning("careful %d", 1)
    log.error("bad")


@pytest.mark.parametrize(
    ("verbose", "quiet", "expected"),
    [
        (0, 0, ["psfmatch: warning: careful 1", "psfmatch: error: bad"]),
        (1, 0, ["stage", "psfmatch: warning: careful 1", "psfmatch: error: bad"]),
        (2, 0, ["detail", "stage", "psfmatch: warning: careful 1", "psfmatch: error: bad"]),
        (0, 1, ["psfmatch: error: bad"]),
    ],
)
def test_v_and_q_choose_the_lines_on_stderr(verbose, quiet, expected, capsys):
    messages = []
    with reporting(verbose, quiet, messages):
        talk()
    assert capsys.readouterr().err.splitlines() == expected
    assert messages == ["careful 1", "bad"]  # the record has them all the same
    talk()
    assert len(messages) == 2


def test_levels_stop_at_both_ends():
    assert level_of(9, 0) == logging.DEBUG
    assert level_of(0, 9) == logging.ERROR
    assert level_of(1, 1) == logging.WARNING


def test_python_warnings_become_log_lines(capsys):
    messages = []
    with reporting(0, 0, messages):
        warnings.simplefilter("always")
        warnings.warn("odd\n  header", UserWarning, stacklevel=1)
    assert messages == ["odd header"]
    assert capsys.readouterr().err == "psfmatch: warning: odd header\n"


TERMINAL = """
import logging, time
from psfmatch_cli.cli.console import reporting
log = logging.getLogger("psfmatch_cli.stage")
with reporting(0, 0, []):
    log.info("a stage [1]")
    time.sleep(0.3)
    log.warning("careful [bold]")
"""


def test_a_terminal_shows_the_stage_and_keeps_the_warnings():
    reader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL],
        stderr=terminal,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(reader, 4096):
                shown += chunk
        except OSError:  # how Linux says that the other end has closed
            pass
        os.close(reader)
    assert process.returncode == 0
    assert "a stage [1]" in shown.decode()
    assert "psfmatch: warning: careful [bold]" in shown.decode()
