"""What every group of settings has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

Planes = list[str]


class Group(BaseModel):
    """A group of settings: unknown names and values out of range are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)
