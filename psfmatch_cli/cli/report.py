"""psfmatch report: a page with pictures of a difference and of how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psfmatch_cli.cli import options

_FROM_RUN = "[default: that of the run that made DIFFERENCE]"


def _file(name: str, what: str) -> options.Decorator:
    return options.option(f"--{name}", section="Input", metavar="FILE", help=f"{what}. {_FROM_RUN}")


@options.command("report", "psfmatch report diff.fits -o diff.html")
@options.path_argument("difference")
@_file("template", "Template; one on another grid is resampled by its WCS")
@_file("science", "Science image")
@_file("matched", "Matched image")
@_file("kernel", "Kernel file")
@_file("metadata", "Record of the run")
@_file("diff-sources", "Table of the sources of the difference")
@options.output("Page (.html)")
@options.reporting
def command(difference: Path, output: Path, overwrite: bool, **given: Any) -> None:
    """Make a page with pictures of DIFFERENCE, to see whether it can be trusted.

    The page is one HTML file that needs no network: images side by side, residuals at sources, kernel, candidates,
    noise, numbers. Template, science image, matched image, kernel and record are found by what the header and
    the record of the run say; what is not found is left out.
    """
    from psfmatch_cli.cli import products
    from psfmatch_cli.cli.console import reporting, say
    from psfmatch_cli.cli.plain_text import one_line
    from psfmatch_cli.cli.report_files import find_files, subject_of_files
    from psfmatch_cli.report.page import make_page

    outputs = {products.REPORT: output}
    names = ("template", "science", "matched", "kernel", "metadata", "diff_sources")
    with reporting(given["verbose"], given["quiet"], []):
        products.check(outputs, [difference, *(given[name] for name in names if given[name])], overwrite)
        found = find_files(difference, given)
        products.check(outputs, found.paths.values(), overwrite)
        page = make_page(subject_of_files(difference, found))
        with products.transaction(outputs, overwrite) as temporary:
            temporary[products.REPORT].write_text(page, "utf-8")
    if not given["quiet"]:
        record = [] if found.record is None else ["record"]
        shown = ["difference", *(name.replace("_", " ") for name in found.paths), *record]
        say(one_line(f"report: {', '.join(shown)} -> {output}"))
