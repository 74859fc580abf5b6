"""Verdicts on good pairs and on deliberately spoiled ones, with the numbers that they rest on.

python benchmarks/quality.py                        simulated pairs, spoiled ones, and those of $PSFMATCH_DATA
python benchmarks/quality.py --size 512 --output quality.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from files import markdown_table
from real_pairs import PAIRS, data_folder

from psfmatch_cli import ImagePsfMatchTask, PsfMatchError, load_settings, read_exposure
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.known_kernel import KnownKernel
from psfmatch_cli.read_options import ReadOptions
from psfmatch_cli.simulate import preset, simulate_pair

GOOD = ("standard", "crowded", "empty", "varying", "equal", "undersampled", "reversed", "warped")
#: Columns of the table: items of the container quality of the record.
COLUMNS = (
    "skyWidthFactor",
    "largestSkyMean",
    "starResidual",
    "heldOutResidual",
    "spoiledFraction",
    "worstCellResidual",
    "starChi2",
    "ratioMean",
    "ratioStd",
    "kernelSumScatter",
    "kernelShift",
    "sourceRatio",
)


@dataclass(frozen=True)
class Case:
    """A pair, and how it is subtracted."""

    name: str
    template: Exposure
    science: Exposure
    settings: tuple[str, ...] = ()
    known: KnownKernel | None = None


def with_pixels(exposure: Exposure, **changes: Any) -> Exposure:
    return exposure.with_pixels(replace(exposure.masked_image, **changes))


def with_gain(exposure: Exposure, factor: float) -> Exposure:
    """The exposure as a gain that is wrong by this factor makes it."""
    return with_pixels(exposure, variance=exposure.variance / np.float32(factor))


def shifted(exposure: Exposure) -> Exposure:
    """One pixel to the right, under the same WCS."""
    planes = {name: np.roll(getattr(exposure, name), 1, axis=1) for name in ("image", "mask", "variance")}
    return with_pixels(exposure, **planes)


def saturated(exposure: Exposure, part: float) -> Exposure:
    """Flat above a part of the brightest pixel's light, and not flagged."""
    sky = np.median(exposure.image)
    level = np.float32(sky + part * (exposure.image.max() - sky))
    mask = exposure.mask & ~np.int32(exposure.masked_image.bits(["SAT"]))
    return with_pixels(exposure, image=np.minimum(exposure.image, level), mask=mask)


def good_cases(size: int) -> Iterator[Case]:
    for name in GOOD:
        pair = simulate_pair(preset(name, width=size, height=size, seed=3))
        yield Case(name, pair.template, pair.science)


def spoiled_cases(size: int) -> Iterator[Case]:
    pair = simulate_pair(preset("standard", width=size, height=size, seed=3))
    other = simulate_pair(preset("standard", width=size, height=size, seed=77))
    template, science = pair.template, pair.science
    for factor in (0.25, 0.6, 4.0):
        yield Case(f"gains x {factor:g}", with_gain(template, factor), with_gain(science, factor))
    yield Case("shifted 1 px, kernel fitted", template, shifted(science), ("warp.registration=wcs",))
    for part in (0.05, 0.02):
        yield Case(f"template saturated at {part:g}", saturated(template, part), science)
    for variation in (0.3, 0.5):
        wavy = simulate_pair(preset("standard", width=size, height=size, seed=3, psf_variation=variation))
        order = ("kernel.spatial_kernel_order=0",)
        yield Case(f"PSF varies by {variation:g}, order 0", wavy.template, wavy.science, order)
    yield Case("template of another field", other.template, science)
    result = ImagePsfMatchTask().subtract_exposures(template, science)
    parts = result.psf_matching_kernel, result.background_model, result.kernel_cell_set.table, result.summary
    known = KnownKernel.of(*parts, origin="saved")
    plain = ("warp.registration=wcs",)
    yield Case("known kernel, same pair", template, science, plain, known)
    yield Case("known kernel, shifted 1 px", template, shifted(science), plain, known)
    yield Case("known kernel, other field", other.template, science, plain, known)
    blurred = simulate_pair(preset("standard", width=size, height=size, seed=3, science_fwhm=5.2))
    yield Case("known kernel, FWHM 4.6 -> 5.2", template, blurred.science, plain, known)
    bright = with_pixels(science, image=science.image + np.float32(30.0))
    yield Case("known kernel, sky 30 counts up", template, bright, plain, known)


def real_cases(folder: Path) -> Iterator[Case]:
    for name, pair in PAIRS.items():
        place = folder / (pair.folder or name)
        if not place.is_dir():
            continue
        options: dict[str, dict[str, Path]] = {"template": {}, "science": {}}
        for option, file in pair.options.items():
            role, kind = option.removeprefix("--").split("-")
            options[role][kind] = place / file
        images = {role: place / getattr(pair, role) for role in options}
        exposures = (read_exposure(images[role], ReadOptions(**options[role]), role=role) for role in images)
        yield Case(name, *exposures)
    if (folder / "reference-pair").is_dir():
        files = (folder / "reference-pair" / f"{role}MI.fits" for role in ("template", "science"))
        yield Case("reference-pair", *(read_exposure(path) for path in files))


def judged(case: Case) -> dict[str, Any]:
    """Row of a case."""
    task = ImagePsfMatchTask(load_settings(None, ["quality.level=full", *case.settings]))
    try:
        if case.known is None:
            task.subtract_exposures(case.template, case.science)
        else:
            task.subtract_with_kernel(case.template, case.science, case.known)
    except PsfMatchError as error:
        return {"case": case.name, "verdict": f"exit status {error.exit_code}: {type(error).__name__}"}
    found = task.metadata["quality"]
    numbers = {name: found[name] for name in COLUMNS}
    return {"case": case.name, "verdict": found["verdict"], **numbers, "reasons": "; ".join(found.get_array("reasons"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="side of the simulated images, pixels")
    parser.add_argument("--output", type=Path, help="file for the table; default: stdout")
    parser.add_argument("--cases", nargs="+", choices=["good", "real", "spoiled"], default=["good", "real", "spoiled"])
    options = parser.parse_args()
    rows = []
    cases = {
        "good": good_cases(options.size),
        "real": real_cases(data_folder()),
        "spoiled": spoiled_cases(options.size),
    }
    for kind in options.cases:
        for case in cases[kind]:
            start = time.process_time()
            rows.append(judged(case))
            print(f"{case.name}: {rows[-1]['verdict']} ({time.process_time() - start:.1f} s)", flush=True)
    text = markdown_table(rows)
    print(text) if options.output is None else options.output.write_text(text)


if __name__ == "__main__":
    main()
