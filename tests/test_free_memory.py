"""Freed memory goes back to the system."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from psfmatch_cli import free_memory


def resident() -> float:
    """Resident memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or free_memory._trim() is None, reason="needs the GNU C library"
)
def test_freed_memory_is_released():
    # A process of its own: memory that other tests have freed would be taken again.
    code = "import test_free_memory; test_free_memory.check_release()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def check_release():
    before = resident()
    # Pieces below the least size that the C library maps on its own: 64 MiB in all.
    pieces = [np.ones(8192) for _ in range(1024)]
    last = np.ones(8192)
    filled = resident()
    del pieces
    free_memory.release_freed()
    assert filled - before > 50
    assert resident() - before < 20
    assert last.sum() == 8192


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(free_memory, "_trim", lambda: None)
    free_memory.release_freed()
