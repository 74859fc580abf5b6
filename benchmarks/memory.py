"""Measure the memory that `subtract` takes beside what the program estimates before it starts.

    python benchmarks/memory.py                       all variants at 512, 1024 and 2048 pixels a side
    python benchmarks/memory.py plain --size 1024 --output memory.md

Prints a Markdown table; the last columns have to be below 1. benchmarks/README.md says how to read it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from files import markdown_table, write_lsst

from psfmatch_cli.config.kernel import CANDIDATE_LIMITS, DELTA_FUNCTION_SIZE
from psfmatch_cli.memory import RUN_BYTES, needed_memory
from psfmatch_cli.simulate import SimulatedPair, preset, simulate_pair

ROOT = Path(__file__).resolve().parent.parent
#: Options of `subtract` for each way in which the pair is written and matched.
VARIANTS = {
    "planes": (),
    "plain": (),
    "stars": ("--register", "stars"),
    "science": ("--convolve", "science"),
    "packed": (),
    "tiles": (),
    "threads": ("--threads", "2"),
    "order4": ("--kernel-order", "4", "--background-order", "4"),
    "delta": ("-c", "kernel.kernel_basis_set=delta-function"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variants", nargs="*", default=[], metavar="variant", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--size", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    rows = []
    for size in given.size:
        pair = simulate_pair(preset("warped", width=size, height=size))
        for variant in given.variants or VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measured(pair, variant, size, Path(folder)))
            print(*rows[-1].values(), file=sys.stderr, flush=True)
    table = markdown_table(rows)
    print(table)
    if given.output:
        given.output.write_text(table + "\n", encoding="utf-8")


def measured(pair: SimulatedPair, variant: str, size: int, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    suffix = {"packed": ".fits.gz", "tiles": ".fits.fz"}.get(variant, ".fits")
    paths = [folder / f"{role}{suffix}" for role in ("template", "science")]
    for path, exposure in zip(paths, (pair.template, pair.science), strict=True):
        write(path, exposure, variant)
    peak = peak_memory(["subtract", *map(str, paths), "-o", str(folder / "difference.fits"), *VARIANTS[variant]])
    unknowns = (DELTA_FUNCTION_SIZE**2, CANDIDATE_LIMITS["delta-function"]) if variant == "delta" else ()
    estimate = needed_memory(size**2, *unknowns)
    return {
        "variant": variant,
        "side": size,
        "peak MiB": round(peak / 2**20),
        "bytes/pixel": round((peak - RUN_BYTES) / size**2),
        "estimate MiB": round(estimate / 2**20),
        "peak / estimate": peak / estimate,
    }


def write(path: Path, exposure, variant: str) -> None:
    """Three planes in the LSST layout, or for some variants the image alone."""
    from psfmatch_cli.io import write_exposure

    if variant == "plain":
        from astropy.io import fits

        fits.PrimaryHDU(exposure.image, exposure.wcs.to_header()).writeto(path)
    elif variant in ("packed", "tiles"):
        write_exposure(path, exposure)
    else:
        write_lsst(path, exposure)


def peak_memory(arguments: list[str]) -> int:
    """Largest resident memory of a command, bytes.

    From the process itself, on Linux: what `wait4` tells of a child counts the pages of its parent, too.
    """
    code = "import sys; from psfmatch_cli.cli import exit_status; status = exit_status(sys.argv[1:]); "
    code += "print(open('/proc/self/status').read()); sys.exit(status)"
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"psfmatch {' '.join(arguments)} ended with status {ended.returncode}")
    return int(ended.stdout.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
