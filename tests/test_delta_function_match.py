"""Delta functions, their regularisation and principal components in the whole match: a kernel put in comes back."""

from __future__ import annotations

import numpy as np
import pytest

from made_pairs import known_kernel, make_pair, plane, star_grid
from made_pools import pool_of
from psfmatch_cli.basis import delta_function_basis
from psfmatch_cli.basis_sets import (
    DeltaFunctionSpec,
    make_basis,
    make_regularizer,
    specs_to_try,
    wanted_parameters,
    with_stamps_for,
)
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.errors import NoCandidatesError
from psfmatch_cli.match import MatchResult, match
from psfmatch_cli.ready import common_kernel, make_ready

SHAPE = (220, 220)
#: The kernel of `known_kernel` is 15 pixels wide; delta functions of the same side hold it exactly.
SIZE = 15
BASIS = delta_function_basis(SIZE)
FAINT = star_grid(SHAPE, flux=(8e3, 3e4))
BRIGHT = star_grid(SHAPE, flux=(1e5, 4e5))
OPEN = {"single_kernel_clipping": False, "kernel_sum_clipping": False, "spatial_kernel_clipping": False}
DELTA = {"kernel_basis_set": "delta-function", "kernel_size": SIZE, "n_star_per_cell": 0}


def pool(pair, **config):
    settings = KernelConfig(**{**DELTA, **config})
    regularizer = make_regularizer(DeltaFunctionSpec(SIZE), settings)
    return pool_of(pair, basis=BASIS, regularizer=regularizer, **{**DELTA, **config})


def made(order=0, stars=BRIGHT, noise=0.0, sigma=0.9, **changes):
    """A pair with a sharp template: a kernel's high frequencies are only determined where the template has them."""
    options = {"shape": SHAPE, "background": plane(SHAPE, [30.0]), "sigma": sigma, "noise": noise}
    return make_pair(known_kernel(order, SHAPE), stars, **options, **changes)


def image_error(result: MatchResult, truth, places=((60, 60), (150, 110))) -> float:
    """Largest rms error of the kernel image, in units of its peak."""
    return max(
        float(np.sqrt(np.mean((result.kernel.image(*p) - truth.image(*p)) ** 2))) / truth.image(*p).max()
        for p in places
    )


@pytest.mark.parametrize("regularised", [True, False])
def test_without_noise_the_constant_kernel_comes_back(regularised):
    pair = made()
    result = match(pool(pair, use_pca_for_spatial_kernel=False, use_regularization=regularised, **OPEN), 0, 0)
    # Images are float32: 1e-7 of the stars' peaks, which are 1e5, times the least determined frequency.
    assert image_error(result, pair.kernel) < 2e-3
    assert result.kernel.center_sum == pytest.approx(1.25, abs=1e-4)
    assert float(result.background(100, 100)) == pytest.approx(30.0, abs=0.05)
    assert result.kernel.coefficients.shape == (SIZE**2, 1)


def test_without_noise_a_varying_kernel_comes_back():
    pair = made(1)
    result = match(pool(pair, use_pca_for_spatial_kernel=False, **OPEN), 1, 0)
    # A stamp has one kernel, the science image that of each pixel; the spread over the field is 5 % of the peak.
    assert image_error(result, pair.kernel) < 0.006
    # Not constant in the first term: the kernel sum may vary, though the truth's does not.
    assert result.kernel.sum(30, 30) == pytest.approx(1.25, abs=0.01)


@pytest.mark.parametrize("subtract_mean", [True, False])
@pytest.mark.parametrize("order", [0, 1])
def test_principal_components_of_delta_functions_bring_it_back(order, subtract_mean):
    pair = made(order, noise=1.0)
    result = match(pool(pair, subtract_mean_for_pca=subtract_mean, **OPEN), order, None)
    assert image_error(result, pair.kernel) < 0.012
    assert len(result.kernel.basis) <= 5
    # The sum is that of the first function and the same everywhere.
    sums = result.kernel.sum(np.array([5.0, 100.0, 210.0]), np.array([5.0, 60.0, 210.0]))
    np.testing.assert_allclose(sums, sums[0], rtol=1e-12)
    assert sums[0] == pytest.approx(1.25, abs=0.003)


def test_principal_components_of_alard_lupton_kernels_bring_it_back():
    pair = made(1, noise=1.0)
    result = match(pool_of(pair, n_star_per_cell=0, use_pca_for_spatial_kernel=True, **OPEN), 1, None)
    assert image_error(result, pair.kernel) < 0.01
    assert len(result.kernel.basis) == 5


def test_the_number_of_components_is_that_asked_for():
    pair = made(1, noise=2.0)
    for n in (3, 4):
        result = match(pool(pair, num_principal_components=n, **OPEN), 0, None)
        assert len(result.kernel.basis) == n
        np.testing.assert_allclose(result.kernel.basis.sum(axis=(1, 2)), [1] + [0] * (n - 1), atol=1e-12)


STRONG, FORWARD = {"lambda_value": 30.0}, {"regularization_type": "forwardDifference"}
#: By the settings: the rms error of single kernels must fall below this part of that without regularisation.
REGULARISERS = {
    "nine points": STRONG,
    "five points": {**STRONG, "central_regularization_stencil": 5},
    "forward 1": {**STRONG, **FORWARD, "forward_regularization_orders": [1]},
    "forward 2": {**STRONG, **FORWARD, "forward_regularization_orders": [2]},
    "forward 3": {**STRONG, **FORWARD, "forward_regularization_orders": [3]},
    "forward 1 and 2": {**STRONG, **FORWARD},
    "relative": {"lambda_type": "relative", "lambda_scaling": 1e-2},
    "biased risk": {"lambda_type": "minimizeBiasedRisk", "lambda_max": 4.0, "lambda_step": 0.5},
    "unbiased risk": {"lambda_type": "minimizeUnbiasedRisk", "lambda_max": 4.0, "lambda_step": 0.5},
    "linear scan": {
        "lambda_type": "minimizeUnbiasedRisk", "lambda_step_type": "linear", "lambda_min": 1.0, "lambda_max": 101.0,
        "lambda_step": 20.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def noisy():
    return made(stars=FAINT, noise=10.0, template_noise=0.1)


def single_error(pair, **config) -> tuple[float, np.ndarray]:
    made_pool = pool(pair, **OPEN, **config)
    made_pool.reject_singles()
    errors = made_pool.fitted.kernels() - pair.kernel.image(0, 0)
    return float(np.sqrt(np.mean(errors**2))), made_pool.fitted.strengths


@pytest.mark.parametrize("name", REGULARISERS)
def test_regularisation_makes_single_kernels_better(noisy, name):
    plain, strengths = single_error(noisy, use_regularization=False)
    assert not strengths.any()
    regularised, strengths = single_error(noisy, **REGULARISERS[name])
    assert (strengths > 0).all()
    # Measured 0.1 to 0.3; the kernel is smooth on the scale of a pixel, the noise is not.
    assert regularised < 0.6 * plain


def test_the_strength_is_recorded_with_each_candidate(noisy):
    made_pool = pool(noisy, lambda_type="minimizeUnbiasedRisk", lambda_max=4.0, lambda_step=0.5, **OPEN)
    made_pool.reject_singles()
    column = np.asarray(made_pool.candidates.table["lambda"])[made_pool.rows[made_pool.index >= 0]]
    np.testing.assert_allclose(np.log10(column) * 2, np.round(np.log10(column) * 2), atol=1e-9)


def test_the_border_penalty_lowers_the_border(noisy):
    borders = []
    for penalty in (0.0, 100.0):
        made_pool = pool(noisy, regularization_border_penalty=penalty, lambda_value=1.0, **OPEN)
        made_pool.reject_singles()
        kernels = made_pool.fitted.kernels()
        borders.append(np.abs(kernels[:, [0, -1]]).mean())
    assert borders[1] < 0.25 * borders[0]


def test_spatial_regularisation_smooths_the_final_kernel(noisy):
    config = {"use_pca_for_spatial_kernel": False, "lambda_value": 300.0, "correct_noise_bias": False, **OPEN}
    errors = {
        wanted: image_error(match(pool(noisy, spatial_regularization=wanted, **config), 0, None), noisy.kernel)
        for wanted in (False, True)
    }
    # As upstream, strength has no effect on the final kernel unless asked for.
    plain = image_error(match(pool(noisy, **{**config, "lambda_value": 0.2}), 0, None), noisy.kernel)
    assert errors[False] == pytest.approx(plain, rel=1e-9)
    assert errors[True] < 0.7 * errors[False]


def test_a_noisy_template_does_not_smooth_the_common_kernel():
    found = {True: [], False: []}
    for seed in range(3):
        pair = made(stars=FAINT, noise=10.0, template_noise=10.0, sigma=1.5, seed=seed)
        for correct, kernels in found.items():
            one = pool(pair, correct_noise_bias=correct, use_pca_for_spatial_kernel=False, **OPEN)
            kernels.append(common_kernel(make_ready(one).fitted, one))
    truth = pair.kernel.image(0, 0) / 1.25
    peak = np.unravel_index(np.argmax(truth), truth.shape)
    corrected, plain = (np.mean(found[correct], axis=0)[peak] / truth[peak] for correct in (True, False))
    # Noise of the mean of three: 3 %.
    assert corrected == pytest.approx(1.0, abs=0.1)
    assert plain < corrected - 0.03


def test_a_candidate_of_other_components_is_replaced():
    pair = made(noise=3.0)
    image = pair.science.image.copy()
    y, x = (int(np.floor(pair.sources[k][8] + 0.5)) for k in "yx")
    # A neighbour that only the science image has: no combination of the others' components makes it.
    image[y + 2 : y + 6, x + 4 : x + 8] += 0.3 * image[y - 2 : y + 2, x - 2 : x + 2]
    pair.science.masked_image.image[:] = image
    result = match(pool(pair, single_kernel_clipping=True, kernel_sum_clipping=False), 0, None)
    row = result.candidates.table[8]
    assert row["status"] == "rejected"
    assert row["reason"] in ("components", "single-fit")
    assert image_error(result, pair.kernel) < 0.02


def test_the_condition_number_of_delta_functions_is_checked_if_wanted(noisy):
    with pytest.raises(NoCandidatesError, match="condition-number"):
        match(pool(noisy, check_condition_number=True, max_condition_number=10.0), 0, None)
    limits, numbers = {"check_condition_number": True, "max_condition_number": 1e12, **OPEN}, {}
    for kind in ("EIGENVALUE", "SVD"):
        checked = pool(noisy, **limits, condition_number_type=kind)
        checked.reject_singles()
        numbers[kind] = np.asarray(checked.candidates.table["condition_number"])[checked.rows]
    assert (numbers["EIGENVALUE"] > 1e3).all()
    # Of a positive matrix both are the same number.
    np.testing.assert_allclose(numbers["SVD"], numbers["EIGENVALUE"], rtol=1e-6)


def test_specs_of_both_sets():
    config = KernelConfig(**DELTA)
    (spec,) = specs_to_try(3.0, 4.0, config)
    assert spec == DeltaFunctionSpec(SIZE)
    assert str(spec) == "15 px, 225 delta functions"
    assert make_basis(spec).is_delta
    assert specs_to_try(3.0, 4.0, KernelConfig(kernel_basis_set="delta-function"))[0].size == 21
    # Half as many pixels as functions, or one more than parameters: 2 (n / 2 + 2) pixels for n + 1 of them.
    assert wanted_parameters(spec, config) == 56
    assert wanted_parameters(spec, KernelConfig(use_regularization=False, **DELTA)) == 114
    assert make_regularizer(spec, KernelConfig(use_regularization=False, **DELTA)) is None
    assert len(specs_to_try(3.0, 4.0, KernelConfig())) == 2
    assert len(specs_to_try(3.0, 4.0, KernelConfig(use_bic_for_kernel_basis=True))) == 1
    assert make_regularizer(specs_to_try(3.0, 4.0, KernelConfig())[0], KernelConfig()) is None


def test_the_relative_strength_tells_what_a_strength_means(noisy):
    made_pool = pool(noisy, lambda_type="relative", lambda_scaling=1e-3, **OPEN)
    made_pool.reject_singles()
    column = np.asarray(made_pool.candidates.table["lambda_relative"])[made_pool.rows[made_pool.index >= 0]]
    np.testing.assert_allclose(column, 1e-3, rtol=1e-12)
    absolute = pool(noisy, lambda_value=0.2, **OPEN)
    absolute.reject_singles()
    table = absolute.candidates.table[absolute.rows[absolute.index >= 0]]
    # A fixed strength means less for a brighter star.
    assert np.corrcoef(np.log(table["rating"]), np.log(table["lambda_relative"]))[0, 1] < -0.9


def test_stamps_of_delta_functions_are_larger_unless_a_size_is_given():
    deltas, gaussians = KernelConfig(**DELTA), KernelConfig()
    assert with_stamps_for(CandidateConfig(), deltas).fp_grow_kernel_scaling == 1.5
    assert with_stamps_for(CandidateConfig(fp_grow_kernel_scaling=1.0), deltas).fp_grow_kernel_scaling == 1.0
    assert with_stamps_for(CandidateConfig(), gaussians) == CandidateConfig()
