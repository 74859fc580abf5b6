"""Stamps of sources: template, science image and difference over noise, the worst residuals first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.report import charts
from psfmatch_cli.report.colors import FATES, GAP, OTHER_FATE, greys, palette, signed
from psfmatch_cli.report.markup import Markup, section, tag
from psfmatch_cli.report.panels import FULL_COLOR, Display
from psfmatch_cli.report.png import data_uri, encode
from psfmatch_cli.report.stretch import BLACK, Stretch
from psfmatch_cli.report.subject import Subject

#: How many sources are shown with the largest residuals, and how many of the brightest.
N_WORST, N_BRIGHT = 18, 6
#: Half side of a stamp and radius of the core that is judged, in FWHM, and their limits in pixels.
HALF_PER_FWHM, HALF_LIMITS = 5.0, (12, 30)
CORE_PER_FWHM, CORE_LIMITS = 1.5, (2, 12)
#: Part of the core that must be usable for a source to be judged.
LEAST_USABLE = 0.7
_ZOOM = 3


def core_residuals(subject: Subject) -> NDArray[np.float64]:
    """Root mean square of difference over noise in the core of each row of the table of candidates, (N,).

    NaN where it is not judged; no row without a table.
    """
    if subject.candidates is None:
        return np.empty(0)
    radius = round(float(np.clip(CORE_PER_FWHM * subject.fwhm, *CORE_LIMITS)))
    offset = np.arange(-radius, radius + 1)
    dy, dx = (part.ravel() for part in np.meshgrid(offset, offset, indexing="ij"))
    near = dx**2 + dy**2 <= radius**2
    dx, dy = dx[near], dy[near]
    x, y = pixel_positions(subject)
    height, width = subject.significance.shape
    inside = (x >= radius) & (y >= radius) & (x < width - radius) & (y < height - radius)
    rms = np.full(len(x), np.nan)
    core = subject.significance[y[inside, None] + dy, x[inside, None] + dx].astype(float)
    known = np.isfinite(core)
    n = known.sum(axis=1)
    mean_square = np.where(known, core**2, 0).sum(axis=1) / np.maximum(n, 1)
    rms[inside] = np.where(n >= LEAST_USABLE * len(dx), np.sqrt(mean_square), np.nan)
    return rms


def pixel_positions(subject: Subject, table: Any = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nearest pixel (array index) of each row of a table, by default the candidates; -1 for no position."""
    rows = subject.candidates if table is None else table
    found = []
    for name, start in zip("xy", subject.difference.xy0, strict=True):
        values = column(rows, name)
        found.append(np.where(np.isfinite(values), np.floor(np.nan_to_num(values) - start + 0.5), -1).astype(np.int64))
    return found[0], found[1]


def column(table: Any, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN where it is masked or missing."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    return np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)


def fates(table: Any) -> list[str]:
    """Reason of each candidate that was refused or rejected, else its status."""
    reasons = ["" if reason is np.ma.masked else str(reason) for reason in table["reason"]]
    return [reason or str(status) for reason, status in zip(reasons, table["status"], strict=True)]


def stamp_sections(subject: Subject, display: Display, rms: NDArray[np.float64]) -> Markup:
    """The worst residuals, and the brightest sources."""
    judged = np.flatnonzero(np.isfinite(rms))
    worst = judged[np.argsort(-rms[judged], kind="stable")][:N_WORST]
    snr = column(subject.candidates, "snr")
    by_snr = judged[np.argsort(-np.nan_to_num(snr[judged], nan=-np.inf), kind="stable")]
    bright = by_snr[:N_BRIGHT]
    bright = bright[np.argsort(-rms[bright], kind="stable")]
    note = (
        f"Template, science, difference / noise (white 0, full colour at {FULL_COLOR:g} sigma) of {len(judged)} of "
        f"{len(rms)} sources whose cores are usable, by the root mean square of difference / noise in the core: 1 is "
        f"perfect. Half of them are below {_median(rms):.2f}."
    )
    return section(
        "Residuals at sources, worst first",
        tag("p", note),
        _grid(subject, display, worst, rms, snr),
        tag("h3", "The brightest"),
        _grid(subject, display, bright, rms, snr),
        anchor="stamps",
    )


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _grid(subject: Subject, display: Display, rows: NDArray, rms: NDArray, snr: NDArray) -> Markup:
    x, y = pixel_positions(subject)
    called = fates(subject.candidates)
    made = []
    for n in rows:
        fate = called[n]
        color = FATES.get(fate, OTHER_FATE)
        caption = (
            (tag("b", f"{rms[n]:.1f} sigma "), tag("i", style=f"background:{color}"), f" {fate}"),
            f"S/N {snr[n]:.0f}",
        )
        made.append(triplet(subject, display, (int(x[n]), int(y[n])), *caption))
    return tag("div", *made, class_="stamps")


def triplet(subject: Subject, display: Display, at: tuple[int, int], caption: Sequence[object], quiet: str) -> Markup:
    """Stamps of the images that there are and of the difference, around a pixel (x, y).

    Parameters
    ----------
    subject, display : Subject, Display
    at : (int, int)
        Array index (x, y) of the pixel.
    caption : sequence
        First line below it.
    quiet : str
        Second line, before the position.
    """
    half = round(float(np.clip(HALF_PER_FWHM * subject.fwhm, *HALF_LIMITS)))
    roles = [role for role in ("template", "science") if role in subject.images]
    cuts = {role: display.above_sky(role, cut(subject.images[role], at, half)) for role in roles}
    stretch = _stamp_stretch(display, cuts)
    pictures = [greys(stretch(counts)) for counts in cuts.values()]
    pictures.append(signed(cut(subject.significance, at, half) / FULL_COLOR))
    gap = np.full((2 * half + 1, 1), GAP, np.uint8)
    joined = np.hstack([part for picture in pictures for part in (picture, gap)][:-1])
    x0, y0 = subject.difference.xy0
    where = f"x {at[0] + x0}, y {at[1] + y0}"
    height, width = joined.shape
    drawn = charts.image(
        data_uri(encode(joined, palette())), f"stamps at {where}", width, height, zoom=_ZOOM * 25 / (2 * half + 1)
    )
    lines = tag("div", *caption), tag("div", f"{quiet} · {where}", class_="quiet")
    return tag("figure", drawn, tag("figcaption", *lines), class_="stamp")


def _stamp_stretch(display: Display, cuts: dict[str, NDArray]) -> Stretch | None:
    """The page's stretch, with the peak of the brighter stamp for white."""
    if display.stretch is None:
        return None
    peaks = [float(np.nanmax(counts)) for counts in cuts.values() if np.isfinite(counts).any()]
    noise = display.stretch.noise
    return Stretch(noise, max([-4 * BLACK * noise, *peaks]))


def cut(image: NDArray, at: tuple[int, int], half: int) -> NDArray[np.float64]:
    """Square of pixels around a pixel (x, y); NaN beyond the image."""
    made = np.full((2 * half + 1, 2 * half + 1), np.nan)
    spans = []
    for middle, side in zip(at[::-1], image.shape, strict=True):
        first, last = max(middle - half, 0), min(middle + half + 1, side)
        spans.append((slice(first, max(first, last)), slice(first - middle + half, max(first, last) - middle + half)))
    (rows, into_rows), (columns, into_columns) = spans
    made[into_rows, into_columns] = image[rows, columns]
    return made
