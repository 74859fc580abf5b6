"""The files that the benchmarks hand to the program and read back, independent of its own reader."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

#: Planes that make a pixel useless for a measurement.
BAD_PLANES = ("NO_DATA", "SAT", "BAD", "CR", "EDGE")


@dataclass(frozen=True)
class Planes:
    """What a file in the LSST layout holds.

    Parameters
    ----------
    image, variance : ndarray, (H, W), float64
        Counts and counts squared.
    mask : ndarray, (H, W), int64
        Bits of `planes`.
    planes : dict of str to int
        Bit of each plane.
    header : Header
        Of the image, with that of the file.
    """

    image: NDArray[np.float64]
    mask: NDArray[np.int64]
    variance: NDArray[np.float64]
    planes: dict[str, int]
    header: fits.Header

    def flagged(self, names: tuple[str, ...] = BAD_PLANES) -> NDArray[np.bool_]:
        """Pixels with any of the planes."""
        return (self.mask & sum(1 << self.planes[name] for name in names if name in self.planes)) != 0

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Pixels with a finite value, a positive variance and no bad plane."""
        good = np.isfinite(self.image) & np.isfinite(self.variance) & ~self.flagged()
        return good & np.greater(self.variance, 0.0, where=good, out=np.zeros(good.shape, bool))


def write_lsst(path: Path, exposure) -> None:
    """Write an exposure as IMAGE, MASK and VARIANCE with the cards of the LSST layout."""
    shared = exposure.wcs.to_header() if exposure.wcs is not None else fits.Header()
    x0, y0 = exposure.xy0
    shared.update({"CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CRPIX1A": 1.0, "CRPIX2A": 1.0})
    shared.update({"CRVAL1A": float(x0), "CRVAL2A": float(y0)})
    hdus = [fits.PrimaryHDU()]
    for name in ("image", "mask", "variance"):
        hdu = fits.ImageHDU(getattr(exposure, name), shared, name=name.upper())
        hdu.header["EXTTYPE"] = name.upper()
        hdus.append(hdu)
    for name, bit in exposure.planes.items():
        card = f"MP_{name}"
        hdus[2].header[card if len(card) <= 8 else f"HIERARCH {card}"] = bit
    fits.HDUList(hdus).writeto(path)


def read_planes(path: Path) -> Planes:
    """Read a file in the LSST layout."""
    with fits.open(path, memmap=False) as hdus:
        image, mask, variance = (hdus[name] for name in ("IMAGE", "MASK", "VARIANCE"))
        planes = {key.removeprefix("MP_"): int(bit) for key, bit in mask.header.items() if key.startswith("MP_")}
        header = hdus[0].header.copy()
        header.update(image.header)
        return Planes(
            np.array(image.data, float), np.array(mask.data, np.int64), np.array(variance.data, float), planes, header
        )


def read_image(path: Path) -> NDArray[np.float64]:
    """The first two-dimensional image of any FITS file."""
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            if getattr(hdu.data, "ndim", 0) == 2:
                return np.array(hdu.data, float)
    raise ValueError(f"{path} has no two-dimensional image")


def read_metadata(difference: Path) -> dict[str, Any]:
    """Items of the task `psfMatch` from the metadata file beside a difference; of lists the last element.

    Lists that belong together (degrees, sigmas) are kept whole. Without such a file the result is empty.
    """
    path = difference.with_name(f"{difference.stem}_metadata.json")
    if not path.exists():
        return {}
    task = json.loads(path.read_text())["metadata"].get("psfMatch", {})
    items = dict(task.get("scalars", {}))
    for name, values in task.get("arrays", {}).items():
        items[name] = values if name in ("ALBasisDegGauss", "ALBasisSigGauss") or not values else values[-1]
    return items


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Markdown table with the columns of the longest row; numbers with four digits, `-` for what is not known."""
    names = list(max(rows, key=len))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def transpose(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of figures, with a column for each of the rows given, headed by its first value; some may lack figures."""
    first, *names = max(rows, key=len)
    return [{first: name} | {row[first]: row.get(name) for row in rows} for name in names]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
