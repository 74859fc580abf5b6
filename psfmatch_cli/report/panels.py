"""Template, science, matched image and difference side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.report import charts
from psfmatch_cli.report.colors import greys, palette, signed
from psfmatch_cli.report.markup import Markup, section, tag
from psfmatch_cli.report.png import data_uri, encode
from psfmatch_cli.report.stretch import Sky, Stretch, block_factor, block_means, block_significance, sky_of
from psfmatch_cli.report.subject import ROLES, Subject

#: Longest side of a panel, pixels: four of them, of noise, are 3 MB.
LARGEST = 1024
#: Significance that is full blue or red.
FULL_COLOR = 5.0
TITLES = {"template": "Template", "science": "Science", "matched": "Matched", "difference": "Difference / noise"}
_KEYS = (
    ("wheel, drag", "zoom and move all panels together"),
    ("1 2 3 4", "one panel alone: template, science, matched, difference"),
    ("0 or Esc", "all panels side by side"),
    ("B", "blink science, matched, difference"),
    ("M", "marks of the sources of the difference on and off"),
    ("+ - R", "zoom in, zoom out, whole image"),
)
#: Buttons by what the script does.
_BUTTONS = {
    "side": "Side by side",
    "blink": "Blink",
    "marks": "Marks",
    "in": "+",
    "out": "-",
    "reset": "Whole image",
}


@dataclass(frozen=True)
class Display:
    """How the counts of each image are shown: above their own sky, on one scale, with one stretch.

    Parameters
    ----------
    skies : mapping of str to Sky
    scales : mapping of str to float
        Science counts per count of each image.
    stretch : Stretch or None
        Of science counts; None if there is no image.
    """

    skies: Mapping[str, Sky]
    scales: Mapping[str, float]
    stretch: Stretch | None

    def brightness(self, role: str, counts: NDArray) -> NDArray[np.float64]:
        """Brightness of counts of an image, 0 to 1 from black to white."""
        return self.stretch(self.above_sky(role, counts))

    def above_sky(self, role: str, counts: NDArray) -> NDArray[np.float64]:
        """Counts of an image above its sky, in science counts."""
        return (counts - self.skies[role].level) * self.scales[role]


def display_of(subject: Subject) -> Display:
    """How the images of a subject are shown."""
    skies = {role: sky_of(image) for role, image in subject.images.items()}
    scales = dict.fromkeys(skies, 1.0)
    kernel_sum = subject.item("run.summary.kernel_sum")
    if isinstance(kernel_sum, float) and kernel_sum > 0:
        # The kernel takes template counts to science counts, or the other way round.
        template_convolved = subject.item("run.summary.convolved") == "template"
        to_science = kernel_sum if template_convolved else 1 / kernel_sum
        scales |= {role: to_science for role in skies if role == "template"}
        scales |= {role: to_science for role in skies if role == "matched" and not template_convolved}
    first = next((role for role in ("science", "matched", "template") if role in skies), None)
    if first is None:
        return Display(skies, scales, None)
    stretch = Stretch.of(subject.images[first], skies[first])
    return Display(skies, scales, Stretch(stretch.noise * scales[first], stretch.white * scales[first]))


def panels(subject: Subject, display: Display) -> Markup:
    """The section with the four panels."""
    factor = block_factor(subject.difference.image.shape, LARGEST)
    made = [_panel(subject, role, picture) for role, picture in _pictures(subject, display, factor)]
    blocks = (
        ""
        if factor == 1
        else f" Each pixel here is the mean of {factor} x {factor}; the difference is their sum over its noise."
    )
    note = (
        "Template, science and matched image have the same asinh stretch, each above its own sky, in science counts. "
        f"The difference is in units of its noise, from blue (-{FULL_COLOR:g}) over white to red (+{FULL_COLOR:g}); "
        f"slate pixels have no value or are not usable.{blocks}"
    )
    return section(
        "Images", _controls(subject), tag("div", *made, class_="panels", id="panels"), tag("p", note), anchor="images"
    )


def _pictures(subject: Subject, display: Display, factor: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for role in ROLES:
        if role in subject.images:
            yield role, greys(display.brightness(role, block_means(subject.images[role], factor)))
    yield "difference", signed(block_significance(subject.significance, factor) / FULL_COLOR)


def _panel(subject: Subject, role: str, picture: NDArray[np.uint8]) -> Markup:
    height, width = picture.shape
    alt = f"{TITLES[role]}, {subject.difference.image.shape[1]} x {subject.difference.image.shape[0]} pixels"
    drawn = charts.image(data_uri(encode(picture, palette())), alt, width, height)
    moved = tag("div", drawn, _marks(subject), class_="moved")
    title = tag("figcaption", TITLES[role], " ", tag("span", subject.described.get(role, ""), class_="quiet"))
    view = tag("div", moved, class_="view", style=f"aspect-ratio:{width}/{height}")
    bar = charts.color_bar(f"-{FULL_COLOR:g}", f"+{FULL_COLOR:g}") if role == "difference" else ""
    return tag("figure", title, view, bar, class_="panel", data_role=role)


def _marks(subject: Subject) -> Markup:
    """Circles at the sources of the difference, red where the science image is brighter."""
    if subject.sources is None:
        return Markup()
    height, width = subject.difference.image.shape
    x0, y0 = subject.difference.xy0
    radius = max(2.5 * subject.fwhm, max(width, height) / 150)
    circles = [
        charts.circle(
            x - x0 + 0.5, height - (y - y0) - 0.5, radius, "#e31a1c" if sign > 0 else "#1f78b4", f"{x:.1f}, {y:.1f}"
        )
        for x, y, sign in zip(*(subject.sources[name] for name in ("x", "y", "polarity")), strict=True)
        if np.isfinite(x) and np.isfinite(y)
    ]
    return tag("svg", *circles, viewBox=f"0 0 {width} {height}", class_="marks", aria_hidden="true")


def _controls(subject: Subject) -> Markup:
    """Buttons for what the keys do, and the list of the keys."""
    buttons = [
        tag("button", what, type="button", data_do=do)
        for do, what in _BUTTONS.items()
        if do != "marks" or subject.sources is not None
    ]
    keys = (tag(name, words) for key, what in _KEYS for name, words in (("dt", key), ("dd", what)))
    return tag("div", *buttons, tag("details", tag("summary", "Keys"), tag("dl", *keys)), class_="controls")
