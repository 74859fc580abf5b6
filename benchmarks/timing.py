"""What the timing benchmarks share: measured runs, simulated pairs kept in a folder, and what was run on.

Nothing large is imported or held here: the kernel counts the memory of the parent at the start of a child as the
child's, so that a parent that measures must stay small.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "scipy", "astropy", "sep", "reproject")
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What some work took.

    Parameters
    ----------
    wall, cpu : float
        Seconds by the clock, and of the processors.
    peak : float
        Peak of the resident memory, MiB.
    """

    wall: float
    cpu: float
    peak: float

    def row(self, unit: float) -> dict[str, float]:
        """Columns of a table; `unit` is the seconds of one unit."""
        return {
            "wall s": self.wall,
            "CPU s": self.cpu,
            "wall units": self.wall / unit,
            "CPU units": self.cpu / unit,
            "peak MiB": self.peak,
        }


def run(command: Sequence[Any], environment: dict[str, str] | None = None) -> Cost:
    """Cost of a process from its start to its end.

    Raises
    ------
    subprocess.CalledProcessError
        If its exit status is not 0.
    """
    words = [str(word) for word in command]
    start = time.perf_counter()
    child = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise subprocess.CalledProcessError(child.returncode, words)
    kilobytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return Cost(wall, usage.ru_utime + usage.ru_stime, kilobytes / 1024)


def best(repeats: int, work: Callable[[], Cost]) -> Cost:
    """The smallest of each figure over several runs: other work on the machine only adds."""
    costs = [work() for _ in range(repeats)]
    return Cost(*(min(values) for values in zip(*((c.wall, c.cpu, c.peak) for c in costs), strict=True)))


def unit_seconds() -> float:
    """Seconds of one unit, measured in another process."""
    script = Path(__file__).with_name("unit.py")
    return float(subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout)


def program(*arguments: Any) -> list[str]:
    """Command that runs the program of this folder."""
    return [sys.executable, "-m", "psfmatch_cli", *map(str, arguments)]


def pair_of(folder: Path, case: str, size: int) -> tuple[Path, Path]:
    """Template and science file of a simulated case, made in the folder if they are not there yet."""
    names = tuple(folder / f"{case}-{size}-{role}.fits" for role in ("template", "science"))
    if not all(name.exists() for name in names):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, case, str(size), str(folder)], check=True, cwd=ROOT)
    return names


def make_pair(case: str, size: int, folder: Path) -> None:
    """Write a simulated pair in the LSST layout; numbers of sources and defects follow the area."""
    from files import write_lsst

    from psfmatch_cli.simulate import preset, simulate_pair

    share = (size / 2048) ** 2
    defects = {"cosmic_rays": round(60 * share), "dead_pixels": round(40 * share)}
    pair = simulate_pair(preset(case, width=size, height=size, **defects))
    for role in ("template", "science"):
        path = folder / f"{case}-{size}-{role}.fits"
        unfinished = path.with_suffix(".part.fits")
        unfinished.unlink(missing_ok=True)
        write_lsst(unfinished, getattr(pair, role))
        unfinished.replace(path)


def environment() -> dict[str, Any]:
    """What the figures depend on: the machine, the packages, the commit and the day."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "threads": {name: value for name, value in sorted(os.environ.items()) if name.endswith("_NUM_THREADS")},
    }


def _commit() -> str:
    """Commit of this folder, with a plus if it has changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True
    )
    return described.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def report(title: str, rows: list[dict[str, Any]], unit: float, output: Path | None) -> None:
    """Print a Markdown table below what it was measured on; also to a file, as JSON if it is named so."""
    from files import markdown_table

    facts = environment() | {"unit s": unit}
    lines = [f"### {title}", "", *(f"- {name}: {value}" for name, value in facts.items()), "", markdown_table(rows)]
    print("\n".join(lines))
    if output is not None:
        data = json.dumps({"title": title, "environment": facts, "rows": rows}, indent=2)
        output.write_text(data + "\n" if output.suffix == ".json" else "\n".join(lines) + "\n")


def in_process(work: Callable[[], Any], repeats: int) -> Cost:
    """Cost of a call in this process, best of several; the memory is the peak of the process so far."""
    import resource

    walls, cpus = [], []
    for _ in range(repeats):
        start, spent = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - spent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)
    return Cost(min(walls), min(cpus), peak)


if __name__ == "__main__":
    make_pair(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
