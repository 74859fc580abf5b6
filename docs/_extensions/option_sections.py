"""Options of a command under the headings of its ``--help``; sphinx-click lists them without."""

from __future__ import annotations

import re
from typing import Any

import click

_ENTRY = re.compile(r"\.\. option:: (-[\w-]+)")


def by_section(app: Any, context: click.Context, lines: list[str]) -> None:
    """Order the lines of a command's options by section, in the order in which the sections appear."""
    sections: dict[str, list[str]] = {}
    section = ""
    for line in lines:
        entry = _ENTRY.match(line)
        if entry:
            section = _section(context.command, entry[1])
        sections.setdefault(section, []).append(line)
    lines[:] = sections.pop("", [])
    for title, own in sections.items():
        lines += [f".. rubric:: {title}", "", *own]


def _section(command: click.Command, name: str) -> str:
    option = next(param for param in command.params if name in param.opts)
    return getattr(option, "section", "General")


def setup(app: Any) -> dict[str, Any]:
    app.connect("sphinx-click-process-options", by_section)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
