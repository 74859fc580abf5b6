"""Quantities in headers."""

import pytest
from astropy.io import fits

from psfmatch_cli.errors import InputError
from psfmatch_cli.keywords import QUANTITIES, Cards, Found, card_number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (4.76, 4.76),
        (2, 2.0),
        ("53.9", 53.9),
        ("high", None),
        (0, None),
        (-1, None),
        (True, None),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_numbers_of_cards(value, number):
    assert card_number({"GAIN": value}, "GAIN") == number
    assert card_number({}, "GAIN") is None


def test_the_first_card_of_a_quantity_counts():
    cards = Cards({"GAIN": 3.0, "EGAIN": 1.5, "RDNOISE": -1, "ENOISE": 7.0})
    assert cards.number("gain") == Found(1.5, ("EGAIN",))
    assert cards.number("read_noise").source == "header ENOISE"
    assert cards.number("saturation") is None


def test_amplifiers_are_averaged_where_there_is_no_single_card():
    cards = Cards({"GAINA": 4.0, "GAINB": 4.4})
    assert cards.number("gain").value == pytest.approx(4.2)
    assert cards.number("gain").source == "mean of header GAINA, GAINB"


def test_a_named_card_is_the_only_one_looked_at_and_a_given_value_wins():
    header = {"GAIN": 3.0, "EXPTIME": 60.0, "MYTIME": 30.0}
    assert Cards(header, {"gain": "NOSUCH"}).number("gain") is None
    assert Cards(header, {"exposure_time": "MYTIME"}).number("exposure_time").value == 30.0
    found = Cards(header, {}, {"exposure_time": 2.5}).number("exposure_time")
    assert (found.value, found.source) == (2.5, "option")


def test_texts():
    header = fits.Header({"FILTER": "  ", "HIERARCH FPA.FILTERID": "r.00000", "MJD-OBS": 55555.5})
    header["DATE-OBS"] = None
    cards = Cards(header)
    assert cards.text("filter").value == "r.00000"
    assert (cards.text("date").value, cards.text("date").cards) == ("55555.5", ("MJD-OBS",))
    assert cards.text("unit") is None


def test_named_cards_are_checked():
    Cards({"A": 1.0, "B": "V"}, {"gain": "A", "filter": "B"}).check_named("f")
    with pytest.raises(InputError, match="f: no card C, which was named for the zero point"):
        Cards({}, {"zero_point": "C"}).check_named("f")
    with pytest.raises(InputError, match="must hold a positive number, got 'V'"):
        Cards({"B": "V"}, {"gain": "B"}).check_named("f")


def test_every_quantity_has_cards():
    for quantity in QUANTITIES.values():
        assert quantity.cards
        assert all(card == card.upper() for card in quantity.cards)
