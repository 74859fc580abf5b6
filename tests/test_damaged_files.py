"""Files that are damaged, hostile or of another kind in one known way: what is said of each, in one line."""

import io
import logging
import os
import re

import numpy as np
import pytest
from astropy.io import fits
from test_fitsscan import header, image

import made_files
from mutations import Piece, card, joined, split
from psfmatch_cli.errors import InputError
from psfmatch_cli.io import read_exposure

SKY = made_files.counts()
NINES = "9" * 20


def stored(*hdus):
    """Bytes of a file of these HDUs."""
    made = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(made)
    return made.getvalue()


def plain(pixels=SKY, **cards):
    """Bytes of a file of one image with a WCS."""
    hdu = fits.PrimaryHDU(pixels)
    hdu.header.update({**made_files.sky_cards(), **cards})
    return stored(hdu)


def edited(name, value, data=None):
    """A file whose first header has this card, written as given."""
    first, *others = split(plain() if data is None else data)
    kept = [old for old in first.cards if not old.startswith(f"{name:8}=".encode())]
    return joined([Piece((*kept, card(name, value)), first.data), *others])


def with_cards(cards):
    """A valid file with these further cards in its header."""
    data = plain()
    (piece,) = split(data)
    return header(*(old.decode() for old in piece.cards), *cards) + piece.data


INTEGERS = plain(SKY.astype(np.int16))
TABLE = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.zeros(3))])
EXTENSION = ("BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 8", f"NAXIS2  = {NINES}", "PCOUNT  = 0", "GCOUNT  = 1")

REFUSED = {
    "an axis of 20 digits": (image(16, (NINES, NINES)), r"HDU 0 declares 2e\+40 bytes of data, the file has 2880"),
    "20 digits of axes": (header("SIMPLE  = T", "BITPIX  = 8", f"NAXIS   = {NINES}"), "NAXIS is 9+, allowed are 0 to"),
    "a huge extension": (plain() + header("XTENSION= 'IMAGE'", *EXTENSION), r"HDU 1 declares 8e\+20 bytes"),
    "a huge table": (
        plain() + header("XTENSION= 'BINTABLE'", *EXTENSION, "TFIELDS = 1", "TFORM1  = 'D'"),
        r"HDU 1 declares 8e\+20 bytes",
    ),
    "a truncated image": (plain()[:9000], r"HDU 0 is truncated, \d+ of its 144000 bytes are missing"),
    "an empty file": (b"", "not a readable FITS file, it is empty"),
    "text": (b"no FITS file\n" * 500, "does not begin with the card SIMPLE"),
    "no END": (header("SIMPLE  = T").replace(b"END", b"   ") * 3, "the header of HDU 0 has no end"),
    "the primary HDU alone": (stored(fits.PrimaryHDU()), "no two-dimensional image in the file"),
    "a table": (stored(fits.PrimaryHDU(), TABLE), "no two-dimensional image in the file"),
    "one axis": (stored(fits.PrimaryHDU(SKY[0])), "no two-dimensional image in the file"),
    "three axes": (stored(fits.PrimaryHDU(np.zeros((3, 4, 5)))), "no two-dimensional image in the file"),
    "an axis of length 0": (image(16, (0, 10)), "no two-dimensional image in the file"),
    "no such BITPIX": (image(17), "BITPIX is 17, allowed are 8, 16, 32, 64, -32, -64"),
    "truth values": (stored(fits.PrimaryHDU((SKY > 400).astype(np.uint8))), "the sky has no noise to measure"),
    "BSCALE of 0": (edited("BSCALE", "0.0", INTEGERS), r"BSCALE is '0\.0', expected a finite number other than 0"),
    "BSCALE not a number": (edited("BSCALE", "NaN", INTEGERS), "BSCALE is 'NaN', expected a finite number"),
    "BZERO infinite": (edited("BZERO", "1E400", INTEGERS), "BZERO is '1E400', expected a finite number"),
    "BZERO too large for pixels": (edited("BZERO", "1E300", INTEGERS), "no pixel of the image is finite"),
    "BZERO in quotes": (edited("BZERO", "'x'", INTEGERS), "BZERO is 'x', expected a finite number"),
    "an axis that contradicts itself": (with_cards(["NAXIS1  = 7"]), "NAXIS1 stands there again with another value"),
    "records that are no HDU": (plain() + b"special".ljust(2880), "not a readable FITS file"),
    "100,000 cards": (
        with_cards(f"K{n:07d}= {n}" for n in range(100_000)),
        "has more than 30000 header cards in HDU 0",
    ),
    "100,000 comments": (with_cards(f"HISTORY {n}" for n in range(100_000)), "has more than 30000 header cards"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_said_in_one_line(name, tmp_path):
    data, message = REFUSED[name]
    (tmp_path / "a.fits").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_exposure(tmp_path / "a.fits")
    assert "a.fits: " in str(error.value)
    assert "\n" not in str(error.value)


ODD = {
    "many cards": with_cards(f"HISTORY {n}" for n in range(2_000)),
    "bytes that are no text": plain().replace(b"CTYPE1  = 'RA", b"OBJECT  = '\xff\xfe", 1),
    "a card continued by nothing": with_cards(["CONTINUE  'of nothing &'", "CONTINUE  'again'"]),
    "a keyword that cannot be": with_cards(["HIERARCH a = b = c", "HIERARCH", "A B C   = 1", "        = 2"]),
    "a value that does not end": with_cards(["GAIN    = 'no closing quote"]),
    "cards again": with_cards(["GAIN    = 2.0", "GAIN    = 'two'", "EXTEND  = T"]),
    "a cube of one plane": plain(SKY[None]),
    "bytes after the last HDU": plain() + bytes(5 * 2880),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_only_odd_is_read(name, tmp_path):
    (tmp_path / "a.fits").write_bytes(ODD[name])
    np.testing.assert_array_equal(read_exposure(tmp_path / "a.fits").image, SKY)


TABLE_OF_POSITIONS = {"CTYPE1": "RA---TAB", "CTYPE2": "DEC--TAB", "PS1_0": "PRIMARY", "PS1_1": "X", "PV1_3": 1}
DISTORTED = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 9, "B_ORDER": 9}

UNUSABLE = {
    "a scale of 0": ({"CDELT1": 0.0}, "PCi_ja matrix is singular"),
    "a singular matrix": ({"PC1_1": 0.0}, "PCi_ja matrix is singular"),
    "pixels larger than the sky": ({"CDELT1": 1e300}, "pixels of .* arcsec, expected 0.0001 to 7200"),
    "pixels of nothing": ({"CDELT1": 1e-10, "CDELT2": 1e-10}, "pixels of 3.6e-07 arcsec, expected"),
    "beyond the pole": ({"CRVAL2": 95.0}, "No valid solution"),
    "a position in quotes": ({"CRVAL1": "150.0"}, "CRVAL1 is no finite number"),
    "no position": ({"CRVAL1": None}, "CRVAL1 is no finite number|missing"),
    "two systems": ({"CTYPE1": "GLON-TAN"}, "Inconsistent projection types"),
    "twice the same axis": ({"CTYPE1": "DEC--TAN"}, "Inconsistent projection types"),
    "half a sky": ({"CTYPE1": "FREQ"}, "Unmatched celestial axes"),
    "a million axes": ({"WCSAXES": 1_000_000}, "WCSAXES is 1000000, expected 0 to 9"),
    "SIP of a huge order": ({**DISTORTED, "A_ORDER": 100_000}, "A_ORDER is 100000, expected 0 to 9"),
    "SIP beyond all bounds": ({**DISTORTED, "A_9_0": 1e300, "B_0_9": 1e300}, "pixels of 4.13e.05 arcsec"),
    "half a distortion": ({"A_ORDER": 3}, "A_ORDER provided without corresponding B_ORDER"),
    "a distortion that is not there": ({"CPDIS1": "LOOKUP"}, "DP1.AXIS.1.*not found"),
    "a table that is the image": (TABLE_OF_POSITIONS, "coordinates in tables, -TAB, are not read"),
    "no such unit": ({"CUNIT1": "furlong"}, "furlong"),
    "far outside": ({"CRPIX1": 1e30}, "singular"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_wcs_that_cannot_be_used_is_left_out_aloud(name, tmp_path, caplog):
    cards, message = UNUSABLE[name]
    (tmp_path / "a.fits").write_bytes(plain(**cards))
    with caplog.at_level(logging.WARNING):
        found = read_exposure(tmp_path / "a.fits", role="science")
    assert found.wcs is None
    (said,) = [record.getMessage() for record in caplog.records if "WCS" in record.getMessage()]
    assert said.startswith("science a.fits: the WCS in the header cannot be used (")
    assert re.search(message, said)


def test_pipes_devices_and_folders_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    for path in (tmp_path / "pipe.fits", "/dev/zero", "/dev/null"):
        with pytest.raises(InputError, match="is not a regular file, expected a FITS file"):
            read_exposure(path)
    with pytest.raises(InputError, match="is a folder, expected a FITS file"):
        read_exposure(tmp_path)


def test_of_images_of_one_name_the_first_is_taken_and_each_can_be_asked_for(tmp_path):
    hdus = [fits.ImageHDU(SKY + n, name="SCI") for n in range(3)]
    (tmp_path / "a.fits").write_bytes(stored(fits.PrimaryHDU(), *hdus))
    for key, n in (("", 0), ("[SCI]", 0), ("[3]", 2)):
        np.testing.assert_array_equal(read_exposure(f"{tmp_path / 'a.fits'}{key}").image, SKY + n)
    with pytest.raises(InputError, match=r"no HDU SCI,2; the file has 0 unnamed"):
        read_exposure(f"{tmp_path / 'a.fits'}[SCI,2]")


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_unsigned_pixels_equal_to_blank_are_no_data(dtype, tmp_path):
    pixels = SKY.astype(dtype)
    largest = np.iinfo(dtype).max
    pixels[20:23, 30:34] = largest
    hdu = fits.PrimaryHDU(pixels)
    # Stored as signed numbers, from which half the range is taken.
    hdu.header["BLANK"] = largest // 2
    hdu.writeto(tmp_path / "a.fits")
    found = read_exposure(tmp_path / "a.fits")
    expected = np.zeros(SKY.shape, bool)
    expected[20:23, 30:34] = True
    np.testing.assert_array_equal(found.masked_image.flagged(["NO_DATA"]), expected)


def test_data_that_differ_from_their_checksum_are_read_aloud(tmp_path, caplog):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(SKY).writeto(path, checksum=True)
    with caplog.at_level(logging.WARNING):
        read_exposure(path)
    assert "DATASUM" not in caplog.text
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        read_exposure(path)
    assert "the data of HDU 0 differ from the checksum in its header (DATASUM)" in caplog.text


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
def test_tiles_of_garbage_are_named(kind, tmp_path):
    whole = np.rint(SKY).astype(np.int32)
    first, second = split(stored(fits.PrimaryHDU(), fits.CompImageHDU(whole, compression_type=kind)))
    cards = {old[:8].strip(): old[10:30] for old in second.cards}
    # The table of the tiles is left, which says where they are; the tiles themselves are overwritten.
    start = int(cards[b"NAXIS1"]) * int(cards[b"NAXIS2"])
    garbage = np.random.default_rng(5).bytes(len(second.data) - start)
    (tmp_path / "a.fits").write_bytes(joined([first, Piece(second.cards, second.data[:start] + garbage)]))
    with pytest.raises(InputError, match=r"a\.fits: HDU 1 cannot be read, the file seems damaged \("):
        read_exposure(tmp_path / "a.fits")
