"""One row per setting: what the reference says about it, read from the pydantic models."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen
from pydantic.fields import FieldInfo

from psfmatch_cli.settings import Settings, keys, value_of

_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class SettingRow:
    """A setting as the reference describes it.

    Parameters
    ----------
    key : str
        Path of names, such as ``detection.threshold_value``.
    type, range : str
        What is allowed; no range is an empty string.
    default : str
        In TOML.
    help : str
        Its meaning.
    """

    key: str
    type: str
    range: str
    default: str
    help: str


def setting_rows() -> list[SettingRow]:
    """All settings in their order of definition."""
    default = Settings()
    return [_row(key, _field(key), value_of(default, key)) for key in keys()]


def _field(key: str) -> FieldInfo:
    model: Any = Settings
    *groups, name = key.split(".")
    for group in groups:
        model = model.model_fields[group].annotation
    return model.model_fields[name]


def _row(key: str, field: FieldInfo, value: Any) -> SettingRow:
    limits = range_text(field.metadata)
    return SettingRow(key, type_text(field.annotation), limits, toml(value), field.description or "")


def type_text(annotation: Any) -> str:
    """What a setting of this type is given as."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        kept = [type_text(part) for part in parts if part is not NoneType]
        return ", ".join(kept) + (", or none" if NoneType in parts else "")
    if origin is Literal:
        return " or ".join(toml(part) for part in parts)
    if origin is Annotated:
        return ", ".join(filter(None, (type_text(parts[0]), range_text(parts[1:]))))
    if origin is list:
        return f"list of {type_text(parts[0])}"
    return _WORDS[annotation]


def range_text(metadata: Any) -> str:
    """Limits, such as "above 0, at most 1"."""
    words = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}
    said = []
    for limit in metadata:
        if isinstance(limit, FieldInfo):
            said.append(range_text(limit.metadata))
        elif type(limit) in words:
            word, name = words[type(limit)]
            said.append(f"{word} {getattr(limit, name):g}")
        elif isinstance(limit, MinLen | Len):
            said.append(f"at least {limit.min_length} long")
    return ", ".join(said)


def toml(value: Any) -> str:
    """The value as a settings file has it."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
