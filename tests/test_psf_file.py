"""PSFs from every source, with a known width, through the normal reader."""

import logging

import numpy as np
import pytest
from astropy.io import fits

import made_files as made
from made_files import FWHM
from psfmatch_cli.errors import InputError
from psfmatch_cli.io import ReadOptions, read_exposure
from psfmatch_cli.layouts import Hdu
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.psf_file import matching_psf
from psfmatch_cli.register import fwhm_of
from psfmatch_cli.warp import warp


def image_file(folder, scale=made.PIXEL_SCALE, **cards):
    head = made.primary(made.counts(), GAIN=made.GAIN, **cards)
    head.header.update(made.sky_cards(scale))
    return made.save(folder / "a.fits", head)


def width(fwhm):
    """FWHM by slices, as that of a `Psf`, of a sampled Gaussian."""
    return gaussian_psf(fwhm).fwhm


@pytest.mark.parametrize("sampling", [0.45, 1.0, 1.3])
def test_a_psfex_model_at_the_centre_of_the_image(tmp_path, sampling):
    model = made.psfex_file(tmp_path / "a.psf", sampling=sampling, growth=0.2)
    psf = read_exposure(image_file(tmp_path), ReadOptions(psf=model)).psf
    assert psf.fwhm == pytest.approx(width(FWHM), rel=0.01)
    assert psf.origin == f"PSFEx model {model} at the image centre"
    by_number = read_exposure(image_file(tmp_path_of(tmp_path)), ReadOptions(psf=f"{model}[1]")).psf
    np.testing.assert_array_equal(by_number.image, psf.image)


def tmp_path_of(folder):
    inside = folder / "more"
    inside.mkdir(exist_ok=True)
    return inside


def test_a_psfex_model_without_position(tmp_path):
    model = made.psfex_file(tmp_path / "a.psf", degree=0)
    assert read_exposure(image_file(tmp_path), ReadOptions(psf=model)).psf.fwhm == pytest.approx(width(FWHM), rel=0.01)


def test_a_table_that_is_no_model_is_refused(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("X", "E", array=[1.0])])
    made.save(tmp_path / "t.fits", fits.PrimaryHDU(), table)
    with pytest.raises(InputError, match="holds no image"):
        read_exposure(image_file(tmp_path), ReadOptions(psf=tmp_path / "t.fits"))


def psf_image(path, fwhm, half=30, **cards):
    u = np.arange(-half, half + 1)
    profile = np.exp(-0.5 * (u / (fwhm / FWHM_PER_SIGMA)) ** 2)
    return made.save(path, made.primary(np.outer(profile, profile), **cards))


@pytest.mark.parametrize(
    ("fine", "cards"), [(0.1, {"PIXELSCL": 0.1}), (0.2, {"PIXSCALE": 0.2}), (0.8, {"PIXELSCL": 0.8})]
)
def test_a_psf_image_of_another_pixel_scale_is_converted(tmp_path, fine, cards, caplog):
    truth = 1.6  # arcsec
    psf_file = psf_image(tmp_path / "psf.fits", truth / fine, **cards)
    with caplog.at_level(logging.INFO):
        psf = read_exposure(image_file(tmp_path), ReadOptions(psf=psf_file)).psf
    # Light of fine pixels is averaged over the larger pixel, which adds 1/12 to the variance less that of its own.
    added = max(0.0, 1 - (fine / made.PIXEL_SCALE) ** 2) / 12
    sigma = np.sqrt((truth / made.PIXEL_SCALE / FWHM_PER_SIGMA) ** 2 + added)
    # A spline through samples of 0.85 pixels' sigma, the coarsest, is good to 2 %.
    assert psf.fwhm == pytest.approx(width(sigma * FWHM_PER_SIGMA), rel=0.02)
    assert "PSF resampled" in caplog.text
    assert psf.origin.startswith(f"file {psf_file}, resampled by ")


def test_a_psf_image_of_the_same_scale_or_of_none_is_taken_as_it_is(tmp_path):
    for cards in ({}, {"PIXELSCL": made.PIXEL_SCALE}, {"PIXELSCL": made.PIXEL_SCALE, "OVERSAMP": 4}):
        psf_file = psf_image(tmp_path_of(tmp_path) / f"psf{len(cards)}.fits", 3.0, **cards)
        path = image_file(tmp_path) if not (tmp_path / "a.fits").exists() else tmp_path / "a.fits"
        psf = read_exposure(path, ReadOptions(psf=psf_file)).psf
        assert psf.fwhm == pytest.approx(width(3.0), rel=1e-6)


def test_an_oversampled_psf_of_an_image_without_wcs(tmp_path):
    psf_file = psf_image(tmp_path / "psf.fits", 12.0, OVERSAMP=4)
    path = made.small_telescope_file(tmp_path / "a.fit")
    psf = read_exposure(path, ReadOptions(psf=psf_file)).psf
    sigma = np.sqrt((3.0 / FWHM_PER_SIGMA) ** 2 + (1 - 1 / 16) / 12)
    assert psf.fwhm == pytest.approx(width(sigma * FWHM_PER_SIGMA), rel=0.01)


# --- headers --------------------------------------------------------------------------------------------------------


def test_a_named_card_is_the_psf(tmp_path):
    path = image_file(tmp_path, SEEING=1.6)
    psf = read_exposure(path, ReadOptions(keywords={"fwhm": "SEEING"})).psf
    assert psf.fwhm == pytest.approx(width(4.0))
    assert psf.origin == "gaussian, FWHM of header SEEING, 1.6 arcsec at 0.4 arcsec/pixel"


def test_stars_win_over_a_card_that_nobody_named(tmp_path, caplog):
    exposure = read_exposure(image_file(tmp_path, SEEING=1.35))
    fwhm, source = fwhm_of(exposure, None, "science")
    assert fwhm == pytest.approx(FWHM, rel=0.03)
    assert source.endswith("stars")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("seeing", [0.7, 2.6])
def test_a_header_that_differs_much_from_the_stars_is_spoken_of(tmp_path, caplog, seeing):
    fwhm, _ = fwhm_of(read_exposure(image_file(tmp_path, SEEING=seeing)), None, "science")
    assert fwhm == pytest.approx(FWHM, rel=0.03)
    assert f"px of the stars, but {seeing / 0.4:.2f} px in its header (header SEEING" in caplog.text


def without_stars(folder, name="empty.fits", scale=made.PIXEL_SCALE, **cards):
    head = made.primary(made.counts(n_stars=0), GAIN=made.GAIN, **cards)
    head.header.update(made.sky_cards(scale))
    return read_exposure(made.save(folder / name, head))


def test_a_header_stands_in_where_there_is_no_star(tmp_path, caplog):
    fwhm, source = fwhm_of(without_stars(tmp_path, SEEING=1.6), None, "science")
    assert (fwhm, source) == (pytest.approx(4.0), "header SEEING, 1.6 arcsec at 0.4 arcsec/pixel")
    assert "has no star fit for measuring its FWHM; used: header SEEING" in caplog.text
    assert fwhm_of(without_stars(tmp_path, "b.fits"), None, "science") == (None, "not measurable")


def test_a_headers_fwhm_is_converted_to_the_pixels_of_the_science_image(tmp_path):
    template = without_stars(tmp_path, "t.fits", 0.2, FWHM=6.0)
    science = without_stars(tmp_path, "s.fits", 0.4)
    warped = warp(template, science).exposure
    fwhm, source = fwhm_of(warped, None, "template")
    assert fwhm == pytest.approx(3.0, rel=1e-3)
    assert source == "header FWHM, times 0.5 for the pixels of the science image"


def test_the_psf_of_one_of_several_images(tmp_path):
    model = made.psfex_file(tmp_path / "one.psf")
    image = Hdu(3, {"EXTNAME": "N4"}, made.SHAPE)
    assert matching_psf(model, image) == 1, "the only model is that of all images"
    with fits.open(model, memmap=False) as hdus:
        rows = hdus[1].data
    for file, names in (("named.psf", ("S29", "N4")), ("alike.psf", ("PSF_DATA", "PSF_DATA"))):
        made.save(tmp_path / file, made.primary(), *(fits.BinTableHDU(rows, name=name) for name in names))
    assert matching_psf(tmp_path / "named.psf", image) == 2
    with pytest.raises(InputError, match="which of its 2 PSF models is that of which image"):
        matching_psf(tmp_path / "alike.psf", image)
    stars = [made.extension(np.ones((5, 5), np.float32), name) for name in ("N4", "S29")]
    made.save(tmp_path / "images.fits", made.primary(), *stars)
    assert matching_psf(tmp_path / "images.fits", image) == 1
    with pytest.raises(InputError, match=r"images.fits: no image N9, though it belongs"):
        matching_psf(tmp_path / "images.fits", Hdu(3, {"EXTNAME": "N9"}, made.SHAPE))
