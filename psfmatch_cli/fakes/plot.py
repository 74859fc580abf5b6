"""The plot of a trial with injected sources, as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from psfmatch_cli.fakes.completeness import fit_completeness
from psfmatch_cli.fakes.panel import GREY, Axis, Panel, page
from psfmatch_cli.fakes.score import OUTLIER, samples_of, width_of

if TYPE_CHECKING:
    from astropy.table import Table

    from psfmatch_cli.fakes.trial import Trial

#: Colours of the samples, told apart also by those who do not see red and green.
COLORS = {"all": "#222222", "sky": "#0072b2", "galaxy": "#d55e00"}
WIDTH, HEIGHT = 420.0, 300.0
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def trial_svg(trial: Trial) -> str:
    """SVG of efficiency, purity, flux errors and pulls.

    Parameters
    ----------
    trial : Trial
    """
    low, high = float(min(trial.bins["snr_low"])), float(max(trial.bins["snr_high"]))
    panels = [
        _efficiency(trial, _snr_axis(low, high, "true S/N")),
        _purity(trial, _snr_axis(low, high, "measured S/N")),
        _flux_errors(trial.fakes, _snr_axis(low, high, "true S/N")),
        _pulls(trial.fakes),
    ]
    return page(panels, 2 * WIDTH, 2 * HEIGHT)


def _snr_axis(low: float, high: float, label: str) -> Axis:
    return Axis(low, high, [tick for tick in TICKS if low <= tick <= high], label, log=True)


def _part_axis(label: str) -> Axis:
    return Axis(0.0, 1.05, (0, 0.25, 0.5, 0.75, 1), label)


def _efficiency(trial: Trial, axis: Axis) -> Panel:
    panel = Panel(0, 0, WIDTH, HEIGHT, axis, _part_axis("found / injected"), "Efficiency")
    panel.line([(axis.low, 0.5), (axis.high, 0.5)], GREY, "4 3")
    grid = np.geomspace(axis.low, axis.high, 120)
    samples = samples_of(trial.fakes)
    # Bins of two samples would hide each other where they had the same middles.
    for row, (name, shift) in enumerate((("galaxy", 1.03), ("sky", 0.97))):
        if not samples[name].any():
            continue
        bins = trial.bins[np.asarray(trial.bins["sample"]) == name]
        bins = bins[np.asarray(bins["n_injected"]) > 0]
        middle = np.sqrt(np.asarray(bins["snr_low"]) * bins["snr_high"]) * shift
        columns = (bins["efficiency"], bins["efficiency_low"], bins["efficiency_high"])
        panel.bars(zip(middle, *columns, strict=True), COLORS[name])
        mine = trial.fakes[samples[name] & np.isfinite(np.asarray(trial.fakes["snr"], float))]
        curve = fit_completeness(np.asarray(mine["snr"], float), np.asarray(mine["found"], bool))
        panel.line(zip(grid, curve.at(grid), strict=True), COLORS[name])
        panel.note(f"{name}: half at S/N {_told(curve.half, curve.half_err)}", COLORS[name], row)
    return panel


def _told(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}" if np.isfinite(value) else "not known"


def _purity(trial: Trial, axis: Axis) -> Panel:
    panel = Panel(WIDTH, 0, WIDTH, HEIGHT, axis, _part_axis("injected / detected"), "Purity")
    bins = trial.bins[np.asarray(trial.bins["sample"]) == "all"]
    middle = np.sqrt(np.asarray(bins["snr_low"]) * bins["snr_high"])
    panel.line(zip(middle, bins["purity"], strict=True), COLORS["all"])
    panel.dots(zip(middle, bins["purity"], strict=True), COLORS["all"], 3.0)
    texts = (
        f"{trial.summary['n_gaussian']:.2g} expected of Gaussian noise",
        f"{trial.summary['n_negative_before']} negative without injected sources",
        f"{trial.summary['n_new_positive']} false with injected sources only",
    )
    for row, text in enumerate(texts):
        panel.note(text, COLORS["all"], row)
    return panel


def _flux_errors(fakes: Table, axis: Axis) -> Panel:
    wide = Axis(-0.5, 0.5, (-0.5, -0.25, 0, 0.25, 0.5), "(measured - true) / true flux")
    panel = Panel(0, HEIGHT, WIDTH, HEIGHT, axis, wide, "Fluxes of detections")
    panel.line([(axis.low, 0.0), (axis.high, 0.0)], GREY, "4 3")
    for name in ("sky", "galaxy"):
        mine = fakes[samples_of(fakes)[name] & np.asarray(fakes["found"], bool)]
        error = np.asarray(mine["found_flux"], float) / np.asarray(mine["flux"], float) - 1
        panel.dots(zip(np.asarray(mine["snr"], float), error, strict=True), COLORS[name])
    return panel


def _pulls(fakes: Table) -> Panel:
    """Histogram of the pulls of all forced fluxes, with the unit Gaussian that they should be."""
    edges = np.linspace(-OUTLIER, OUTLIER, 21)
    shown: dict[str, Any] = {}
    for name in ("sky", "galaxy"):
        mine = fakes[samples_of(fakes)[name]]
        pulls = (np.asarray(mine["forced_flux"], float) - mine["flux"]) / np.asarray(mine["forced_flux_err"], float)
        pulls = np.asarray(pulls)[np.isfinite(pulls)]
        if len(pulls):
            shown[name] = pulls
    densities = {name: np.histogram(p, edges)[0] / len(p) / np.diff(edges) for name, p in shown.items()}
    top = 1.4 * max([0.45, *(float(density.max()) for density in densities.values())])
    across = Axis(-OUTLIER, OUTLIER, (-4, -2, 0, 2, 4), "(measured - true) / error, at true positions")
    panel = Panel(WIDTH, HEIGHT, WIDTH, HEIGHT, across, Axis(0, top, (0, 0.2, 0.4), "density"), "Pulls of fluxes")
    grid = np.linspace(-OUTLIER, OUTLIER, 101)
    panel.line(zip(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), strict=True), GREY, "4 3")
    for row, (name, density) in enumerate(densities.items()):
        steps = [(edge, value) for n, value in enumerate(density) for edge in edges[n : n + 2]]
        panel.line(steps, COLORS[name])
        width = width_of(shown[name])
        panel.note(f"{name}: width {_told(width['width'], width['width_err'])}", COLORS[name], row + 13)
    return panel
