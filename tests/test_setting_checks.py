"""Validation: every complaint in one line, and none that is not due."""

import pytest
from pydantic import ValidationError

from psfmatch_cli.config import Settings
from psfmatch_cli.setting_checks import _complaint, complaints, validated


def lines(values, sources=None):
    return [complaint.line(values, sources or {}) for complaint in complaints(values)]


def test_values_that_are_right():
    values = {"threads": 2, "kernel.kernel_size": 21, "detection.background.bin_size": 64}
    assert complaints(values) == []
    made = validated(values)
    assert (made.threads, made.kernel.kernel_size, made.detection.background.bin_size) == (2, 21, 64)
    assert validated({}) == Settings()


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("threads", 0, "setting threads = 0 is refused: input should be greater than or equal to 1"),
        ("threads", "many", "setting threads = 'many' is refused: input should be a valid integer"),
        ("threads", True, "setting threads = true is refused: true and false are not allowed here"),
        ("threads", None, "setting threads = none is refused: input should be a valid integer"),
        (
            "detection.deblend",
            "perhaps",
            "setting detection.deblend = 'perhaps' is refused: input should be a valid bool",
        ),
        ("detection.deblend_contrast", float("nan"), "= nan is refused: input should be a finite number"),
        ("detection.threshold_value", float("inf"), "= inf is refused: input should be a finite number"),
        ("warp.warping_kernel_name", "nearest", "= 'nearest' is refused: input should be 'bilinear', 'bicubic'"),
        ("kernel.central_regularization_stencil", 7, "= 7 is refused: input should be 5 or 9"),
        (
            "kernel.alard_deg_gauss",
            [4, -1, 2],
            "setting kernel.alard_deg_gauss = 4,-1,2 is refused: element 2: input sho",
        ),
        ("kernel.alard_deg_gauss", [4, True], "setting kernel.alard_deg_gauss = 4,true is refused: true and false are"),
        ("kernel.alard_deg_gauss", 4, "setting kernel.alard_deg_gauss = 4 is refused: input should be a valid list"),
        ("kernel.forward_regularization_orders", [], "= [] is refused: list should have at least 1 item"),
        (
            "kernel.bad_mask_planes",
            [1],
            "setting kernel.bad_mask_planes = 1 is refused: element 1: input should be a valid",
        ),
        ("kernel.kernel_size", 20, "setting kernel.kernel_size = 20 is refused: kernel_size must be odd, got 20"),
        ("kernel.kernel_size_max", 25, "setting kernel.kernel_size_max = 25 is refused: kernel_size_min 27 is above"),
        (
            "kernel.alard_n_gauss",
            4,
            "setting kernel.alard_n_gauss = 4 is refused: alard_n_gauss is 4, but alard_deg_gauss",
        ),
    ],
)
def test_a_wrong_value_is_one_line(key, value, rule):
    (line,) = lines({key: value})
    assert rule in line
    assert "\n" not in line
    with pytest.raises(ValidationError):
        validated({key: value})


def test_the_source_stands_in_the_line():
    (line,) = lines({"threads": 0}, {"threads": "environment PSFMATCH_THREADS"})
    assert line.endswith("(environment PSFMATCH_THREADS)")


def test_all_complaints_come_also_those_that_others_hide():
    values = {
        "threads": 0,
        "kernel.lambda_value": -1,
        "kernel.kernel_size": 20,
        "kernel.kernel_size_min": 28,
        "detection.min_pixels": 0,
    }
    assert [line.split(" ")[1] for line in lines(values)] == [
        "threads",
        "detection.min_pixels",
        "kernel.lambda_value",
        "kernel.kernel_size",
        "kernel.kernel_size_min",
    ]


def test_what_only_a_refused_value_brings_about_is_not_reported():
    # Two degrees would need n_gauss 2; which of both is wrong shows when the degrees are right.
    (line,) = lines({"kernel.alard_n_gauss": 2, "kernel.alard_deg_gauss": ["x", 2]})
    assert line.startswith("setting kernel.alard_deg_gauss = x,2 is refused: element 1")


@pytest.mark.parametrize("spelling", ["kernel_size", "kernelSize"])
def test_either_spelling_is_complained_of_by_its_key(spelling):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"kernel": {spelling: "x"}})
    assert _complaint(caught.value.errors()[0]).keys == ("kernel.kernel_size",)


def test_a_rule_that_names_no_setting_is_told_of_the_group():
    line = _complaint({"loc": ("kernel",), "msg": "Value error, nothing fits"}).line({}, {})
    assert line == "the settings kernel are refused: nothing fits"
