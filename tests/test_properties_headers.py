"""Headers of any cards: whatever stands in them, they are read, or refused with one line, and nothing else happens."""

import io
import math

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_fitsscan import header

import made_files
from mutations import NAMES
from psfmatch_cli.errors import PsfMatchError
from psfmatch_cli.fitsfile import ReadableHeader, readable_cards
from psfmatch_cli.fitsscan import Cards, scan
from psfmatch_cli.io import read_facts
from psfmatch_cli.unpack import PlainStream
from psfmatch_cli.wcs_header import read_wcs

bounded = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: Text that a card can hold, and bytes that none should.
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=70)
numbers = st.one_of(
    st.integers(-(10**22), 10**22).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(lambda value: f"{value!r}".upper()),
)
quoted = texts.map(lambda text: "'" + text.replace("'", "''")[:66] + "'")
values = st.one_of(numbers, quoted, st.sampled_from(["T", "F", "", "/ nothing", "'open", "(1.0, 2.0)"]), texts)
names = st.one_of(st.sampled_from(NAMES), st.from_regex(r"[A-Z0-9_-]{1,8}", fullmatch=True))
cards = st.builds(lambda name, value: f"{name:8}= {value}"[:80], names, values)
lines = st.one_of(cards, cards, cards, texts, st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")))

#: Cards of a celestial WCS, of which any may have any value.
WCS_NAMES = [
    name for name in NAMES if name.startswith(("C", "PC", "PV", "A_", "B_", "AP", "BP", "LON", "RAD", "EQ", "W"))
]


def image_with(further):
    """Bytes of a small image with further cards; one named as an earlier one comes after it."""
    pixels = np.random.default_rng(1).integers(90, 110, (24, 20), np.int16)
    start = ("SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2")
    axes = ("NAXIS1  =                   20", "NAXIS2  =                   24")
    data = pixels.astype(">i2").tobytes()
    text = "".join(line.ljust(80) for line in (*start, *axes, *further, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode("latin-1") + data.ljust(2880, b"\0")


def answer(action):
    """What an action returns, or the message with which it refuses."""
    try:
        return action()
    except PsfMatchError as error:
        return str(error)


@bounded
@given(st.lists(lines, max_size=12))
def test_the_headers_of_a_file_are_understood_or_refused(tmp_path, further):
    path = tmp_path / "a.fits"
    path.write_bytes(image_with(further))
    found = answer(lambda: read_facts(path).shape)
    assert found == (24, 20) or (isinstance(found, str) and "a.fits: " in found and "\n" not in found)


@bounded
@given(st.lists(lines, max_size=12))
def test_the_structure_is_that_of_the_first_cards(further):
    found = answer(lambda: list(scan(PlainStream(io.BytesIO(image_with(further))), "a.fits")))
    if isinstance(found, str):
        assert found.startswith("a.fits: ")
    else:
        # Groups and heaps may make it larger, but no other card makes another image of it.
        assert found[0].shape in ((24, 20), ())
        assert found[0].size >= 0


@bounded
@given(st.binary(max_size=6000))
def test_any_bytes_have_a_structure_or_none(data):
    for start in (b"", header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0")):
        found = answer(lambda start=start: list(scan(PlainStream(io.BytesIO(start + data)), "a.fits")))
        assert len(found) >= 1
        assert isinstance(found, list) or found.startswith("a.fits: ")


@bounded
@given(st.integers(0, 10**18), st.booleans())
def test_whole_numbers_come_back_however_they_are_written(number, padded):
    value = f"{number:>20}" if padded else f"{number} / a comment"
    assert Cards(header(f"N       = {value}"), "h").whole("N") == number


@bounded
@given(st.lists(cards, max_size=12))
def test_what_is_left_of_a_header_can_be_read(further):
    text = "".join(line.ljust(80) for line in further)
    given_header = fits.Header.fromstring(text)
    left = readable_cards(given_header)
    assert len(left) <= len(further)
    lazy = ReadableHeader(given_header)
    for name in {*left}:
        value = lazy.get(name)
        # Of two cards of one name the first may be one that cannot be read.
        assert value is None or str(value) == str(left[name])


@bounded
@given(
    st.dictionaries(st.sampled_from(WCS_NAMES), st.one_of(st.floats(), st.integers(-(10**6), 10**6), texts), max_size=6)
)
def test_a_wcs_is_usable_or_none(changed):
    made = made_files.sky_cards()
    made.update({"NAXIS": 2, "NAXIS1": 20, "NAXIS2": 24})
    for name, value in changed.items():
        if isinstance(value, float) and not math.isfinite(value):
            continue  # no header can hold it
        made[name] = value
    wcs = read_wcs(fits.HDUList([fits.PrimaryHDU()]), [made], "f")
    if wcs is not None:
        assert np.isfinite(wcs.all_pix2world([[9.5, 11.5]], 0)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_positions_that_are_no_numbers_are_no_wcs(value):
    made = dict(made_files.sky_cards()) | {"NAXIS1": 20, "NAXIS2": 24, "CRVAL1": value}
    assert read_wcs(fits.HDUList([fits.PrimaryHDU()]), [made], "f") is None
