import pytest

from psfmatch_cli.detector import DetectorTerms, detector_terms
from psfmatch_cli.keywords import Cards


def terms_of(header, sky=100.0, **options):
    return detector_terms(Cards(header), sky, **options)


def test_options_win_over_cards():
    terms = terms_of({"GAIN": 2.0, "RDNOISE": 5.0}, gain=1.5, read_noise=3.0, sky_level=50.0, pedestal=10.0)
    assert (terms.gain, terms.read_noise, terms.sky_level, terms.offset) == (1.5, 3.0, 50.0, 40.0)
    assert set(terms.sources.values()) == {"option"}
    assert terms.gain_is_option


def test_cards_and_their_names():
    terms = terms_of({"GAIN": 4.76, "DARKVAR": 1.3225}, gain=None)
    assert (terms.gain, terms.dark_variance, terms.constant(4.76)) == (4.76, 1.3225, 1.3225)
    assert terms.sources == {"gain": "header GAIN", "dark_variance": "header DARKVAR"}


def test_a_cameras_gain_setting_does_not_hide_its_gain():
    assert terms_of({"GAIN": 120, "EGAIN": 0.8}).gain == 0.8


def test_effective_gain_cards_are_not_believed():
    assert terms_of({"EFFGAIN": 5143.0}).gain is None


def test_amplifiers_are_averaged():
    terms = terms_of({"GAINA": 4.0, "GAINB": 4.4, "RDNOISEA": 7.0, "RDNOISEB": 9.0})
    assert (terms.gain, terms.read_noise) == (pytest.approx(4.2), 8.0)
    assert terms.sources["gain"] == "mean of header GAINA, GAINB"


@pytest.mark.parametrize(("image_sky", "subtracted"), [(3.0, 800.0), (790.0, None), (500.0, None)])
def test_a_sky_card_counts_only_where_the_sky_is_gone(image_sky, subtracted):
    assert terms_of({"SKYLEVEL": 800.0}, image_sky).sky_level == subtracted


@pytest.mark.parametrize(
    ("header", "gain"),
    [
        ({"BUNIT": "ELECTRONS", "GAIN": 2.0}, 1.0),
        ({"BUNIT": "electrons/s", "EXPTIME": 300.0}, 300.0),
        ({"BUNIT": "ADU/sec", "GAIN": 2.0, "EXPTIME": "30"}, 60.0),
        ({"BUNIT": "ADU/sec", "GAIN": 2.0}, None),
        ({"BUNIT": "adu", "GAIN": 2.0, "EXPTIME": 30.0}, 2.0),
        ({"BUNIT": "MJy/sr"}, None),
    ],
)
def test_units_of_electrons_and_of_rates(header, gain):
    assert terms_of(header).gain == gain


def test_constant_variance_of_read_noise():
    assert DetectorTerms(read_noise=6.0).constant(2.0) == 9.0
    assert DetectorTerms().constant(2.0) is None
