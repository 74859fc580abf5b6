"""Time of reading exposures, with what is worked out of headers and pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """Reading one exposure, and the headers alone."""
    from psfmatch_cli.io import read_exposure, read_facts

    template, science = work.paths
    return {
        "headers": lambda: read_facts(science),
        "template": lambda: read_exposure(template),
        "science": lambda: read_exposure(science),
    }


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Reading", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
