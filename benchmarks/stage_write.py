"""Time of writing exposures, checksums included."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """One exposure, and two as a subtraction writes them."""
    from psfmatch_cli.fitswrite import ExposureFile, write_exposures

    folder = tempfile.TemporaryDirectory(dir=work.options.pairs)
    names = [Path(folder.name) / name for name in ("matched.fits", "difference.fits")]
    files = [ExposureFile(name, exposure) for name, exposure in zip(names, work.exposures, strict=True)]

    def write(number: int, held: Any = folder) -> None:
        write_exposures(files[:number], overwrite=True, threads=work.settings.threads)

    return {"one exposure": lambda: write(1), "two exposures": lambda: write(2)}


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Writing", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
