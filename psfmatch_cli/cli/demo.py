"""psfmatch demo: write a simulated pair of images to try the other commands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from psfmatch_cli.cli import options
from psfmatch_cli.cli.plain_text import one_line

if TYPE_CHECKING:
    from psfmatch_cli.simulate import SimulatedPair


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
@options.option("--json", "as_json", is_flag=True, section="Output", help="Print what was made as JSON.")
@options.reporting
def command(folder: Path, size: int, seed: int, overwrite: bool, as_json: bool, **given: int) -> None:
    """Write a simulated pair of images into FOLDER, and what is true about it.

    FOLDER is made if it does not exist; its default name is demo. Three files are written: template.fits,
    science.fits and truth.ecsv, the sources that changed (pixels from 0; flux in science counts).
    """
    from psfmatch_cli.cli import products
    from psfmatch_cli.cli.console import reporting, say
    from psfmatch_cli.simulate import preset, simulate_pair

    outputs = {name: folder / name for name in ("truth.ecsv", "template.fits", "science.fits")}
    with _folder(folder), reporting(given["verbose"], given["quiet"], []):
        products.check(outputs, [], overwrite)
        pair = simulate_pair(preset("demo", width=size, height=size, seed=seed))
        with products.transaction(outputs, overwrite) as names:
            _write(names, pair)
    if as_json:
        from psfmatch_cli.strict_json import to_json

        say(
            to_json(
                {"files": outputs, "n_changed": len(pair.transients), "flux_ratio": pair.config.flux_ratio}, indent=2
            )
        )
    elif not given["quiet"]:
        told = f"{len(pair.transients)} sources changed, flux ratio {pair.config.flux_ratio:g}"
        say(one_line(f"demo: {told} -> {folder}"))


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; if the block fails, the new ones are removed again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty: something else has been put there
            for path in missing:
                path.rmdir()
        raise


def _write(names: Mapping[str, Path], pair: SimulatedPair) -> None:
    from psfmatch_cli.io import write_exposure
    from psfmatch_cli.outputs import run_card
    from psfmatch_cli.provenance import new_run_id
    from psfmatch_cli.tables import write_table

    cards = [run_card(new_run_id())]
    write_table(names["truth.ecsv"], pair.transients, cards=cards)
    write_exposure(names["template.fits"], pair.template, cards=cards)
    write_exposure(names["science.fits"], pair.science, cards=cards)
