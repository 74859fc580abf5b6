"""Values of settings as texts."""

import tomllib

import pytest

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


@pytest.mark.parametrize(
    ("key", "kind", "allowed"),
    [
        ("threads", "integer", ">= 1"),
        ("adapt", "true or false", ""),
        ("detection.threshold_value", "number", "> 0"),
        ("detection.deblend_contrast", "number", "> 0 and <= 1"),
        ("detection.stats_mask", "list of names", ""),
        ("warp.mask_warping_kernel_name", "choice", '"", bilinear, lanczos3, lanczos4, lanczos5'),
        ("kernel.central_regularization_stencil", "choice", "5, 9"),
        ("kernel.alard_sig_gauss", "list of numbers", "each > 0"),
        ("kernel.forward_regularization_orders", "list of integers", "each 1 to 3, at least 1 of them"),
        ("kernel.spatial_kernel_order", "integer, or none", "0 to 20, or none"),
        ("kernel.bad_mask_planes", "list of names, or none", ""),
    ],
)
def test_types_and_ranges_in_words(key, kind, allowed):
    field = fields()[key]
    assert (type_text(field), range_text(field)) == (kind, allowed)


@pytest.mark.parametrize("key", fields())
def test_every_setting_has_a_type_in_words(key):
    assert type_text(fields()[key])
