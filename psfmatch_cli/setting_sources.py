"""Where values of settings come from: a TOML file, environment variables, KEY=VALUE texts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.inputs import check_regular
from psfmatch_cli.setting_keys import PREFIX, bare, checked_key, key_of_variable
from psfmatch_cli.setting_values import parsed, typed

#: Key, in a file and on the command line, of the preset that the settings start from.
PRESET = "preset"
#: Environment variables that name a settings file and a preset.
FILE_VARIABLE, PRESET_VARIABLE = f"{PREFIX}CONFIG", f"{PREFIX}PRESET"
#: Environment variables with the prefix that are no settings: the data folder of tests and benchmarks.
OTHER_VARIABLES = (f"{PREFIX}DATA",)


@dataclass(frozen=True)
class Given:
    """A value that was given.

    Parameters
    ----------
    key : str
        Of a setting, or `PRESET`.
    value : Any
        Not validated yet.
    source : str
        Where it was given, in the user's words.
    """

    key: str
    value: Any
    source: str


def settings_file(path: str | Path | None, environment: Mapping[str, str]) -> Path | None:
    """The settings file: the given one, else that of the environment, else None."""
    named = path or environment.get(FILE_VARIABLE)
    return Path(named) if named else None


def in_file(path: Path, where: str = "") -> tuple[list[Given], list[str]]:
    """All that a settings file gives, and what is wrong with its names, a line each.

    Parameters
    ----------
    path : Path
    where : str
        What the lines call the file, such as " in my.toml".

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    """
    given: list[Given] = []
    complaints: list[str] = []
    spelling: dict[str, str] = {}
    for name, value in _leaves(_read_toml(path)):
        try:
            key = _checked(name, where)
        except UsageError as error:
            complaints.append(str(error))
            continue
        if key in spelling:
            complaints.append(f"setting {key} is given twice{where}: as {spelling[key]} and as {name}")
        spelling[key] = name
        given.append(Given(key, typed(key, value) if key != PRESET else value, f"file {path}"))
    return given, complaints


def in_environment(environment: Mapping[str, str]) -> list[Given]:
    """What environment variables give.

    Raises
    ------
    UsageError
        If a variable with the prefix is unknown, or two of them are one setting.
    """
    given: dict[str, Given] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in (FILE_VARIABLE, PRESET_VARIABLE, *OTHER_VARIABLES):
            continue
        key, source = key_of_variable(variable), f"environment {variable}"
        if key in given:
            raise UsageError(f"setting {key} is given twice: {given[key].source} and {source}")
        given[key] = Given(key, typed(key, parsed(key, text)), source)
    preset = environment.get(PRESET_VARIABLE)
    named = [Given(PRESET, preset, f"environment {PRESET_VARIABLE}")] if preset else []
    return [*named, *given.values()]


def in_assignments(texts: Iterable[str]) -> list[Given]:
    """What KEY=VALUE texts give.

    Raises
    ------
    UsageError
        If a key is unknown or a text has no "=".
    """
    given: list[Given] = []
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"a setting is given as KEY=VALUE, got {text!r}")
        key = _checked(name)
        given.append(Given(key, value if key == PRESET else typed(key, parsed(key, value)), "option -c"))
    return given


def _checked(name: str, where: str = "") -> str:
    return PRESET if bare(name) == PRESET else checked_key(name, where)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _read_toml(path: Path) -> dict[str, Any]:
    check_regular(path, "a settings file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the settings file {path}: {error.strerror}") from error
    except ValueError as error:  # of TOML and of the encoding
        raise InputError(f"the settings file {path} is not TOML: {error}") from error
    except RecursionError:
        raise InputError(f"the settings file {path} is not TOML of settings: it is nested too deeply") from None
