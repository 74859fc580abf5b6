"""Files that are written, whatever was read: valid FITS, with sky, times and calibration of their pixels."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip
from test_fitswrite import tan_wcs
from test_reading_layouts import ALL_FILES

import made_files as made
from conftest import FWHMS
from made_files import SHAPE
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.fitswrite import write_exposure
from psfmatch_cli.io import ReadOptions, read_exposure
from psfmatch_cli.tables import write_table
from psfmatch_cli.warp import warp

#: Cards that are true of the file that was read alone.
STALE = ("BZERO", "BSCALE", "BLANK", "ZIMAGE", "ZCMPTYPE", "DATAMIN", "DATAMAX", "NEXTEND", "CDELT1", "PC1_1", "CROTA2")
#: Cards that no made file has, but many a real one.
BURDEN = {
    "OBJECT": "NGC 1365",
    "OBSERVER": "N. N.",
    "AIRMASS": 1.21,
    "TIMESYS": "UTC",
    "MJD-OBS": "58606.5",
    "DATAMIN": 0.0,
    "NEXTEND": 6,
    "CHECKSUM": "wrong",
    "DATASUM": "0",
    "ZBLANK": -1,
    "FZALGOR": "RICE",
    "CCDSEC": "[1:200,1:180]",
    "LTV1": -512.0,
    "LTM1_1": 1.0,
    "CRDER1": 0.1,
}


def check_fits(path):
    """Assert that a file is valid by astropy, by its checksums, and by fitsverify where that is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
    with fits.open(path, disable_image_compression=True) as hdus:
        for hdu in hdus:
            assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
    if shutil.which("fitsverify"):
        done = subprocess.run(["fitsverify", "-q", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, subprocess.run(["fitsverify", path], capture_output=True, text=True).stdout


def check_planes(path, wcs):
    """Assert that the planes of a file hold what their names say, at the positions of a WCS."""
    with fits.open(path) as hdus:
        image, mask, variance = (hdus[name] for name in ("IMAGE", "MASK", "VARIANCE"))
        assert (mask.data.dtype.kind, image.data.dtype.kind, variance.data.dtype.kind) == ("i", "f", "f")
        bits = {name: bit for name, bit in mask.header.items() if name.startswith("MP_")}
        assert len(bits) >= 9
        for hdu in hdus:
            assert not set(STALE) & set(hdu.header)
            assert not [name for name in hdu.header if name.startswith("FZ")]
        for hdu in (image, mask, variance):
            assert not {"DATE-OBS", "MJD-OBS"} & set(hdu.header), "times stand in the primary header alone"
            check_wcs(hdu.header, wcs)


def check_no_data(path):
    """Assert that pixels without a value are NaN, and no other."""
    with fits.open(path) as hdus:
        no_data = (hdus["MASK"].data >> hdus["MASK"].header["MP_NO_DATA"]) & 1 == 1
        assert np.isnan(hdus["IMAGE"].data[no_data]).all()
        assert np.isfinite(hdus["IMAGE"].data[~no_data]).all()


def check_wcs(header, wcs):
    """Assert that a header has the WCS: pixels from 0 to 1e-6 px, as far as the polynomials can be inverted."""
    if wcs is None:
        assert "CTYPE1" not in header
        return
    again = WCS(header)
    corners = np.array([[0.0, 0.0], [150.0, 20.0], [SHAPE[1] - 1, SHAPE[0] - 1]])
    sky = wcs.all_pix2world(corners, 0)
    scale = np.abs(np.linalg.det(wcs.pixel_scale_matrix)) ** 0.5
    # Degrees: of RA the cosine of a declination of a few degrees is 1 within a per cent.
    assert np.abs(again.all_pix2world(corners, 0) - sky).max() < 1e-6 * scale


@pytest.mark.parametrize(
    ("layout", "suffix"), [*((layout, ".fits") for layout in ALL_FILES), ("hst", ".fits.fz"), ("hst", ".fits.gz")]
)
def test_files_of_every_layout_are_valid(layout, suffix, tmp_path):
    path = ALL_FILES[layout](tmp_path)
    burden(path)
    found = read_exposure(path)
    out = tmp_path / f"out{suffix}"
    write_exposure(out, found)
    check_fits(out)
    check_planes(out, found.wcs)
    header = fits.getheader(out)
    assert (header["OBJECT"], header["AIRMASS"], header["TIMESYS"]) == ("NGC 1365", 1.21, "UTC")
    assert isinstance(header["MJD-OBS"], float)
    assert fits.getval(out, "LTV1", "IMAGE") == -512.0


def burden(path):
    """Put the cards of `BURDEN` into the primary header of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, mode="update") as hdus:
            hdus[0].header.update(BURDEN)


def distorted(kind):
    """A WCS of one of the usual kinds."""
    header = fits.Header({"NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]})
    header.update(tan_wcs().to_header())
    code = kind.partition("-")[0]
    header["CTYPE1"], header["CTYPE2"] = f"RA---{code}", f"DEC--{code}"
    if code == "TPV":
        header.update({"PV1_1": 1.0, "PV1_4": 3.0, "PV2_1": 1.0, "PV2_4": -2.0, "PV2_7": 0.5})
    if code == "ZPN":
        header.update({"PV2_1": 1.0, "PV2_3": 42.0})
    if kind == "TAN-rotated":
        del header["PC*"]
        header["CROTA2"] = 33.0
    if kind == "TAN-B1950":
        header.update({"RADESYS": "FK4", "EQUINOX": 1950.0})
    wcs = WCS(header)
    if kind == "TAN-SIP":
        a, b = np.zeros((3, 3)), np.zeros((3, 3))
        a[2, 0], b[0, 2] = 1.3e-5, -2.1e-5
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    return wcs


@pytest.mark.parametrize("kind", ["TAN", "TAN-rotated", "TAN-B1950", "TAN-SIP", "TPV", "ZPN", "SIN", "ZEA"])
def test_positions_of_every_projection_come_back(kind, tmp_path):
    wcs = distorted(kind)
    assert kind == "TAN" or np.abs(wcs.all_pix2world([[199, 0]], 0) - tan_wcs().all_pix2world([[199, 0]], 0)).max() > 0
    write_exposure(tmp_path / "a.fits", Exposure(flat(), wcs=wcs))
    check_fits(tmp_path / "a.fits")
    header = fits.getheader(tmp_path / "a.fits", "IMAGE")
    check_wcs(header, wcs)
    assert ("A_ORDER" in header) == (kind == "TAN-SIP")
    frames = [(w.wcs.radesys, w.wcs.equinox) for w in (WCS(header), wcs)]
    np.testing.assert_equal(frames[0], frames[1])
    write_exposure(tmp_path / "b.fits", read_exposure(tmp_path / "a.fits"))
    check_wcs(fits.getheader(tmp_path / "b.fits", "IMAGE"), wcs)


def flat(shape=SHAPE, xy0=(0, 0)):
    return MaskedImage.from_arrays(np.ones(shape), np.zeros(shape), np.ones(shape), xy0=xy0)


def test_odd_cards_are_brought_into_the_form_of_the_standard(tmp_path):
    cards = ["OBJECT  =                   31 / number", "TELESCOP=                  0.6", "MJD-OBS = '58606.5'"]
    cards += ["GAIN    =                  2.0", "GAIN    =                  3.0", "EMPTY   =", "DATE    = '2001-01-01'"]
    cards += ["MJD-END = 'soon'", "COMMENT one", "COMMENT two", "SPECSYS = 'nowhere'", "RADESYS = 'FK5'"]
    header = fits.Header.fromstring("".join(card.ljust(80) for card in cards))
    header["LONG"] = "x" * 200
    write_exposure(tmp_path / "a.fits", Exposure(flat(), header=header))
    check_fits(tmp_path / "a.fits")
    made_of = fits.getheader(tmp_path / "a.fits")
    assert [made_of[name] for name in ("OBJECT", "TELESCOP", "MJD-OBS", "GAIN")] == ["31", "0.6", 58606.5, 2.0]
    assert made_of.comments["OBJECT"] == "number"
    assert not {"EMPTY", "MJD-END", "SPECSYS"} & set(made_of)
    assert (list(made_of["COMMENT"]), made_of["LONGSTRN"]) == (["one", "two"], "OGIP 1.0")
    assert made_of["DATE"] > "2026"


def test_physical_pixels_follow_the_cut_out(tmp_path):
    header = fits.Header({"LTV1": -512.0, "LTV2": 3.0, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "CCDSEC": "[1:2,1:2]"})
    write_exposure(tmp_path / "cut.fits", Exposure(flat((20, 30), xy0=(10, 7)), header=header))
    planes = fits.getheader(tmp_path / "cut.fits", "IMAGE")
    assert (planes["LTV1"], planes["LTV2"], planes["CRVAL1A"]) == (-522.0, -4.0, 10.0)
    assert "CCDSEC" not in fits.getheader(tmp_path / "cut.fits"), "a section of the whole image"
    write_exposure(tmp_path / "again.fits", read_exposure(tmp_path / "cut.fits", ReadOptions(gain=1.0)))
    again = fits.getheader(tmp_path / "again.fits", "IMAGE")
    assert (again["LTV1"], again["LTV2"], again["CRVAL1A"]) == (-522.0, -4.0, 10.0)


@pytest.mark.parametrize(("unit", "squared"), [("adu", "adu**2"), ("MJy/sr", "(MJy/sr)**2"), ("e- s-1", "(e- s-1)**2")])
def test_the_variance_has_the_unit_squared(unit, squared, tmp_path):
    write_exposure(tmp_path / "a.fits", Exposure(flat(), header=fits.Header({"BUNIT": unit})))
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [hdu.header.get("BUNIT") for hdu in hdus] == [None, unit, None, squared]


def test_a_zero_point_that_was_given_replaces_those_in_cards(tmp_path):
    found = read_exposure(made.ztf_files(tmp_path), ReadOptions(zero_point=25.0))
    assert "MAGZP" not in found.header
    write_exposure(tmp_path / "a.fits", found)
    assert fits.getval(tmp_path / "a.fits", "FLUXMAG0") == pytest.approx(1e10)
    assert "MAGZP" in read_exposure(tmp_path / "ztf_20190503123456_000713_zr_c03_o_q1_sciimg.fits").header


# --- a whole run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hst_and_coadd(tmp_path_factory):
    """HST image as the template, coadd of a small telescope as the science image, of the same stars."""
    folder = tmp_path_factory.mktemp("cards")
    template, science = made.hst_file(folder / "flt.fits"), made.swarp_files(folder)
    more = {"OBJECT": "NGC 1", "TELESCOP": "1 m", "INSTRUME": "CCD", "DATE-OBS": "2021-01-01T00:00:00"}
    more |= {
        "FILTER": "I",
        "EXPTIME": 60.0,
        "MJD-OBS": 59215.0,
        "AIRMASS": 1.3,
        "MAGZERO": 25.0,
        "BUNIT": "adu",
        "PEDESTAL": 100,
    }
    with fits.open(science, mode="update") as hdus:
        hdus[0].header.update(more)
        noise = np.random.default_rng(8).normal(0.0, 5.0, SHAPE)
        hdus[0].data += np.where(hdus[0].data == 0, 0, noise).astype(np.float32)
    return template, science, folder


@pytest.mark.parametrize("scale", ["science", "template"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_file_of_a_run_says_whose_cards_it_has(scale, hst_and_coadd, psfmatch, tmp_path):
    template, science, _ = hst_and_coadd
    done = psfmatch(
        "subtract", template, science, "-o", "d.fits", "--warped", "w.fits", "--candidates", "c.fits",
        "--normalize", scale, "--convolve", "template", "--no-adapt", "--kernel-order", "0", *FWHMS,
    )  # fmt: skip
    assert done.status == 0, done.err
    for path in tmp_path.glob("*.fits"):
        check_fits(path)
    wcs = read_exposure(science).wcs
    header = {name: fits.getheader(tmp_path / f"{name}.fits") for name in ("d", "d_matched", "w")}
    for name in header:
        check_planes(tmp_path / f"{name}.fits", wcs)
        check_no_data(tmp_path / f"{name}.fits")
        assert [header[name][card] for card in ("PMTTEL", "PMTINS", "PMTFILT", "PMTEXP")] == [
            "HST", "ACS", "F814W", 500.0,
        ]  # fmt: skip
        assert header[name]["PMSZP"] == pytest.approx(25.0)
    for name in ("d", "d_matched"):
        assert (header[name]["OBJECT"], header[name]["AIRMASS"], header[name]["MJD-OBS"]) == ("NGC 1", 1.3, 59215.0)
        assert header[name]["DATE-OBS"] == "2021-01-01T00:00:00"
    assert (header["w"]["TELESCOP"], header["w"]["DATE-OBS"]) == ("HST", "2019-05-03")
    zero_points = {name: 2.5 * np.log10(card["FLUXMAG0"]) for name, card in header.items()}
    in_science = {"d": scale == "science", "d_matched": True, "w": False}
    for name, science_scale in in_science.items():
        assert zero_points[name] == pytest.approx(25.0 if science_scale else header[name]["PMTZP"])
        assert ("MAGZERO" in header[name]) == science_scale
        unit = fits.getval(tmp_path / f"{name}.fits", "BUNIT", "IMAGE")
        assert unit == ("adu" if science_scale else "ELECTRONS")
    # The flux of one second: true with the template's exposure time alone.
    assert "PHOTFLAM" in header["w"]
    assert "PHOTFLAM" not in header["d"]
    assert ("PEDESTAL" in header["d"], "PEDESTAL" in header["d_matched"]) == (False, True)


def test_tables_are_valid(tmp_path):
    from astropy.table import Table

    table = Table({"x": [1.0, np.nan], "good": [True, False], "name": ["a", "bc"], "n": np.array([1, 2], np.int16)})
    table["x"].unit = "pix"
    table.meta = {"note": "y" * 100}
    write_table(tmp_path / "t.fits", table, cards=[("PMVERS", "1", "version")])
    check_fits(tmp_path / "t.fits")


# --- warped templates -----------------------------------------------------------------------------------------------


def field(scale, header, **more):
    """A flat exposure with square pixels of so many arcsec."""
    wcs = WCS(made.sky_cards(scale))
    return Exposure(flat(), wcs=wcs, header=fits.Header(header), **more)


def test_a_warped_template_has_the_grid_of_the_science_image_and_its_own_times():
    sizes = {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    template = field(0.3, {**sizes, "CCDSEC": "[1:2,3:4]", "LTV1": 5.0, "DATE-OBS": "2001-01-01", "PIXSCALE": 0.3})
    science = field(0.4, {**sizes, "CCDSEC": "[5:6,7:8]", "DATE-OBS": "2002-02-02", "PIXAR_SR": 3.8e-12})
    warped = warp(template, science).exposure
    assert warped.header == fits.Header({"DATE-OBS": "2001-01-01", **sizes, "CCDSEC": "[5:6,7:8]", "PIXAR_SR": 3.8e-12})
    assert "PIXSCALE" in template.header, "the input is unchanged"


@pytest.mark.parametrize(("unit", "factor"), [("adu", 1.0), ("MJy/sr", (0.3 / 0.4) ** 2)])
def test_the_zero_point_of_a_surface_brightness_goes_with_the_area_of_the_pixels(unit, factor):
    template, science = field(0.3, {"BUNIT": unit}, fluxmag0=1e9), field(0.4, {})
    # Larger pixels: fewer of them add up to an object.
    assert warp(template, science).exposure.fluxmag0 == pytest.approx(1e9 * factor, rel=1e-4)
