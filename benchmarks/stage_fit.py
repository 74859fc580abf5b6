"""Time of the choice of basis and orders, with the fits of the candidates, and of the spatial solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """Choice and solution; the fits of the candidates are the choice's."""
    return {
        "basis and orders": lambda: work.task._plan(work.pair, None),
        "basis, orders and solution": lambda: work.task._solve(work.task._plan(work.pair, None)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Fit of the kernel", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
