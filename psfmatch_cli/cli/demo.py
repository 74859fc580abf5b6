"""psfmatch demo: write a simulated pair of images to try the other commands on."""

from __future__ import annotations

from pathlib import Path

import click

from psfmatch_cli.cli import options
from psfmatch_cli.cli.plain_text import one_line


@options.command("demo", "psfmatch demo demo --size 512")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="demo")
@options.option(
    "--size",
    type=click.IntRange(min=64),
    default=768,
    section="Simulation",
    metavar="PIXELS",
    help="Side of the images. [default: 768]",
)
@options.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    section="Simulation",
    metavar="N",
    help="Seed of all that is random. [default: 1]",
)
@options.option("--overwrite", is_flag=True, section="Output", help="Replace output files that exist.")
@options.reporting
def command(folder: Path, size: int, seed: int, overwrite: bool, **given: int) -> None:
    """Write a simulated pair of images into FOLDER, and what is true about it.

    FOLDER is made if it does not exist; its default name is demo. Three files are written: template.fits,
    science.fits and truth.ecsv, the sources that changed (pixels from 0; flux in science counts).
    """
    from psfmatch_cli.cli import products
    from psfmatch_cli.cli.console import reporting
    from psfmatch_cli.io import write_exposure
    from psfmatch_cli.simulate import preset, simulate_pair
    from psfmatch_cli.tables import write_table

    folder.mkdir(parents=True, exist_ok=True)
    outputs = {name: folder / name for name in ("truth.ecsv", "template.fits", "science.fits")}
    products.check(outputs, [], overwrite)
    with reporting(given["verbose"], given["quiet"], []):
        pair = simulate_pair(preset("demo", width=size, height=size, seed=seed))
        with products.transaction(outputs) as names:
            write_table(names["truth.ecsv"], pair.transients)
            write_exposure(names["template.fits"], pair.template)
            write_exposure(names["science.fits"], pair.science)
    if not given["quiet"]:
        told = f"{len(pair.transients)} sources changed, flux ratio {pair.config.flux_ratio:g}"
        click.echo(one_line(f"demo: {told} -> {folder}"))
