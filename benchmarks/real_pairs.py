"""Run the whole `subtract` command on real pairs and score its differences beside those of another program.

    python benchmarks/real_pairs.py                    every pair in $PSFMATCH_DATA or ../shared/data
    python benchmarks/real_pairs.py sdss-r --inject 30 --keep out --output table.md

Both differences of a pair are scored on the pixels that both can use. With ``--inject`` the command runs a
second time with stars added to the science image: a difference that fits changes away scores well on constant
stars but returns too little of their flux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import metrics
import numpy as np
from astropy.io import fits
from files import Planes, markdown_table, read_image, read_metadata, read_planes
from numpy.typing import NDArray
from unit import machine_unit

from psfmatch_cli.simulation.render import MoffatShape, moffat_stamp

ROOT = Path(__file__).resolve().parent.parent
STAMP_HALF = 12  # pixels of an injected star's image
FLUX_HALF = 8  # pixels around it that are summed: 3 FWHM, less of other sources' changes than its whole image
INJECTED_PEAK = 20.0  # its peak, in units of the sky noise
MARGIN = 60  # pixels at the border without injected stars


@dataclass(frozen=True)
class RealPair:
    """Files of a pair, relative to its folder, and what the score needs.

    Parameters
    ----------
    template, science : str
        Images.
    gain : float
        Electrons per count, for the expected noise on stars.
    fwhm : float
        Of the science image, pixels, for injected stars.
    options : dict of str to str
        Options of `subtract` that name further files.
    folder : str, optional
        Where the files are, if not in the folder of the pair's name.
    peer : bool
        Whether there is another program's difference on this grid.
    """

    template: str
    science: str
    gain: float
    fwhm: float
    options: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    peer: bool = True


PAIRS = {
    "sdss-r": RealPair(
        "template.fits.gz",
        "science_aligned.fits.gz",
        4.76,
        2.49,
        {"--template-mask": "template_mask.fits.gz", "--science-mask": "science_aligned_mask.fits.gz"},
    ),
    "sdss-r-own-wcs": RealPair(
        "template.fits.gz",
        "science.fits.gz",
        4.76,
        2.49,
        {"--template-mask": "template_mask.fits.gz", "--science-mask": "science_mask.fits.gz"},
        folder="sdss-r",
        peer=False,
    ),
    "eso085": RealPair("template.fit", "science.fit", 1.5, 2.92),
    "nircam-a2744": RealPair(
        "template.fits",
        "science.fits",
        5143.0,
        2.5,
        {"--template-noise": "template_noise.fits", "--science-noise": "science_noise.fits"},
    ),
}


def data_folder() -> Path:
    """Where the pairs are: $PSFMATCH_DATA, or ../shared/data beside the repository."""
    return Path(os.environ.get("PSFMATCH_DATA") or ROOT.parent / "shared" / "data")


def subtract(folder: Path, pair: RealPair, science: Path, output: Path, further: list[str]) -> float:
    """Run the command; seconds."""
    files = [part for option, name in pair.options.items() for part in (option, str(folder / name))]
    command = [sys.executable, "-m", "psfmatch_cli", "subtract", str(folder / pair.template), str(science)]
    start = time.perf_counter()
    subprocess.run([*command, "-o", str(output), "--overwrite", *files, *further], check=True, cwd=ROOT)
    return time.perf_counter() - start


def normalised_sky(science: NDArray, difference: NDArray, noise: NDArray, usable: NDArray[np.bool_]) -> float:
    """Width of difference / noise where the science image is near its sky."""
    scaled = np.where(usable, difference / np.where(usable, noise, 1.0), 0.0)
    return metrics.score_pair(science, {"": scaled}, {"": usable})[""].sky


def score(name: str, folder: Path, pair: RealPair, ours: Planes) -> list[dict[str, Any]]:
    """Rows of the programs that have a difference."""
    science = read_image(folder / pair.science)
    differences, usable = {"psfmatch": ours.image}, {"psfmatch": ours.usable}
    noise = {"psfmatch": np.sqrt(np.where(ours.usable, ours.variance, np.nan))}
    if pair.peer:
        differences["peer"] = read_image(folder / "peer_difference.fits.gz")
        noise["peer"] = read_image(folder / "peer_noise.fits.gz")
        usable["peer"] = (read_image(folder / "peer_mask.fits.gz") == 0) & np.isfinite(differences["peer"])
    scores = metrics.score_pair(science, differences, usable, pair.gain)
    common = np.logical_and.reduce(list(usable.values()))
    rows = []
    for program, result in scores.items():
        sky = normalised_sky(science, differences[program], noise[program], common)
        rows.append({"pair": name, "program": program, "sky / noise": sky, **vars(result)})
    return rows


def add_stars(image: NDArray, fwhm: float, number: int, rng: np.random.Generator) -> tuple[NDArray, ...]:
    """Image with Moffat stars on empty sky; the image of one of them, and their positions x and y."""
    light, sigma = metrics.background_subtracted(image)
    stamp = moffat_stamp(MoffatShape(fwhm, 0.0, 0.0, 3.5), 0.0, 0.0, STAMP_HALF)
    stamp *= INJECTED_PEAK * sigma / stamp.max()
    occupied = light > 3.0 * sigma
    occupied[:MARGIN] = occupied[-MARGIN:] = occupied[:, :MARGIN] = occupied[:, -MARGIN:] = True
    chosen = np.zeros((0, 2), int)
    for place in zip(*metrics.empty_positions(occupied, 4.0, 40 * number, rng), strict=True):
        if len(chosen) < number and (np.hypot(*(chosen - place).T) > 5 * STAMP_HALF).all():
            chosen = np.vstack([chosen, np.array(place, int)])
    out = image.copy()
    for x, y in chosen:
        out[_stamp_at(x, y, STAMP_HALF)] += stamp
    return out, stamp, chosen[:, 0], chosen[:, 1]


def _stamp_at(x: int, y: int, half: int) -> tuple[slice, slice]:
    return slice(y - half, y + half + 1), slice(x - half, x + half + 1)


def injection(folder: Path, pair: RealPair, ours: Planes, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fraction of the flux of injected stars that a second run returns: median, width and number."""
    path = folder / pair.science
    rng = np.random.default_rng(options.seed)
    image, stamp, x, y = add_stars(read_image(path), pair.fwhm, options.inject, rng)
    science = work / "science_with_stars.fits"
    fits.writeto(science, image.astype(np.float32), _header(path), overwrite=True)
    output = work / "difference_with_stars.fits"
    subtract(folder, pair, science, output, options.options.split())
    with_stars = read_planes(output)
    usable = ours.usable & with_stars.usable
    change = np.where(usable, with_stars.image - ours.image, 0.0)
    places = [_stamp_at(*place, FLUX_HALF) for place in zip(x, y, strict=True)]
    injected = stamp[_stamp_at(STAMP_HALF, STAMP_HALF, FLUX_HALF)].sum()
    returned = np.array([change[at].sum() / injected for at in places if usable[at].all()])
    return {
        "returned": float(np.median(returned)) if len(returned) else float("nan"),
        "returned width": metrics.width(returned),
        "n injected": len(returned),
    }


def _header(path: Path) -> fits.Header:
    """Header of the first image without the cards that describe its pixels' coding."""
    with fits.open(path) as hdus:
        header = next(hdu.header.copy() for hdu in hdus if getattr(hdu.data, "ndim", 0) == 2)
    for card in ("BZERO", "BSCALE", "BLANK"):
        header.remove(card, ignore_missing=True)
    return header


def run_pair(name: str, unit: float, options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Rows of one pair: ours with the time and candidates, then the peer's."""
    pair = PAIRS[name]
    folder = data_folder() / (pair.folder or name)
    output = work / "difference.fits"
    seconds = subtract(folder, pair, folder / pair.science, output, options.options.split())
    ours, metadata = read_planes(output), read_metadata(output)
    rows = score(name, folder, pair, ours)
    rows[0] |= {"seconds": seconds, "units": seconds / unit, "used": metadata.get("nGood")}
    rows[0] |= {"of": metadata.get("nCandidates"), "convolved": metadata.get("convolvedExposure")}
    rows[0] |= {"order": metadata.get("spatialKernelOrderUsed")}
    if options.inject:
        rows[0] |= injection(folder, pair, ours, work, options)
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help=f"any of {', '.join(PAIRS)}; default: all")
    parser.add_argument("--inject", type=int, default=0, metavar="N", help="also inject N stars and run again")
    parser.add_argument("--seed", type=int, default=1, help="seed of their places")
    parser.add_argument("--options", default="", help="further options of subtract, in one string")
    parser.add_argument("--keep", type=Path, help="keep the files of each pair in a folder below this one")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the pairs and print the table."""
    options = parse(arguments)
    if not data_folder().is_dir():
        sys.exit(f"no real pairs: {data_folder()} is not a folder; set PSFMATCH_DATA to the one that holds them")
    unit = machine_unit()
    rows = []
    for name in options.pairs or PAIRS:
        with tempfile.TemporaryDirectory() as temporary:
            work = (options.keep or Path(temporary)) / name
            work.mkdir(parents=True, exist_ok=True)
            try:
                rows += run_pair(name, unit, options, work)
            except subprocess.CalledProcessError as error:
                rows.append({"pair": name, "program": f"psfmatch failed with status {error.returncode}"})
    table = markdown_table(rows)
    print(table)
    if options.output:
        options.output.write_text(f"One unit of this machine: {unit:.3f} s.\n\n{table}\n")


if __name__ == "__main__":
    main()
