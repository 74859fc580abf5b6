"""The page as a whole."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.report.candidates import candidate_section
from psfmatch_cli.report.changes import change_section
from psfmatch_cli.report.kernels import kernel_section
from psfmatch_cli.report.markup import Markup, tag, text, void
from psfmatch_cli.report.numbers import header, quality_section, run_section, warning_section
from psfmatch_cli.report.panels import display_of, panels
from psfmatch_cli.report.residuals import residual_section
from psfmatch_cli.report.script import SCRIPT
from psfmatch_cli.report.stamps import core_residuals, stamp_sections
from psfmatch_cli.report.style import CSS
from psfmatch_cli.report.subject import Subject
from psfmatch_cli.version import __version__


def make_page(subject: Subject) -> str:
    """The report as an HTML document that needs nothing else.

    The browser is told to load nothing and to run no script but the page's own, whatever else might stand in it.
    """
    residuals = core_residuals(subject)
    sections = list(_sections(subject, residuals))
    body = tag(
        "body",
        header(subject, residuals),
        tag("nav", *(tag("a", title, href=f"#{anchor}") for title, anchor in _links(sections))),
        warning_section(subject),
        *sections,
        tag("footer", tag("p", f"Made by psfmatch {__version__}.")),
        tag("script", Markup(SCRIPT)),
    )
    return f"<!doctype html>\n{tag('html', _head(subject), body, lang='en')}\n"


def _head(subject: Subject) -> Markup:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=policy),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        tag("title", text(f"psfmatch: {subject.title}")),
        tag("style", Markup(CSS)),
    )


def _links(sections: list[Markup]) -> list[tuple[Markup, str]]:
    """Title and anchor of each section."""
    found = (re.match(r'<section id="(\w+)"><h2>(.*?)</h2>', part) for part in sections)
    return [(Markup(match[2]), match[1]) for match in found if match is not None]


def _sections(subject: Subject, residuals: NDArray[np.float64]) -> Iterator[Markup]:
    """The sections whose inputs there are."""
    display = display_of(subject)
    yield panels(subject, display)
    if subject.sources is not None:
        yield change_section(subject, display)
    if subject.candidates is not None:
        yield stamp_sections(subject, display, residuals)
    yield residual_section(subject)
    if subject.candidates is not None:
        yield candidate_section(subject, display)
    if subject.kernel is not None or subject.background is not None:
        yield kernel_section(subject)
    if subject.record is not None:
        yield quality_section(subject)
        yield run_section(subject)
