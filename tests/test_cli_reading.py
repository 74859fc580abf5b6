"""Options on reading: from texts to what the reader takes."""

import re

import pytest

from psfmatch_cli.cli.options import READING
from psfmatch_cli.cli.reading import keyword_map, read_options
from psfmatch_cli.errors import UsageError
from psfmatch_cli.instruments import LAYOUTS
from psfmatch_cli.keywords import QUANTITIES


def given(**values):
    """Values of the options of a role, as click gives them."""
    return {f"science_{name}": () if name == "keyword" else None for name in READING} | {"science_fwhm": None} | values


def test_nothing_given_is_nothing_said():
    assert set(vars(read_options(given(), "science")).values()) == {None}
    assert read_options(given(science_layout="auto"), "science").layout is None


def test_cards_are_named_by_quantity():
    options = read_options(given(science_keyword=("gain=egain", "read-noise = RON ")), "science")
    assert options.keywords == {"gain": "EGAIN", "read_noise": "RON"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("gain",), 'a card is named as "QUANTITY=CARD"'),
        (("gain=",), 'a card is named as "QUANTITY=CARD"'),
        (("gain=A", "gain=B"), "the card of gain is named twice: A and B"),
    ],
)
def test_other_forms_are_refused(texts, message):
    with pytest.raises(UsageError, match=message):
        keyword_map(texts)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"science_keyword": ("colour=A",)}, "options of the science exposure: unknown quantity 'colour'"),
        ({"science_layout": "hubble"}, "unknown layout 'hubble'; known are lsst, jwst"),
        ({"science_exposure_time": -1.0}, "exposure_time must be a positive number"),
    ],
)
def test_unknown_names_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        read_options(given(**values), "science")


def test_the_help_names_all_layouts_and_quantities(psfmatch):
    text = " ".join(psfmatch("info", "--help").out.split()).replace("- ", "-")
    named = re.search(r"Layout of the file: (.*?)\.", text)[1]
    assert re.split(r", | or ", named) == list(LAYOUTS)
    quantities = re.search(r"Quantities: (.*?)\.", text)[1]
    assert [name.replace("-", "_") for name in quantities.split(", ")] == list(QUANTITIES)
