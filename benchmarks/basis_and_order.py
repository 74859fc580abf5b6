"""Compare bases and spatial orders of the kernel on stars that are kept out of the fit.

    python benchmarks/basis_and_order.py                       every pair, every basis, every order
    python benchmarks/basis_and_order.py eso085 --bases default "delta functions" --orders auto 0 1
    python benchmarks/basis_and_order.py --summaries docs/method  one CSV file per pair, a line per basis

Of the sources that `psfmatch detect` finds in the science image every fourth is kept from `psfmatch subtract`; the
star figures are those of the pixels of these alone, on the pixels that all differences of a pair can use. The time is
that of the processor in units of the default's with its order chosen by itself.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import metrics
import numpy as np
from astropy.table import Table
from files import Planes, markdown_table, read_image, read_metadata, read_planes, write_lsst
from numpy.typing import NDArray
from real_pairs import PAIRS, data_folder

from psfmatch_cli.simulate import preset, simulate_pair

ROOT = Path(__file__).resolve().parent.parent
SIMULATED = "simulated"
HELD_OUT = 4  # every fourth source
REACH = 8  # pixels around a held-out source whose residuals count
#: Settings of each basis; "default" tries two and decides.
BASES: dict[str, str] = {
    "default": "",
    "4 2 2 + wing": "kernel.richer_deg_gauss=[]",
    "6 4 2 + wing": "kernel.alard_deg_gauss=6,4,2 kernel.richer_deg_gauss=[]",
    "4 2 2": "kernel.wing_gaussian=false kernel.richer_deg_gauss=[]",
    "2 2 2": "kernel.alard_deg_gauss=2,2,2 kernel.wing_gaussian=false kernel.richer_deg_gauss=[]",
    "4 2": "kernel.alard_deg_gauss=4,2 kernel.alard_sig_gauss=0.7,1.5 kernel.wing_gaussian=false "
    "kernel.richer_deg_gauss=[]",
    "degrees by BIC": "kernel.use_bic_for_kernel_basis=true",
    "components of 4 2 2": "kernel.use_pca_for_spatial_kernel=true kernel.richer_deg_gauss=[]",
    "delta functions, components": "kernel.kernel_basis_set=delta-function",
    "delta functions": "kernel.kernel_basis_set=delta-function kernel.use_pca_for_spatial_kernel=false",
    "4 2 2 + wing, pixel weights": "kernel.richer_deg_gauss=[] kernel.constant_variance_weighting=false",
    "4 2 2 + wing, no noise correction": "kernel.richer_deg_gauss=[] kernel.correct_noise_bias=false",
}
#: One function per pixel has 441 parameters per spatial term: orders beyond 1 take minutes.
MOST_ORDER = {"delta functions": 1}


@dataclass(frozen=True)
class Inputs:
    """Files of a pair and what its score needs."""

    template: Path
    science: Path
    options: list[str]
    gain: float | None


def inputs_of(name: str, folder: Path) -> Inputs:
    """A real pair, or the simulated one written into the folder."""
    if name != SIMULATED:
        pair = PAIRS[name]
        where = data_folder() / (pair.folder or name)
        options = [part for option, file in pair.options.items() for part in (option, str(where / file))]
        return Inputs(where / pair.template, where / pair.science, options, pair.gain)
    made = simulate_pair(preset("standard", width=1024, height=1024, seed=3, n_transients=0))
    for role in ("template", "science"):
        write_lsst(folder / f"{role}.fits", getattr(made, role))
    return Inputs(folder / "template.fits", folder / "science.fits", [], made.config.gain)


def psfmatch(*arguments: Any) -> float:
    """Run a command line; its processor time in seconds, which other work on the machine disturbs least."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "psfmatch_cli", *map(str, arguments)], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def split_sources(inputs: Inputs, folder: Path) -> tuple[Path, Table]:
    """Table file of the sources for the fit, and those kept out of it."""
    reading = [part.replace("--science-", "--") for part in _of_science(inputs.options)]
    psfmatch("detect", inputs.science, "-o", folder / "all.ecsv", "--overwrite", "-q", *reading)
    sources = Table.read(folder / "all.ecsv")
    held_out = np.arange(len(sources)) % HELD_OUT == 0
    sources[~held_out].write(folder / "fitted.ecsv", overwrite=True)
    return folder / "fitted.ecsv", sources[held_out]


def _of_science(options: list[str]) -> list[str]:
    pairs = zip(options[::2], options[1::2], strict=True)
    return [part for option, value in pairs if option.startswith("--science-") for part in (option, value)]


def around(sources: Table, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels within `REACH` of a source."""
    out = np.zeros(shape, bool)
    for x, y in zip(sources["x"], sources["y"], strict=True):
        ix, iy = int(x + 0.5), int(y + 0.5)
        out[max(iy - REACH, 0) : iy + REACH + 1, max(ix - REACH, 0) : ix + REACH + 1] = True
    return out


def run_all(name: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of all bases and orders of one pair."""
    inputs = inputs_of(name, folder)
    fitted, held_out = split_sources(inputs, folder)
    rows, planes = [], []
    for basis in options.bases:
        for order in options.orders:
            if order != "auto" and int(order) > MOST_ORDER.get(basis, 9):
                continue
            row = {"pair": name, "basis": basis, "order": order}
            try:
                seconds, made, metadata = run_one(inputs, fitted, folder / "difference.fits", basis, order)
            except subprocess.CalledProcessError as error:
                rows.append(row | {"used order": f"failed with status {error.returncode}"})
                continue
            planes.append((len(rows), made))
            row |= {"used order": metadata["spatialKernelOrderUsed"], "convolved": metadata["convolvedExposure"]}
            row |= {"functions": metadata["nBasis"], "candidates": metadata["nGood"]}
            rows.append(row | {"kernel sum": metadata["spatialKernelSum"], "CPU s": seconds})
            print(rows[-1], file=sys.stderr)
    add_scores(rows, planes, read_image(inputs.science), around(held_out, planes[0][1].image.shape), inputs.gain)
    return rows


def run_one(inputs: Inputs, fitted: Path, output: Path, basis: str, order: str) -> tuple[float, Planes, dict[str, Any]]:
    """Processor seconds, difference and metadata of one basis and order."""
    settings = [part for key in BASES[basis].split() for part in ("-c", key)]
    seconds = psfmatch(
        "subtract", inputs.template, inputs.science, "-o", output, "--overwrite", "-q", "--sources", fitted,
        "--kernel-order", order, *inputs.options, *settings,
    )  # fmt: skip
    return seconds, read_planes(output), read_metadata(output)


def add_scores(
    rows: list[dict[str, Any]],
    planes: list[tuple[int, Planes]],
    science: NDArray,
    judged: NDArray[np.bool_],
    gain: float | None,
) -> None:
    """Add star residuals, sky and false peaks to the rows."""
    common = np.logical_and.reduce([made.usable for _, made in planes])
    nothing = np.zeros(0)
    for index, made in planes:
        image = np.where(common, made.image, 0.0)
        score = metrics.score_pair(science, {"": image}, {"": common}, gain, judged=judged)[""]
        normalised = metrics.normalised(image, np.where(common, made.variance, 1.0), common)
        rows[index] |= {
            "star_mad": score.star_mad,
            "star_rms": score.star_rms,
            "star_frac": score.star_frac,
            "sky / noise": metrics.score_pair(science, {"": normalised}, {"": common})[""].sky,
            "peaks /Mpix": metrics.false_peaks(normalised, common, nothing, nothing, 1.0),
        }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per basis of one pair: figures of the order that was chosen, then star_rms (peaks) of each order."""
    made = [row for row in rows if "star_rms" in row]
    first = next(row["CPU s"] for row in made if row["order"] == "auto")
    out = []
    for basis in dict.fromkeys(row["basis"] for row in made):
        by_order = {row["order"]: row for row in made if row["basis"] == basis}
        chosen = by_order["auto"]
        line = {"basis": basis, "order": chosen["used order"], "time": f"{chosen['CPU s'] / first:.1f}"}
        line |= {name: f"{chosen[name]:.3f}" for name in ("kernel sum", "star_mad")}
        for order in ("0", "1", "2", "3"):
            row = by_order.get(order)
            line[f"order {order}"] = f"{row['star_rms']:.3f} ({row['peaks /Mpix']:.0f})" if row else "not tried"
        out.append(line)
    return out


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as a CSV file with a header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [SIMULATED, *(name for name in PAIRS if name != "sdss-r-own-wcs")]
    parser.add_argument("pairs", nargs="*", metavar="PAIR", default=names, help=f"any of {', '.join(names)}")
    parser.add_argument("--bases", nargs="+", choices=BASES, default=list(BASES))
    parser.add_argument("--orders", nargs="+", default=["auto", "0", "1", "2", "3"])
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--summaries", type=Path, help="folder for basis_PAIR.csv; needs the order auto")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the combinations and print the table."""
    options = parse(arguments)
    rows = []
    for name in options.pairs:
        with tempfile.TemporaryDirectory() as temporary:
            made = run_all(name, Path(temporary), options)
        rows += made
        if options.summaries:
            write_csv(options.summaries / f"basis_{name}.csv", summary(made))
        if options.output:
            options.output.write_text(markdown_table(rows) + "\n")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
