"""Errors of kernel and background: those predicted are the scatter over realisations of the noise."""

from dataclasses import replace

import numpy as np
import pytest

from made_pairs import known_kernel, make_pair, plane, small_basis, star_grid
from made_pools import pool_of
from psfmatch_cli.errors import UsageError
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel
from psfmatch_cli.kernel_io import SavedKernel, load_kernel, save_kernel
from psfmatch_cli.match import MatchResult, match

SHAPE = (200, 200)
STARS = star_grid(SHAPE, flux=(5e3, 2e4))
NO_CLIPPING = {"single_kernel_clipping": False, "kernel_sum_clipping": False, "spatial_kernel_clipping": False}
#: Realisations; a scatter of them is uncertain by 1 / sqrt(2 (N - 1)), 10 %.
N = 50
PLACE = (60.0, 140.0)


def matched(seed: int, kernel_order: int, background_order: int | None, **config) -> MatchResult:
    pair = make_pair(known_kernel(0, SHAPE), STARS, shape=SHAPE, background=plane(SHAPE, [30.0]), noise=8.0, seed=seed)
    pool = pool_of(pair, n_star_per_cell=0, calculate_kernel_uncertainty=True, **NO_CLIPPING, **config)
    return match(pool, kernel_order, background_order)


CASES = {
    "own constants": (0, None, {}),
    "plane": (1, 0, {}),
    "no noise correction": (0, None, {"correct_noise_bias": False}),
    "pixel weights": (0, 0, {"constant_variance_weighting": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_predicted_errors_are_the_scatter(case):
    kernel_order, background_order, config = CASES[case]
    results = [matched(seed, kernel_order, background_order, **config) for seed in range(N)]
    sums = [result.kernel.sum(*PLACE) for result in results]
    assert np.mean([result.kernel.sum_error(*PLACE) for result in results]) == pytest.approx(np.std(sums), rel=0.3)
    images = np.array([result.kernel.image(*PLACE) for result in results])
    errors = np.mean([result.kernel.error_image(*PLACE) for result in results], axis=0)
    # The mean over 225 pixels, of which some ten are independent.
    ratio = np.sqrt((images.var(axis=0) / errors**2).mean())
    assert ratio == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("background_order", [0, 1])
def test_the_error_of_a_fitted_background_is_its_scatter(background_order):
    results = [matched(seed, 0, background_order) for seed in range(N)]
    values = [result.background(*PLACE) for result in results]
    errors = [result.background.error(*PLACE) for result in results]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)
    assert np.mean(values) == pytest.approx(30.0, abs=4 * np.std(values) / np.sqrt(N))


def test_more_stars_make_smaller_errors():
    bright = matched(1, 0, None)
    assert 0 < bright.kernel.sum_error(*PLACE) < np.nanmin(bright.candidates.table["kernel_sum_err"])


def test_without_the_setting_there_is_no_covariance():
    kernel = MatchingKernel(small_basis().images, np.ones((9, 1)), known_kernel(0, SHAPE).spatial)
    assert kernel.error_image(1, 2) is None
    assert np.isnan(kernel.sum_error(1, 2))
    assert plane(SHAPE, [1.0]).error(1, 2) is None


def test_a_covariance_of_another_shape_is_refused():
    kernel = known_kernel(1, SHAPE)
    with pytest.raises(UsageError, match=r"covariance of the kernel has shape \(9, 9\), expected \(27, 27\)"):
        replace(kernel, covariance=np.eye(9))
    with pytest.raises(UsageError, match="covariance of the background"):
        BackgroundModel(np.zeros(1), plane(SHAPE, [0.0]).spatial, np.eye(3))


def test_covariances_survive_the_kernel_file(tmp_path):
    result = matched(3, 1, 1)
    save_kernel(tmp_path / "k.fits", SavedKernel(result.kernel, result.background))
    loaded = load_kernel(tmp_path / "k.fits")
    np.testing.assert_array_equal(loaded.kernel.covariance, result.kernel.covariance)
    np.testing.assert_array_equal(loaded.background.covariance, result.background.covariance)
    np.testing.assert_array_equal(loaded.kernel.error_image(*PLACE), result.kernel.error_image(*PLACE))
