"""Values of settings as texts."""

import tomllib
from typing import Annotated, Literal

import pytest
from pydantic import Field

from psfmatch_cli.config import Group, Planes
from psfmatch_cli.setting_keys import fields
from psfmatch_cli.setting_values import parsed, plain_text, range_text, toml_text, type_text, typed

CASES = [
    ("threads", "4", 4),
    ("detection.threshold_value", "6.5", 6.5),
    ("detection.threshold_type", "stdev", "stdev"),
    ("detection.threshold_type", '"stdev"', "stdev"),
    ("detection.threshold_type", "auto", "auto"),
    ("detection.deblend", "false", False),
    ("detection.stats_mask", "SAT, BAD", ["SAT", "BAD"]),
    ("detection.stats_mask", '["EDGE"]', ["EDGE"]),
    ("detection.stats_mask", "SAT", ["SAT"]),
    ("detection.stats_mask", "", []),
    ("kernel.richer_deg_gauss", "[]", []),
    ("kernel.alard_deg_gauss", "4", [4]),
    ("kernel.alard_deg_gauss", "4,2", ["4", "2"]),
    ("kernel.bad_mask_planes", "SAT,EDGE", ["SAT", "EDGE"]),
    ("kernel.bad_mask_planes", "none", None),
    ("kernel.spatial_kernel_order", "auto", None),
    ("kernel.spatial_kernel_order", '"none"', None),
    ("warp.mask_warping_kernel_name", "", ""),
    ("detection.background.algorithm", "NONE", "NONE"),
    ("threads", "1\nadapt = false", "1\nadapt = false"),
]


@pytest.mark.parametrize(("key", "text", "value"), CASES)
def test_a_text_means_a_value(key, text, value):
    assert typed(key, parsed(key, text)) == value


@pytest.mark.parametrize(
    ("value", "toml", "plain"),
    [
        (None, '"none"', "none"),
        (True, "true", "true"),
        (3, "3", "3"),
        (10.0, "10.0", "10"),
        (5e7, "50000000.0", "5e+07"),
        (0.1234567, "0.1234567", "0.1234567"),
        ("stdev", '"stdev"', "stdev"),
        ("", '""', '""'),
        ([], "[]", "[]"),
        (["SAT", "BAD"], '["SAT", "BAD"]', "SAT,BAD"),
        ([0.7, 1.5], "[0.7, 1.5]", "0.7,1.5"),
    ],
)
def test_a_value_as_a_text(value, toml, plain):
    assert (toml_text(value), plain_text(value)) == (toml, plain)
    assert tomllib.loads(f"x = {toml}")["x"] == ("none" if value is None else value)


class Sample(Group):
    """A setting of every kind."""

    truth: bool = True
    plain: float = 1.0
    limited: int = Field(1, ge=1)
    between: int = Field(1, ge=0, le=20)
    half_open: float = Field(0.5, gt=0, le=1)
    choice: Literal["", "lanczos3"] = ""
    number: Literal[5, 9] = 9
    names: Planes = Field([])
    numbers: list[Annotated[float, Field(gt=0)]] = Field([])
    orders: list[Annotated[int, Field(ge=1, le=3)]] = Field([1, 2], min_length=1)
    absent: int | None = Field(None, ge=0)
    absent_names: Planes | None = None


@pytest.mark.parametrize(
    ("name", "kind", "allowed"),
    [
        ("truth", "true or false", ""),
        ("plain", "number", ""),
        ("limited", "integer", ">= 1"),
        ("between", "integer", "0 to 20"),
        ("half_open", "number", "> 0 and <= 1"),
        ("choice", "choice", '"", lanczos3'),
        ("number", "choice", "5, 9"),
        ("names", "list of names", ""),
        ("numbers", "list of numbers", "each > 0"),
        ("orders", "list of integers", "each 1 to 3, at least 1 of them"),
        ("absent", "integer, or none", ">= 0, or none"),
        ("absent_names", "list of names, or none", ""),
    ],
)
def test_types_and_ranges_in_words(name, kind, allowed):
    field = Sample.model_fields[name]
    assert (type_text(field), range_text(field)) == (kind, allowed)


@pytest.mark.parametrize("key", fields())
def test_every_setting_has_a_type_in_words(key):
    assert type_text(fields()[key])
