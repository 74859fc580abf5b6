"""The kernel across the field, its sum, and the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
from psfmatch_cli.report import charts
from psfmatch_cli.report.colors import GAP, palette, signed
from psfmatch_cli.report.markup import Markup, section, tag
from psfmatch_cli.report.png import data_uri, encode
from psfmatch_cli.report.subject import Subject

#: Kernels along the longer side of the field, cells of the sum's map, pixels of the background's picture.
N_KERNELS, N_SUMS, N_BACKGROUND = 5, 8, 64
#: Largest deviation of the kernel sum from its mean that is full colour.
FULL_SUM = 0.05


def kernel_section(subject: Subject) -> Markup:
    """Pictures of the kernel and of the background, those that there are."""
    image = subject.difference
    height, width = image.image.shape
    x0, y0 = image.xy0
    box = Box(x0, y0, x0 + width - 1, y0 + height - 1)
    made: list[Markup] = []
    if subject.kernel is not None:
        made += _kernels(subject.kernel, box), _sums(subject, subject.kernel, box)
    if subject.background is not None:
        made.append(_background(subject.background, box))
    return section("Kernel and background", tag("div", *made, class_="charts"), anchor="kernel")


def grid(box: Box, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of n cells along the longer side of a box, and as many as fit along the other; x and y."""
    cell = max(box.width, box.height) / n
    counts = (max(1, round(side / cell)) for side in (box.width, box.height))
    (nx, ny), starts = counts, (box.x_min - 0.5, box.y_min - 0.5)
    return (
        starts[0] + (np.arange(nx) + 0.5) * box.width / nx,
        starts[1] + (np.arange(ny) + 0.5) * box.height / ny,
    )


def kernel_mosaic(kernel: MatchingKernel, box: Box) -> NDArray[np.float64]:
    """Kernel images over their largest absolute value, on a grid of the field; infinite in the gaps of one pixel."""
    xs, ys = grid(box, N_KERNELS)
    pitch = kernel.size + 1
    made = np.full((len(ys) * pitch - 1, len(xs) * pitch - 1), np.inf)
    for row, y in enumerate(ys):
        for column, x in enumerate(xs):
            at = row * pitch, column * pitch
            made[at[0] : at[0] + kernel.size, at[1] : at[1] + kernel.size] = kernel.image(float(x), float(y))
    return made / np.abs(made[np.isfinite(made)]).max()


def _kernels(kernel: MatchingKernel, box: Box) -> Markup:
    values = kernel_mosaic(kernel, box)
    gaps = np.isinf(values)
    # The square root shows wings of 1 % of the peak as a tenth of the colours.
    colors = signed(np.sign(values) * np.sqrt(np.abs(np.where(gaps, 0, values))))
    colors[gaps] = GAP
    height, width = colors.shape
    uri = data_uri(encode(colors, palette()))
    caption = "Kernel across the field (red positive, blue negative; square root of the values)"
    alt = f"kernel of {kernel.size} x {kernel.size} pixels on a grid of positions"
    return tag(
        "figure", tag("figcaption", caption), charts.image(uri, alt, width, height, "pixels", 420 / max(width, height))
    )


def _sums(subject: Subject, kernel: MatchingKernel, box: Box) -> Markup:
    xs, ys = grid(box, N_SUMS)
    values = np.array([kernel.sum(xs, np.full(len(xs), y)) for y in ys])
    middle = float(np.mean(values))
    expected = subject.item("run.summary.expected_kernel_sum")
    known = f", the calibrations say {expected:.4f}" if isinstance(expected, float) else ""
    caption = f"Kernel sum, the ratio of the fluxes: {values.min():.4f} to {values.max():.4f}{known}"
    drawn = charts.heat_map(values, middle, FULL_SUM * abs(middle), ".3f", "map of the kernel sum")
    return tag("figure", tag("figcaption", caption), drawn)


def _background(model: BackgroundModel, box: Box) -> Markup:
    xs, ys = grid(box, N_BACKGROUND)
    values = np.array([model(xs, np.full(len(xs), y)) for y in ys])
    low, high = float(values.min()), float(values.max())
    spread = (high - low) / 2 or 1.0
    colors = signed((values - (low + high) / 2) / spread)
    height, width = colors.shape
    caption = f"Differential background of order {model.spatial.order}, added to the matched image"
    drawn = charts.image(
        data_uri(encode(colors, palette())), "map of the background", width, height, "smooth", 420 / max(width, height)
    )
    bar = charts.color_bar(f"{low:.4g}", f"{high:.4g} counts")
    return tag("figure", tag("figcaption", caption), drawn, bar)
