"""The meaning of quality flags, by instrument."""

import logging

import numpy as np
import pytest

from psfmatch_cli.quality_flags import (
    ACS,
    DECAM,
    DECAM_OLD,
    JWST,
    PANSTARRS,
    WFC3_IR,
    WFC3_UVIS,
    WFPC2,
    ZTF,
    FlagTable,
    decam_flags,
    flagged_mask,
    hst_flags,
)


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


def mask_of(values, table):
    mask, planes = flagged_mask(np.array([values]), table, "f")
    return {name: np.flatnonzero(mask[0] >> bit & 1).tolist() for name, bit in planes.items()}


def test_bits_add_up_and_codes_do_not():
    bits = mask_of([3, 4, 5], FlagTable("bits", {1: "BAD", 2: "SAT", 4: None}))
    assert (bits["BAD"], bits["SAT"]) == ([0, 2], [0])
    codes = mask_of([3, 4, 5, 0], FlagTable("codes", {1: "BAD", 3: "SAT", 4: None}, "codes"))
    assert (codes["BAD"], codes["SAT"]) == ([2], [0]), "a code that the table lacks is bad"


@pytest.mark.parametrize("table", [ACS, WFC3_UVIS, WFC3_IR, WFPC2, JWST, DECAM_OLD, ZTF, PANSTARRS])
def test_values_of_bit_tables_are_single_bits(table):
    assert table.kind == "bits"
    assert all(value > 0 and value & (value - 1) == 0 for value in table.planes)
    assert table.knows_saturation
    assert not {"DETECTED", "DETECTED_NEGATIVE"} & set(table.planes.values())


@pytest.mark.parametrize(
    ("header", "table"),
    [
        ({"INSTRUME": "ACS", "DETECTOR": "WFC"}, ACS),
        ({"INSTRUME": "WFC3", "DETECTOR": "IR"}, WFC3_IR),
        ({"INSTRUME": "wfc3 ", "DETECTOR": "UVIS"}, WFC3_UVIS),
        ({"INSTRUME": "WFPC2"}, WFPC2),
        ({"INSTRUME": "STIS"}, ACS),
        ({}, ACS),
    ],
)
def test_hst_cameras_have_tables_of_their_own(header, table):
    assert hst_flags(header) is table


@pytest.mark.parametrize(
    ("version", "table"),
    [("V4.8.2", DECAM), ("3.5.0", DECAM), ("V3.4.9", DECAM_OLD), ("DES V2.1", DECAM), (5.3, DECAM), (None, DECAM)],
)
def test_decam_wrote_bits_before_version_3_5(version, table):
    assert decam_flags({} if version is None else {"PLVER": version}) is table


def test_a_jump_that_jwst_corrected_is_as_good_as_any_pixel():
    assert mask_of([4], JWST) == {name: [] for name in mask_of([4], JWST)}
    # 1049603 is the sum of NO_LIN_CORR, DEAD, SATURATED and DO_NOT_USE.
    found = mask_of([1049603], JWST)
    assert (found["BAD"], found["SAT"], found["SUSPECT"]) == ([0], [0], [0])
    assert mask_of([1 << 31], JWST)["NO_DATA"] == [0]
