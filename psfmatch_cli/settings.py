"""All settings of a run, from their defaults, a TOML file and KEY=VALUE assignments.

A key is a path such as ``detection.threshold_value``; the upstream task's spelling
(``detection.thresholdValue``) means the same. Where a setting may be absent, "none" and "auto" say so.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError

from psfmatch_cli.config import CandidateConfig, DetectionConfig, Group, KernelConfig, SubtractionConfig, WarpConfig
from psfmatch_cli.errors import InputError, UsageError


class Settings(Group):
    """Every setting of psfmatch, by stage."""

    threads: int = Field(1, ge=1, description="threads of the Fourier transforms")
    adapt: bool = Field(
        True,
        description="with too few candidates, detect again at a lower threshold, then lower the spatial order; off: an "
        "error",
    )
    strict: bool = Field(False, description="make warnings about an under-constrained or badly conditioned fit errors")
    detection: DetectionConfig = DetectionConfig()
    warp: WarpConfig = WarpConfig()
    candidates: CandidateConfig = CandidateConfig()
    kernel: KernelConfig = KernelConfig()
    subtraction: SubtractionConfig = SubtractionConfig()


def load_settings(
    path: Path | None = None, assignments: Iterable[str] = (), overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from a TOML file, then KEY=VALUE texts, then values by key; later ones win.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    UsageError
        If a key is unknown, a value has the wrong type or is out of range, or an assignment has no "=".
    """
    values: dict[str, Any] = {}
    if path is not None:
        for key, value in _leaves(_read_toml(path)):
            values[checked_key(key, f" in {path}")] = value
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"a setting is given as KEY=VALUE, got {text!r}")
        values[checked_key(key.strip())] = _toml_value(value.strip())
    for key, value in (overrides or {}).items():
        values[checked_key(key)] = value
    return settings_from(values)


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings with the defaults replaced by the values, key -> value.

    Raises
    ------
    UsageError
        If a value has the wrong type or is out of range.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        group = nested
        for step in groups:
            group = group.setdefault(step, {})
        group[name] = _for_field(key, value)
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        raise UsageError(_one_line(error)) from error


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Keys of all settings, in their order of definition."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def checked_key(key: str, where: str = "") -> str:
    """The key in Python's spelling.

    Raises
    ------
    UsageError
        If there is no such setting; the message names those that are alike.
    """
    known = {_bare(name): name for name in keys()}
    if _bare(key) in known:
        return known[_bare(key)]
    by_name = {_bare(name.rpartition(".")[2]): name for name in reversed(known.values())}
    close = [known[match] for match in difflib.get_close_matches(_bare(key), known, n=2, cutoff=0.75)]
    close += [by_name[match] for match in difflib.get_close_matches(_bare(key.rpartition(".")[2]), by_name, n=1)]
    hint = f"did you mean {' or '.join(dict.fromkeys(close))}?" if close else "--dump-config lists all of them"
    raise UsageError(f"unknown setting {key!r}{where}; {hint}")


def to_toml(settings: Settings) -> str:
    """The complete settings as a TOML file, which `load_settings` reads back."""
    lines: list[str] = []
    group = ""
    for key in keys():
        owner, _, name = key.rpartition(".")
        if owner != group:
            lines += ["", f"[{owner}]"] if lines else [f"[{owner}]"]
            group = owner
        value = value_of(settings, key)
        lines.append(f"{name} = {_toml_text('none' if value is None else value)}")
    return "\n".join(lines) + "\n"


def value_of(settings: Settings, key: str) -> Any:
    """The value of a setting by its key."""
    value: Any = settings
    for step in key.split("."):
        value = getattr(value, step)
    return value


def _bare(key: str) -> str:
    """A key without what the two spellings differ in."""
    return key.replace("_", "").lower()


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the settings file {path}: {error.strerror}") from error
    except ValueError as error:  # of TOML and of the encoding
        raise InputError(f"the settings file {path} is not TOML: {error}") from error


def _toml_value(text: str) -> Any:
    """What the text means in TOML; a text that means nothing there is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _for_field(key: str, value: Any) -> Any:
    """A string as the setting's type wants it: split for a list, None for an absent value."""
    if not isinstance(value, str):
        return value
    *groups, name = key.split(".")
    model: Any = Settings
    for step in groups:
        model = model.model_fields[step].annotation
    annotation = model.model_fields[name].annotation
    if value in ("none", "auto") and NoneType in get_args(annotation):
        return None
    if getattr(annotation, "__origin__", None) is list:
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _toml_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_text(element) for element in value)}]"
    return repr(value)


def _one_line(error: ValidationError) -> str:
    """The first complaint of a validation: setting, value, rule."""
    first = error.errors()[0]
    key = ".".join(str(step) for step in first["loc"])
    rule = first["msg"].removeprefix("Value error, ")
    return f"setting {key} = {first['input']!r} is refused: {rule[:1].lower()}{rule[1:]}"
