"""Scores of candidates that were left out of a fit: against the formula in words, and what they tell."""

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import known_kernel, make_pair, plane, star_grid
from made_pools import pool_of
from made_stamps import BASIS, COEFFICIENTS, HALF, fit, make_stamps
from psfmatch_cli.choose import clearly_worse
from psfmatch_cli.left_out import LEAST_POWER, N_FOLDS, folds_of, left_out_scores, source_power
from psfmatch_cli.ready import make_ready, spatial_layout

INNER = np.s_[HALF:-HALF, HALF:-HALF]
RIGHT = np.array([*COEFFICIENTS, 4.0])


def test_scores_are_what_the_formula_says():
    stamps = make_stamps(3, noise=3.0, background=4.0)
    rng = np.random.default_rng(6)
    stamps.template_variance[:] = rng.uniform(1.0, 9.0, stamps.template_variance.shape)
    stamps.science_usable[1, 9:12, 14] = False
    fitted = fit(stamps)
    local = fitted.solutions + 0.03 * rng.normal(size=fitted.solutions.shape)
    images = BASIS.images
    expected, sums = [], local[:, :-1] @ images.sum(axis=(1, 2))
    for k in range(3):
        kernel = np.tensordot(local[k, :-1], images, axes=1)
        model = direct.design(stamps.template[k], kernel[None])[0]
        smoothed = direct.design(stamps.template_variance[k], kernel[None] ** 2)[0]
        usable = stamps.science_usable[k][INNER].ravel()
        weight = np.abs(model - np.median(model)) * usable
        target, before = (v[k][INNER].ravel() for v in (stamps.science_variance, stamps.template_variance))
        residual = stamps.science[k][INNER].ravel() - model - local[k, -1]
        plain = (weight * (target + np.median(sums) ** 2 * before)).sum()
        expected.append(np.log(1 + (weight * (residual**2 - target - smoothed)).sum() / plain))
    # Double precision: sums of 361 products.
    np.testing.assert_allclose(source_power(fitted, local), expected, rtol=1e-8)
    np.testing.assert_allclose(source_power(fitted, local, threads=2), expected, rtol=1e-8)


def test_a_wrong_kernel_shows_in_the_score():
    fitted = fit(make_stamps(40, noise=3.0, flux=1e5, background=4.0))
    right = np.tile(RIGHT, (40, 1))
    wrong = right.copy()
    wrong[:, 6] += 0.2
    scores = source_power(fitted, right)
    # The logarithm of the power of some dozen pixels scatters by 0.4, its mean over 40 stars by 0.06.
    assert abs(scores.mean()) < 0.25
    assert (source_power(fitted, wrong) > scores + 1.0).all()
    assert (scores >= np.log(LEAST_POWER)).all()


def test_parameters_that_are_no_numbers_have_the_worst_score():
    fitted = fit(make_stamps(3, noise=3.0))
    local = np.tile(RIGHT, (3, 1))
    local[1] = np.nan
    assert np.isfinite(source_power(fitted, local)).tolist() == [True, False, True]
    assert source_power(fitted, local)[1] == np.inf
    assert (source_power(fitted, np.full_like(local, np.nan)) == np.inf).all()


def test_whole_cells_are_left_out():
    cells = np.repeat(np.arange(20) * 7, 3)
    folds = folds_of(cells)
    assert folds.max() == N_FOLDS - 1
    assert (folds.reshape(20, 3) == folds[::3, None]).all()


@pytest.mark.parametrize("n", [1, 3, 30])
def test_of_one_cell_candidates_are_left_out_one_by_one(n):
    assert folds_of(np.full(n, 5)).tolist() == [k % N_FOLDS for k in range(n)]


def pool_with_order(order: int, **config):
    shape = (400, 400)
    stars = star_grid(shape, flux=(5e4, 2e5))
    pair = make_pair(known_kernel(order, shape), stars, shape=shape, background=plane(shape, [20.0]), noise=5.0)
    return pool_of(pair, n_star_per_cell=0, **config)


def test_scores_are_those_of_fits_without_the_group():
    pool = pool_with_order(1)
    ready = make_ready(pool)
    layouts = [spatial_layout(pool, pool.basis, order, 1) for order in (0, 1)]
    found = left_out_scores(pool, ready, layouts)
    folds = folds_of(pool.cells[ready.places])
    for layout, scores in zip(layouts, found, strict=True):
        local = np.zeros_like(ready.fitted.solutions)
        for fold in range(N_FOLDS):
            others = pool.system(ready.fitted.take(folds != fold), layout)
            inside = ready.fitted.take(folds == fold)
            local[folds == fold] = pool.local(inside, layout, others.solve()[0])
        # Sums in another order; images in single precision.
        np.testing.assert_allclose(scores, source_power(ready.fitted, local), rtol=1e-3, atol=1e-3)


def test_scores_tell_a_right_order_from_a_wrong_one():
    pool = pool_with_order(2)
    layouts = [spatial_layout(pool, pool.basis, order, 1) for order in (0, 2)]
    scores = left_out_scores(pool, make_ready(pool), layouts)
    assert np.isfinite(scores).all()
    # Logarithms of the power: most candidates are worse off with a constant kernel, by a factor of e at least.
    assert np.median(scores[0] - scores[1]) > 1.0
    assert clearly_worse(scores[0], scores[1])
    assert not clearly_worse(scores[1], scores[0])
