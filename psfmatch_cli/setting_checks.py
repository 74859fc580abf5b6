"""Validation of settings: all that is wrong with some values, each in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from psfmatch_cli.config import Settings
from psfmatch_cli.setting_keys import checked_key, fields, value_of
from psfmatch_cli.setting_values import plain_text


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a value.

    Parameters
    ----------
    keys : tuple of str
        Settings that play a part; empty for a rule that names none.
    group : str
        Group of settings that the rule is of.
    rule : str
        What is violated.
    """

    keys: tuple[str, ...]
    group: str
    rule: str

    def line(self, values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
        """Setting, value, rule and source in one line; of several settings the first that was given."""
        if not self.keys:
            return f"the settings {self.group or 'together'} are refused: {self.rule}"
        key = next((each for each in self.keys if each in values), self.keys[0])
        value = values[key] if key in values else value_of(Settings(), key)
        shown = repr(value) if isinstance(value, str) else plain_text(value)
        source = f" ({sources[key]})" if key in sources else ""
        return f"setting {key} = {shown} is refused: {self.rule}{source}"


def validated(values: Mapping[str, Any]) -> Settings:
    """Settings with the defaults replaced by the values, key -> value.

    Raises
    ------
    pydantic.ValidationError
        If a value has the wrong type or is out of range, or values contradict each other.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        group = nested
        for step in groups:
            group = group.setdefault(step, {})
        group[name] = value
    return Settings.model_validate(nested)


def complaints(values: Mapping[str, Any]) -> list[Complaint]:
    """All that is wrong with the values.

    The rules about several settings are checked once more without the values that were refused, as the first
    refusal hides others; what then concerns a refused one is not reported.
    """
    found: list[Complaint] = []
    left = dict(values)
    while True:
        try:
            validated(left)
            return found
        except ValidationError as error:
            new = [_complaint(details) for details in error.errors()]
        refused = set(values) - set(left)
        found += [each for each in new if each not in found and not refused & set(each.keys)]
        involved = {key for each in new for key in each.keys} & set(left)
        if not involved:
            return found
        left = {key: value for key, value in left.items() if key not in involved}


def _complaint(details: Mapping[str, Any]) -> Complaint:
    """A complaint of pydantic's in our words."""
    name = ".".join(step for step in details["loc"] if isinstance(step, str))
    rule = details["msg"].removeprefix("Value error, ")
    rule = f"{rule[:1].lower()}{rule[1:]}"
    if _is_group(name):
        return Complaint(_keys_in(rule, name), name, rule)
    key = checked_key(name)
    elements = [step + 1 for step in details["loc"] if isinstance(step, int)]
    return Complaint((key,), key.rpartition(".")[0], f"element {elements[0]}: {rule}" if elements else rule)


def _is_group(name: str) -> bool:
    return not name or any(key.startswith(f"{name}.") for key in fields())


def _keys_in(rule: str, group: str) -> tuple[str, ...]:
    """Settings of a group that a rule names; a rule begins with the setting that it is about."""
    words = re.findall(r"[\w.]*\w", rule)
    names = (f"{group}.{word}" if group else word for word in words)
    return tuple(dict.fromkeys(name for name in names if name in fields()))
