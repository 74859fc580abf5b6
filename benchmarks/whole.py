"""Time and memory of the whole `subtract` command, start of Python included, on simulated pairs.

    python benchmarks/whole.py                               1024, 2048 and 4096, aligned and on another WCS
    python benchmarks/whole.py --sizes 2048 --cases standard --repeats 5 --options "--threads 1"
    python benchmarks/whole.py --sizes 1024 2048 4096 8192 --plot scaling.png --output whole.md

The files have three planes of float32 or int32 in the LSST layout; every output is written. The pairs are kept in
the folder of `--pairs` and read once before they are timed. Best of n; benchmarks/README.md says how to read it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import timing

#: Units and MiB that a run may take, by case and side; None: not set for that size.
GOALS: dict[tuple[str, int], tuple[float, float]] = {
    ("standard", 1024): (5.5, 300.0),
    ("standard", 2048): (7.0, 500.0),
    ("standard", 4096): (14.0, 1126.4),
    ("warped", 4096): (18.0, 1331.2),
}
HELP_GOAL = 0.7
BYTES_PER_PIXEL, FIXED_MIB = 64, 250


def goal_of(case: str, size: int) -> tuple[float | None, float]:
    """Units and MiB for a case: what is set, else no time and what the memory may grow to."""
    return GOALS.get((case, size), (None, FIXED_MIB + BYTES_PER_PIXEL * size**2 / timing.MIB))


def measured(case: str, size: int, options: argparse.Namespace, unit: float) -> dict[str, Any]:
    """One row of the table."""
    template, science = timing.pair_of(options.pairs, case, size)
    for path in (template, science):
        path.read_bytes()
    with tempfile.TemporaryDirectory(dir=options.pairs) as folder:
        output = Path(folder) / "difference.fits"
        command = timing.program("subtract", template, science, "-o", output, "--overwrite", "-q")
        cost = timing.best(options.repeats, lambda: timing.run([*command, *options.options.split()]))
    units, peak = goal_of(case, size)
    row = {"case": case, "side": size, **cost.row(unit), "goal units": units, "goal MiB": peak}
    row["bytes / pixel"] = (cost.peak - FIXED_MIB) * timing.MIB / size**2
    row["met"] = "yes" if cost.peak <= peak and (units is None or cost.wall / unit <= units) else "no"
    return row


def help_row(repeats: int, unit: float) -> dict[str, Any]:
    """The row of `psfmatch --help`."""
    cost = timing.best(max(repeats, 5), lambda: timing.run(timing.program("--help")))
    met = "yes" if cost.wall / unit <= HELP_GOAL else "no"
    return {"case": "--help", "side": None, **cost.row(unit), "goal units": HELP_GOAL, "goal MiB": None, "met": met}


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory against the number of pixels, with lines of slope one through the largest of each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for axis, name, goal in zip(axes, ("wall units", "peak MiB"), ("goal units", "goal MiB"), strict=True):
        for case in dict.fromkeys(row["case"] for row in rows):
            chosen = [row for row in rows if row["case"] == case]
            pixels = [row["side"] ** 2 / 1e6 for row in chosen]
            (line,) = axis.loglog(pixels, [row[name] for row in chosen], "o-", label=case)
            slope = [chosen[-1][name] * p / pixels[-1] for p in pixels]
            axis.loglog(pixels, slope, ":", color=line.get_color(), label="as the pixels")
            with_goal = [(p, row[goal]) for p, row in zip(pixels, chosen, strict=True) if row[goal] is not None]
            axis.plot(*zip(*with_goal, strict=True), "_", markersize=14, color=line.get_color(), label="goal")
        axis.set(xlabel="megapixels", ylabel=name)
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096], help="sides of the images")
    parser.add_argument("--cases", nargs="+", default=["standard", "warped"], help="simulated cases")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the best counts")
    parser.add_argument("--options", default="", help="further options of subtract, in one string")
    default = Path(tempfile.gettempdir()) / "psfmatch-pairs"
    parser.add_argument("--pairs", type=Path, default=default, help=f"folder of the pairs; default {default}")
    parser.add_argument("--output", type=Path, help="also write the table to this file (.md or .json)")
    parser.add_argument("--plot", type=Path, help="draw time and memory against the size to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Time the runs, print the table."""
    options = parse(arguments)
    rows, units = [], [timing.unit_seconds()]
    rows.append(help_row(options.repeats, units[0]))
    for case in options.cases:
        for size in sorted(options.sizes):
            timing.pair_of(options.pairs, case, size)
            units.append(timing.unit_seconds())
            rows.append(measured(case, size, options, units[-1]))
    timing.report(f"psfmatch subtract {options.options}".strip(), rows, min(units), options.output)
    if options.plot:
        plot([row for row in rows if row["side"] is not None], options.plot)


if __name__ == "__main__":
    main()
