"""The sources of the difference, each with its stamps."""

from __future__ import annotations

import numpy as np

from psfmatch_cli.report.markup import Markup, section, tag
from psfmatch_cli.report.panels import Display
from psfmatch_cli.report.stamps import column, pixel_positions, triplet
from psfmatch_cli.report.subject import Subject

#: How many sources are shown, the most significant first.
N_SHOWN = 24
#: Columns of a table that can be shown.
COLUMNS = ("x", "y", "snr", "psf_flux", "polarity", "is_dipole")


def change_section(subject: Subject, display: Display) -> Markup:
    """Stamps of the most significant sources of the difference."""
    sources = subject.sources
    snr, flux, sign = (column(sources, name) for name in ("snr", "psf_flux", "polarity"))
    dipole = np.nan_to_num(column(sources, "is_dipole")) > 0
    x, y = pixel_positions(subject, sources)
    order = np.argsort(-np.nan_to_num(snr, nan=-np.inf), kind="stable")
    shown = [n for n in order if x[n] >= 0 and y[n] >= 0][:N_SHOWN]
    made = []
    for n in shown:
        kind = "dipole" if dipole[n] else "brighter" if sign[n] > 0 else "fainter"
        caption = (tag("b", f"{snr[n]:.1f} sigma "), kind), f"flux {flux[n]:.4g}"
        made.append(triplet(subject, display, (int(x[n]), int(y[n])), *caption))
    note = (
        f"{len(sources)} sources: {np.count_nonzero(sign > 0)} brighter and {np.count_nonzero(sign < 0)} fainter in "
        f"the science image, {np.count_nonzero(dipole)} of them dipoles. The {len(shown)} most significant are shown: "
        "template, science, difference / noise."
    )
    return section("Sources of the difference", tag("p", note), tag("div", *made, class_="stamps"), anchor="sources")
