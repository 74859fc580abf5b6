"""The difference in units of its noise: its histogram beside a unit Gaussian, and maps over the field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.report import charts
from psfmatch_cli.report.markup import Markup, section, tag
from psfmatch_cli.report.stretch import MAD_TO_SIGMA
from psfmatch_cli.report.subject import Subject

#: Pixels that histogram and maps are made of.
N_HISTOGRAM = 2_000_000
#: Largest significance of the histogram, on both sides, and its bins per unit; what is beyond counts at the ends.
REACH, PER_UNIT = 8, 5
#: Cells along the longer side of the maps, and the fewest sky pixels of a cell.
N_CELLS, FEWEST = 8, 50
_LEGEND = {"sky": "■ sky", "all": "■ with sources", "gauss": "— unit Gaussian"}


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
    """Robust width and mean of difference over noise on the sky in cells, (rows, columns), the lowest row first."""
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
        tag("figure", tag("figcaption", "Difference / noise, all pixels"), histogram_chart(histogram(subject))),
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


@dataclass(frozen=True)
class _Axes:
    """Where significances and numbers of pixels lie on the histogram's chart.

    Parameters
    ----------
    decades : float
        Logarithm of the largest number.
    """

    decades: float
    width: float = 640
    height: float = 300
    left: float = 52
    bottom: float = 34
    top: float = 12

    #: Logarithm at the bottom, for bins without a pixel.
    lowest = -0.3

    def at(self, x: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
        """Points of significances and numbers, (..., 2)."""
        level = np.log10(np.maximum(n, 10**self.lowest))
        across = self.left + (np.asarray(x) + REACH) / (2 * REACH) * (self.width - self.left - 10)
        part = (self.decades - level) / (self.decades - self.lowest)
        return np.stack(np.broadcast_arrays(across, self.top + part * (self.height - self.top - self.bottom)), axis=-1)

    def drawn(self) -> Iterator[Markup]:
        """Lines and numbers of the axes."""
        for x in range(-REACH, REACH + 1, 2):
            across, low = self.at(x, 0)
            yield charts.line(across, low, across, self.top, "grid")
            yield charts.words(across, self.height - 18, str(x), "axis", text_anchor="middle")
        for n in range(int(self.decades) + 1):
            yield charts.words(self.left - 6, self.at(0, 10.0**n)[1] + 4, f"{10**n:,}", "axis", text_anchor="end")
        yield charts.words(self.width / 2, self.height - 2, "difference / noise", "axis", text_anchor="middle")


def histogram_chart(counts: Histogram) -> Markup:
    """The histograms on a logarithmic scale, and the Gaussian of width 1 that has as many pixels as the sky."""
    peak = max(int(counts.sky.sum()), 1) / PER_UNIT / np.sqrt(2 * np.pi)
    axes = _Axes(float(np.log10(max(counts.all_pixels.max(), peak, 10))) + 0.15)
    x = np.linspace(-REACH, REACH, 321)
    gauss = peak * np.exp(-(x**2) / 2)
    shown = gauss > 0.5
    lines = [
        charts.path(axes.at(*_steps(counts.all_pixels)), "all", closed=True),
        charts.path(axes.at(*_steps(counts.sky)), "sky", closed=True),
        charts.path(axes.at(x[shown], gauss[shown]), "gauss"),
    ]
    legend = [
        charts.words(axes.left + 10, axes.top + 16 * n, words, f"axis {name}-ink")
        for n, (name, words) in enumerate(_LEGEND.items(), start=1)
    ]
    label = "histogram of difference over noise with a unit Gaussian"
    return charts.drawing(axes.width, axes.height, *axes.drawn(), *lines, *legend, label=label)


def _steps(n: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Outline of the bars of a histogram, from the bottom to the bottom: significances and numbers."""
    edges = np.arange(len(n) + 1) / PER_UNIT - REACH
    return np.repeat(edges, 2), np.concatenate([[0], np.repeat(n, 2), [0]])
