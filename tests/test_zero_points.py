import pytest

from psfmatch_cli.keywords import Cards
from psfmatch_cli.units import parse_unit
from psfmatch_cli.zero_points import header_zero_point


def zero_point(header, layout="plain", area=None, **more):
    return header_zero_point(Cards(header, more), parse_unit(header.get("BUNIT")), area, layout)


@pytest.mark.parametrize(
    ("header", "magnitude", "source"),
    [
        ({"BUNIT": "nanomaggy"}, 22.5, "unit nanomaggy"),
        ({"BUNIT": "nJy", "MAGZP": 27.0}, 31.4, "unit nJy"),
        ({"MAGZP": 26.2}, 26.2, "header MAGZP"),
        ({"BUNIT": "adu", "MAGZERO": 29.9}, 29.9, "header MAGZERO"),
    ],
)
def test_units_and_cards(header, magnitude, source):
    found = zero_point(header)
    # 3631 Jy is magnitude 0 to 4 digits: 31.4 is 31.4000 within 0.0003.
    assert (found.value, found.source) == (pytest.approx(magnitude, abs=5e-4), source)


def test_a_surface_brightness_needs_a_pixel_area():
    header = {"BUNIT": "MJy/sr", "PIXAR_SR": 2e-14}
    assert zero_point(header, area=1e-14).value == pytest.approx(8.90 - 2.5 * -8, abs=5e-4)
    assert zero_point(header).source == "unit MJy/sr and the pixel area of header PIXAR_SR"
    assert zero_point({"BUNIT": "MJy/sr"}) is None


def test_what_is_no_magnitude_is_not_used():
    assert zero_point({"MAGZP": 1e6}) is None
    assert zero_point({"BUNIT": "MJy/sr", "PIXAR_SR": 1e-300}) is None


def test_pan_starrs_counts_are_those_of_the_whole_exposure():
    assert zero_point({"FPA.ZP": 25.0, "EXPTIME": 100.0}, "panstarrs").value == pytest.approx(30.0)
    assert zero_point({"FPA.ZP": 25.0}, "panstarrs") is None
    assert zero_point({"FPA.ZP": 25.0, "EXPTIME": 100.0}) is None


def test_hst_without_an_exposure_time_has_none():
    header = {"PHOTFLAM": 7e-20, "PHOTPLAM": 8000.0, "BUNIT": "ELECTRONS"}
    assert zero_point(header, "hst") is None
    assert zero_point({**header, "EXPTIME": 100.0}, "hst").value == pytest.approx(25.9640 + 5, abs=2e-4)
    assert zero_point({**header, "EXPTIME": 100.0}) is None


def test_a_named_card_wins():
    header = {"BUNIT": "nanomaggy", "OURS": 24.0, "FPA.ZP": 25.0, "EXPTIME": 1.0}
    for layout in ("plain", "panstarrs"):
        assert zero_point(header, layout, zero_point="OURS").value == 24.0
