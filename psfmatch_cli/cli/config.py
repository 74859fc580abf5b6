"""psfmatch config: what the settings are, where they come from, and whether a settings file is right."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from psfmatch_cli.cli import options
from psfmatch_cli.cli.console import printing, say
from psfmatch_cli.cli.plain_text import one_line
from psfmatch_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from psfmatch_cli.settings import LoadedSettings
    from psfmatch_cli.settings_reference import SettingRow

#: Columns of the table.
COLUMNS = ("setting", "value", "default", "source", "allowed", "meaning")


@click.group("config", no_args_is_help=False, epilog="\b\nExample:\n  psfmatch config show kernel")
@click.help_option("-h", "--help")
def command() -> None:
    """Show, write or check settings."""


@command.command("show", cls=options.SectionedCommand, epilog="\b\nExample:\n  psfmatch config show kernel --changed")
@click.argument("names", nargs=-1, metavar="[KEY-OR-GROUP]...")
@options.option("--changed", is_flag=True, section="Output", help="Only settings that differ from the default.")
@options.option(
    "--json", "as_json", is_flag=True, section="Output", help="Print JSON for scripts, one object a setting."
)
@options.settings
@options.debugging
def show(names: tuple[str, ...], changed: bool, as_json: bool, **given: Any) -> None:
    """List settings with value, default, source and meaning.

    The values are those that a command with the same options would use. A name is that of a setting, such as
    kernel.kernel_size, or of a group, such as kernel or detection.background; without one all settings are listed.
    """
    from psfmatch_cli.cli.run import settings_of

    loaded = settings_of(given)
    rows = [row for row in _chosen(names) if not changed or _value(loaded, row) != row.default]
    if as_json:
        say(_json(rows, loaded))
    else:
        _print_table([_cells(row, loaded) for row in rows])


@command.command("dump", cls=options.SectionedCommand, epilog="\b\nExample:\n  psfmatch config dump --preset v23")
@options.option("--json", "as_json", is_flag=True, section="Output", help="Print JSON for scripts.")
@options.settings
@options.debugging
def dump(as_json: bool, **given: Any) -> None:
    """Print a settings file with all settings.

    The values are those that a command with the same options would use; comments tell what each setting means.
    """
    from psfmatch_cli.cli.run import settings_of
    from psfmatch_cli.settings import to_toml

    settings = settings_of(given).settings
    if as_json:
        say(json.dumps(settings.model_dump(mode="json"), indent=2))
    else:
        say(to_toml(settings), nl=False)


@command.command("validate", cls=options.SectionedCommand, epilog="\b\nExample:\n  psfmatch config validate my.toml")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@options.option("--json", "as_json", is_flag=True, section="Output", help="Print JSON: what is wrong with each file.")
@options.debugging
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check settings files and list all that is wrong.

    Each file is checked by itself. The exit status is 0 if all can be used, 1 if one cannot be read, else 2.
    """
    from psfmatch_cli.settings import complaints_of_file

    complaints: dict[str, list[str]] = {}
    unreadable = False
    for file in files:
        try:
            complaints[str(file)] = complaints_of_file(file)
        except InputError as error:
            complaints[str(file)], unreadable = [str(error)], True
        if not as_json:
            for line in complaints[str(file)] or ["ok"]:
                say(one_line(f"{file}: {line}"))
    if as_json:
        from psfmatch_cli.strict_json import to_json

        say(to_json(complaints, indent=2))
    n_refused = sum(bool(lines) for lines in complaints.values())
    if n_refused:
        kind = InputError if unreadable else UsageError
        raise kind(f"{n_refused} of {len(files)} settings files cannot be used")


def _chosen(names: Sequence[str]) -> list[SettingRow]:
    """Rows of the settings and groups named, all without a name.

    Raises
    ------
    UsageError
        If there is no setting or group of a name.
    """
    from psfmatch_cli.setting_keys import bare, checked_key, groups
    from psfmatch_cli.settings_reference import settings_reference

    rows = settings_reference()
    if not names:
        return rows
    known = {bare(group): group for group in groups()}
    wanted = [f"{known[bare(name)]}." if bare(name) in known else checked_key(name) for name in names]
    return [
        row for row in rows if any(row.key == name or (name[-1] == "." and row.key.startswith(name)) for name in wanted)
    ]


def _value(loaded: LoadedSettings, row: SettingRow) -> Any:
    from psfmatch_cli.settings import value_of

    return value_of(loaded.settings, row.key)


def _cells(row: SettingRow, loaded: LoadedSettings) -> tuple[str, ...]:
    from psfmatch_cli.setting_values import plain_text

    value, default = plain_text(_value(loaded, row)), plain_text(row.default)
    return row.key, value, default, loaded.sources[row.key], row.allowed or row.type, row.help


def _json(rows: Sequence[SettingRow], loaded: LoadedSettings) -> str:
    described = [
        {
            "key": row.key,
            "value": _value(loaded, row),
            "default": row.default,
            "source": loaded.sources[row.key],
            "variable": row.variable,
            "type": row.type,
            "allowed": row.allowed,
            "help": row.help,
            "upstream": list(row.upstream_names),
            "upstreamDefault": {version: row.upstream_default(version) for version in ("v23", "head")},
            "note": row.note,
        }
        for row in rows
    ]
    return json.dumps(described, indent=2)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: on a terminal with lines broken to its width, else a line a setting."""
    if sys.stdout.isatty():
        _print_rich(rows)
        return
    lines = [COLUMNS, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS) - 1)]
    for *cells, last in lines:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))


def _print_rich(rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    with printing():
        Console().print(table, highlight=False)
