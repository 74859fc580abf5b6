"""HTML from values: every text is escaped here, so that no file can put elements into a page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A value as HTML text; `Markup` stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def join(parts: Iterable[object]) -> Markup:
    """Parts one after another."""
    return Markup("".join(map(text, parts)))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element; attributes that are None or False are left out, ``class_`` and ``aria_label`` lose their underscore.

    Parameters
    ----------
    name : str
    *content : object
        What is in it, escaped.
    **attributes : object
    """
    return Markup(f"<{name}{_attributes(attributes)}>{join(content)}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """An element without an end, such as ``img``."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text("" if value is True else value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )


def table(head: Sequence[object], rows: Iterable[Sequence[object]], **attributes: object) -> Markup:
    """A table; numbers given as text are aligned by the page's style."""
    titles = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))) if head else ""
    body = (tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows)
    return tag("table", titles, tag("tbody", *body), **attributes)


def section(title: str, *content: object, anchor: str) -> Markup:
    """A part of the page with its title."""
    return tag("section", tag("h2", title), *content, id=anchor)


def number(value: object) -> str:
    """A value of the record as people read it; numbers to four digits."""
    if value is None or value != value:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(number, value)) or "none"
    return str(value)
