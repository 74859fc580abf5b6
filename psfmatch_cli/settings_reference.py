"""The reference of all settings: what `psfmatch config show` and the documentation print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psfmatch_cli.config import Settings
from psfmatch_cli.presets import OWN, preset_values
from psfmatch_cli.setting_keys import fields, value_of, variable_of
from psfmatch_cli.setting_values import plain_text, range_text, type_text
from psfmatch_cli.upstream import ABSENT, UPSTREAM, UpstreamField


@dataclass(frozen=True)
class SettingRow:
    """A setting and all that is known about it.

    Parameters
    ----------
    key : str
    variable : str
        Its environment variable.
    type : str
        In words, such as "list of integers" or "number, or none".
    allowed : str
        Its range or its choices, such as "0 to 20, or none"; empty if all values of the type are.
    default : Any
    help : str
        What it means, with the unit.
    upstream : tuple of UpstreamField
        The settings of upstream that it stands for; none for a setting that upstream does not have.
    note : str
        Why the default is not upstream's, or what upstream does that has no such setting.
    """

    key: str
    variable: str
    type: str
    allowed: str
    default: Any
    help: str
    upstream: tuple[UpstreamField, ...]
    note: str

    @property
    def upstream_names(self) -> tuple[str, ...]:
        """What upstream calls it."""
        return tuple(field.name for field in self.upstream)

    def upstream_default(self, version: str = "v23") -> str:
        """Default of upstream in its own terms, such as "21" or "AL 5e+07, DF 5e+06"; empty without one."""
        texts = {field.name: upstream_text(field, version) for field in self.upstream if _present(field, version)}
        if len(set(texts.values())) < 2:
            return next(iter(texts.values()), "")
        return ", ".join(f"{name.partition('.')[0]} {text}" for name, text in texts.items())

    def differs(self, version: str = "v23") -> bool:
        """Whether the preset of an upstream version has another value than the default."""
        theirs = preset_values(version).get(self.key, self.default)
        return (list(theirs) if isinstance(theirs, tuple) else theirs) != self.default


def settings_reference() -> list[SettingRow]:
    """A row for every setting, in their order."""
    default = Settings()
    return [
        SettingRow(
            key=key,
            variable=variable_of(key),
            type=type_text(field),
            allowed=range_text(field),
            default=value_of(default, key),
            help=field.description,
            upstream=(known := tuple(each for each in UPSTREAM if each.key == key)),
            note=next((each.note for each in known if each.note), OWN[key].note if key in OWN else ""),
        )
        for key, field in fields().items()
    ]


def without_counterpart() -> list[UpstreamField]:
    """The settings of upstream that there are none for here, each with its reason."""
    return [field for field in UPSTREAM if field.key is None]


def upstream_text(field: UpstreamField, version: str = "v23") -> str:
    """Default of an upstream setting as a text; empty where the version has no such setting."""
    return plain_text(field.default(version)) if _present(field, version) else ""


def _present(field: UpstreamField, version: str) -> bool:
    return field.default(version) is not ABSENT
