"""Masks with planes named by cards, and masks of which nothing is known."""

import logging

import numpy as np
import pytest

from psfmatch_cli.errors import InputError
from psfmatch_cli.masks import integer_mask, lsst_mask, mask_planes_from_header, nonzero_mask


def test_mask_planes_are_named_by_cards():
    assert mask_planes_from_header({"MP_BAD": 0, "mp_crosstalk": 8, "MAP": 3}, "f") == {"BAD": 0, "CROSSTALK": 8}


class Repeating(dict):
    """A header in which a name appears twice."""

    def __iter__(self):
        return iter([*self.keys(), *self.keys()])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"MP_SAT": 3, "MP_CR": 3}, "mask planes SAT and CR share bit 3"),
        ({"MP_SAT": 32}, "mask plane SAT has bit 32, allowed are 0 to 31"),
        ({"MP_SAT": -1}, "has bit -1"),
        ({"MP_SAT": True}, "has bit True"),
        ({"MP_SAT": 1.0}, "has bit 1.0"),
        (Repeating(MP_SAT=1), "mask plane SAT is given twice"),
    ],
)
def test_contradictory_mask_planes_are_errors(header, message):
    with pytest.raises(InputError, match=message):
        mask_planes_from_header(header, "f")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, ">i4"])
def test_lsst_mask_keeps_all_bits(dtype):
    values = np.array([[0, 1], [4, 5]]).astype(dtype)
    mask, planes = lsst_mask(values, {"BAD": 0, "INTRP": 2}, "f")
    assert mask.dtype == np.int32
    assert mask.tolist() == [[0, 1], [4, 5]]
    assert planes == {"BAD": 0, "INTRP": 2}


def test_set_bits_without_a_name_are_kept_and_named(caplog):
    mask, planes = lsst_mask(np.array([[1 << 31, 4]], np.uint32), {"BAD": 0, "UNNAMED2": 7}, "f")
    assert planes == {"BAD": 0, "UNNAMED2": 7, "UNNAMED2_": 2, "UNNAMED31": 31}
    assert mask.view(np.uint32).tolist() == [[1 << 31, 4]]
    assert "mask bit 31 is set but has no name" in caplog.text


def test_masks_of_more_than_32_bits_or_of_fractions_are_refused():
    with pytest.raises(InputError, match="need more than 32 bits"):
        lsst_mask(np.array([[1 << 40]]), {}, "f")
    for value in (0.5, np.nan, np.inf, 2.0**40):
        with pytest.raises(InputError, match="must hold whole numbers"):
            integer_mask(np.array([[value]]), "f")
    assert integer_mask(np.array([[2.0, 0.0]]), "f").tolist() == [[2, 0]]


def test_without_a_map_every_value_but_zero_is_bad(caplog):
    with caplog.at_level(logging.INFO):
        mask, planes = nonzero_mask(np.array([[0, 1, 64]]), "f")
    assert (mask == [[0, 1 << planes["BAD"], 1 << planes["BAD"]]]).all()
    assert "2 pixels that are not 0 are BAD" in caplog.text
