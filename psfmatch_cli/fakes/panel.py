"""One panel of an SVG plot: axes, points, lines, steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

#: Room for the labels of the axes, left and below, and for the title above, pixels.
LEFT, BELOW, ABOVE, RIGHT = 52.0, 38.0, 24.0, 12.0
GREY = "#888888"


@dataclass(frozen=True)
class Axis:
    """Range and ticks of an axis.

    Parameters
    ----------
    low, high : float
    ticks : sequence of float
    label : str
    log : bool
    """

    low: float
    high: float
    ticks: Sequence[float]
    label: str
    log: bool = False

    def part(self, value: float) -> float:
        """How far a value is along the axis, 0 to 1 on it."""
        if self.log:
            return math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass
class Panel:
    """A panel with its upper left corner at (left, top); what is drawn collects in `parts`.

    Parameters
    ----------
    left, top, width, height : float
        With the labels, pixels.
    x, y : Axis
    title : str
    """

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis
    title: str
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel position of a point of the plot; what is beyond the axes is held at their ends."""
        across = min(max(self.x.part(x), 0.0), 1.0) * (self.width - LEFT - RIGHT)
        up = min(max(self.y.part(y), 0.0), 1.0) * (self.height - ABOVE - BELOW)
        return self.left + LEFT + across, self.top + self.height - BELOW - up

    def line(self, points: Iterable[tuple[float, float]], color: str, dash: str = "") -> None:
        """A line through points; those that are not finite are left out."""
        places = [self.at(*point) for point in points if all(map(math.isfinite, point))]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"{dashed}/>')

    def dots(self, points: Iterable[tuple[float, float]], color: str, radius: float = 1.8) -> None:
        """A dot at every finite point."""
        for point in points:
            if all(map(math.isfinite, point)):
                x, y = self.at(*point)
                self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}" fill-opacity="0.7"/>')

    def bars(self, points: Iterable[tuple[float, float, float, float]], color: str) -> None:
        """Dots (x, y) with error bars from low to high."""
        for x, y, low, high in points:
            if math.isfinite(y):
                self.line([(x, low), (x, high)], color)
                self.dots([(x, y)], color, 3.0)

    def note(self, text: str, color: str, row: int) -> None:
        """A line of text in the lower right corner, rows counted from below."""
        x, y = self.left + self.width - RIGHT - 6, self.top + self.height - BELOW - 8 - 15 * row
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="end">{escape(text)}</text>')

    def svg(self) -> str:
        """The panel with its frame, ticks and labels."""
        x0, y0 = self.at(self.x.low, self.y.low)
        x1, y1 = self.at(self.x.high, self.y.high)
        frame = f'<rect x="{x0}" y="{y1}" width="{x1 - x0}" height="{y0 - y1}" fill="none" stroke="{GREY}"/>'
        middle = 0.5 * (x0 + x1)
        aside = f'transform="rotate(-90)" x="{-0.5 * (y0 + y1):.1f}" y="{self.left + 14:.1f}"'
        words = [
            f'<text x="{middle:.1f}" y="{self.top + 15:.1f}" text-anchor="middle" font-weight="bold">'
            f"{escape(self.title)}</text>",
            f'<text x="{middle:.1f}" y="{y0 + 32:.1f}" text-anchor="middle">{escape(self.x.label)}</text>',
            f'<text {aside} text-anchor="middle">{escape(self.y.label)}</text>',
        ]
        return "\n".join([frame, *self._ticks(), *self.parts, *words])

    def _ticks(self) -> list[str]:
        made = []
        for value in self.x.ticks:
            x, y = self.at(value, self.y.low)
            made.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y + 4:.1f}" stroke="{GREY}"/>')
            made.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{value:g}</text>')
        for value in self.y.ticks:
            x, y = self.at(self.x.low, value)
            made.append(f'<line x1="{x - 4:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y:.1f}" stroke="{GREY}"/>')
            made.append(f'<text x="{x - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        return made


def page(panels: Sequence[Panel], width: float, height: float) -> str:
    """SVG document of panels."""
    style = 'font-family="sans-serif" font-size="12" fill="#222222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" {style}>'
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    return "\n".join([head, ground, *(panel.svg() for panel in panels), "</svg>", ""])
