"""Charts as SVG, made of lines, boxes and text; their colours are those of the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.report.colors import hex_color
from psfmatch_cli.report.markup import Markup, tag, void


def drawing(width: float, height: float, *content: object, label: str, class_: str = "chart") -> Markup:
    """An SVG of a size in its own units, with what it shows in words."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", tag("title", label), *content, viewBox=box, class_=class_, role="img", aria_label=label)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def words(x: float, y: float, content: str, class_: str = "", **attributes: object) -> Markup:
    return tag("text", content, x=f"{x:.1f}", y=f"{y:.1f}", class_=class_ or None, **attributes)


def path(points: NDArray, class_: str, closed: bool = False) -> Markup:
    """A line through points, (N, 2)."""
    steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=f"M{steps}{' Z' if closed else ''}", class_=class_)


def circle(x: float, y: float, radius: float, color: str, title: str) -> Markup:
    return tag("circle", tag("title", title), cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}", stroke=color)


def heat_map(values: NDArray, middle: float, spread: float, form: str, label: str) -> Markup:
    """Cells of a field with their numbers, the lowest row at the bottom.

    Parameters
    ----------
    values : ndarray, (rows, columns)
        NaN: an empty cell.
    middle, spread : float
        Value that is white, and how far from it blue and red are reached.
    form : str
        Format of the numbers.
    label : str
        What it shows.
    """
    rows, columns = values.shape
    width, height = 52, 30
    cells: list[Markup] = []
    for (row, column), value in np.ndenumerate(values[::-1]):
        x, y, known = column * width, row * height, np.isfinite(value)
        strength = float(np.clip((value - middle) / spread, -1, 1)) if known else 0.0
        color = hex_color(strength) if known else "none"
        ink = "on-dark" if abs(strength) > 0.6 else "on-light"
        cells.append(tag("rect", x=x, y=y, width=width, height=height, fill=color, class_="cell"))
        cells.append(
            words(x + width / 2, y + height / 2 + 4, format(value, form) if known else "-", ink if known else "")
        )
    return drawing(columns * width, rows * height, *cells, label=label, class_="chart heat")


def color_bar(low: str, high: str) -> Markup:
    """What blue and red mean; white is in the middle."""
    return tag("div", tag("span", low), tag("span", class_="bar"), tag("span", high), class_="scale")


def image(uri: str, alt: str, width: int, height: int, class_: str | None = None, zoom: float = 1) -> Markup:
    """A picture with its words; `zoom` is CSS pixels per pixel."""
    return void("img", src=uri, alt=alt, width=round(width * zoom), height=round(height * zoom), class_=class_)


def ticks(low: float, high: float, step: float) -> Sequence[float]:
    """Multiples of a step within limits."""
    return [n * step for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
