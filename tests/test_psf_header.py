"""Which unit a FWHM in a header has, and how many pixels it is."""

import pytest
from astropy.io import fits

from psfmatch_cli.keywords import Cards
from psfmatch_cli.psf_header import fwhm_unit, stated_fwhm


@pytest.mark.parametrize(
    ("name", "value", "comment", "scale", "unit"),
    [
        # The comment decides.
        ("SEEING", 2.1, "[pix] Mean FWHM", 1.0, "pix"),
        ("FWHM", 2.1, "FWHM in arcsec", 0.4, "arcsec"),
        ("FWHM", 3.9, "Median FWHM in pixels", 0.27, "pix"),
        ("L1FWHM", 1.9, "[arcsec] Frame FWHM", 0.39, "arcsec"),
        ("SEEING", 0.9, 'seeing (")', 0.2, "arcsec"),
        # It says both, or nothing: the range.
        ("FWHM", 0.62, "", 0.2, "arcsec"),
        ("SEEING", 25.0, "arcsec or pixels", 3.0, "arcsec"),
        ("SEEING", 35.0, "", 0.25, "pix"),
        ("FWHM", 0.07, "", 0.03, "arcsec"),
        # Both are plausible: the custom.
        ("SEEING", 1.2, "", 0.4, "arcsec"),
        ("FWHM", 3.1, "", 0.4, "pix"),
        ("FWHM", 3.1, "", None, "pix"),
        # No width at all.
        ("FWHM", 4711.0, "", 0.4, None),
        ("SEEING", 0.001, "", 0.4, None),
    ],
)
def test_units(name, value, comment, scale, unit):
    assert fwhm_unit(name, value, comment, scale) == unit


def header(**cards):
    made = fits.Header()
    for name, entry in cards.items():
        made[name] = entry
    return made


def test_arcseconds_become_pixels_of_the_image():
    found = stated_fwhm(Cards(header(SEEING=(1.3, "[arcsec]"))), 0.26)
    assert found.value == pytest.approx(5.0)
    assert found.source == "header SEEING, 1.3 arcsec at 0.26 arcsec/pixel"
    assert stated_fwhm(Cards(header(SEEING=(1.3, "[arcsec]"))), None) is None


def test_a_card_that_is_no_width_does_not_hide_another():
    found = stated_fwhm(Cards(header(FWHM=(-1.0, ""), PSF_FWHM=(3.2, ""), SEEING=(1.0, ""))), 0.3)
    assert (found.value, found.source) == (3.2, "header PSF_FWHM")
    assert stated_fwhm(Cards(header(AIRMASS=(1.2, ""))), 0.3) is None


def test_surveys_have_customs_of_their_own():
    cards = Cards(header(SEEING=(1.9, "Seeing FWHM")))
    assert stated_fwhm(cards, 1.01, "ztf").value == 1.9
    assert stated_fwhm(cards, 1.01).value == pytest.approx(1.9 / 1.01)


def test_a_named_card_is_the_only_one():
    cards = Cards(header(FWHM=(3.0, ""), OURS=(2.5, "pixels")), {"fwhm": "OURS"})
    assert stated_fwhm(cards, None).value == 2.5


@pytest.mark.parametrize("value", [1e300, 1e6, 5e3, 1e-9])
@pytest.mark.parametrize("comment", ["", "[pix] FWHM", "arcsec"])
def test_a_number_that_no_psf_has_is_warned_of_and_not_used(value, comment, caplog):
    cards = Cards(header(FWHM=(value, comment), SEEING=(1.2, "[arcsec]")))
    found = stated_fwhm(cards, 0.4, where="a.fits")
    assert found.value == pytest.approx(3.0)
    if value < 1e30:  # beyond, a card counts as empty
        assert f"a.fits: header FWHM = {value:g} is no width of a PSF; it is not used" in caplog.text


def test_a_width_in_arcsec_that_is_none_in_pixels_is_not_used(caplog):
    assert stated_fwhm(Cards(header(FWHM=(50.0, "arcsec"))), 0.1, where="a.fits") is None
    assert "50 arcsec at 0.1 arcsec/pixel is 500 pixels, no width of a PSF" in caplog.text
