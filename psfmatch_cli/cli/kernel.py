"""psfmatch kernel: what a kernel file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psfmatch_cli.cli import options
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from psfmatch_cli.kernel_io import SavedKernel

_FITS = (".fits", ".fit")
_SHAPE = ("sum", "x_shift", "y_shift", "fwhm", "background")


class Numbers(click.ParamType):
    """Two numbers with a comma between them.

    Parameters
    ----------
    kind : type
        int or float.
    """

    name = "two numbers"

    def __init__(self, kind: type):
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, Any]:
        parts = str(value).split(",")
        try:
            first, second = (self.kind(part) for part in parts)
        except ValueError:
            self.fail(f"{value} is not two numbers such as 100,200", param, ctx)
        return first, second


@options.command("kernel", "psfmatch kernel diff_kernel.fits --at 100,200 -o kernel.fits")
@options.path_argument("kernel")
@options.option(
    "--at",
    type=Numbers(float),
    section="Output",
    metavar="X,Y",
    help="Tell the kernel at this position, pixels from 0; with -o write its image. [default: the whole]",
)
@options.option(
    "--grid",
    type=Numbers(int),
    section="Output",
    metavar="NX,NY",
    help="Tell the kernels at the middles of NX x NY cells; with -o write their images or a table. "
    "[default: 5,5 for --plot]",
)
@options.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    section="Output",
    metavar="FILE",
    help="File for the kernel of --at or the kernels of --grid: images (.fits) or a table (.ecsv, .csv). "
    "[default: none]",
)
@options.option(
    "--plot",
    type=click.Path(path_type=Path),
    section="Output",
    metavar="FILE.png",
    help="Picture of the kernels across the field, the kernel sum and the background; needs psfmatch[plot]. "
    "[default: none]",
)
@options.option("--overwrite", is_flag=True, section="Output", help="Replace output files that exist.")
@options.option("--json", "as_json", is_flag=True, section="Output", help="Print all of it as JSON.")
@options.debugging
def command(kernel: Path, **given: Any) -> None:
    """Say what the kernel file KERNEL holds.

    Such a file is written by psfmatch match and psfmatch subtract; psfmatch subtract --use-kernel applies it.
    """
    from psfmatch_cli.kernel_io import load_kernel
    from psfmatch_cli.kernel_shape import kernel_grid

    _check(kernel, given)
    saved = load_kernel(kernel)
    grid = kernel_grid(saved.kernel, *(given["grid"] or (5, 5)))
    report = _report(kernel, saved, grid, given)
    if given["output"] is not None:
        _write(kernel, saved, grid, given)
    if given["plot"] is not None:
        _plot(saved, grid, given)
    if given["as_json"]:
        from psfmatch_cli.outputs import to_json

        click.echo(to_json(report, indent=2))
    else:
        for line in _lines(report):
            click.echo(one_line(line))


def _check(kernel: Path, given: Mapping[str, Any]) -> None:
    """Refuse what cannot be done, before any work."""
    from psfmatch_cli.outputs import check_distinct, check_output
    from psfmatch_cli.tables import table_format

    if given["at"] is not None and given["grid"] is not None:
        raise UsageError("--at is one position, --grid many: give one of them")
    output, plot = given["output"], given["plot"]
    if output is not None and given["at"] is None and given["grid"] is None:
        raise UsageError("-o writes the kernel of --at X,Y or the kernels of --grid NX,NY: give one of them")
    if plot is not None and plot.suffix.lower() != ".png":
        raise UsageError(f"{plot}: a plot is a PNG file, so its name ends in .png")
    if plot is not None:
        from psfmatch_cli.kernel_plot import check_plotting

        check_plotting()
    paths = [path for path in (output, plot) if path is not None]
    check_distinct(paths, [kernel])
    for path in paths:
        check_output(path, given["overwrite"])
    if output is not None and output.suffix.lower() not in _FITS:
        table_format(output)


def _report(path: Path, saved: SavedKernel, grid: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    from psfmatch_cli.kernel_report import grid_table, kernel_at, kernel_summary

    models = saved.kernel, saved.background
    if given["at"] is not None:
        return kernel_at(*models, *given["at"])
    if given["grid"] is not None:
        table = grid_table(*models, grid)
        return {"kernels": [{name: _or_none(row[name].item()) for name in table.colnames} for row in table]}
    used = None if saved.candidates is None else int(sum(status == "used" for status in saved.candidates["status"]))
    kept = ("convolved", "template_fwhm", "science_fwhm", "quality")
    of_info = {name: saved.info.get(name) for name in kept}
    return {"file": str(path), **of_info, "n_used": used, **kernel_summary(*models)}


def _or_none(value: float) -> float | None:
    return None if value != value else value


def _write(path: Path, saved: SavedKernel, grid: Any, given: Mapping[str, Any]) -> None:
    from psfmatch_cli.kernel_files import write_kernel_grid, write_kernel_image
    from psfmatch_cli.kernel_report import grid_table, image_table
    from psfmatch_cli.outputs import provenance_cards
    from psfmatch_cli.tables import write_table
    from psfmatch_cli.version import __version__

    output, at, replace = given["output"], given["at"], given["overwrite"]
    is_image = output.suffix.lower() in _FITS
    place = {} if at is None else {"PMKX": (at[0], "[pix] position of the kernel, from 0"), "PMKY": (at[1], "")}
    cards = provenance_cards(__version__, {"kernel": path}, values=place)
    if at is not None and is_image:
        images = saved.kernel.image(*at), saved.kernel.error_image(*at)
        write_kernel_image(output, *images, cards=cards, overwrite=replace)
    elif at is not None:
        write_table(output, image_table(saved.kernel, *at), cards=cards, overwrite=replace)
    else:
        table = grid_table(saved.kernel, saved.background, grid)
        if is_image:
            cube = grid.images.reshape(-1, saved.kernel.size, saved.kernel.size)
            write_kernel_grid(output, grid.mosaic(), cube, table, cards=cards, overwrite=replace)
        else:
            write_table(output, table, cards=cards, overwrite=replace)


def _plot(saved: SavedKernel, grid: Any, given: Mapping[str, Any]) -> None:
    from psfmatch_cli.kernel_plot import kernel_figure
    from psfmatch_cli.outputs import atomic_path

    figure = kernel_figure(saved.kernel, saved.background, grid, saved.candidates)
    with atomic_path(given["plot"], given["overwrite"]) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for people: an item a line, or a kernel a line."""
    if "kernels" not in report:
        for name, value in report.items():
            if value is not None:
                yield f"{name.replace('_', ' '):<18}{_told(value)}"
        return
    yield "".join(f"{name:>12}" for name in ("x", "y", *_SHAPE))
    for row in report["kernels"]:
        yield "".join(f"{'-' if row[name] is None else _told(row[name]):>12}" for name in ("x", "y", *_SHAPE))


def _told(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_told, value)) if len(value) == 2 else ", ".join(map(_told, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)
