"""The structure of files, read from their bytes: what is found, and what is refused before anything is allocated."""

import io
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from psfmatch_cli import fitsscan
from psfmatch_cli.errors import InputError
from psfmatch_cli.fitsscan import Cards, scan
from psfmatch_cli.unpack import PlainStream


def header(*cards):
    """A header of these cards, padded."""
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def image(bitpix=16, axes=(10, 10), *more):
    lengths = [f"NAXIS{n}  = {length}" for n, length in enumerate(axes, start=1)]
    return header("SIMPLE  = T", f"BITPIX  = {bitpix}", f"NAXIS   = {len(axes)}", *lengths, *more)


def found(data):
    return list(scan(PlainStream(io.BytesIO(data)), "a.fits"))


def test_extents_are_those_that_astropy_finds(tmp_path):
    rng = np.random.default_rng(1)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("a", "D", array=np.arange(5.0)),
            fits.Column("v", "PJ()", array=np.array([[1], [2, 3]] + [[4]] * 3, object)),
        ]
    )
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(rng.normal(size=(30, 40)).astype(np.float32), name="SCI"),
            table,
            fits.CompImageHDU(rng.integers(0, 9, (50, 60), np.int16), compression_type="RICE_1"),
            fits.ImageHDU(np.zeros((1, 2, 3), np.uint8)),
        ]
    )
    hdus.writeto(tmp_path / "a.fits", checksum=True)
    extents = found((tmp_path / "a.fits").read_bytes())
    assert [extent.shape for extent in extents] == [(), (30, 40), (), (50, 60), (1, 2, 3)]
    assert [extent.is_plane for extent in extents] == [False, True, False, True, True]
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as opened:
        for extent, hdu in zip(extents, opened, strict=True):
            assert extent.start == hdu.fileinfo()["datLoc"]
            assert extent.size == hdu.size
            assert extent.datasum == int(hdu.header["DATASUM"])


def test_cards_are_read_as_the_standard_writes_them():
    cards = Cards(
        header("N       =                   12 / twelve", "S       = 'it''s / not' / text", "F       =   T"),
        "h",
    )
    assert (cards.whole("N"), cards.text("S"), cards.is_true("F")) == (12, "it", True)
    assert cards.text("MISSING") is None
    assert cards.whole("MISSING", default=4) == 4


def test_a_card_that_contradicts_itself_is_used_for_no_size():
    cards = Cards(header("N       = 12", "N       = 3", "M       = 1", "M       = 1"), "h")
    assert cards.whole("M") == 1
    with pytest.raises(InputError, match="h: the card N stands there again with another value"):
        cards.whole("N")


def test_what_follows_the_last_hdu_is_left_out():
    assert len(found(image(8, (2880,)) + bytes(2880) + b"special records".ljust(2880))) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"hello world", "does not begin with the card SIMPLE"),
        (image()[:1000], "ends within the header of HDU 0"),
        (header("SIMPLE  = T").replace(b"END", b"   ") * 3, "header of HDU 0 has no end"),
        (image()[:2000], "has no end|ends within the header"),
        (image(17), "BITPIX is 17, allowed are 8, 16"),
        (image("'abc'"), "BITPIX is 'abc', expected a whole number"),
        (image(16, (10, -5)), "NAXIS2 is '-5', expected a whole number of at least 0"),
        (image(16, (10, 2.5)), r"NAXIS2 is '2.5'"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS2  = 5"), "NAXIS1 is missing"),
        (header("SIMPLE  = T", "BITPIX  = 8"), "NAXIS is missing"),
        (header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 9999999999"), "NAXIS is 9999999999, allowed are 0 to 999"),
        (image(8, (3,), "PCOUNT  = -3"), "PCOUNT is '-3'"),
    ],
)
def test_damaged_headers_are_named(data, message):
    with pytest.raises(InputError, match=message) as error:
        found(data)
    assert str(error.value).startswith("a.fits: ")
    assert "\n" not in str(error.value)


def compressed(*more, zbitpix=-32, kind="RICE_1", axes=(60, 50), rows=50):
    table = ["XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 8", f"NAXIS2  = {rows}", "PCOUNT  = 0"]
    tiles = [f"ZNAXIS{n} = {length}" for n, length in enumerate(axes, start=1)]
    tiles += [f"ZBITPIX = {zbitpix}", f"ZCMPTYPE= '{kind}'", f"ZNAXIS  = {len(axes)}", "ZIMAGE  = T", *more]
    return header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0") + header(*table, *tiles) + bytes(2880)


def test_a_tile_is_a_row_where_nothing_else_is_said():
    assert found(compressed())[1].shape == (50, 60)
    assert found(compressed("ZTILE1  = 32", "ZTILE2  = 32", rows=4))[1].shape == (50, 60)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (compressed(rows=49), "damaged: 49 rows for 50 tiles of 60 x 1 in 60 x 50 pixels"),
        (compressed("ZTILE1  = 0"), "ZTILE1 is '0', expected a whole number of at least 1"),
        (compressed(kind="ZLIB"), "tile compression 'ZLIB' is not known; unpack the file"),
        (compressed(zbitpix=12), "ZBITPIX is 12"),
        (compressed(axes=(60, -50)), "ZNAXIS2 is '-50'"),
        (compressed("ZTILE1  = 1000000", axes=(1000000, 1000000), rows=1000000), "is too large: 4 TB, and .* are left"),
    ],
)
def test_a_damaged_tile_compression_is_named(data, message):
    with pytest.raises(InputError, match=message):
        found(data)


def test_headers_and_hdus_without_number_are_refused(monkeypatch):
    monkeypatch.setattr(fitsscan, "MAX_HEADER_CARDS", 200)
    with pytest.raises(InputError, match="more than 200 header cards in HDU 0"):
        found(header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0", *["COMMENT"] * 300))
    monkeypatch.setattr(fitsscan, "MAX_HDUS", 3)
    with pytest.raises(InputError, match="more than 3 HDUs"):
        found(
            header("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0")
            + header("XTENSION= 'IMAGE'", "BITPIX  = 8", "NAXIS   = 0") * 4
        )


def test_an_absurd_size_takes_no_memory():
    data = image(-64, (10**20, 10**20))
    tracemalloc.start()
    try:
        (extent,) = found(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert extent.size == 8 * 10**40
