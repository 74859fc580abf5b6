"""Names of settings: their keys, the spellings that mean the same, and what an unknown name may have meant.

A key is a path such as ``detection.threshold_value``; the upstream task's spelling of the last part
(``detection.thresholdValue``) means the same, and so does the environment variable
``PSFMATCH_DETECTION_THRESHOLD_VALUE``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from psfmatch_cli.config import Settings
from psfmatch_cli.errors import UsageError
from psfmatch_cli.upstream import UPSTREAM, UpstreamField

#: Beginning of the environment variables.
PREFIX = "PSFMATCH_"


@cache
def fields() -> dict[str, FieldInfo]:
    """Definition of every setting by its key, in their order."""
    return dict(_fields(Settings, ""))


def _fields(model: type[BaseModel], prefix: str) -> list[tuple[str, FieldInfo]]:
    found: list[tuple[str, FieldInfo]] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _fields(field.annotation, f"{prefix}{name}.")
        else:
            found.append((prefix + name, field))
    return found


def keys() -> list[str]:
    """Keys of all settings: those without a group first, then group by group."""
    return list(fields())


def groups() -> list[str]:
    """Names of all groups, such as ``detection`` and ``detection.background``."""
    paths = (key.split(".")[:-1] for key in fields())
    return list(dict.fromkeys(".".join(path[: n + 1]) for path in paths for n in range(len(path))))


def value_of(settings: Settings, key: str) -> Any:
    """The value of a setting by its key."""
    value: Any = settings
    for step in key.split("."):
        value = getattr(value, step)
    return value


def variable_of(key: str) -> str:
    """Environment variable of a setting."""
    return PREFIX + key.replace(".", "_").upper()


def checked_key(key: str, where: str = "") -> str:
    """The key in Python's spelling.

    Raises
    ------
    UsageError
        If there is no such setting; the message tells what the name of an upstream setting is here, or names
        the settings that are alike.
    """
    known = _by_spelling()
    if bare(key) in known:
        return known[bare(key)]
    raise UsageError(f"unknown setting {key!r}{where}; {_hint(key)}")


def key_of_variable(variable: str) -> str:
    """The key that an environment variable stands for; underscores and case do not count after the prefix.

    Raises
    ------
    UsageError
        If there is no such setting.
    """
    known = {_letters(key): key for key in fields()}
    given = _letters(variable.removeprefix(PREFIX))
    if given in known:
        return known[given]
    if field := {_letters(field.name): field for field in UPSTREAM}.get(given):
        raise UsageError(f"unknown environment variable {variable}; {counterpart_text(field)}")
    close = [variable_of(key) for key in _alike_letters(given, known)]
    hint = f"did you mean {' or '.join(close)}?" if close else "unset it: psfmatch config show lists all settings"
    raise UsageError(f"unknown environment variable {variable}; {hint}")


def bare(key: str) -> str:
    """A key without what the two spellings differ in."""
    return key.replace("_", "").lower()


def alike(key: str) -> list[str]:
    """Keys that an unknown one may have meant, the most alike first."""
    known = _by_spelling()
    by_name = {bare(name.rpartition(".")[2]): name for name in reversed(known.values())}
    close = [known[match] for match in difflib.get_close_matches(bare(key), known, n=2, cutoff=0.75)]
    close += [by_name[match] for match in difflib.get_close_matches(bare(key.rpartition(".")[2]), by_name, n=1)]
    return list(dict.fromkeys(close))


def counterpart(path: str) -> UpstreamField | None:
    """The setting of the upstream task that a path names, or None.

    What stands before the path is left out (``makeKernel.kernel.AL.kernelSize``), and ``active`` means AL, the
    set that is active by default. A name alone counts only if it is the whole path: it may be ours, misspelt.
    """
    by_path = {bare(field.name): field for field in UPSTREAM}
    steps = ["al" if step == "active" else step for step in bare(path).split(".")]
    for start in range(max(1, len(steps) - 1)):
        if field := by_path.get(".".join(steps[start:])):
            return field
    return None


def counterpart_text(field: UpstreamField) -> str:
    """What an upstream setting is here, in one sentence."""
    if field.key is None:
        return f"{field.name} has no counterpart here: {field.note}"
    note = f" ({field.note})" if field.name == "kernel" else ""
    return f"{field.name} is {field.key} here{note}"


def _hint(key: str) -> str:
    if field := counterpart(key):
        return counterpart_text(field)
    close = alike(key)
    return f"did you mean {' or '.join(close)}?" if close else "psfmatch config show lists all settings"


@cache
def _by_spelling() -> dict[str, str]:
    return {bare(key): key for key in fields()}


def _letters(key: str) -> str:
    return bare(key).replace(".", "")


def _alike_letters(given: str, known: Mapping[str, str]) -> list[str]:
    """Up to two keys whose letters, or those of their last parts, are most like the given ones."""
    alone = {_letters(key.rpartition(".")[2]): key for key in reversed(known.values())}
    close = difflib.get_close_matches(given, {*known, *alone}, n=2, cutoff=0.75)
    return list(dict.fromkeys(known.get(match) or alone[match] for match in close))
