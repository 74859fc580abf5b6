"""Files of every layout through the normal reader: image, mask by names, variance, gain, saturation, unit, PSF."""

import logging

import numpy as np
import pytest
from astropy.io import fits

import made_files as made
from made_files import FLAG_ROW, SHAPE, SKY, flagged_columns, true_sky_variance
from psfmatch_cli.errors import InputError
from psfmatch_cli.io import ReadOptions, read_exposure, read_facts, write_exposure
from psfmatch_cli.psf import gaussian_psf

ALL_FILES = {
    "hst": lambda folder: made.hst_file(folder / "flt.fits"),
    "jwst": lambda folder: made.jwst_file(folder / "cal.fits"),
    "decam": made.decam_files,
    "ztf": made.ztf_files,
    "panstarrs": made.panstarrs_files,
    "sdss": lambda folder: made.sdss_frame(folder / "frame.fits"),
    "swarp": made.swarp_files,
    "plain": lambda folder: made.small_telescope_file(folder / "image.fit"),
}


def median(plane):
    return float(np.median(plane))


@pytest.mark.parametrize("layout", ALL_FILES)
def test_the_layout_is_recognised_by_the_content_and_told(layout, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = read_exposure(ALL_FILES[layout](tmp_path))
    assert found.facts.layout == layout
    assert f"; layout {layout}; " in caplog.text
    assert read_facts(ALL_FILES[layout](tmp_path_again(tmp_path))).facts.quantities == found.facts.quantities


def tmp_path_again(folder):
    """An empty folder inside a folder."""
    inside = folder / "again"
    inside.mkdir()
    return inside


@pytest.mark.parametrize("layout", ALL_FILES)
def test_what_is_written_of_any_layout_is_read_again_as_it_was(layout, tmp_path):
    found = read_exposure(ALL_FILES[layout](tmp_path))
    write_exposure(tmp_path / "out.fits", found)
    again = read_exposure(tmp_path / "out.fits")
    assert again.facts.layout == "lsst"
    np.testing.assert_array_equal(again.image, found.image)
    np.testing.assert_array_equal(again.mask, found.mask)
    np.testing.assert_array_equal(again.variance, found.variance)
    assert again.planes == found.planes
    assert again.header.get("BUNIT") == found.header.get("BUNIT")
    assert again.fluxmag0 == (None if found.fluxmag0 is None else pytest.approx(found.fluxmag0, rel=1e-12))


def test_a_forced_layout_leaves_out_what_it_does_not_know(tmp_path):
    path = made.ztf_files(tmp_path, [256])
    plain = read_exposure(path, ReadOptions(layout="plain"))
    assert (plain.facts.layout, plain.psf) == ("plain", None)
    assert flagged_columns(plain, "SAT") == []
    forced = read_exposure(made.small_telescope_file(tmp_path / "a.fit"), ReadOptions(layout="ztf"))
    assert forced.facts.layout == "ztf"


# --- HST ----------------------------------------------------------------------------------------------------------


def test_hst_chips_with_their_own_error_and_quality(tmp_path):
    path = made.hst_file(tmp_path / "flt.fits", [1, 4, 64, 256, 2048, 4096, 8192, 16])
    for text, chip in ((path, 1), (f"{path}[SCI,2]", 2)):
        found = read_exposure(text)
        np.testing.assert_array_equal(found.image, made.electrons(seed=chip).astype(np.float32))
        assert median(found.variance) == (30.0 * chip) ** 2
        columns = {name: flagged_columns(found, name) for name in ("NO_DATA", "BAD", "SUSPECT", "SAT", "CR")}
        assert columns == {"NO_DATA": [0], "BAD": [1, 7], "SUSPECT": [2], "SAT": [3, 4], "CR": [5, 6]}
        assert found.noise.sources["saturation"] == f"mask, {found.name}: HDU {3 * chip}"
    assert (found.filter, found.header["BUNIT"]) == ("F814W", "ELECTRONS")
    assert found.facts.quantities["gain"].value == 1.0


@pytest.mark.parametrize(("detector", "columns"), [("UVIS", [0]), ("IR", [])])
def test_a_cosmic_ray_that_the_infrared_ramp_corrected_does_no_harm(detector, columns, tmp_path):
    path = made.hst_file(tmp_path / "a.fits", [8192], camera="WFC3", detector=detector)
    assert flagged_columns(read_exposure(path), "CR") == columns


def test_the_ab_zero_point_of_hst(tmp_path):
    found = read_exposure(made.hst_file(tmp_path / "a.fits"))
    # -2.5 log(7e-20) - 21.10 - 5 log(8000) + 18.6921, of one electron in 500 s.
    assert found.facts.quantities["zero_point"].value == pytest.approx(25.9640 + 2.5 * np.log10(500.0), abs=2e-4)
    rates = read_exposure(made.hst_file(tmp_path / "b.fits", unit="ELECTRONS/S"))
    assert rates.facts.quantities["zero_point"].value == pytest.approx(25.9640, abs=2e-4)
    assert rates.facts.quantities["gain"].value == 500.0


def test_a_drizzled_image_has_relative_weights_and_no_data_without_weight(tmp_path):
    found = read_exposure(made.drizzled_file(tmp_path / "drc.fits"))
    assert found.masked_image.flagged(["NO_DATA"]).sum() == 5 * SHAPE[0]
    # 400 e-/s during 500 s: variance 400/500; weights of 500 are taken for exposure times and scaled.
    assert median(found.variance[:, 100:]) == pytest.approx(SKY / 500.0, rel=0.05)
    assert median(found.variance[:, 10:40]) == pytest.approx(3 * SKY / 500.0, rel=0.05)
    assert "scaled" in found.noise.sources["scale"]


# --- JWST ---------------------------------------------------------------------------------------------------------


def test_jwst_planes_flags_and_surface_brightness(tmp_path):
    bits = [0, 1, 2, 4, 9, 12, 28, 30]
    found = read_exposure(made.jwst_file(tmp_path / "cal.fits", [1 << bit for bit in bits] + [1 | 2]))
    np.testing.assert_allclose(found.image, (made.counts() - SKY) * 0.01, rtol=1e-6)
    assert median(found.variance) == pytest.approx(0.15**2)
    expected = {"BAD": [0, 7, 8], "SAT": [1, 8], "CR": [3], "NO_DATA": [4], "SUSPECT": [5], "INTRP": [6]}
    assert {name: flagged_columns(found, name) for name in expected} == expected
    assert (found.header["BUNIT"], found.filter) == ("MJy/sr", "F200W")
    assert found.facts.quantities["exposure_time"].source == "header EFFEXPTM"
    # One MJy/sr in a pixel of 0.031 arcsec: its solid angle times 1e6 Jy.
    jansky = (0.031 * np.pi / 180 / 3600) ** 2 * 1e6
    assert found.fluxmag0 == pytest.approx(3631.0 / jansky, rel=1e-4)


def test_jwst_combined_images_have_no_data_where_they_have_no_weight(tmp_path):
    found = read_exposure(made.jwst_combined_file(tmp_path / "i2d.fits"))
    assert found.masked_image.flagged(["NO_DATA"]).sum() == 7 * SHAPE[0]
    assert median(found.variance[:, 20:]) == pytest.approx(0.15**2)
    assert found.facts.planes["coverage"] == "HDU 4 (WHT)"
    # The nominal pixel area, as there is no WCS.
    assert found.fluxmag0 == pytest.approx(3631.0 / (2.2e-14 * 1e6), rel=1e-6)


# --- DECam --------------------------------------------------------------------------------------------------------


def test_decam_companions_of_the_same_ccd(tmp_path, caplog):
    path = made.decam_files(tmp_path, range(1, 10))
    with caplog.at_level(logging.INFO):
        found = read_exposure(f"{path}[N4]")
    np.testing.assert_array_equal(found.image, made.counts(seed=2))
    assert median(found.variance) == pytest.approx(2 * true_sky_variance())
    columns = {name: flagged_columns(found, name) for name in ("BAD", "NO_DATA", "SAT", "CR", "SUSPECT")}
    # Codes, not bits: 3 is saturated alone. A code that nobody knows, 9, is bad.
    assert columns == {"BAD": [0, 5, 8], "NO_DATA": [1], "SAT": [2, 3], "CR": [4, 6], "SUSPECT": [7]}
    assert found.masked_image.flagged(["NO_DATA"])[5, 5], "a pixel without weight"
    assert "mask: HDU 2 of c4d_190503_101849_ood_z_v1.fits.fz, found beside it" in caplog.text
    assert "1 pixels have codes that the table of DECam lacks" in caplog.text
    assert found.facts.files["weight"] == str(tmp_path / "c4d_190503_101849_oow_z_v1.fits.fz")
    assert (found.filter, found.facts.quantities["fwhm"].value) == ("z DECam SDSS", 3.9)
    assert found.fluxmag0 == pytest.approx(10 ** (0.4 * 29.9))


def test_decam_before_version_3_5_wrote_bits(tmp_path):
    found = read_exposure(made.decam_files(tmp_path, [1, 2, 4, 3, 16, 128], version="V3.1.1"))
    columns = {name: flagged_columns(found, name) for name in ("BAD", "SAT", "INTRP", "CR")}
    assert columns == {"BAD": [0, 3], "SAT": [1, 3], "INTRP": [2], "CR": [4, 5]}


def test_options_replace_companions(tmp_path):
    path = made.decam_files(tmp_path, [1])
    noise = made.save(tmp_path / "n.fits", made.primary(np.full(SHAPE, 3.0)))
    found = read_exposure(path, ReadOptions(noise=noise, mask_map={1: "GHOST"}))
    assert median(found.variance) == 9.0
    assert flagged_columns(found, "GHOST") == [0]
    assert set(found.facts.files) == {"mask"}


def test_a_companion_that_does_not_fit_is_an_error_that_tells_the_way_out(tmp_path):
    path = made.ztf_files(tmp_path)
    mask = path.with_name(path.name.replace("sciimg", "mskimg"))
    fits.PrimaryHDU(np.zeros((5, 6), np.int16)).writeto(mask, overwrite=True)
    with pytest.raises(InputError, match=r"mskimg.fits, found beside it \(--layout plain leaves it out\) has 6 x 5"):
        read_exposure(path)
    mask.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"mskimg.fits: not a readable FITS file"):
        read_exposure(path)
    read_exposure(path, ReadOptions(layout="plain"))
    decam = made.decam_files(tmp_path, chips=("S29",))
    made.decam_files(tmp_path_again(tmp_path), chips=("N4", "N5")).with_name(decam.name.replace("ooi", "ood")).replace(
        decam.with_name(decam.name.replace("ooi", "ood"))
    )
    with pytest.raises(InputError, match="no image S29, though it belongs to an image of this name"):
        read_exposure(decam)


# --- ZTF ----------------------------------------------------------------------------------------------------------


def test_ztf_mask_psf_and_noise(tmp_path):
    path = made.ztf_files(tmp_path, [1 << bit for bit in range(13)])
    found = read_exposure(path)
    np.testing.assert_array_equal(found.image, made.counts())
    expected = {"CR": [0, 7], "BAD": [2, 3, 4, 9], "SUSPECT": [5, 6, 12], "SAT": [8], "NO_DATA": [10]}
    assert {name: flagged_columns(found, name) for name in expected} == expected
    assert found.mask[FLAG_ROW, 1] == found.mask[FLAG_ROW, 11] == 0, "sources are no defects"
    assert median(found.variance) == pytest.approx(true_sky_variance(), rel=0.05)
    assert (found.noise.origin, found.noise.gain) == ("gain", pytest.approx(made.GAIN, rel=0.05))
    assert found.noise.sources["gain"].startswith("header GAIN")
    assert found.psf.fwhm == pytest.approx(gaussian_psf(3.0).fwhm, rel=1e-4)
    assert found.facts.quantities["fwhm"].value == 3.1
    assert found.fluxmag0 == pytest.approx(10 ** (0.4 * 26.2))


def test_a_ztf_reference_image_has_its_noise_and_depth_beside_it(tmp_path):
    head = made.primary(made.counts(), INSTRUME="ZTF/MOSAIC")
    path = made.save(tmp_path / "ztf_000713_zr_c03_q1_refimg.fits", head)
    made.save(tmp_path / "ztf_000713_zr_c03_q1_refunc.fits", made.primary(np.full(SHAPE, 2.0, np.float32)))
    depth = made.flag_image([])
    depth[:, 3:] = 20
    made.save(tmp_path / "ztf_000713_zr_c03_q1_refcov.fits", made.primary(depth))
    found = read_exposure(path)
    assert median(found.variance) == 4.0
    assert found.masked_image.flagged(["NO_DATA"]).sum() == 3 * SHAPE[0]


def test_the_saturation_level_of_a_header_counts_where_the_mask_says_nothing(tmp_path, caplog):
    path = made.ztf_files(tmp_path)
    path.with_name(path.name.replace("sciimg", "mskimg")).unlink()
    with caplog.at_level(logging.INFO):
        found = read_exposure(path)
    assert found.noise.sources["saturation"] == "header SATURATE"
    assert "saturation: 45000 counts, header SATURATE" in caplog.text


# --- Pan-STARRS -----------------------------------------------------------------------------------------------------


def test_a_panstarrs_stack_is_made_linear(tmp_path):
    found = read_exposure(made.panstarrs_files(tmp_path, [1 << bit for bit in range(16)]))
    truth = made.counts(0.0) + 3.0
    # Stored values of 32 bits: 1e-7 of the magnitude-like numbers, or about 1e-6 of the counts.
    np.testing.assert_allclose(found.image, truth, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.variance[10:], true_sky_variance(), rtol=1e-5)
    expected = {"BAD": [0, 1, 2, 4, 6, 13], "NO_DATA": [3], "SAT": [5], "SUSPECT": [7, 9, 10, 12], "CR": [8, 11]}
    assert {name: flagged_columns(found, name) for name in expected} == expected
    assert not {"BSOFTEN", "BOFFSET"} & set(found.header), "the counts are linear now"
    facts = found.facts.quantities
    assert (found.filter, facts["gain"].source, facts["date"].value) == ("r", "header CELL.GAIN", "55555.5")
    assert (facts["fwhm"].value, facts["fwhm"].source) == (3.4, "header CHIP.SEEING")
    assert facts["zero_point"].value == pytest.approx(25 + 2.5 * np.log10(500.0))


def test_a_panstarrs_warp_is_linear_already(tmp_path):
    found = read_exposure(made.panstarrs_files(tmp_path, asinh=False))
    np.testing.assert_array_equal(found.image, made.counts(0.0) + np.float32(3.0))


# --- SDSS -----------------------------------------------------------------------------------------------------------


def test_an_sdss_frame_in_nanomaggies(tmp_path):
    found = read_exposure(made.sdss_frame(tmp_path / "frame-r-006377-4-0399.fits"))
    # (120 / 4.76 + 1.3225) counts squared, times the calibration squared.
    assert median(found.variance) == pytest.approx((120 / 4.76 + 1.3225) * 0.005**2, rel=0.05)
    assert found.noise.sources["gain"].startswith("table of SDSS CCDs, column 4")
    assert found.noise.gain == pytest.approx(4.76 / 0.005, rel=0.1)
    assert found.fluxmag0 == pytest.approx(1e9)
    assert found.header["BUNIT"] == "nanomaggy"


def test_a_raw_sdss_frame_has_a_pedestal(tmp_path):
    image = np.random.default_rng(1).poisson(120 * 4.76, SHAPE) / 4.76 + 1000
    cards = {"ORIGIN": "SDSS", "RUN": 6377, "CAMCOL": 4, "FILTER": "r", "SOFTBIAS": 1000, "FLUX20": 1948.81}
    path = made.save(tmp_path / "fpC.fit", made.primary(np.rint(image).astype(np.uint16), **cards))
    found = read_exposure(path)
    assert found.noise.sources["pedestal"] == "header SOFTBIAS"
    assert found.noise.sky_level == pytest.approx(120, abs=0.5)
    assert found.noise.gain == pytest.approx(4.76, rel=0.1)
    assert found.facts.quantities["zero_point"].value == pytest.approx(20 + 2.5 * np.log10(1948.81))


# --- SWarp, small telescopes, world coordinates ---------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_a_coadd_has_its_weights_beside_it_and_its_stars_their_own_noise(tmp_path, scale):
    found = read_exposure(made.swarp_files(tmp_path, scale=scale))
    assert found.masked_image.flagged(["NO_DATA"]).sum() == 5 * SHAPE[0]
    # Weights within a factor of the measured noise are believed, others scaled to it.
    assert median(found.variance[:, 100:]) == pytest.approx(true_sky_variance(), rel=0.1)
    assert median(found.variance[:, 10:40]) == pytest.approx(3 * true_sky_variance(), rel=0.1)
    y, x = np.unravel_index(np.argmax(np.where(np.arange(SHAPE[1]) > 60, found.image, 0)), SHAPE)
    expected = found.image[y, x] / made.GAIN + true_sky_variance()
    assert found.variance[y, x] == pytest.approx(expected, rel=0.05)
    assert "header GAIN" in found.noise.sources["light"]
    assert (found.noise.saturation, found.noise.sources["saturation"]) == (30000.0, "header SATURATE")


@pytest.mark.parametrize(
    ("cards", "gain", "source"),
    [
        ({"GAIN": 120, "OFFSET": 30}, None, "estimated"),
        ({"GAIN": 100}, None, "estimated"),
        ({"GAIN": 120, "EGAIN": 2.0}, 2.0, "header EGAIN"),
        ({"GAIN": 2.0}, 2.0, "header GAIN"),
        ({}, None, "estimated"),
    ],
)
def test_a_cameras_gain_setting_is_not_its_gain(cards, gain, source, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = read_exposure(made.small_telescope_file(tmp_path / "a.fit", **cards))
    assert found.noise.sources["gain"].startswith(source)
    # The sky tells 2.0 e-/count, less its read noise: sky / variance.
    assert found.noise.gain == pytest.approx(gain or SKY / true_sky_variance(), rel=0.06)
    setting = "GAIN" in cards and gain is None
    assert ("is taken for the camera's setting" in caplog.text) == setting
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_unsigned_integers_that_pile_up_are_saturated(tmp_path):
    found = read_exposure(made.small_telescope_file(tmp_path / "a.fit"))
    image = np.clip(np.rint(made.counts()), 0, 65535)
    np.testing.assert_array_equal(found.image, image)
    assert found.wcs is None
    assert found.facts.quantities["date"].value == "2015-12-27T06:27:38"


def test_a_solution_of_astrometry_net_beside_an_image_is_used(tmp_path, caplog):
    path = made.small_telescope_file(tmp_path / "a.fit")
    made.save(tmp_path / "a.wcs", fits.PrimaryHDU(header=fits.Header({**made.sky_cards(1.7), "IMAGEW": 200})))
    with caplog.at_level(logging.INFO):
        found = read_exposure(path)
    assert found.facts.quantities["pixel_scale"].value == pytest.approx(1.7)
    assert "WCS from a.wcs, found beside it" in caplog.text


@pytest.mark.parametrize("terms", [{}, {4: 0.01, 5: -0.02, 7: 1e-3}])
def test_scamps_polynomials_under_the_name_of_tan_are_those_of_tpv(terms, tmp_path):
    named = {}
    for kind in ("TAN", "TPV"):
        head = made.primary(made.counts(), GAIN=made.GAIN)
        head.header.update(made.sky_cards(kind=kind))
        for axis in (1, 2):
            for m, value in {0: 0.0, 1: 1.0, 2: 0.0, **terms}.items():
                head.header[f"PV{axis}_{m}"] = value
        named[kind] = read_exposure(made.save(tmp_path / f"{kind}.fits", head)).wcs
    corners = np.array([[0.0, 0.0], [199.0, 179.0]])
    truth = named["TPV"].all_pix2world(corners, 0)
    np.testing.assert_allclose(named["TAN"].all_pix2world(corners, 0), truth, rtol=0, atol=1e-12)
    assert np.abs(truth - [150.0, 2.0]).max() < 0.2


# --- naming cards, overriding values --------------------------------------------------------------------------------


def test_cards_can_be_named(tmp_path):
    cards = {"MYGAIN": 2.0, "GAIN": 0.5, "MYRON": "6.0", "MYSAT": 5000.0, "MYZP": 24.5, "MYBAND": "Ha", "MYTIME": 30.0}
    path = made.small_telescope_file(tmp_path / "a.fit", **cards)
    keywords = {"gain": "MYGAIN", "read_noise": "MYRON", "saturation": "MYSAT", "zero_point": "MYZP"}
    keywords |= {"filter": "MYBAND", "exposure_time": "MYTIME"}
    found = read_exposure(path, ReadOptions(keywords=keywords))
    assert (found.noise.gain, found.noise.read_noise) == (pytest.approx(2.0, rel=0.05), 6.0)
    assert found.noise.sources["gain"].startswith("header MYGAIN")
    assert (found.noise.saturation, found.noise.sources["saturation"]) == (5000.0, "header MYSAT")
    assert found.fluxmag0 == pytest.approx(10 ** (0.4 * 24.5))
    assert (found.filter, found.facts.quantities["exposure_time"].value) == ("Ha", 30.0)


def test_a_named_saturation_card_is_obeyed_beside_a_mask(tmp_path):
    path = made.ztf_files(tmp_path)
    brightest = float(made.counts().max())
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["MYSAT"] = brightest
    found = read_exposure(path, ReadOptions(keywords={"saturation": "MYSAT"}))
    assert found.masked_image.flagged(["SAT"]).sum() == 9, "the brightest pixel and its neighbours"
    assert found.noise.sources["saturation"] == "header MYSAT"


def test_values_can_be_given_instead_of_cards(tmp_path):
    path = made.small_telescope_file(tmp_path / "a.fit", GAIN=2.0, BUNIT="ADU/s")
    options = ReadOptions(exposure_time=1.0, saturation=6000.0, zero_point=25.0, band="V")
    found = read_exposure(path, options)
    assert found.noise.sources["gain"].startswith("header GAIN times option")
    assert (found.noise.saturation, found.noise.sources["saturation"]) == (6000.0, "option")
    assert (found.fluxmag0, found.filter) == (pytest.approx(1e10), "V")
    assert found.facts.quantities["exposure_time"] == found.facts.quantities["exposure_time"].__class__(
        1.0, "option", "s"
    )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"gain": "NOSUCH"}, "exposure a.fit: no card NOSUCH, which was named for the gain"),
        ({"read_noise": "WORD"}, "the card WORD, named for the read noise, must hold a positive number, got 'high'"),
        ({"fwhm": "HUGE"}, "the card HUGE, named for the FWHM, is no plausible width"),
    ],
)
def test_named_cards_that_do_not_serve_are_errors(keywords, message, tmp_path):
    path = made.small_telescope_file(tmp_path / "a.fit", WORD="high", HUGE=5000.0)
    with pytest.raises(InputError, match=message):
        read_exposure(path, ReadOptions(keywords=keywords))
    with pytest.raises(InputError, match=message):
        read_facts(path, ReadOptions(keywords=keywords))
