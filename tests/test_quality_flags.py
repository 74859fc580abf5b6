"""The meaning of quality flags, by instrument."""

import logging

import numpy as np

from psfmatch_cli.quality_flags import FlagTable, flagged_mask


def test_mask_map_translates_values_and_counts_what_it_ignores(caplog):
    values = np.array([[0, 1, 2], [3, 8, 256]], np.int16)
    with caplog.at_level(logging.INFO):
        mask, planes = flagged_mask(values, FlagTable("a map", {1: "INTRP", 2: "SAT", 256: "SPIKE"}), "f")
    plane = {name: (mask >> planes[name] & 1).tolist() for name in ("INTRP", "SAT", "SPIKE", "BAD")}
    assert plane == {
        "INTRP": [[0, 1, 0], [1, 0, 0]],
        "SAT": [[0, 0, 1], [1, 0, 0]],
        "SPIKE": [[0, 0, 0], [0, 0, 1]],
        "BAD": [[0, 0, 0], [0, 0, 0]],
    }
    assert "1 pixels have mask bits that are not in the mask map" in caplog.text


def test_mask_map_may_name_values_beyond_the_type_of_the_pixels():
    mask, planes = flagged_mask(np.array([[255]], np.uint8), FlagTable("a map", {256: "SAT"}), "f")
    assert mask.tolist() == [[0]]
    assert planes["SAT"] == 1
