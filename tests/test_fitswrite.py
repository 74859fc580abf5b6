import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, DistortionLookupTable, Sip

from psfmatch_cli.errors import OutputError, UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.fitswrite import ExposureFile, append_cards, wcs_cards, write_exposure, write_exposures
from psfmatch_cli.header_cards import copy_cards
from psfmatch_cli.psf import gaussian_psf

SHAPE = (12, 15)


def tan_wcs(**changes):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = 150.123456789012345, -2.000000000012345
    wcs.wcs.crpix = 7.123456789012345, 6.5
    wcs.wcs.cd = np.array([[-5.1234567890123e-5, 1.1e-6], [1.2e-6, 5.3e-5]])
    for name, value in changes.items():
        setattr(wcs.wcs, name, value)
    wcs.wcs.set()
    return wcs


def exposure(**attributes):
    rng = np.random.default_rng(1)
    masked = MaskedImage.from_arrays(
        rng.normal(size=SHAPE), rng.integers(0, 512, SHAPE), rng.uniform(1, 2, SHAPE), xy0=(100, -20)
    )
    return Exposure(masked, **attributes)


def test_the_file_is_laid_out_as_lsst_readers_expect(tmp_path):
    header = fits.Header({"BUNIT": "adu", "EXPTIME": 30.0})
    made = exposure(wcs=tan_wcs(), psf=gaussian_psf(3.0), fluxmag0=1e9, filter="r", header=header)
    write_exposure(tmp_path / "a.fits", made, cards=[("PMVERS", "1.0", "version")], history=["made by a test"])
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE", "PSF"]
        primary, image, mask, variance, psf = hdus
        assert primary.header["NAXIS"] == 0
        assert (primary.header["FLUXMAG0"], primary.header["FILTER"]) == (1e9, "r")
        assert (primary.header["EXPTIME"], primary.header["PMVERS"]) == (30.0, "1.0")
        assert primary.header["HISTORY"][0] == "made by a test"
        assert "EXPINFO_V" not in primary.header
        assert [hdu.header["BITPIX"] for hdu in (image, mask, variance)] == [-32, 32, -32]
        for hdu in (image, mask, variance):
            assert hdu.header["EXTTYPE"] == hdu.name
            assert hdu.header["INHERIT"] is True
            assert [hdu.header[f"{key}1A"] for key in ("CTYPE", "CRPIX", "CRVAL")] == ["LINEAR", 1, 100]
            assert (hdu.header["CRVAL2A"], hdu.header["LTV1"], hdu.header["LTV2"]) == (-20, -100, 20)
            assert hdu.header["CTYPE1"] == "RA---TAN"
            assert "CHECKSUM" in hdu.header
            assert "DATASUM" in hdu.header
        assert (image.header["BUNIT"], variance.header["BUNIT"]) == ("adu", "adu**2")
        assert "BUNIT" not in mask.header
        assert mask.header["MP_DETECTED_NEGATIVE"] == 6
        assert "HIERARCH MP_DETECTED_NEGATIVE" in str(mask.header)
        assert psf.data.sum() == pytest.approx(1)


def test_nothing_is_invented_where_nothing_is_known(tmp_path):
    write_exposure(tmp_path / "a.fits", exposure())
    with fits.open(tmp_path / "a.fits") as hdus:
        assert len(hdus) == 4
        assert not {"FLUXMAG0", "FILTER"} & set(hdus[0].header)
        assert not {"CTYPE1", "BUNIT"} & set(hdus[1].header)


def test_cards_of_the_old_file_and_its_coordinates_are_not_kept():
    old = fits.Header()
    for keyword, value in {
        "SIMPLE": True, "NAXIS1": 5, "BZERO": 32768, "EXTNAME": "SCI", "CHECKSUM": "x", "ZIMAGE": True, "DATAMAX": 7.0,
        "CTYPE1": "RA---SIP", "CD1_1": 1.0, "PC2_1": 0.0, "CRVAL1A": 3.0, "A_ORDER": 2, "A_0_2": 1e-7, "PV1_5": 0.1,
        "NEXTEND": 6, "FZQVALUE": 4.0, "IRAF-MAX": 7.0, "DATE": "2001-01-01",
        "RADECSYS": "FK5", "MP_BAD": 0, "AR_HDU": 5, "PSF_ID": 3, "HIERARCH EXPINFO_V": 2, "FILTER": "g",
    }.items():  # fmt: skip
        old[keyword] = value
    old["EXPTIME"] = (30.0, "seconds")
    old["AIRMASS"] = 1.2
    old["HIERARCH LONG KEYWORD NAME"] = 5
    old.add_comment("first")
    old.add_comment("second")
    old.add_history("did this")
    new = fits.Header()
    copy_cards(old, new)
    assert list(new) == ["EXPTIME", "AIRMASS", "LONG KEYWORD NAME", "COMMENT", "COMMENT", "HISTORY"]
    assert new.comments["EXPTIME"] == "seconds"
    assert list(new["COMMENT"]) == ["first", "second"]


def test_weird_cards_are_left_out_and_counted(tmp_path, caplog):
    cards = [
        "GOOD    =                    1 / kept",
        "BROKEN  = 'no closing quote",
        "NOVALUE =",
        "low case= 3",
        "FLT     =                  1.e / odd",
        "TEXT    = 'caf\x07 bell'",
        "just words without any sense at all",
        "LAST    =                    2",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = fits.Header.fromstring("".join(card.ljust(80) for card in cards))
    made = exposure(header=old)
    with caplog.at_level(logging.DEBUG):
        write_exposure(tmp_path / "a.fits", made)
    header = fits.getheader(tmp_path / "a.fits")
    assert (header["GOOD"], header["LAST"]) == (1, 2)
    assert "header cards cannot be written again and are left out" in caplog.text


def test_long_strings_survive(tmp_path):
    text = "x" * 150
    header = fits.Header()
    header["TITLE"] = text
    write_exposure(tmp_path / "a.fits", exposure(header=header))
    assert fits.getheader(tmp_path / "a.fits")["TITLE"] == text


def test_values_that_no_card_can_hold():
    header = fits.Header()
    alpha = "\N{GREEK SMALL LETTER ALPHA}"
    append_cards(header, [("A", float("nan"), ""), ("PMLONGNAME", np.float32(1.5), "c"), ("NAME", alpha, "")])
    assert (header["A"], header["PMLONGNAME"], header["NAME"]) == (None, 1.5, "\\u03b1")


GRID = np.array([[0, 0], [14, 3], [7.5, 11.0]])


def back(wcs):
    return WCS(fits.Header.fromstring(wcs_cards(wcs).tostring()))


def test_tan_wcs_comes_back_to_the_last_digit():
    wcs = tan_wcs()
    np.testing.assert_array_equal(back(wcs).all_pix2world(GRID, 0), wcs.all_pix2world(GRID, 0))


def test_distortion_polynomials_come_back():
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], b[0, 2] = 1.3e-3, -2.1e-3
    sip = tan_wcs(ctype=["RA---TAN-SIP", "DEC--TAN-SIP"])
    sip.sip = Sip(a, b, None, None, sip.wcs.crpix)
    assert back(sip).sip is not None
    np.testing.assert_allclose(back(sip).all_pix2world(GRID, 0), sip.all_pix2world(GRID, 0), rtol=0, atol=1e-13)
    header = tan_wcs().to_header()
    header.update({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV1_4": 3.0, "PV2_1": 1.0, "PV2_4": -2.0})
    tpv = WCS(header)
    assert np.abs(tpv.all_pix2world(GRID, 0) - tan_wcs().all_pix2world(GRID, 0)).max() > 1e-7
    np.testing.assert_allclose(back(tpv).all_pix2world(GRID, 0), tpv.all_pix2world(GRID, 0), rtol=0, atol=1e-13)


def test_distortion_tables_are_reported_as_lost(caplog):
    wcs = tan_wcs()
    wcs.cpdis1 = DistortionLookupTable(np.zeros((4, 4), np.float32), (1, 1), (1, 1), (4, 4))
    wcs_cards(wcs)
    assert "distortion in lookup tables, which is not written" in caplog.text


def test_unknown_suffixes_and_existing_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a.txt: an exposure file must end in .fits, .fit, .fits.gz"):
        write_exposure(tmp_path / "a.txt", exposure())
    write_exposure(tmp_path / "a.fits", exposure())
    with pytest.raises(OutputError, match="already exists"):
        write_exposure(tmp_path / "a.fits", exposure())
    write_exposure(tmp_path / "a.fits", exposure(), overwrite=True)


def test_gz_and_fz_files_are_compressed(tmp_path):
    write_exposure(tmp_path / "a.fits.gz", exposure())
    assert (tmp_path / "a.fits.gz").read_bytes()[:2] == b"\x1f\x8b"
    write_exposure(tmp_path / "a.fits.fz", exposure())
    with fits.open(tmp_path / "a.fits.fz", disable_image_compression=True) as hdus:
        assert hdus[1].header["ZIMAGE"]
        assert hdus[1].header["ZCMPTYPE"] == "GZIP_2"


@pytest.mark.parametrize("threads", [1, 3])
def test_several_files_are_as_each_alone(tmp_path, threads):
    header = fits.Header({"BUNIT": "adu"})
    made = [exposure(wcs=tan_wcs(), header=header, fluxmag0=flux) for flux in (1.0, 2.0, 3.0)]
    names = ["a.fits", "b.fits.gz", "c.fits.fz"]
    filters = list(warnings.filters)
    write_exposures(
        [
            ExposureFile(tmp_path / f"all-{name}", one, [("PMVERS", "1", "")])
            for name, one in zip(names, made, strict=True)
        ],
        threads=threads,
    )
    assert warnings.filters == filters
    for name, one in zip(names, made, strict=True):
        write_exposure(tmp_path / name, one, cards=[("PMVERS", "1", "")])
        with fits.open(tmp_path / name) as alone, fits.open(tmp_path / f"all-{name}") as together:
            assert fits.FITSDiff(alone, together, ignore_keywords=["CHECKSUM", "DATASUM", "DATE"]).identical
    with pytest.raises(OutputError, match=r"all-a\.fits"):
        write_exposures([ExposureFile(tmp_path / "new.fits", made[0]), ExposureFile(tmp_path / "all-a.fits", made[1])])
    with pytest.raises(UsageError, match=r"b\.txt"):
        write_exposures([ExposureFile(tmp_path / "d.fits", made[0]), ExposureFile(tmp_path / "b.txt", made[1])])
    assert not (tmp_path / "d.fits").exists()


def test_files_written_beside_each_other_share_no_pixels(tmp_path):
    # Astropy swaps the bytes in place: with shared arrays one of the files would hold nonsense now and then.
    rng = np.random.default_rng(8)
    one = Exposure(MaskedImage.from_arrays(rng.normal(size=(300, 400)), variance=np.ones((300, 400))))
    one = replace(one, psf=gaussian_psf(3.0))
    files = [ExposureFile(tmp_path / f"{n}.fits", one, [], []) for n in range(4)]
    for _ in range(5):
        write_exposures(files, overwrite=True, threads=4)
        for file in files:
            with fits.open(file.path, checksum=True) as hdus:
                np.testing.assert_array_equal(hdus["IMAGE"].data, one.image)
                np.testing.assert_array_equal(hdus["PSF"].data, one.psf.image)
    assert one.image.dtype.isnative
