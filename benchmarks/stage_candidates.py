"""Time of the selection of kernel candidates among the sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """The selection for the first basis that would be tried."""
    from psfmatch_cli.plan import directions

    pair = work.pair
    direction = directions(pair.widths.template, pair.widths.science, None)[0]
    spec = work.task._specs(pair, direction)[0]
    return {f"{len(pair.sources)} sources": lambda: work.task._candidates(pair, spec)}


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Selection of candidates", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
