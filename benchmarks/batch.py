"""What a batch costs: units of CPU a pair, speed-up with the cores, and what that means for a survey.

::

    python benchmarks/batch.py [PAIRS] [MOST_JOBS]

Makes PAIRS (100) simulated science images of 1024 x 1024 pixels and one template, runs ``psfmatch batch`` on them with
1, 2, ... MOST_JOBS (the cores) processes, and measures the CPU time of all processes, the time that passed, the most
memory of one process, and the bytes of the files. The unit is that of ``benchmarks/unit.py``, taken before and after.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from unit import machine_unit

SIZE = 1024
#: Of a science image and its template: a survey that is extrapolated to.
CHIPS, VISITS, CHIP_PIXELS, NIGHT_HOURS = 200, 1000, 4096 * 4096, 10
#: The difference, the kernel, and the record; no matched image.
OPTIONS = ("--no-matched", "-q")


@dataclass(frozen=True)
class Cost:
    """What a run of a batch took: CPU and wall seconds, most bytes of memory of one process, bytes written."""

    cpu: float
    wall: float
    memory: int
    written: int


def make_night(folder: Path, n_pairs: int) -> int:
    """Write a template and science images of the same stars with different noise; bytes of one image."""
    import numpy as np

    from psfmatch_cli.io import write_exposure
    from psfmatch_cli.simulate import preset, simulate_pair

    pair = simulate_pair(preset("demo", width=SIZE, height=SIZE, seed=1))
    (folder / "night").mkdir()
    write_exposure(folder / "template.fits", pair.template)
    science, rng = pair.science, np.random.default_rng(2)
    for n in range(n_pairs):
        # A little more noise, so that no two images are equal.
        noise = rng.normal(scale=0.1, size=science.shape).astype(np.float32) * np.sqrt(science.variance)
        made = type(science.masked_image)(science.image + noise, science.mask, science.variance * np.float32(1.01))
        write_exposure(folder / "night" / f"v{n:04d}.fits", science.with_pixels(made))
    return (folder / "template.fits").stat().st_size


def run(folder: Path, n_jobs: int) -> Cost:
    """Run a batch of all images with a number of processes."""
    output = folder / f"out{n_jobs}"
    command = [sys.executable, "-m", "psfmatch_cli", "batch", "template.fits", "night/*.fits", "-o", str(output)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--jobs", str(n_jobs), *OPTIONS], cwd=folder, check=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    written = sum(path.stat().st_size for path in output.iterdir())
    return Cost(cpu, wall, after.ru_maxrss * 1024, written)


def survey_table(cost: Cost, n_pairs: int, image_bytes: int) -> list[tuple[str, str]]:
    """What the measured pairs mean for a survey: all costs in proportion to the pixels."""
    pairs, scale = CHIPS * VISITS, CHIP_PIXELS / SIZE**2
    cpu = pairs * scale * cost.cpu / n_pairs
    read = pairs * scale * image_bytes + CHIPS * scale * image_bytes
    written = pairs * scale * cost.written / n_pairs
    cores = cpu / (NIGHT_HOURS * 3600)
    from psfmatch_cli.memory import describe_size, needed_memory

    memory = needed_memory(CHIP_PIXELS)
    return [
        (f"pairs of {CHIP_PIXELS**0.5:.0f} x {CHIP_PIXELS**0.5:.0f}", f"{pairs}"),
        ("CPU", f"{cpu / 3600:.0f} core hours"),
        (f"cores for {NIGHT_HOURS} hours", f"{cores:.0f}"),
        ("memory of a process, at most", describe_size(memory)),
        ("memory of all", describe_size(memory * max(1.0, cores))),
        ("read", f"{describe_size(read)}, {describe_size(read / NIGHT_HOURS / 3600)}/s"),
        ("written", f"{describe_size(written)}, {describe_size(written / NIGHT_HOURS / 3600)}/s"),
    ]


def main(n_pairs: int = 100, most_jobs: int = len(os.sched_getaffinity(0))) -> None:
    """Measure, and print the two tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image_bytes = make_night(folder, n_pairs)
        unit, costs = machine_unit(), {}
        counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n < most_jobs] + [most_jobs]
        print("| processes | units of CPU a pair | pairs a minute | speed-up | memory of a process |")
        print("|---|---|---|---|---|")
        for n_jobs in counts:
            cost = costs[n_jobs] = run(folder, n_jobs)
            speed_up, rate = costs[1].wall / cost.wall, 60 * n_pairs / cost.wall
            memory = f"{cost.memory / 1e6:.0f} MB"
            print(f"| {n_jobs} | {cost.cpu / n_pairs / unit:.2f} | {rate:.1f} | {speed_up:.2f} | {memory} |")
        print(f"\nunit {unit:.3f} s before, {machine_unit():.3f} s after\n\n| survey | |\n|---|---|")
        for label, value in survey_table(costs[1], n_pairs, image_bytes):
            print(f"| {label} | {value} |")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
