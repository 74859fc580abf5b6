"""The PSF that is modelled on the stars of simulated exposures is the one they were made with."""

from __future__ import annotations

import numpy as np
import pytest

from psfmatch_cli.background import fit_background, subtract_background
from psfmatch_cli.fitsfile import open_fits
from psfmatch_cli.io import read_exposure, write_exposure
from psfmatch_cli.psf import VaryingPsf
from psfmatch_cli.psf_measure import measure_psf
from psfmatch_cli.psf_model import model_psf, polynomial_model
from psfmatch_cli.simulate import preset, simulate_pair
from psfmatch_cli.whitened import psf_model_of


@pytest.fixture(scope="module")
def made():
    pair = simulate_pair(preset("varying", width=900, height=800, n_transients=0))
    return pair, psf_model_of(pair.science.with_pixels(pair.science.masked_image, psf=None))


def test_it_is_the_psf_of_the_simulation(made):
    pair, psf = made
    for x, y in ((60, 60), (840, 70), (450, 400), (70, 720), (820, 740)):
        image = psf.at(x, y)
        truth = pair.psf_image("science", x, y, half=image.shape[0] // 2)
        # Stars of S/N 50 to 1000 and a field of some hundred of them tell the PSF to 1 or 2 %.
        assert np.abs(image - truth).max() < 0.03 * truth.max()
        assert (image * truth).sum() / (image**2).sum() == pytest.approx(1.0, abs=0.015)


def test_it_varies_as_the_truth_does(made):
    pair, psf = made
    corners = [(30, 30), (870, 30), (30, 770), (870, 770)]
    mine = [psf.at(x, y).max() for x, y in corners]
    true = [pair.psf_image("science", x, y).max() for x, y in corners]
    assert max(true) / min(true) > 1.1
    assert mine == pytest.approx(true, rel=0.03)


def test_sums_are_one(made):
    assert made[1].at(100.0, 300.0).sum() == pytest.approx(1.0, abs=1e-6)


def test_it_survives_a_file(made, tmp_path):
    pair, psf = made
    path = tmp_path / "exposure.fits"
    write_exposure(path, pair.science.with_pixels(pair.science.masked_image, psf=psf))
    again = read_exposure(path).psf
    assert isinstance(again, VaryingPsf)
    for x, y in ((0, 0), (880, 10), (400, 500)):
        # The table holds 32-bit numbers.
        np.testing.assert_allclose(again.at(x, y), psf.at(x, y), atol=1e-7)


def test_few_stars_leave_the_profile(made):
    pair, _ = made
    image = pair.science.masked_image
    pixels = subtract_background(image, fit_background(image))
    measured = measure_psf(pair.science, pixels=pixels)
    few = measured.__class__(**{**measured.__dict__, "stars": measured.stars[:3]})
    profile = model_psf(few, pixels).image(450, 400)
    truth = pair.psf_image("science", 450, 400, half=profile.shape[0] // 2)
    assert np.abs(profile - truth).max() < 0.03 * truth.max()


def test_a_polynomial_goes_through_its_images():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 99, 20), rng.uniform(0, 79, 20)
    terms = rng.uniform(0.5, 1.0, (3, 7, 7))
    images = terms[0] + np.multiply.outer(x / 100, terms[1]) + np.multiply.outer(y / 100, terms[2])
    images /= images.sum(axis=(1, 2), keepdims=True)
    model = polynomial_model(images, x, y, (80, 100), 3)
    # Normalised images are no exact polynomial.
    np.testing.assert_allclose(model.image(x[3], y[3]), images[3], atol=2e-4)


def test_a_table_that_is_no_model_is_refused(made, tmp_path):
    from astropy.io import fits

    from psfmatch_cli.errors import InputError

    pair, psf = made
    path = tmp_path / "exposure.fits"
    write_exposure(path, pair.science.with_pixels(pair.science.masked_image, psf=psf))
    with fits.open(path, mode="update") as hdus:
        hdus["PSF_DATA"].header["PSF_SAMP"] = -1.0
    with pytest.raises(InputError, match="positive sampling"):
        read_exposure(path)
    with open_fits(path) as hdus:
        assert "PSF_DATA" in [hdu.name for hdu in hdus]
