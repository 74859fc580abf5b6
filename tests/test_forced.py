"""Forced photometry in series of images."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from made_differences import PSF, SIGMA, noise, place, sky_wcs

from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.forced import light_curve, measure_at
from psfmatch_cli.image_kind import DIFFERENCE, KIND_CARD
from psfmatch_cli.observation import observation_mjd
from psfmatch_cli.psf import moffat_psf
from psfmatch_cli.source_list import source_table


def image_with(flux, seed, **more):
    image = noise((200, 200), seed)
    place(image, PSF, 120.4, 80.6, flux)
    header = fits.Header({KIND_CARD: DIFFERENCE, "MJD-OBS": 60000.0 + seed})
    masked = MaskedImage.from_arrays(image, None, np.full(image.shape, SIGMA**2))
    return Exposure(masked, psf=PSF, header=header, wcs=sky_wcs(), **more)


def test_a_light_curve_is_what_was_put_in():
    fluxes, zeros = [0.0, 3000.0, -3000.0], [25.0, 26.0, 25.0]
    images = [
        image_with(flux, n, fluxmag0=10 ** (0.4 * zero), filter="r")
        for n, (flux, zero) in enumerate(zip(fluxes, zeros, strict=True))
    ]
    ra, dec = (float(v) for v in sky_wcs().pixel_to_world_values(120.4, 80.6))
    place_ = Table({"source_id": ["a"], "ra": [ra], "dec": [dec]})
    made = light_curve((f"{n}.fits", image, source_table(place_, image)) for n, image in enumerate(images))
    assert list(made["image"]) == ["0.fits", "1.fits", "2.fits"]
    np.testing.assert_allclose(made["mjd"], [60000.0, 60001.0, 60002.0])
    np.testing.assert_allclose(made["x"], 120.4, atol=1e-6)
    # Within four of its errors.
    assert (np.abs(made["psf_flux"] - fluxes) < 4 * made["psf_flux_err"]).all()
    np.testing.assert_allclose(made["flux_zp25"] / made["psf_flux"], 10 ** (-0.4 * (np.array(zeros) - 25.0)))
    assert made["snr"][1] > 15


def test_an_exposure_has_its_background_subtracted():
    image = image_with(5000.0, 5)
    plain = image.with_pixels(MaskedImage.from_arrays(image.image + 700.0, None, image.variance), header=fits.Header())
    positions = Table({"source_id": ["a"], "x": [120.4], "y": [80.6]})
    found = measure_at(plain, positions, "p.fits")
    assert found["psf_flux"][0] == pytest.approx(5000.0, abs=4 * found["psf_flux_err"][0])


def test_off_the_image_the_row_is_kept_and_flagged():
    positions = Table({"source_id": ["a", "b"], "x": [120.4, 900.0], "y": [80.6, np.nan]})
    found = measure_at(image_with(3000.0, 6), positions, "d.fits")
    assert np.isnan(found["psf_flux"][1])
    assert np.isfinite(found["psf_flux"][0])
    assert list(found["flag_nodata"]) == [False, True]
    assert np.isnan(found["mag"]).all(), "no zero point"


def test_a_difference_without_a_psf_is_an_error():
    image = image_with(0.0, 7)
    bare = image.with_pixels(image.masked_image, psf=None)
    with pytest.raises(InputError, match=r"d\.fits: fluxes are measured with the PSF"):
        measure_at(bare, Table({"source_id": ["a"], "x": [50.0], "y": [50.0]}), "d.fits")


def test_errors_are_true_of_correlated_noise():
    from scipy import ndimage

    image = ndimage.gaussian_filter(noise((400, 400), 8), 0.7)
    image *= SIGMA / image.std()
    masked = MaskedImage.from_arrays(image, None, np.full(image.shape, SIGMA**2))
    exposure = Exposure(masked, psf=moffat_psf(4.0, 3.5), header={KIND_CARD: DIFFERENCE})
    x, y = (v.ravel() for v in np.meshgrid(np.arange(15.0, 390, 12), np.arange(15.0, 390, 12)))
    found = measure_at(exposure, Table({"source_id": np.arange(len(x)), "x": x, "y": y}), "d.fits")
    # 1,024 values, nearly independent: 2 to 3 % is the error of their width, 1.5 % that of the correction.
    assert np.std(found["snr"]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("cards", "mjd", "card"),
    [
        ({"MJD-OBS": 59000.5, "DATE-OBS": "2001-01-01"}, 59000.5, "MJD-OBS"),
        ({"MJD-AVG": 59000.6, "MJD-OBS": 59000.5}, 59000.6, "MJD-AVG"),
        ({"DATE-OBS": "2020-05-31T12:00:00"}, 59000.5, "DATE-OBS"),
        ({"DATE-OBS": "2020-05-31", "TIME-OBS": "12:00:00"}, 59000.5, "DATE-OBS"),
        ({"DATE-OBS": "31/05/20"}, np.nan, ""),
        ({}, np.nan, ""),
    ],
)
def test_date(cards, mjd, card):
    found = observation_mjd(cards)
    assert found[0] == pytest.approx(mjd, nan_ok=True)
    assert found[1] == card
