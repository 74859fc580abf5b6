"""Time of the difference: convolution, subtraction, sky and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """The difference of the pair, its kernel known."""
    from psfmatch_cli.difference import build_difference

    pair, plan, fit = work.pair, work.plan, work.fit
    template, correlation = pair.registered.exposure, pair.registered.autocorrelation
    return {
        "difference": lambda: build_difference(
            plan, fit, template, pair.science, pair.marked.masked_image, correlation, work.settings
        ),
    }


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Difference", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
