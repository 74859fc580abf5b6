"""Injected sources are where and what they should be, with their noise, and saturate as light does."""

from dataclasses import replace

import numpy as np
import pytest

from made_pairs import exposure, gaussian_stars
from psfmatch_cli.exposure import NoiseModel
from psfmatch_cli.fakes.inject import gain_of, inject, point_sources
from psfmatch_cli.psf import VaryingPsf, gaussian_psf
from psfmatch_cli.psf_model import polynomial_model

SIGMA = 2.0
XY0 = (1000, -50)
PSF = gaussian_psf(SIGMA * 2.3548200450309493)
X, Y, FLUX = np.array([1020.3, 1051.0, 1000.2]), np.array([-20.4, 3.75, -49.8]), np.array([1000.0, 250.0, 400.0])


def sky(level=0.0, variance=4.0, shape=(90, 80)):
    return exposure(np.full(shape, level), variance, xy0=XY0)


def test_the_light_is_that_of_a_direct_sum():
    light = point_sources(sky(), PSF, X, Y, FLUX)
    truth = gaussian_stars(light.shape, X, Y, FLUX, SIGMA, XY0)
    # A cubic spline is wrong by at most f'''' / 384 an axis: 3 / sigma^4 / 384 of the peak of a Gaussian, twice.
    np.testing.assert_allclose(light, truth, atol=2 * 3 / SIGMA**4 / 384 * truth.max())
    whole = point_sources(sky(), PSF, X[1:2], Y[1:2], FLUX[1:2])
    assert whole.sum() == pytest.approx(FLUX[1], rel=1e-6)


def test_a_varying_psf_is_taken_at_each_place():
    half = PSF.image.shape[0] // 2
    corners = [(0, 0), (79, 0), (0, 89), (79, 89), (40, 45)]
    sigmas = [1.6, 2.4, 1.6, 2.4, 2.0]
    images = np.stack([gaussian_stars((2 * half + 1,) * 2, half, half, 1.0, s) for s in sigmas])
    images /= images.sum(axis=(1, 2), keepdims=True)
    model = polynomial_model(images, *np.array(corners, float).T, (90, 80), 1)
    psf = VaryingPsf.from_model(model, (90, 80), "made", XY0)
    light = point_sources(sky(), psf, np.array([1012.0, 1062.0]), np.array([-10.0, -10.0]), np.array([1.0, 1.0]))
    for column in (12, 62):
        image = psf.at(1000 + column, -10)
        np.testing.assert_allclose(light[40, column], image[half, half], rtol=1e-6)
    assert light[40, 12] > 1.5 * light[40, 62]


def test_photon_noise_is_that_of_the_light_and_in_the_variance():
    gain, rng = 0.5, np.random.default_rng(2)
    image = sky(100.0, 50.0)
    light = point_sources(image, PSF, X, Y, 50 * FLUX)
    trials = np.array([inject(image, PSF, X, Y, 50 * FLUX, gain=gain, rng=rng).exposure.image for _ in range(300)])
    made = inject(image, PSF, X, Y, 50 * FLUX, gain=gain, rng=rng).exposure
    np.testing.assert_allclose(made.variance, 50.0 + np.maximum(light, 0) / gain, rtol=1e-5)
    bright = light > 100
    error = np.sqrt(light[bright] / gain / 300)
    # 5 sigma of the mean, and of the width of 300 values.
    assert np.abs((trials.mean(axis=0)[bright] - 100 - light[bright]) / error).max() < 5
    assert np.mean(trials.var(axis=0)[bright] * gain / light[bright]) == pytest.approx(1.0, abs=0.03)


def test_without_a_gain_nothing_but_the_light_changes():
    image = sky(10.0)
    before = image.masked_image.copy()
    made = inject(image, PSF, X, Y, FLUX, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(image.image, before.image)
    np.testing.assert_array_equal(made.exposure.variance, image.variance)
    np.testing.assert_allclose(made.exposure.image, 10 + made.light, rtol=1e-6)
    assert made.n_saturated == 0


def test_pixels_that_fill_up_are_saturated_and_lost_ones_left():
    image = replace(sky(10.0), noise=NoiseModel("plane", saturation=20.0))
    mask = image.mask.copy()
    mask[29, 20] = image.masked_image.bits(["SAT"])
    mask[30, 21] = image.masked_image.bits(["NO_DATA"])
    image = image.with_pixels(replace(image.masked_image, mask=mask))
    made = inject(image, PSF, X[:1], Y[:1], FLUX[:1], gain=1.0)
    full = made.exposure.masked_image.flagged(["SAT"])
    expected = 10 + made.light >= 20
    expected[30, 21] = False
    np.testing.assert_array_equal(full, expected)
    assert made.n_saturated == full.sum() - 1
    assert made.exposure.image.max() == 20.0
    for pixel in ((29, 20), (30, 21)):
        assert made.exposure.image[pixel] == 10.0
        assert made.exposure.variance[pixel] == 4.0


def test_a_gain_is_known_or_read_off_the_variance():
    rng = np.random.default_rng(3)
    light = gaussian_stars((200, 200), *rng.uniform(20, 180, (2, 30)), np.full(30, 20000.0), SIGMA)
    noisy = 500 + light + rng.normal(0, np.sqrt((500 + light) / 1.6))
    image = exposure(noisy, (noisy / 1.6).clip(1))
    assert gain_of(image)[0] == pytest.approx(1.6, rel=0.02)
    known = replace(image, noise=NoiseModel("gain", gain=3.0, sources={"gain": "option"}))
    assert gain_of(known) == (3.0, "option")
    assert gain_of(exposure(noisy, 300.0)) == (None, "not known")
