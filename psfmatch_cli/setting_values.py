"""Values of settings as texts: read from the command line and the environment, written to files and tables."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from psfmatch_cli.setting_keys import fields

#: What says that a setting is absent, where it may be.
ABSENT_TEXTS = ("none", "auto")


def parsed(key: str, text: str) -> Any:
    """What a text from the command line or the environment means for a setting.

    The text is a value as in a TOML file, or a string without quotes; elements of a list may also be given
    without brackets, and one alone.
    """
    value = _toml_value(text)
    if takes_list(key) and not isinstance(value, list | str):
        return [value]
    return value


def typed(key: str, value: Any) -> Any:
    """A string as the setting's type wants it: split for a list, None for an absent value; others as they are."""
    if not isinstance(value, str):
        return value
    if value in ABSENT_TEXTS and takes_none(key):
        return None
    if takes_list(key):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def takes_none(key: str) -> bool:
    """Whether the setting may be absent."""
    return NoneType in get_args(fields()[key].annotation)


def takes_list(key: str) -> bool:
    """Whether the setting is a list."""
    return get_origin(value_type(fields()[key])) is list


def value_type(field: FieldInfo) -> Any:
    """Type of a setting where it is not absent."""
    others = [part for part in get_args(field.annotation) if part is not NoneType]
    return others[0] if NoneType in get_args(field.annotation) else field.annotation


def toml_text(value: Any) -> str:
    """A value as a TOML file has it; None, which TOML does not know, as "none"."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_text(element) for element in value)}]"
    return repr(value)


def plain_text(value: Any) -> str:
    """A value for people, in a form that the command line takes."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and value:
        return ",".join(plain_text(element) for element in value)
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "none" if value is None else toml_text(value)


def type_text(field: FieldInfo) -> str:
    """Type of a setting in words."""
    kind = value_type(field)
    described = f"list of {_type_name(_element_type(kind))}s" if get_origin(kind) is list else _type_name(kind)
    return f"{described}, or none" if kind is not field.annotation else described


def range_text(field: FieldInfo) -> str:
    """What is allowed for a setting, in words; empty if all values of its type are."""
    kind = value_type(field)
    if get_origin(kind) is Literal:
        allowed = ", ".join(plain_text(choice) for choice in get_args(kind))
    elif get_origin(kind) is list:
        limits = _limits(_annotations(get_args(kind)[0]))
        least = [f"at least {limit} of them" for limit in _named(field.metadata, "min_length")]
        allowed = ", ".join([*([f"each {limits}"] if limits else []), *least])
    else:
        allowed = _limits(field.metadata)
    return f"{allowed}, or none" if allowed and kind is not field.annotation else allowed


def _toml_value(text: str) -> Any:
    """What the text means in TOML; a text that means nothing there is a string."""
    try:
        values = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):  # the latter of brackets within brackets
        return text
    return values["value"] if len(values) == 1 else text


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "choice"
    return {bool: "true or false", int: "integer", float: "number", str: "name"}[kind]


def _element_type(kind: Any) -> Any:
    element = get_args(kind)[0]
    return get_args(element)[0] if get_origin(element) is Annotated else element


def _annotations(element: Any) -> list[Any]:
    """Limits of the elements of a list."""
    return [limit for part in get_args(element)[1:] for limit in part.metadata]


def _limits(metadata: list[Any]) -> str:
    """Limits of a number, such as ``0 to 20`` or ``> 0``."""
    low, high = list(_named(metadata, "ge")), list(_named(metadata, "le"))
    if low and high:
        return f"{low[0]:g} to {high[0]:g}"
    signs = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
    return " and ".join(f"{sign} {limit:g}" for name, sign in signs for limit in _named(metadata, name))


def _named(metadata: list[Any], name: str) -> Iterator[Any]:
    return (getattr(limit, name) for limit in metadata if getattr(limit, name, None) is not None)
