"""Fits of single candidates: masks, weights, residual statistics and errors against plain forms."""

from dataclasses import replace

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import known_kernel
from made_stamps import BASIS, HALF, KERNEL, SIDE, fit, left, make_stamps
from psfmatch_cli.basis import alard_lupton_basis, basis_spec
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.cutouts import Stamps
from psfmatch_cli.fit import FitOptions, fit_stamps
from psfmatch_cli.fitted import FittedStamps, kernel_sum_errors, noise_products, residual_pixels
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.residuals import MAX_MODEL_ERROR


def test_a_known_kernel_and_background_come_back_from_one_star():
    fitted = fit(make_stamps(background=37.0))
    kernel = np.tensordot(fitted.solutions[0, :-1], BASIS.images, axes=1)
    # Double precision and a condition number near 1e7.
    np.testing.assert_allclose(kernel, KERNEL, atol=1e-8)
    assert fitted.solutions[0, -1] == pytest.approx(37.0, abs=1e-5)


def test_two_gaussians_differ_by_their_second_moments():
    v, u = np.mgrid[-36:37, -36:37]
    narrow, wide = (np.exp(-0.5 * (u**2 + v**2) / s**2) / (2 * np.pi * s**2) for s in (1.5, 2.2))
    images = [1e4 * narrow[None], 3e4 * wide[None]]
    ones, usable = np.ones((1, 73, 73)), np.ones((1, 73, 73), bool)
    stamps = Stamps(np.zeros(1, int), np.zeros(1), np.zeros(1), *images, ones, ones, *4 * [usable])
    basis = alard_lupton_basis(basis_spec(1.5 * FWHM_PER_SIGMA, 2.2 * FWHM_PER_SIGMA, KernelConfig()))
    fitted = fit_stamps(stamps, basis, FitOptions())
    kernel = np.tensordot(fitted.solutions[0, :-1], basis.images, axes=1)
    half = basis.size // 2
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    # The span holds no Gaussian of exactly the difference; polynomials of degree 4 make up for that.
    assert kernel.sum() == pytest.approx(3.0, rel=1e-4)
    assert (kernel * u**2).sum() / kernel.sum() == pytest.approx(2.2**2 - 1.5**2, rel=2e-3)
    assert (kernel * v**2).sum() / kernel.sum() == pytest.approx(2.2**2 - 1.5**2, rel=2e-3)


def test_the_sky_levels_change_the_background_only():
    stamps = make_stamps(background=37.0, noise=3.0)
    plain = fit(stamps)
    shifted = fit(
        replace(stamps, template=stamps.template + 500.0, science=stamps.science + 700.0), levels=(500.0, 700.0)
    )
    # The same numbers up to rounding of 700, times the condition number.
    np.testing.assert_allclose(shifted.solutions, plain.solutions, atol=1e-6)


def test_the_science_image_can_be_convolved():
    stamps = make_stamps(noise=3.0)
    swapped = replace(
        stamps,
        template=stamps.science,
        science=stamps.template,
        template_variance=stamps.science_variance,
        science_variance=stamps.template_variance,
    )
    one, other = fit(stamps), fit(swapped, convolve_template=False)
    np.testing.assert_array_equal(one.solutions, other.solutions)
    np.testing.assert_array_equal(one.target_variance, other.target_variance)


def test_bad_pixels_of_the_convolved_image_take_their_kernel_square_with_them():
    stamps = make_stamps()
    stamps.template_usable[0, 2, 3] = False
    stamps.template[0, 2, 3] = 1e9
    stamps.science_usable[0, 20, 21] = False
    stamps.science[0, 20, 21] = -1e9
    fitted = fit(stamps)
    expected = np.ones((SIDE, SIDE), bool)
    expected[: 2 + HALF + 1, : 3 + HALF + 1] = False
    expected[20, 21] = False
    inner = expected[HALF:-HALF, HALF:-HALF].ravel()
    np.testing.assert_array_equal(fitted.usable[0], inner)
    kernel = np.tensordot(fitted.solutions[0, :-1], BASIS.images, axes=1)
    # As without the bad pixels, which carry absurd values.
    np.testing.assert_allclose(kernel, KERNEL, atol=1e-8)


def test_the_weight_is_the_inverse_of_the_median_variance():
    stamps = make_stamps(noise=3.0)
    stamps.science_variance[0] = 4.0
    stamps.science_variance[0, :5] = 1e6
    stamps.template_variance[0] = 2.0
    fitted = fit(stamps)
    matrix, vector = direct.normal_equations(
        direct.design(stamps.template[0], BASIS.images), fitted.target[0], np.full(19 * 19, 1 / 6.0), True
    )
    # Sums of 361 products in another order, some of which cancel.
    np.testing.assert_allclose(fitted.equations.matrix[0], matrix, atol=1e-13 * abs(matrix).max())
    np.testing.assert_allclose(fitted.equations.vector[0], vector, atol=1e-13 * abs(vector).max())


def test_residual_statistics_equal_the_plain_sums():
    stamps = make_stamps(noise=3.0, background=5.0)
    fitted = fit(stamps)
    coefficients, background = fitted.solutions[0, :-1], fitted.solutions[0, -1]
    kernel = np.tensordot(coefficients, BASIS.images, axes=1)
    model = direct.design(stamps.template[0], kernel[None])[0]
    noise = direct.design(stamps.template_variance[0], kernel[None, :, :] ** 2)[0]
    inner = np.s_[HALF:-HALF, HALF:-HALF]
    residual = stamps.science[0][inner].ravel() - model - background
    variance = stamps.science_variance[0][inner].ravel() + noise
    z = residual / np.sqrt(variance)
    stats = left(fitted, fitted.solutions)
    # One star alone has the noise it should: no model error is found, or one far below its noise.
    assert stats.chi2[0] == pytest.approx(np.mean(z**2), rel=1e-9)
    assert stats.mean[0] == pytest.approx(z.mean(), abs=0.01)
    assert stats.rms[0] == pytest.approx(z.std(ddof=1), abs=0.01)


def test_pure_noise_has_unit_left():
    fitted = fit(make_stamps(40, noise=3.0))
    stats = left(fitted, fitted.solutions)
    # Ten parameters of 361 pixels; 40 stamps of 361 correlated values: 1 % at one sigma.
    assert np.mean(stats.chi2) == pytest.approx(351 / 361, abs=0.03)
    assert abs(np.mean(stats.mean)) < 0.01
    assert stats.model_error < 0.003


def test_unusable_pixels_do_not_count():
    stamps = make_stamps(noise=3.0)
    before = left(fit(stamps), fit(stamps).solutions)
    stamps.science_usable[0, 10:12, 5:20] = False
    fitted = fit(stamps)
    fitted.target[0][~fitted.usable[0]] = 1e6
    stats = left(fitted, fitted.solutions)
    # Thirty pixels of 361 less.
    assert stats.chi2[0] == pytest.approx(before.chi2[0], abs=0.15)
    assert abs(stats.mean[0]) < 0.05


def test_a_common_mismatch_is_measured_and_allowed_for():
    stamps = make_stamps(12, noise=3.0, flux=4e5)
    pattern = np.random.default_rng(5).normal(size=(SIDE, SIDE))
    # Every star leaves 1 % of its local signal, as for a kernel that cannot follow the PSF.
    stamps.science[:] += 0.01 * pattern * stamps.science
    fitted = fit(stamps)
    stats = left(fitted, fitted.solutions)
    # The own fits absorb part of the pattern: 10 functions against a dozen bright pixels.
    assert 0.004 < stats.model_error < 0.011
    assert (stats.chi2 > 10).all()
    assert (stats.rms < 1.5).all()


def test_the_mismatch_allowed_for_is_limited():
    stamps = make_stamps(12, noise=3.0, flux=4e5)
    stamps.science[:] *= 1 + 0.5 * np.random.default_rng(5).normal(size=stamps.science.shape)
    fitted = fit(stamps)
    stats = left(fitted, fitted.solutions)
    assert stats.model_error == MAX_MODEL_ERROR
    assert (stats.rms > 1.5).all()


def test_a_mismatch_of_one_star_is_not_allowed_for():
    stamps = make_stamps(12, noise=3.0, flux=1e5)
    stamps.science[4] *= 1 + 0.1 * np.random.default_rng(5).normal(size=(SIDE, SIDE))
    fitted = fit(stamps)
    stats = left(fitted, fitted.solutions)
    assert stats.model_error < 0.005
    assert np.flatnonzero(stats.rms > 1.5).tolist() == [4]


def test_a_singular_candidate_is_nan_and_spoils_no_other():
    stamps = make_stamps(3, noise=3.0)
    alone = fit(make_stamps(3, noise=3.0))
    # One pixel is left where the kernel fits: fewer than parameters, and all others without a value.
    stamps.template_usable[1] = False
    stamps.template_usable[1, :9, :9] = True
    stamps.template[1] = 0.0
    fitted = fit(stamps)
    stats, expected = left(fitted, fitted.solutions), left(alone, alone.solutions)
    assert np.isnan(stats.rms[1])
    np.testing.assert_allclose(stats.chi2[[0, 2]], expected.chi2[[0, 2]], rtol=1e-9)
    assert np.isnan(kernel_sum_errors(fitted)).tolist() == [False, True, False]


@pytest.mark.parametrize("fit_background", [True, False])
def test_kernel_sum_errors_are_the_scatter_of_the_sums(fit_background):
    stamps = make_stamps(300, noise=3.0)
    # The error counts the noise of the target alone: with a noisy template it is half a per cent off in variance.
    stamps = replace(stamps, template=make_stamps(300).template, template_variance=np.full((300, SIDE, SIDE), 1e-9))
    fitted = fit(stamps, fit_background=fit_background)
    sums = fitted.solutions[:, : len(BASIS)] @ BASIS.images.sum(axis=(1, 2))
    # The scatter of 300 values is uncertain by 4 %.
    assert np.median(kernel_sum_errors(fitted)) == pytest.approx(sums.std(ddof=1), rel=0.15)
    assert sums.mean() == pytest.approx(1.25, abs=4 * sums.std() / np.sqrt(300))


def test_the_noise_of_the_convolved_image_adds_to_the_equations_what_is_predicted():
    clean, noisy = make_stamps(flux=200.0), make_stamps(400, noise=30.0, flux=200.0)
    one, many = fit(clean).equations, fit(noisy)
    weight = np.mean(many.equations.matrix[:, -1, -1]) / one.matrix[0, -1, -1]
    expected = weight * one.matrix[0, :-1, :-1]
    biased = many.equations.matrix[:, :-1, :-1].mean(axis=0)
    # The background is a column of ones, without noise.
    corrected = biased - many.noise_bias.mean() * noise_products(BASIS)
    # The scatter of 400 matrices around their mean, element by element.
    error = many.equations.matrix[:, :-1, :-1].std(axis=0) / 20
    assert (abs(corrected - expected) < 5 * error).all()
    assert (abs(biased - expected) > 20 * error).any()


def test_joined_and_taken_candidates_keep_their_numbers():
    all_three = fit(make_stamps(3, noise=3.0))
    parts = [all_three.take(np.array([k])) for k in (0, 1, 2)]
    joined = FittedStamps.concatenated(parts)
    assert len(joined) == 3
    np.testing.assert_array_equal(joined.solutions, all_three.solutions)
    np.testing.assert_array_equal(joined.equations.matrix, all_three.equations.matrix)
    np.testing.assert_array_equal(left(joined, joined.solutions).chi2, left(all_three, all_three.solutions).chi2)


def test_single_precision_is_enough_for_pixels():
    stamps = make_stamps(20, noise=3.0, background=5.0, flux=1e5)
    single = replace(
        stamps,
        **{
            name: getattr(stamps, name).astype(np.float32)
            for name in ("template", "science", "template_variance", "science_variance")
        },
    )
    double, made = fit(stamps), fit(single)
    assert made.own.residual.dtype == made.transform.real.dtype == np.float32
    # Pixels of up to 7000 counts have a rounding of 2e-4 of the noise: nothing beside the errors of the parameters.
    error = double.solutions.std(axis=0)
    assert (abs(made.solutions - double.solutions) < 2e-3 * error).all()
    np.testing.assert_allclose(made.own.residual, double.own.residual, atol=5e-3)
    np.testing.assert_allclose(made.own.variance, double.own.variance, rtol=1e-5)
    np.testing.assert_allclose(left(made, made.solutions).rms, left(double, double.solutions).rms, rtol=1e-4)


def test_own_residuals_are_those_of_the_own_solutions():
    fitted = fit(make_stamps(3, noise=3.0))
    again = residual_pixels(fitted, fitted.solutions, threads=2)
    for name in ("residual", "variance", "model"):
        np.testing.assert_array_equal(getattr(fitted.own, name), getattr(again, name))


def test_threads_do_not_change_a_fit(monkeypatch):
    stamps = make_stamps(9, noise=3.0)
    monkeypatch.setattr("psfmatch_cli.fit.CHUNK_VALUES", 2 * len(BASIS) * 19 * 19)
    one, three = (fit_stamps(stamps, BASIS, FitOptions(), threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.solutions, three.solutions)
    np.testing.assert_array_equal(one.own.residual, three.own.residual)
    np.testing.assert_array_equal(one.rows, three.rows)


def test_the_known_kernel_is_lopsided():
    image = known_kernel(0, (64, 64)).image(0, 0)
    # Otherwise a mirrored kernel would pass all tests.
    assert abs(image - image[::-1, ::-1]).max() > 0.05 * abs(image).max()
