"""Packed files: every way of packing gives the same bytes, and none can fill the memory or hide damage."""

import bz2
import gzip
import lzma
import os
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from astropy.io import fits

from psfmatch_cli.errors import InputError
from psfmatch_cli.unpack import read_structure, scan_file


@pytest.fixture
def plain(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 1000, (50, 60), np.int16)
    fits.HDUList([fits.PrimaryHDU(pixels), fits.ImageHDU(pixels)]).writeto(tmp_path / "plain.fits")
    return (tmp_path / "plain.fits").read_bytes()


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(members):
            archive.writestr(f"{number}.fits", data)
    return path.read_bytes()


def packed_by(kind, data, folder):
    pack = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
    return zipped(folder / "z", data) if kind == "zip" else pack[kind](data)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip"])
def test_the_unpacked_bytes_are_those_that_were_packed(kind, plain, tmp_path):
    path = tmp_path / "a.fits"  # the content tells, not the name
    path.write_bytes(packed_by(kind, plain, tmp_path))
    structure = read_structure(path)
    assert structure.unpacked.getvalue() == plain
    assert structure.length == len(plain)
    assert [extent.shape for extent in structure.extents] == [(50, 60)] * 2
    assert list(scan_file(path)) == structure.extents


def test_a_file_that_is_not_packed_is_not_copied(plain, tmp_path):
    path = tmp_path / "a.fits.gz"  # its name is wrong
    path.write_bytes(plain)
    structure = read_structure(path)
    assert structure.unpacked is None
    assert (len(structure.extents), structure.length) == (2, len(plain))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip"])
@pytest.mark.parametrize("kept", [8, 0.1, 0.5, 0.98])
def test_a_packed_file_that_is_cut_off_is_an_error_of_one_line(kind, kept, plain, tmp_path):
    data = packed_by(kind, plain, tmp_path)
    path = tmp_path / "a.fits"
    path.write_bytes(data[: kept if kept >= 1 else int(kept * len(data))])
    with pytest.raises(InputError, match=r"a\.fits: (cannot be unpacked|not a readable FITS file)") as error:
        read_structure(path)
    assert "\n" not in str(error.value)


def test_a_wrong_checksum_at_the_end_is_an_error(plain, tmp_path):
    data = bytearray(gzip.compress(plain))
    data[-6] ^= 1
    (tmp_path / "a.fits.gz").write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked, it is damaged or truncated"):
        read_structure(tmp_path / "a.fits.gz")


def test_archives_of_several_files_and_other_packers_are_named(plain, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(tmp_path / "z", plain, plain))
    with pytest.raises(InputError, match="a zip archive of 2 files, expected one"):
        read_structure(path)
    path.write_bytes(b"\x1f\x9d\x90")
    with pytest.raises(InputError, match="unpack it first"):
        read_structure(path)


def test_pipes_and_devices_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "is not a regular file, expected a FITS file"),
        (tmp_path, "is a folder, expected a FITS file"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "http:" / "host" / "a.fits", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_structure(path)


@contextmanager
def traced_peak(limit):
    """What runs in the block must not allocate more than this, bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def bomb(path, megabytes, declared):
    """A packed file of zeros after a header that declares a number of bytes."""
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", f"NAXIS1  = {declared}", "END")
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write("".join(card.ljust(80) for card in cards).ljust(2880).encode())
        for _ in range(megabytes):
            file.write(bytes(1_000_000))


def test_more_than_fits_into_memory_is_not_unpacked(tmp_path, monkeypatch):
    bomb(tmp_path / "a.fits.gz", 1, 10**15)
    with pytest.raises(InputError, match="too large"):
        read_structure(tmp_path / "a.fits.gz")


def test_what_no_header_declares_is_not_unpacked(tmp_path):
    bomb(tmp_path / "a.fits.gz", 200, 5000)
    with traced_peak(20_000_000):
        structure = read_structure(tmp_path / "a.fits.gz")
    assert structure.length == 4 * 2880  # the header, the data, and the block after them, which is no header


def test_a_header_without_end_is_not_unpacked_for_ever(tmp_path):
    with gzip.open(tmp_path / "a.fits.gz", "wb", compresslevel=1) as file:
        file.write(b"SIMPLE  = T".ljust(80) + b" " * 100_000_000)
    with traced_peak(80_000_000), pytest.raises(InputError, match="header cards"):
        read_structure(tmp_path / "a.fits.gz")


def test_only_the_headers_that_are_asked_for_are_unpacked(tmp_path):
    bomb(tmp_path / "a.fits.gz", 200, 200_000_000)
    with traced_peak(20_000_000):
        assert next(scan_file(tmp_path / "a.fits.gz")).size == 200_000_000
