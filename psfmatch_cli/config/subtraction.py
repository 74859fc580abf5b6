"""Settings of the difference image."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from psfmatch_cli.config.base import Group


class SubtractionConfig(Group):
    """The difference image."""

    normalize: Literal["science", "template"] = Field(
        "science", description="photometric scale of the difference: the science image's counts or the template's"
    )
    scale_variance: bool = Field(
        True, description="scale the variance of the difference so that it is true of its sky, if it is 1 to 40 % off"
    )
    decorrelate: bool = Field(
        False, description="filter the difference so that its noise is white, which the convolution has correlated"
    )
