"""Which candidates made the kernel, and why the others did not."""

from __future__ import annotations

from collections import Counter

import numpy as np

from psfmatch_cli.candidates import REASONS
from psfmatch_cli.report import charts
from psfmatch_cli.report.colors import FATES, OTHER_FATE, greys, palette
from psfmatch_cli.report.markup import Markup, section, table, tag
from psfmatch_cli.report.panels import Display
from psfmatch_cli.report.png import data_uri, encode
from psfmatch_cli.report.stamps import column, fates
from psfmatch_cli.report.stretch import block_factor, block_means
from psfmatch_cli.report.subject import Subject

#: Longest side of the image under the circles, pixels.
LARGEST = 512
_STATUS_WORDS = {
    "used": "used in the last fit",
    "unused": "good, but not needed",
    "refused": "refused",
    "rejected": "rejected",
}


def candidate_section(subject: Subject, display: Display) -> Markup:
    """Map of the candidates with a table of their fates, which is the legend."""
    called = fates(subject.candidates)
    counts = Counter(called)
    order = sorted(counts, key=lambda fate: (fate != "used", fate != "unused", -counts[fate], fate))
    rows = [
        (
            tag("span", tag("i", style=f"background:{FATES.get(fate, OTHER_FATE)}"), f" {fate}"),
            counts[fate],
            _meaning(fate),
        )
        for fate in order
    ]
    legend = table(("fate", "sources", "meaning"), rows, class_="legend")
    return section(
        "Candidates", tag("div", _map(subject, display, called), legend, class_="split"), anchor="candidates"
    )


def _meaning(fate: str) -> str:
    return _STATUS_WORDS.get(fate) or REASONS.get(fate, "")


def _map(subject: Subject, display: Display, called: list[str]) -> Markup:
    height, width = subject.difference.image.shape
    x0, y0 = subject.difference.xy0
    x, y = column(subject.candidates, "x") - x0 + 0.5, height - (column(subject.candidates, "y") - y0) - 0.5
    radius = max(width, height) / 110
    circles = [
        charts.circle(
            x[n],
            y[n],
            radius,
            FATES.get(fate, OTHER_FATE),
            f"{fate} at {x[n] + x0 - 0.5:.1f}, {height - y[n] + y0 - 0.5:.1f}",
        )
        # The used ones come last, over the others.
        for n, fate in sorted(enumerate(called), key=lambda item: item[1] == "used")
        if np.isfinite(x[n]) and np.isfinite(y[n])
    ]
    label = f"{len(circles)} sources on the field, coloured by their fate"
    over = charts.drawing(width, height, *circles, label=label, class_="marks")
    return tag("div", _ground(subject, display), over, class_="field", style=f"aspect-ratio:{width}/{height}")


def _ground(subject: Subject, display: Display) -> Markup:
    """A faint picture of the science image, or of what there is."""
    role = next((role for role in ("science", "matched", "template") if role in subject.images), None)
    if role is None:
        return Markup()
    factor = block_factor(subject.difference.image.shape, LARGEST)
    picture = greys(display.brightness(role, block_means(subject.images[role], factor)))
    return charts.image(data_uri(encode(picture, palette())), f"{role} image", picture.shape[1], picture.shape[0])
