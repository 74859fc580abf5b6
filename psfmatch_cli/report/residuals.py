"""The difference in units of its noise: its histogram beside a unit Gaussian, and maps over the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.report import charts
from psfmatch_cli.report.markup import Markup, section, tag
from psfmatch_cli.report.stretch import MAD_TO_SIGMA
from psfmatch_cli.report.subject import Subject

#: Pixels that histogram and maps are made of.
N_HISTOGRAM = 2_000_000
#: The histogram reaches to this significance on both sides, with this many bins per unit; beyond is counted at the ends.
REACH, PER_UNIT = 8, 5
#: Cells along the longer side of the maps, and the fewest sky pixels of a cell.
N_CELLS, FEWEST = 8, 50


@dataclass(frozen=True)
class Histogram:
    """Counts of difference over noise in bins from -REACH to REACH; the outer bins hold what is beyond.

    Parameters
    ----------
    sky, all_pixels : ndarray, (2 * REACH * PER_UNIT,)
        Of the sky, and of all usable pixels.
    step : int
        Every step-th pixel along both axes was taken.
    """

    sky: NDArray[np.int64]
    all_pixels: NDArray[np.int64]
    step: int


def histogram(subject: Subject) -> Histogram:
    """Histograms of difference over noise."""
    step = max(1, int(np.ceil(np.sqrt(subject.significance.size / N_HISTOGRAM))))
    values, sky = subject.significance[::step, ::step], subject.sky[::step, ::step]
    usable = np.isfinite(values)
    bins = np.floor((np.where(usable, values, 0) + REACH) * PER_UNIT)
    bins = np.clip(bins, 0, 2 * REACH * PER_UNIT - 1).astype(np.int64)
    counted = (np.bincount(bins[chosen], minlength=2 * REACH * PER_UNIT) for chosen in (sky, usable))
    return Histogram(*counted, step)


def cell_maps(subject: Subject) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Robust width and mean of difference over noise on the sky in cells, (rows, columns) each; the lowest row first."""
    height, width = subject.significance.shape
    cell = max(height, width) / N_CELLS
    rows, columns = max(1, round(height / cell)), max(1, round(width / cell))
    widths, means = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    step = max(1, int(np.ceil(np.sqrt(subject.significance.size / N_HISTOGRAM))))
    for row, column in np.ndindex(rows, columns):
        where = (
            slice(row * height // rows, (row + 1) * height // rows, step),
            slice(column * width // columns, (column + 1) * width // columns, step),
        )
        values = subject.significance[where][subject.sky[where]]
        if values.size >= FEWEST:
            middle = np.median(values)
            widths[row, column] = MAD_TO_SIGMA * np.median(np.abs(values - middle))
            means[row, column] = np.mean(np.clip(values, -5, 5))
    return widths, means


def residual_section(subject: Subject) -> Markup:
    """Histogram and maps."""
    widths, means = cell_maps(subject)
    made = [
        tag("figure", tag("figcaption", "Difference / noise, all pixels"), histogram_chart(histogram(subject)), class_="wide"),
        tag(
            "figure",
            tag("figcaption", "Width on the sky per cell; 1 is what the variance says"),
            charts.heat_map(widths, 1.0, 0.3, ".2f", "map of the width of difference over noise on the sky"),
        ),
        tag(
            "figure",
            tag("figcaption", "Mean on the sky per cell, in noise of one pixel; 0 is perfect"),
            charts.heat_map(means, 0.0, 0.3, "+.2f", "map of the mean of difference over noise on the sky"),
        ),
    ]
    return section("Noise of the difference", tag("div", *made, class_="charts"), anchor="noise")


def histogram_chart(counts: Histogram) -> Markup:
    """The histograms on a logarithmic scale with the Gaussian of width 1 that has as many pixels as the sky."""
    width, height, left, bottom, top = 640, 300, 52, 34, 12
    centers = (np.arange(2 * REACH * PER_UNIT) + 0.5) / PER_UNIT - REACH
    total = max(int(counts.sky.sum()), 1)
    highest = np.log10(max(counts.all_pixels.max(), total / PER_UNIT, 10)) + 0.15

    def at(x: NDArray, n: NDArray) -> NDArray:
        level = np.clip(np.log10(np.maximum(n, 1e-9)), -0.3, None)
        across = left + (x + REACH) / (2 * REACH) * (width - left - 10)
        return np.stack([across, top + (highest - level) / (highest + 0.3) * (height - top - bottom)], axis=-1)

    def steps(n: NDArray) -> NDArray:
        edges = np.repeat(np.arange(len(n) + 1) / PER_UNIT - REACH, 2)
        return at(edges, np.concatenate([[0], np.repeat(n, 2), [0]]))

    smooth = np.linspace(-REACH, REACH, 321)
    gauss = total / PER_UNIT * np.exp(-(smooth**2) / 2) / np.sqrt(2 * np.pi)
    axes = [
        *(charts.line(*at(np.array(x), np.array(1e-9)), *at(np.array(x), np.array(10**highest)), "grid") for x in range(-REACH, REACH + 1, 2)),
        *(charts.words(at(np.array(x), np.array(1))[0], height - 16, str(x), "axis", text_anchor="middle") for x in range(-REACH, REACH + 1, 2)),
        *(charts.words(left - 6, at(np.array(0.0), np.array(10.0**n))[1] + 4, f"10^{n}", "axis", text_anchor="end") for n in range(int(highest) + 1)),
        charts.words(width / 2, height - 2, "difference / noise", "axis", text_anchor="middle"),
    ]
    shown = gauss > 0.5
    lines = [
        charts.path(steps(counts.all_pixels), "all", closed=True),
        charts.path(steps(counts.sky), "sky", closed=True),
        charts.path(at(smooth[shown], gauss[shown]), "gauss"),
    ]
    legend = [
        charts.words(left + 10, top + 16 + 16 * n, words, f"axis {name}-ink")
        for n, (name, words) in enumerate((("sky", "■ sky"), ("all", "■ with sources"), ("gauss", "— unit Gaussian")))
    ]
    label = "histogram of difference over noise with a unit Gaussian"
    return charts.drawing(width, height, *axes, *lines, *legend, label=label)
