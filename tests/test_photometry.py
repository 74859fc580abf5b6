"""Photometric scales: expected kernel sums, and the cards that go with a scale."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from made_pairs import exposure
from psfmatch_cli.facts import Fact, FileFacts
from psfmatch_cli.photometry import check_sum, is_scale_card, with_scale_of, without_pedestals

IMAGE = exposure(np.ones((8, 8)), 1.0)


def with_zero_point(magnitude: float):
    """An exposure whose counts of 1 are of this magnitude."""
    return replace(IMAGE, fluxmag0=10 ** (0.4 * magnitude))


def test_the_expected_sum_is_the_ratio_of_the_counts():
    # A template of zero point 25 has fewer counts than a science image of 25.75, by a factor of two.
    made = check_sum(2.0, with_zero_point(25.0), with_zero_point(25.0 + 2.5 * np.log10(2.0)))
    assert made.expected == pytest.approx(2.0, rel=1e-12)
    assert made.ratio == pytest.approx(1.0, rel=1e-12)
    assert made.expected == pytest.approx(10 ** (-0.4 * (25.0 - (25.0 + 2.5 * np.log10(2.0)))), rel=1e-12)
    assert check_sum(0.5, with_zero_point(25.0 + 2.5 * np.log10(2.0)), with_zero_point(25.0)).ratio == pytest.approx(1)


@pytest.mark.parametrize("fluxmag0", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_nothing_is_expected_of_unknown_calibrations(fluxmag0):
    unknown = replace(IMAGE, fluxmag0=fluxmag0)
    for pair in ((unknown, with_zero_point(25.0)), (with_zero_point(25.0), unknown)):
        made = check_sum(1.0, *pair)
        assert (made.expected, made.ratio) == (None, None)


@pytest.mark.parametrize(("fitted", "level"), [(1.09, "INFO"), (0.91, "INFO"), (1.11, "WARNING"), (0.89, "WARNING")])
def test_ten_percent_are_warned_of(fitted, level, caplog):
    with caplog.at_level(logging.INFO, logger="psfmatch_cli.photometry"):
        check_sum(fitted, with_zero_point(25.0), with_zero_point(25.0))
    (record,) = caplog.records
    assert record.levelname == level
    assert f"kernel sum {fitted:.4f}, {fitted:.3f} times that of the calibrations (1.0000)" in record.getMessage()
    assert ("are both zero points right?" in record.getMessage()) == (level == "WARNING")


ZERO_POINTS = [
    "MAGZERO",
    "MAGZPT",
    "MAGZP",
    "ZEROPOINT",
    "ZEROPNT",
    "ZPT",
    "ZP",
    "PHOTZP",
    "PHOTZPT",
    "PHOTFLAM",
    "PHOTPLAM",
    "FLUX20",
    "FPA.ZP",
]


@pytest.mark.parametrize("keyword", [*ZERO_POINTS, "FLUXMAG0", "BUNIT", "GAIN", "EGAIN", "SATURATE"])
def test_cards_of_a_scale(keyword):
    assert is_scale_card(keyword)
    assert is_scale_card(keyword.lower())


@pytest.mark.parametrize("keyword", ["OBJECT", "EXPTIME", "FILTER", "PHOTMODE", "AIRMASS", "RDNOISE", "ZD", "ZENITH"])
def test_other_cards(keyword):
    assert not is_scale_card(keyword)


def test_the_calibration_of_another_replaces_the_own():
    own = fits.Header([("OBJECT", "own"), ("MAGZERO", 25.0, "own"), ("MAGZERO", 25.1), ("GAIN", 2.0), ("HISTORY", "a")])
    theirs = fits.Header([("OBJECT", "theirs"), ("ZEROPNT", 30.0, "theirs"), ("BUNIT", "electron"), ("HISTORY", "b")])
    one, other = replace(IMAGE, header=own, fluxmag0=1e10), replace(IMAGE, header=theirs, fluxmag0=1e12)
    made = with_scale_of(one, other)
    assert made.fluxmag0 == 1e12
    assert sorted(made.header) == ["BUNIT", "HISTORY", "OBJECT", "ZEROPNT"]
    assert (made.header["OBJECT"], made.header["ZEROPNT"], made.header["BUNIT"]) == ("own", 30.0, "electron")
    assert made.header.comments["ZEROPNT"] == "theirs"
    assert made.masked_image is one.masked_image
    assert one.header["GAIN"] == 2.0, "the input is unchanged"


def test_what_the_other_does_not_know_is_left_out():
    one = replace(IMAGE, header={"OBJECT": "own", "MAGZERO": 25.0}, fluxmag0=1e10)
    made = with_scale_of(one, replace(IMAGE, header=None, fluxmag0=None))
    assert (made.header, made.fluxmag0) == ({"OBJECT": "own"}, None)
    assert with_scale_of(IMAGE, one).header is None


def test_a_difference_has_no_pedestal():
    header = fits.Header({"SOFTBIAS": 1000, "OBJECT": "own"})
    assert without_pedestals(header) == fits.Header({"OBJECT": "own"})
    assert "SOFTBIAS" in header, "the input is unchanged"
    assert without_pedestals(None) is None


@pytest.mark.parametrize(
    ("times", "unit", "kept"), [((30, 30), "", True), ((30, 60), "", False), ((3, 6), "e/s", True)]
)
def test_calibrations_of_a_second_go_with_the_exposure_time(times, unit, kept):
    own, other = (
        replace(
            IMAGE,
            header=fits.Header({"EXPTIME": float(time), "PHOTFLAM": flux, "BUNIT": unit}),
            facts=FileFacts(quantities={"exposure_time": Fact(float(time), "header EXPTIME", "s")}),
        )
        for time, flux in zip(times, (1e-19, 2e-19), strict=True)
    )
    assert with_scale_of(own, other).header.get("PHOTFLAM") == (2e-19 if kept else None)
