"""PSF fits of many sources at once agree with a plain fit of one, and give back what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from made_differences import place
from scipy import optimize

from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.matched_filter import difference_pixels
from psfmatch_cli.psf import Psf, moffat_psf
from psfmatch_cli.psf_photometry import fit_points
from psfmatch_cli.psf_splines import PsfSplines

PSF = moffat_psf(4.2, 3.5)
HALF = 11


def pixels_of(image, variance, mask=None):
    return difference_pixels(MaskedImage.from_arrays(image, mask, variance))


def field(n, flux, sigma, seed):
    """Stars on a grid, far from each other, in white noise: pixels, x, y."""
    rng = np.random.default_rng(seed)
    side = 40
    image = rng.normal(0.0, sigma, (side * n, side * n))
    x, y = (
        v.ravel() * side + side / 2 + rng.uniform(-0.5, 0.5, n * n) for v in np.meshgrid(np.arange(n), np.arange(n))
    )
    for px, py in zip(x, y, strict=True):
        ix, iy = int(px) - 19, int(py) - 19
        place(image[iy : iy + 39, ix : ix + 39], PSF, px - ix, py - iy, flux)
    return pixels_of(image, np.full(image.shape, sigma**2)), x, y


def test_splines_agree_with_scipy():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-0.5, 0.5, (2, 6))
    moved = PsfSplines.at(PSF, x, y, HALF).images(x, y)
    for image, fx, fy in zip(moved, x, y, strict=True):
        plain = np.zeros((2 * HALF + 1, 2 * HALF + 1))
        place(plain, PSF, HALF + fx, HALF + fy, 1.0)
        # The border of the PSF's image, where the two continue it differently, is 1e-6 of its peak.
        np.testing.assert_allclose(image, plain, atol=1e-8)


def test_gradients_agree_with_differences():
    step = 1e-5
    splines, zero = PsfSplines.at(PSF, np.zeros(1), np.zeros(1), HALF), np.array([0.21])
    along_x, along_y = splines.gradients(zero, -zero)
    by_x = (splines.images(zero + step, -zero) - splines.images(zero - step, -zero)) / (2 * step)
    by_y = (splines.images(zero, -zero + step) - splines.images(zero, -zero - step)) / (2 * step)
    np.testing.assert_allclose(along_x, by_x, atol=1e-9)
    np.testing.assert_allclose(along_y, by_y, atol=1e-9)


def test_placed_images_are_the_moved_ones():
    ox, oy = np.array([3.3, -2.6]), np.array([-1.2, 4.9])
    made, along_x, _ = PsfSplines.at(PSF, ox, oy, HALF + 8).placed(ox, oy, HALF)
    for image, x, y in zip(made, ox, oy, strict=True):
        plain = np.zeros((2 * HALF + 1, 2 * HALF + 1))
        place(plain, PSF, HALF + x, HALF + y, 1.0)
        np.testing.assert_allclose(image, plain, atol=1e-8)
    further = PsfSplines.at(PSF, ox, oy, HALF + 8).placed(ox + 1e-5, oy, HALF)[0]
    np.testing.assert_allclose(along_x, (further - made) / 1e-5, atol=1e-6)


def test_the_fit_of_many_agrees_with_a_plain_fit_of_one():
    pixels, x, y = field(3, 3000.0, 10.0, 2)
    made = fit_points(pixels, PSF, (0, 0), x + 0.3, y - 0.4, HALF, max_shift=2.0)
    for n in range(len(x)):
        ix, iy = round(made.x[n]), round(made.y[n])
        data = pixels.image[iy - HALF : iy + HALF + 1, ix - HALF : ix + HALF + 1]

        def misfit(p, data=data, ix=ix, iy=iy):
            model = np.zeros(data.shape)
            place(model, PSF, p[0] - ix + HALF, p[1] - iy + HALF, p[2])
            return (data - model).ravel()

        plain = optimize.least_squares(misfit, [x[n], y[n], 3000.0], x_scale=[1, 1, 1000], xtol=1e-12)
        # Gauss and Newton end after six steps: the last moves by far less than a thousandth of a pixel.
        assert (made.x[n], made.y[n]) == pytest.approx(tuple(plain.x[:2]), abs=1e-3)
        assert made.flux[n] == pytest.approx(plain.x[2], rel=1e-4)
        errors = 10.0 * np.sqrt(np.diag(np.linalg.inv(plain.jac.T @ plain.jac)))
        assert (made.x_err[n], made.flux_err[n]) == pytest.approx((errors[0], errors[2]), rel=5e-3)


def test_pulls_are_unit_gaussians():
    pixels, x, y = field(14, 3000.0, 10.0, 3)
    made = fit_points(pixels, PSF, (0, 0), x + 0.2, y + 0.1, HALF, max_shift=2.0)
    # 196 sources: 5 % is the error of a width. S/N is 30: nonlinearity is 0.1 % of the flux.
    for pull in ((made.x - x) / made.x_err, (made.y - y) / made.y_err, (made.flux - 3000.0) / made.flux_err):
        assert np.std(pull) == pytest.approx(1.0, abs=0.15)
        assert np.mean(pull) == pytest.approx(0.0, abs=0.22)


def test_masked_pixels_do_not_count_and_their_sources_are_not_lost():
    pixels, x, y = field(3, 3000.0, 10.0, 4)
    image, mask = pixels.image.copy(), np.zeros(pixels.image.shape, np.int32)
    row, column = round(y[4]), round(x[4]) + 2
    image[row, column], mask[row, column] = 1e6, 1
    made = fit_points(pixels_of(image, np.full(image.shape, 100.0), mask), PSF, (0, 0), x, y, HALF)
    assert made.flux[4] == pytest.approx(3000.0, abs=5 * made.flux_err[4])
    assert made.n_pixels[4] == made.n_pixels[0] - 1


def test_off_the_image_there_is_no_flux():
    pixels, x, y = field(2, 3000.0, 10.0, 5)
    made = fit_points(pixels, PSF, (0, 0), np.array([-40.0, x[0]]), np.array([20.0, y[0]]), HALF)
    assert np.isnan(made.flux[0])
    assert np.isfinite(made.flux[1])


def test_no_sources():
    pixels, _, _ = field(1, 3000.0, 10.0, 6)
    assert len(fit_points(pixels, PSF, (0, 0), np.zeros(0), np.zeros(0), HALF, max_shift=1.0).flux) == 0


def test_a_variance_plane_from_the_noisy_counts_does_not_bias_the_flux():
    # Sky 200 electrons, gain 1: weights of 1/V would make 1,200 counts some 4 % too faint.
    rng = np.random.default_rng(7)
    sky, n, side = 200.0, 16, 31
    fluxes = []
    for _ in range(n * n // 4):
        truth = np.full((side, side), sky)
        place(truth, PSF, 15.1, 14.8, 1200.0)
        counts = rng.poisson(np.clip(truth, 0, None)).astype(float)
        pixels = pixels_of(counts - sky, np.maximum(counts, 1.0))
        made = fit_points(pixels, PSF, (0, 0), np.array([15.1]), np.array([14.8]), HALF)
        fluxes.append(((made.flux - 1200.0) / made.flux_err)[0])
    # 64 sources: their mean pull is known to 0.125; 1/V would move it by about -0.5.
    assert np.mean(fluxes) == pytest.approx(0.0, abs=0.35)
    assert np.std(fluxes) == pytest.approx(1.0, abs=0.27)


def test_a_psf_image_that_is_smaller_than_the_stamp():
    small = Psf(PSF.image[8:-8, 8:-8] / PSF.image[8:-8, 8:-8].sum())
    splines = PsfSplines.at(small, np.zeros(1), np.zeros(1), 40)
    assert splines.images(np.zeros(1), np.zeros(1)).shape == (1, 81, 81)
