"""Time of the registration, of the widths of the PSFs and of the search for sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stages


def steps(work: stages.Work) -> dict[str, Callable[[], Any]]:
    """The steps alone, and all of them as the match calls them, overlapping."""
    from psfmatch_cli.background import fit_background
    from psfmatch_cli.psf import FWHM_PER_SIGMA
    from psfmatch_cli.psf_measure import measure_psf
    from psfmatch_cli.register import register

    template, science = work.exposures
    background = fit_background(science.masked_image)
    sigma = measure_psf(science, background=background).fwhm / FWHM_PER_SIGMA
    return {
        "registration": lambda: register(template, science, work.settings.warp, threads=work.settings.threads),
        "background of the science image": lambda: fit_background(science.masked_image),
        "width of the science PSF": lambda: measure_psf(science, background=background),
        "search and measurement": lambda: work.task._found(science, sigma, background),
        "all together": lambda: work.task._prepare(template, science, None, None, None, True),
    }


def main(arguments: list[str] | None = None) -> None:
    """Time the steps and print the table."""
    stages.main("Registration, widths and detection", __doc__, steps, arguments)


if __name__ == "__main__":
    main()
