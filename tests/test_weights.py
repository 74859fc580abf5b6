"""Weights of pixels, iterated fits, cores and judged pixels: each against its plain form and with a known kernel."""

from dataclasses import replace

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import known_kernel, make_pair, star_grid
from made_pools import pool_of
from made_stamps import BASIS, COEFFICIENTS, HALF, SIDE, fit, left, make_stamps
from psfmatch_cli.cutouts import Stamps
from psfmatch_cli.fit import FitOptions, fit_stamps
from psfmatch_cli.fitted import residual_pixels
from psfmatch_cli.residuals import core_pixels

INNER = np.s_[HALF:-HALF, HALF:-HALF]


def photon_noise(stamps: Stamps, gain: float, sky: float, seed: int = 2) -> Stamps:
    """The noiseless stamps with photon noise in the science image, and its variance."""
    rng = np.random.default_rng(seed)
    variance = sky**2 + np.maximum(stamps.science, 0) / gain
    science = stamps.science + rng.normal(size=variance.shape) * np.sqrt(variance)
    return replace(stamps, science=science, science_variance=variance, template_variance=np.full(variance.shape, 1e-6))


def direct_fit(stamps: Stamps, weight: np.ndarray) -> np.ndarray:
    rows = direct.design(stamps.template[0], BASIS.images)
    matrix, vector = direct.normal_equations(rows, stamps.science[0][INNER].ravel(), weight, True)
    return np.linalg.solve(matrix, vector)


def test_pixel_weights_are_the_inverse_variances():
    stamps = photon_noise(make_stamps(), gain=0.5, sky=3.0)
    total = (stamps.science_variance + stamps.template_variance)[0][INNER].ravel()
    fitted = fit(stamps, pixel_weights=True)
    # The same sums in another order; the condition number is 1e6.
    np.testing.assert_allclose(fitted.solutions[0], direct_fit(stamps, 1 / total), rtol=1e-6, atol=1e-8)


def test_an_iterated_fit_uses_the_variance_of_the_first_difference():
    stamps = photon_noise(make_stamps(), gain=0.5, sky=3.0)
    stamps = replace(stamps, template_variance=np.random.default_rng(1).uniform(1, 400, stamps.template.shape))
    first = direct_fit(stamps, 1 / (stamps.science_variance + stamps.template_variance)[0][INNER].ravel())
    kernel = np.tensordot(first[:-1], BASIS.images, axes=1)
    variance = stamps.science_variance[0][INNER].ravel()
    variance = variance + direct.design(stamps.template_variance[0], kernel[None] ** 2)[0]
    fitted = fit(stamps, pixel_weights=True, iterate=True)
    np.testing.assert_allclose(fitted.solutions[0], direct_fit(stamps, 1 / variance), rtol=1e-6, atol=1e-8)
    assert abs(fitted.solutions[0] - first).max() > 1e-3, "the second pass has to change something"


def test_with_one_weight_per_stamp_there_is_nothing_to_iterate():
    stamps = make_stamps(noise=3.0)
    np.testing.assert_array_equal(fit(stamps, iterate=True).solutions, fit(stamps).solutions)


@pytest.mark.parametrize("options", [{}, {"pixel_weights": True}, {"pixel_weights": True, "iterate": True}])
def test_a_known_kernel_comes_back_with_every_weighting(options):
    # 200 stars with photon noise: the mean of their kernels is good to a fourteenth of the scatter of one.
    stamps = photon_noise(make_stamps(200, background=5.0), gain=0.5, sky=3.0)
    fitted = fit(stamps, **options)
    error = fitted.solutions.std(axis=0) / np.sqrt(200)
    assert (abs(fitted.solutions.mean(axis=0) - [*COEFFICIENTS, 5.0]) < 5 * error + 1e-9).all()


def test_pixel_weights_make_the_best_of_photon_noise():
    stamps = photon_noise(make_stamps(300), gain=0.05, sky=3.0)
    scatter = {weights: fit(stamps, pixel_weights=weights).solutions[:, 0].std(ddof=1) for weights in (False, True)}
    # Inverse variances are the best weights where the model is exact (Gauss and Markov).
    assert scatter[True] < 0.95 * scatter[False]


def test_pixels_without_a_variance_are_left_out_not_the_candidate():
    stamps = photon_noise(make_stamps(), gain=0.5, sky=3.0)
    stamps.science_variance[0, 12, 13] = stamps.template_variance[0, 12, 13] = 0.0
    stamps.science[0, 12, 13] = 1e9
    fitted = fit(stamps, pixel_weights=True)
    assert fitted.equations.n_pixels[0] == 19 * 19 - 1
    assert np.isfinite(fitted.solutions).all()
    assert fitted.solutions[0, 0] == pytest.approx(1.25, abs=0.02)


def test_candidates_in_pieces_are_those_in_one(monkeypatch):
    stamps = make_stamps(7, noise=3.0)
    whole = fit(stamps, with_spread=True)
    monkeypatch.setattr("psfmatch_cli.fit.CHUNK_VALUES", 2 * len(BASIS) * 19 * 19)
    parts = fit(stamps, with_spread=True)
    np.testing.assert_array_equal(parts.solutions, whole.solutions)
    np.testing.assert_array_equal(parts.spread, whole.spread)
    np.testing.assert_array_equal(parts.rows, whole.rows)


def test_the_core_is_the_middle_of_the_stamp():
    fitted = fit(make_stamps(noise=3.0))
    core = core_pixels(fitted, 3).reshape(19, 19)
    assert core.sum() == 49
    assert core[6:13, 6:13].all()


def test_core_statistics_see_the_core_only():
    # Eleven clean candidates beside it: no common model error is found that would be allowed for.
    stamps = make_stamps(12, noise=3.0)
    stamps.science[0, HALF, HALF] += 400.0
    fitted = fit(stamps)
    local = np.tile([*COEFFICIENTS, 0.0], (12, 1))
    whole, core = left(fitted, local), left(fitted, local, 3)
    pixels = residual_pixels(fitted, local)
    z = (pixels.residual / np.sqrt(pixels.variance))[0].reshape(19, 19)[6:13, 6:13].ravel()
    assert core.mean[0] == pytest.approx(z.mean(), abs=0.02)
    assert core.rms[0] == pytest.approx(z.std(ddof=1), abs=0.05)
    assert whole.rms[0] > 5
    assert core.rms[0] < 1.5
    assert core.chi2[0] == whole.chi2[0]


def test_pixels_that_are_not_judged_are_fitted_all_the_same():
    stamps = make_stamps(noise=3.0)
    stamps.science[0, 7, 7] += 300.0
    plain = fit(stamps)
    science_judged = stamps.science_judged.copy()
    science_judged[0, 7, 7] = False
    spared = fit(replace(stamps, science_judged=science_judged))
    np.testing.assert_array_equal(spared.solutions, plain.solutions)
    assert spared.judged.sum() == plain.judged.sum() - 1
    assert left(spared, spared.solutions).rms[0] < 0.3 * left(plain, plain.solutions).rms[0]


def test_a_pixel_of_the_convolved_image_that_is_not_judged_takes_its_kernel_square_along():
    stamps = make_stamps(noise=3.0)
    template_judged = stamps.template_judged.copy()
    template_judged[0, 13, 13] = False
    fitted = fit(replace(stamps, template_judged=template_judged))
    judged = fitted.judged.reshape(19, 19)
    assert (~judged).sum() == BASIS.size**2
    assert not judged[9 - HALF : 9 + HALF + 1, 9 - HALF : 9 + HALF + 1].any()


def test_options_reach_the_fit_through_the_pool():

    pair = make_pair(known_kernel(0, (256, 256)), star_grid((256, 256)), noise=5.0)
    variance = pair.science.variance + np.clip(pair.science.image, 0, None) / 0.5
    science = pair.science.with_pixels(replace(pair.science.masked_image, variance=variance.astype(np.float32)))
    pair = replace(pair, science=science)
    solutions = {}
    for name, config in {
        "constant": {},
        "pixels": {"constant_variance_weighting": False},
        "iterated": {"constant_variance_weighting": False, "iterate_single_kernel": True},
    }.items():
        pool = pool_of(pair, **config)
        pool.build(pool.visit())
        solutions[name] = pool.fitted.solutions
    assert abs(solutions["constant"] - solutions["pixels"]).max() > 1e-4
    assert abs(solutions["iterated"] - solutions["pixels"]).max() > 1e-6


def test_fit_options_have_the_defaults_of_the_settings():
    from psfmatch_cli.config import KernelConfig

    config, options = KernelConfig(), FitOptions()
    assert options.pixel_weights != config.constant_variance_weighting
    assert options.iterate == config.iterate_single_kernel
    assert options.fit_background == config.fit_for_background
    assert fit_stamps(make_stamps(), BASIS, options).penalty is None


def test_the_sides_of_stamps_and_fitted_pixels():
    fitted = fit(make_stamps())
    assert fitted.side == SIDE
    assert fitted.target.shape[1] == (SIDE - BASIS.size + 1) ** 2
