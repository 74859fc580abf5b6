"""psfmatch measure: forced photometry at given positions, in one image or a series of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psfmatch_cli.cli import options
from psfmatch_cli.cli.products import beside
from psfmatch_cli.cli.reading_options import reading
from psfmatch_cli.cli.run import Run, running
from psfmatch_cli.cli.work import read_sources
from psfmatch_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.table import Table

    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.source_list import SourceList


@options.command("measure", "psfmatch measure diff1.fits diff2.fits --at 150.1163,2.2058 -o curve.ecsv")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.output("Table of the fluxes (.fits, .ecsv or .csv)")
@options.metadata
@options.summary
@options.positions
@reading("")
@options.common
def command(images: tuple[Path, ...], output: Path, **given: Any) -> None:
    """Measure the flux of a point source at given positions in each of IMAGES.

    The table has one row per image and position: a light curve. Fluxes are those of the PSF, in counts, and, where the
    zero point is known, on the scale on which magnitude 25 is 1. Sky positions go through the WCS of each image.
    IMAGES are differences made by psfmatch subtract, or other exposures, whose background is subtracted first.
    """
    inputs = {f"image {n}": path for n, path in enumerate(images, start=1)}
    outputs = {
        "metadata": beside(output, given["metadata"], given["no_metadata"], "_metadata.json"),
        "light curve": output,
    }
    with running("measure", given, inputs, outputs) as run:
        from psfmatch_cli.forced import light_curve

        positions = _positions(run)
        table = light_curve(_measurable(run, images, positions))
        n_positions = len(set(table["source_id"]))
        summary = {"n_images": len(images), "n_positions": n_positions, "n_measured": _n_measured(table)}
        with run.writing(summary) as names:
            run.write_table(names["light curve"], table)
        run.say(
            f"measure: {n_positions} positions in {len(images)} images, "
            f"{summary['n_measured']} fluxes of {len(table)} rows -> {output}"
        )


def _n_measured(table: Table) -> int:
    import numpy as np

    return int(np.isfinite(table["psf_flux"]).sum())


def _measurable(run: Run, images: tuple[Path, ...], positions: SourceList) -> Iterator[tuple[str, Exposure, Table]]:
    """Each image and its positions, one image in memory at a time."""
    from psfmatch_cli.source_list import source_table

    for n, path in enumerate(images, start=1):
        exposure = run.work.read(f"image {n}")
        yield path.name, exposure, source_table(positions, exposure)


def _positions(run: Run) -> SourceList:
    """The positions of --at, --at-pixel or --sources.

    Raises
    ------
    UsageError
        If there is none of them, or more than one.
    """
    from astropy.table import Table

    from psfmatch_cli.source_list import SourceList

    sky, pixels, file = run.given["at"], run.given["at_pixel"], run.given["sources"]
    if sum(map(bool, (sky, pixels, file))) != 1:
        raise UsageError("measure needs positions: one of --at RA,DEC, --at-pixel X,Y and --sources FILE")
    if file:
        return read_sources(run.given)
    names = [f"{n}" for n in range(1, len(sky or pixels) + 1)]
    if pixels:
        x, y = zip(*(_two_numbers(text, "--at-pixel", "X,Y") for text in pixels), strict=True)
        return SourceList(Table({"source_id": names, "x": x, "y": y}), name="--at-pixel")
    ra, dec = zip(*map(_sky_position, sky), strict=True)
    return SourceList(Table({"source_id": names, "ra": ra, "dec": dec}), name="--at")


def _two_numbers(text: str, option: str, form: str) -> tuple[float, float]:
    """Two numbers with a comma between them.

    Raises
    ------
    UsageError
        If it is something else.
    """
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f'{option} takes "{form}", two numbers, got {text!r}') from None
    return first, second


def _sky_position(text: str) -> tuple[float, float]:
    """Right ascension and declination in degrees, of degrees or of hours, minutes and seconds.

    Raises
    ------
    UsageError
        If the text has another form, or is no place on the sky.
    """
    first, _, second = (part.strip() for part in text.partition(","))
    if not re.search(r"[:hd ]", first):
        ra, dec = _two_numbers(text, "--at", "RA,DEC")
    else:
        ra, dec = _of_hours(first, second, text)
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise UsageError(f"--at {text}: right ascension must be 0 to 360 and declination -90 to 90 degrees")
    return ra, dec


def _of_hours(ra: str, dec: str, text: str) -> tuple[float, float]:
    from astropy.coordinates import SkyCoord

    try:
        found = SkyCoord(ra, dec, unit=("hourangle", "deg"))
    except ValueError as error:
        raise UsageError(
            f'--at takes "RA,DEC" in degrees, or as "10:00:28.0,+02:12:21", got {text!r} ({error})'
        ) from error
    return float(found.ra.deg), float(found.dec.deg)
