"""Draw stamps of template, matched template, science image, difference and normalised residual as a PNG.

    python benchmarks/render.py TEMPLATE SCIENCE DIFFERENCE -o montage.png
    python benchmarks/render.py TEMPLATE SCIENCE DIFFERENCE -o montage.png --at 512,300 --at 77,940 --half 30

TEMPLATE must be on the pixel grid of SCIENCE (of a warped pair give the warped template). Without positions
the brightest residuals are shown, and below them the brightest sources. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import metrics
import numpy as np
from files import read_image, read_planes
from numpy.typing import NDArray

TITLES = ("template", "matched", "science", "difference", "difference / noise")


def brightest(image: NDArray, usable: NDArray[np.bool_], number: int, apart: float) -> list[tuple[int, int]]:
    """Positions (x, y) of the largest usable pixels that are at least `apart` pixels from one another."""
    values = np.where(usable, image, -np.inf)
    order = np.argsort(values, axis=None)[::-1][: 2000 * number]
    chosen: list[tuple[int, int]] = []
    for y, x in zip(*np.unravel_index(order, image.shape), strict=True):
        if len(chosen) == number or not np.isfinite(values[y, x]):
            break
        if all(np.hypot(x - a, y - b) >= apart for a, b in chosen):
            chosen.append((int(x), int(y)))
    return chosen


def cutout(image: NDArray, x: int, y: int, half: int) -> NDArray[np.float64]:
    """Square around a pixel, NaN beyond the border."""
    padded = np.pad(image, half, constant_values=np.nan)
    return padded[y : y + 2 * half + 1, x : x + 2 * half + 1]


def scaled(stamp: NDArray, like: NDArray) -> NDArray[np.float64]:
    """Stamp less the median of another, in units of the other's robust width."""
    finite = like[np.isfinite(like)]
    return (stamp - np.median(finite)) / (metrics.width(finite) or 1.0)


def montage(panels: list[NDArray], places: list[tuple[int, int]], half: int, output: Path) -> None:
    """One row a position, one column a panel; matched and science share their stretch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(places), len(panels), figsize=(2.2 * len(panels), 2.3 * len(places)), squeeze=False
    )
    for row, (x, y) in zip(axes, places, strict=True):
        stamps = [cutout(panel, x, y, half) for panel in panels]
        template, matched, science, difference, residual = stamps
        # The inverse hyperbolic sine shows sky and bright cores at once, and a bad column does it no harm.
        shown = [np.arcsinh(scaled(template, template)), np.arcsinh(scaled(matched, science))]
        shown += [np.arcsinh(scaled(science, science)), scaled(difference, difference), residual]
        for axis, stamp, (lowest, highest) in zip(row, shown, [(-1.0, 8.0)] * 3 + [(-5.0, 5.0)] * 2, strict=True):
            axis.imshow(stamp, origin="lower", cmap="gray", vmin=lowest, vmax=highest, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"{x}, {y}", fontsize=8)
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(output, dpi=90)
    pyplot.close(figure)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", type=Path)
    parser.add_argument("science", type=Path)
    parser.add_argument("difference", type=Path, help="with its mask and variance, as psfmatch writes it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG")
    parser.add_argument("--matched", type=Path, help="matched template; default: science - difference")
    parser.add_argument("--at", action="append", metavar="X,Y", help="0-based array position; may be repeated")
    parser.add_argument("--number", type=int, default=4, help="residuals and sources shown without positions")
    parser.add_argument("--half", type=int, default=25, help="half size of a stamp, pixels")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Read, choose positions, draw."""
    options = parse(arguments)
    difference = read_planes(options.difference)
    template, science = read_image(options.template), read_image(options.science)
    usable = difference.usable
    matched = read_image(options.matched) if options.matched else science - difference.image
    residual = metrics.normalised(difference.image, difference.variance, usable)
    if options.at:
        places = [tuple(int(v) for v in place.split(",")) for place in options.at]
    else:
        places = brightest(np.abs(residual), usable, options.number, options.half)
        places += brightest(science, usable, options.number, options.half)
    montage([template, matched, science, difference.image, residual], places, options.half, options.output)


if __name__ == "__main__":
    main()
