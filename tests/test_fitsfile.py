import hashlib
import logging

import numpy as np
import pytest
from astropy.io import fits

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.fitsfile import (
    FitsPath,
    ReadableHeader,
    file_digest,
    find_hdu,
    open_fits,
    parse_hdu_key,
    parse_path,
    read_image,
)


def write_two_images(path):
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(np.ones((3, 4), np.float32), name="SCI"),
            fits.ImageHDU(np.full((3, 4), 2.0, np.float32), name="SCI", ver=2),
        ]
    ).writeto(path)


@pytest.mark.parametrize(
    ("text", "hdu"),
    [("a.fits", None), ("a.fits[1]", 1), ("a.fits[sci]", "SCI"), ("a.fits[SCI,2]", ("SCI", 2)), ("a.fz[ 3 ]", 3)],
)
def test_path_forms(text, hdu):
    found = parse_path(text)
    assert found.path.name == text.partition("[")[0]
    assert found.hdu == hdu


def test_a_file_named_with_brackets_is_that_file(tmp_path):
    path = tmp_path / "field[1]"
    path.write_bytes(b"")
    assert parse_path(path) == FitsPath(path)
    assert parse_path(f"{path}[2]") == FitsPath(path, 2)


@pytest.mark.parametrize("text", ["", "SCI,x", ",2"])
def test_wrong_hdu_keys_are_refused(text):
    with pytest.raises(UsageError, match=r"an HDU is given as"):
        parse_hdu_key(text)


def test_hdus_are_found_by_number_name_and_version(tmp_path):
    write_two_images(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as hdus:
        assert [find_hdu(hdus, key, tmp_path) for key in (2, "SCI", ("SCI", 2))] == [2, 1, 2]
        with pytest.raises(
            InputError, match=r"no HDU DQ; the file has 0 unnamed \(no image\), 1 SCI \(4 x 3\), 2 SCI,2"
        ):
            find_hdu(hdus, "DQ", tmp_path)
        with pytest.raises(InputError, match="no HDU 7"):
            find_hdu(hdus, 7, tmp_path)


def test_pixels_come_in_native_byte_order_and_one_piece(tmp_path):
    write_two_images(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as hdus:
        image = read_image(hdus, 2, tmp_path)
    assert image.dtype == np.float32
    assert image.dtype.isnative
    assert image.flags.c_contiguous
    assert (image == 2).all()


def test_leading_axes_of_length_one_are_dropped_and_others_refused(tmp_path):
    fits.HDUList(
        [fits.PrimaryHDU(np.zeros((1, 3, 4), np.float32)), fits.ImageHDU(np.zeros((2, 3, 4), np.float32))]
    ).writeto(tmp_path / "cube.fits")
    with open_fits(tmp_path / "cube.fits") as hdus:
        assert read_image(hdus, 0, tmp_path).shape == (3, 4)
        with pytest.raises(InputError, match=r"shape \(2, 3, 4\), expected a two-dimensional image"):
            read_image(hdus, 1, tmp_path)


def test_a_table_is_no_image(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.zeros(3))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "t.fits")
    with open_fits(tmp_path / "t.fits") as hdus, pytest.raises(InputError, match="HDU 1 holds no image"):
        read_image(hdus, 1, tmp_path)


def test_missing_folder_and_foreign_files_are_named(tmp_path):
    (tmp_path / "text.fits").write_text("not a FITS file\n" * 400)
    (tmp_path / "empty.fits").write_bytes(b"")
    for name, message in (
        ("missing.fits", "missing.fits: no such file"),
        (".", "is a folder"),
        ("text.fits", "text.fits: not a readable FITS file"),
        ("empty.fits", "empty.fits: not a readable FITS file"),
    ):
        with pytest.raises(InputError, match=message), open_fits(tmp_path / name):
            pass


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_truncated_file_is_an_error_of_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    pixels = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    fits.PrimaryHDU(pixels).writeto(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"truncated|not a readable FITS file") as error, open_fits(path) as hdus:
        read_image(hdus, 0, path)
    assert "\n" not in str(error.value)


def test_missing_padding_at_the_end_is_only_a_warning(tmp_path, caplog):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((10, 10), np.float32)).writeto(path)
    path.write_bytes(path.read_bytes()[: 2880 + 400])
    with caplog.at_level(logging.WARNING), open_fits(path) as hdus:
        assert (read_image(hdus, 0, path) == 1).all()
    assert "truncated" in caplog.text


def test_digest_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"some bytes")
    assert file_digest(f"{path}[SCI]") == hashlib.sha256(b"some bytes").hexdigest()
    with pytest.raises(InputError, match="cannot be read"):
        file_digest(tmp_path / "b.fits")


def test_cards_that_cannot_be_parsed_are_missing():
    text = "GAIN    = 'no closing quote".ljust(80) + "EXPTIME =                 30.0".ljust(80)
    header = ReadableHeader(fits.Header.fromstring(text))
    assert (header.get("GAIN"), header.get("EXPTIME")) == (None, 30.0)
    assert "GAIN" not in header
    assert list(header) == ["GAIN", "EXPTIME"]
