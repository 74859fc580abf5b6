"""Time of the convolution with the kernel that varies over the field: image, variance and mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """The convolution of the image that the match convolves."""
    from psfmatch_cli.convolve import convolve

    forward = work.plan.direction.convolve_template
    carried = (work.pair.registered.exposure if forward else work.pair.science).masked_image
    kernel, threads = work.fit.kernel, work.settings.threads
    return {f"kernel of {kernel.size} px": lambda: convolve(carried, kernel, threads=threads)}


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Convolution", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
