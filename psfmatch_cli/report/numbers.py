"""What the record of the run says: verdict, numbers, warnings, settings, inputs, versions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.report.markup import Markup, number, section, table, tag
from psfmatch_cli.report.subject import Subject

VERDICT, REASONS = "run.summary.quality", "run.summary.quality_reasons"
#: Item of the summary, what it is, how to read it.
_ITEMS = (
    ("sky_width", "Sky width", "width of difference / noise on the sky; 1 is what the variance says"),
    ("n_sky_pixels", "Sky pixels", "that this was measured on"),
    ("variance_scale", "Variance scale", "what the variance of the difference was multiplied by to fit the sky"),
    ("kernel_sum", "Kernel sum", "ratio of the fluxes at the centre of the field"),
    ("expected_kernel_sum", "Expected sum", "of the zero points of the two images"),
    ("kernel_sum_ratio", "Sum / expected", "1 where the fit agrees with the calibrations"),
    ("condition_number", "Condition number", "of the spatial system: large where candidates hardly determine it"),
    ("model_error", "Model error", "residual of bright candidates relative to their flux, beyond the noise"),
    ("n_sources", "Sources", "considered as candidates"),
    ("n_candidates", "Candidates", "not refused"),
    ("n_used", "Used", "in the last fit"),
    ("n_rejected", "Rejected", "by the fit"),
    ("converged", "Converged", "whether the last round rejected nothing more"),
    ("kernel_constraint", "Kernel is", "how well the candidates determine it"),
    ("background_constraint", "Background is", "how well the candidates determine it"),
    ("masked_fraction", "Masked fraction", "of the pixels of the difference"),
    ("convolved", "Convolved", "image that the kernel was applied to"),
    ("direction_reason", "because of", ""),
    ("template_fwhm", "Template FWHM", "pixels"),
    ("science_fwhm", "Science FWHM", "pixels"),
    ("kernel_size", "Kernel size", "pixels"),
    ("basis", "Basis", ""),
    ("spatial_order", "Kernel order", "of its change over the field"),
    ("background_order", "Background order", "of its change over the field"),
    ("registration_offset", "Offset", "of the template from the science grid, pixels"),
    ("warped", "Resampled", "whether the template was"),
    ("decorrelated", "Decorrelated", "whether the noise of the difference was made white"),
    ("normalize", "Counts of", "image whose photometric scale the difference has"),
)


def header(subject: Subject, residuals: NDArray[np.float64]) -> Markup:
    """Title, what was subtracted from what, verdict, and the numbers that matter most.

    Parameters
    ----------
    subject : Subject
    residuals : ndarray, (N,)
        Root mean squares of difference / noise in the cores of sources; NaN where they were not judged.
    """
    pair = [tag("div", tag("b", f"{role}: "), what) for role, what in subject.described.items() if what]
    parts = [tag("h1", subject.title), tag("div", *pair, class_="pair")]
    if subject.record is not None:
        parts += [_verdict(subject), tag("div", *_tiles(subject, residuals), class_="tiles")]
    return tag("header", *parts)


def _verdict(subject: Subject) -> Markup:
    level = subject.item(VERDICT)
    if not isinstance(level, str):
        return tag(
            "p",
            "The record of this run holds no verdict: look at the images, the residuals and the numbers.",
            class_="verdict none",
        )
    known = level if level in ("good", "doubtful", "bad") else "none"
    reasons = [tag("li", reason) for reason in subject.items(REASONS)]
    return tag("div", tag("strong", level), tag("ul", *reasons) if reasons else "", class_=f"verdict {known}")


def _tiles(subject: Subject, residuals: NDArray[np.float64]) -> Iterator[Markup]:
    def tile(title: str, value: str, note: str) -> Markup:
        return tag("div", tag("span", title), tag("strong", value), tag("small", note), class_="tile")

    def item(name: str) -> object:
        return subject.item(f"run.summary.{name}")

    masked = item("masked_fraction")
    expected = item("expected_kernel_sum")
    scale = item("variance_scale")
    scaled = f", before the variance was scaled by {scale:.3f}" if isinstance(scale, float) and scale != 1 else ""
    yield tile("Sky width", number(item("sky_width")), f"difference / noise; 1 is perfect{scaled}")
    judged = residuals[np.isfinite(residuals)]
    if judged.size:
        note = f"sigma, median of {judged.size}; 1 is perfect, the worst {judged.max():.1f}"
        yield tile("Residual at sources", f"{np.median(judged):.2f}", note)
    yield tile(
        "Kernel sum",
        number(item("kernel_sum")),
        f"expected {number(expected)}" if expected is not None else "flux ratio",
    )
    yield tile(
        "Candidates used",
        number(item("n_used")),
        f"of {number(item('n_sources'))} sources, {number(item('n_rejected'))} rejected",
    )
    yield tile("Model error", _percent(item("model_error")), "of a bright star's flux")
    yield tile("Masked", _percent(masked), "of the pixels")
    yield tile("Condition number", number(item("condition_number")), f"kernel {number(item('kernel_constraint'))}")
    n = len(subject.items("run.warnings"))
    yield tile("Warnings", str(n), "of the run, below" if n else "of the run")


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float) and value == value else "not known"


def warning_section(subject: Subject) -> Markup:
    """Warnings of the run, what was adapted, and what is missing on the page; empty where there is nothing."""
    lists = (
        ("Warnings of the run", subject.items("run.warnings")),
        ("Adapted to few candidates", subject.items("run.summary.adaptations")),
        ("Not on this page", list(subject.missing)),
    )
    made = [
        tag("div", tag("b", title), tag("ul", *(tag("li", line) for line in lines))) for title, lines in lists if lines
    ]
    return tag("section", *made, class_="warnings", id="warnings") if made else Markup()


def quality_section(subject: Subject) -> Markup:
    """The numbers of the record that judge the match, and in a fold all of them."""
    rows = [
        (title, number(subject.item(f"run.summary.{name}")), note)
        for name, title, note in _ITEMS
        if subject.item(f"run.summary.{name}") is not None
    ]
    flat = {
        name: value for name, value in subject.record.flat().items() if name.startswith(("run.summary.", "psfMatch."))
    }
    further = [(name, number(value)) for name, value in sorted(flat.items()) if not name.endswith(_USAGE)]
    fold = tag("details", tag("summary", f"All {len(further)} items of the match"), table(("item", "value"), further))
    return section("Numbers", table(("number", "value", "what it is"), rows, class_="numbers"), fold, anchor="numbers")


#: Ends of the items on times and memory.
_USAGE = ("Utc", "Time", "MaxResidentSetSize", "PageFaults", "BlockInputs", "BlockOutputs", "ContextSwitches")


def run_section(subject: Subject) -> Markup:
    """How it was made: command line, inputs, outputs, settings that are not the default, versions."""
    record = subject.record
    flat = record.flat()
    sources = {
        name.removeprefix("run.settingSources."): source
        for name, source in flat.items()
        if name.startswith("run.settingSources.") and source != "default"
    }
    changed = [(key, number(flat.get(f"run.settings.{key}")), source) for key, source in sorted(sources.items())]
    command = " ".join(["psfmatch", *map(str, subject.items("run.arguments"))])
    files = [
        (role, path, str(flat.get(f"run.inputs.{role}.sha256", ""))[:12])
        for role, path in _parts(flat, "run.inputs.", ".path")
    ] + [(role, path, "") for role, path in _parts(flat, "run.outputs.", "")]
    made = [
        tag("pre", command),
        tag(
            "p",
            f"Run {number(subject.item('run.id'))}, {number(subject.item('run.startedUtc'))} UTC, "
            f"{number(subject.item('run.wallSeconds'))} s",
        ),
        table(("file", "name", "SHA-256 begins"), files),
        tag("h3", "Settings that are not the default"),
        table(("setting", "value", "from"), changed) if changed else tag("p", "None."),
        tag("h3", "Versions"),
        table((), _parts(flat, "run.versions.", "")),
    ]
    return section("How it was made", *made, anchor="run")


def _parts(flat: dict, start: str, end: str) -> list[tuple[str, str]]:
    """What stands between two parts of the names of items, and the values of these."""
    return [
        (name[len(start) : len(name) - len(end)], str(value))
        for name, value in flat.items()
        if name.startswith(start) and name.endswith(end)
    ]
