"""All settings of a run, and where each of them came from.

Later sources win: the defaults, a preset, a TOML file, environment variables, KEY=VALUE texts, options. Where a
setting may be absent, "none" and "auto" say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from psfmatch_cli.config import Settings
from psfmatch_cli.errors import UsageError
from psfmatch_cli.presets import PRESETS, preset_values
from psfmatch_cli.setting_checks import complaints, validated
from psfmatch_cli.setting_keys import checked_key, keys, value_of
from psfmatch_cli.setting_sources import PRESET, Given, in_assignments, in_environment, in_file, settings_file
from psfmatch_cli.setting_values import typed
from psfmatch_cli.settings_toml import to_toml

__all__ = [
    "LoadedSettings",
    "Settings",
    "keys",
    "load_settings",
    "load_with_sources",
    "settings_from",
    "to_toml",
    "value_of",
]


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and where they came from.

    Parameters
    ----------
    settings : Settings
    sources : dict of str to str
        Where each setting came from, by key: "default", "preset v23", "file my.toml", "environment PSFMATCH_ADAPT",
        "option -c", "option --sigma", "argument" (of a Python function).
    preset : str
        The preset that they start from; "default" if none was given.
    """

    settings: Settings
    sources: dict[str, str]
    preset: str


def load_settings(
    path: str | Path | None = None,
    assignments: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from a preset, a TOML file, the environment, KEY=VALUE texts and values by key; later ones win.

    Parameters
    ----------
    path : str or Path, optional
        The file; default that of the environment's ``PSFMATCH_CONFIG``.
    assignments : iterable of str, optional
        Texts such as ``detection.min_pixels=5``.
    overrides : mapping of str to Any, optional
        Values by key.
    preset : str, optional
        One of `psfmatch_cli.presets.PRESETS`; default what ``preset`` is in the texts, else in the environment, else
        in the file.
    environment : mapping of str to str, optional
        Variables that count, such as ``os.environ``. None do by default: what a function of Python returns does
        not depend on the surroundings.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    UsageError
        If a key, variable or preset is unknown, a value has the wrong type or is out of range, or a text has no "=".
    """
    return load_with_sources(path, assignments, overrides, preset=preset, environment=environment).settings


def load_with_sources(
    path: str | Path | None = None,
    assignments: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    environment: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """What `load_settings` returns, and where each setting came from.

    Parameters
    ----------
    path, assignments, overrides, preset, environment
        As for `load_settings`.
    labels : mapping of str to str, optional
        Source of each override, by key; default "argument".

    Raises
    ------
    InputError, UsageError
        As `load_settings`.
    """
    environment, labels = environment or {}, labels or {}
    given = [*_of_file(settings_file(path, environment)), *in_environment(environment), *in_assignments(assignments)]
    for name, value in (overrides or {}).items():
        key = checked_key(name)
        given.append(Given(key, typed(key, value), labels.get(key, "argument")))
    if preset is not None:
        given.append(Given(PRESET, preset, labels.get(PRESET, "argument")))
    start = _preset(given)
    given = [*_of_preset(start), *(each for each in given if each.key != PRESET)]
    values = {each.key: each.value for each in given}
    sources = {each.key: each.source for each in given}
    settings = settings_from(values, sources)
    return LoadedSettings(settings, {key: sources.get(key, "default") for key in keys()}, start)


def settings_from(values: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> Settings:
    """Settings with the defaults replaced by the values, key -> value.

    Parameters
    ----------
    values : mapping of str to Any
    sources : mapping of str to str, optional
        Where the values came from, for the message of an error.

    Raises
    ------
    UsageError
        If a value has the wrong type or is out of range, or values contradict each other.
    """
    values = {key: typed(key, value) for key, value in values.items()}
    try:
        return validated(values)
    except ValidationError as error:
        raise UsageError(complaints(values)[0].line(values, sources or {})) from error


def complaints_of_file(path: Path) -> list[str]:
    """All that is wrong with a settings file by itself, a line each; none if it can be used.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    """
    given, lines = in_file(path)
    try:
        start = preset_values(_preset(given))
    except UsageError as error:
        lines.append(str(error))
        start = {}
    values = start | {each.key: each.value for each in given if each.key != PRESET}
    return [*lines, *(complaint.line(values, {}) for complaint in complaints(values))]


def _of_file(path: Path | None) -> list[Given]:
    if path is None:
        return []
    given, lines = in_file(path, f" in {path}")
    if lines:
        raise UsageError(lines[0])
    return given


def _of_preset(name: str) -> list[Given]:
    return [Given(key, value, f"preset {name}") for key, value in preset_values(name).items()]


def _preset(given: Iterable[Given]) -> str:
    """The preset that the settings start from.

    Raises
    ------
    UsageError
        If it is unknown.
    """
    named = [each for each in given if each.key == PRESET]
    if not named:
        return PRESETS[0]
    if named[-1].value not in PRESETS:
        raise UsageError(f"unknown preset {named[-1].value!r} ({named[-1].source}); known are {', '.join(PRESETS)}")
    return named[-1].value
