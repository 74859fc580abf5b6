"""What the guide takes from the code when it is built: settings, exceptions, modules, the list of changes."""

from __future__ import annotations

import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import psfmatch_cli
from psfmatch_cli import errors
from psfmatch_cli.setting_values import toml_text
from psfmatch_cli.settings_reference import SettingRow, settings_reference, upstream_text, without_counterpart
from psfmatch_cli.upstream import UPSTREAM, UpstreamField


class SettingsDirective(SphinxDirective):
    """``.. settings:: detection``: an entry for every setting of a group, none of the groups inside it."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        group = self.arguments[0] if self.arguments else ""
        rows = [row for row in settings_reference() if row.key.rpartition(".")[0] == group]
        if not rows:
            raise self.error(f"there is no group of settings {group!r}")
        return self.parse_text_to_nodes("\n".join(_setting(row) for row in rows))


def _setting(row: SettingRow) -> str:
    allowed = f"{row.type}; {_escaped(row.allowed)}" if row.allowed else row.type
    return f"""
.. confval:: {row.key}
   :type: {allowed}
   :default: ``{toml_text(row.default)}``

   {_sentence(row.help)}

   {_upstream_of(row)}
"""


def _upstream_of(row: SettingRow) -> str:
    """What upstream has for a setting: name and defaults, and why ours differs."""
    if not row.upstream:
        return f"*Upstream has no such setting:* {_sentence(row.note, capital=False)}"
    then, now = row.upstream_default("v23"), row.upstream_default("head")
    defaults = f"``{then or 'absent'}``" + (f", today ``{now or 'absent'}``" if now != then else "")
    names = ", ".join(f"``{name}``" for name in dict.fromkeys(row.upstream_names))
    note = f" Here: {_sentence(row.note, capital=False)}" if row.note else ""
    return f"*Upstream:* {names}, default {defaults}.{note}"


class UpstreamSettingsDirective(SphinxDirective):
    """``.. upstream-settings::``: a table of all settings of upstream, with ours or the reason why there is none."""

    def run(self) -> list[nodes.Node]:
        here = [_field(field) for field in UPSTREAM if field.key is not None]
        gone = [(f"``{field.name}``", _sentence(field.note)) for field in without_counterpart()]
        head = ("Upstream", "Default, spring 2023", "Default, today", "Here")
        text = _table(head, here, (38, 15, 15, 32)) + _table(("Upstream, without counterpart", "Why"), gone, (40, 60))
        return self.parse_text_to_nodes(text)


def _field(field: UpstreamField) -> tuple[str, ...]:
    texts = (upstream_text(field, version) or "absent" for version in ("v23", "head"))
    return f"``{field.name}``", *(f"``{text}``" for text in texts), f":confval:`{field.key}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], widths: tuple[int, ...]) -> str:
    lines = ["", ".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in [head, *rows]:
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}" for n, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def _escaped(text: str) -> str:
    """The text without anything that reStructuredText would read as markup."""
    return re.sub(r"([*`|\\]|_(?=\W|$))", r"\\\1", text)


def _sentence(text: str, *, capital: bool = True) -> str:
    text = _escaped(text)
    return f"{text[:1].upper() if capital else text[:1]}{text[1:]}."


class ExceptionsDirective(SphinxDirective):
    """``.. exceptions::``: every exception with its exit status."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(_exception(kind) for kind in exceptions()))


def exceptions() -> list[type[errors.PsfMatchError]]:
    """All exceptions of psfmatch, in the order in which they are defined."""
    found = (value for value in vars(errors).values() if inspect.isclass(value))
    return [kind for kind in found if issubclass(kind, errors.PsfMatchError)]


def _exception(kind: type[errors.PsfMatchError]) -> str:
    home = "psfmatch_cli" if kind.__name__ in psfmatch_cli.__all__ else "psfmatch_cli.errors"
    return f"""
.. autoexception:: {home}.{kind.__name__}
   :show-inheritance:

   Exit status {kind.exit_code}.
"""


class ModulesDirective(SphinxDirective):
    """``.. modules::``: the docstring of every module."""

    def run(self) -> list[nodes.Node]:
        names = (name for _, name, _ in pkgutil.walk_packages(psfmatch_cli.__path__, "psfmatch_cli."))
        text = "\n".join(_module(name) for name in sorted(names) if not name.endswith(".__main__"))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _module(name: str) -> str:
    return f"""
{name}
{"-" * len(name)}

.. automodule:: {name}
   :no-members:
"""


def markdown_to_rst(app: Any, relative_path: Path, parent: str, content: list[str]) -> None:
    """Turn an included Markdown file, of headings, lists and code in quotes, into what Sphinx reads."""
    if relative_path.suffix == ".md":
        content[0] = "\n".join(_rst_line(line) for line in content[0].split("\n"))


def _rst_line(line: str) -> str:
    heading = re.match(r"(#+) (.*)", line)
    if heading:
        return f"{heading[2]}\n{'=-~'[len(heading[1]) - 1] * len(heading[2])}"
    return re.sub(r"`([^`]+)`", r"``\1``", line)


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("settings", SettingsDirective)
    app.add_directive("upstream-settings", UpstreamSettingsDirective)
    app.add_directive("exceptions", ExceptionsDirective)
    app.add_directive("modules", ModulesDirective)
    app.connect("include-read", markdown_to_rst)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
