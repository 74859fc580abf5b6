"""Time of writing exposures, checksums included; the files stay in the folder of the pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """One exposure, and two as a subtraction writes them."""
    from psfmatch_cli.fitswrite import ExposureFile, write_exposures

    names = [work.options.pairs / f"written-{name}.fits" for name in ("matched", "difference")]
    files = [ExposureFile(name, exposure) for name, exposure in zip(names, work.exposures, strict=True)]

    def write(number: int) -> None:
        write_exposures(files[:number], overwrite=True, threads=work.settings.threads)

    return {"one exposure": lambda: write(1), "two exposures": lambda: write(2)}


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Writing", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
