"""Settings as a complete TOML file, each with its meaning."""

from __future__ import annotations

import textwrap

from psfmatch_cli.config import Settings
from psfmatch_cli.setting_keys import value_of
from psfmatch_cli.setting_values import plain_text, toml_text
from psfmatch_cli.settings_reference import SettingRow, settings_reference

#: Width of the comments, characters.
WIDTH = 100


def to_toml(settings: Settings) -> str:
    """The complete settings as a TOML file, which `load_settings` reads back."""
    lines = ["# Settings of psfmatch; what is left out keeps its default."]
    group = ""
    for row in settings_reference():
        owner, _, name = row.key.rpartition(".")
        if owner != group:
            lines += ["", f"[{owner}]"]
            group = owner
        lines += ["", *_comment(row), f"{name} = {toml_text(value_of(settings, row.key))}"]
    return "\n".join(lines) + "\n"


def _comment(row: SettingRow) -> list[str]:
    allowed = row.allowed or row.type
    text = f"{row.help} [{allowed}; default: {plain_text(row.default)}]"
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
