"""What every group of settings has in common."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

Planes = list[str]


class Group(BaseModel):
    """A group of settings: unknown names and values out of range are errors, values are frozen.

    A rule about several settings is a model validator; its message begins with the name of the setting to change.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python, and so pydantic, takes true for the number 1; in a settings file it is a mistake.
        annotation = cls.model_fields[info.field_name].annotation
        elements = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(element, bool) for element in elements) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("true and false are not allowed here")
        return value
