"""Votes for the degrees of the basis: by the direct form, and for the degrees that made the image."""

from dataclasses import replace

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import box_of, make_pair, plane, star_grid
from made_pools import pool_of
from psfmatch_cli.basis import BasisSpec, alard_lupton_basis
from psfmatch_cli.bic import degrees_by_bic, kept_functions, trial_degrees
from psfmatch_cli.kernel import MatchingKernel, SpatialModel

SHAPE = (256, 256)
SPEC = BasisSpec(11, (1.0, 1.8), (3, 2))
STARS = star_grid(SHAPE, flux=(3e4, 1e5))
BASIS = alard_lupton_basis(SPEC)


def kernel_of(degrees, size=SPEC.size):
    """Kernel with a clear share of the highest functions of a basis of these degrees."""
    spec = replace(SPEC, degrees=degrees)
    basis = alard_lupton_basis(spec)
    rng = np.random.default_rng(3)
    coefficients = np.r_[1.2, rng.choice([-0.12, 0.12], len(basis) - 1)][:, None]
    return MatchingKernel(basis.images, coefficients, SpatialModel("chebyshev1", 0, box_of(SHAPE)))


@pytest.fixture(scope="module")
def pairs():
    background = plane(SHAPE, [20.0])
    return {d: make_pair(kernel_of(d), STARS, background=background, noise=5.0) for d in ((1, 1), (3, 1), (2, 2))}


def test_trials_are_all_lower_degrees_and_leave_a_round_gaussian_round():
    assert trial_degrees(SPEC) == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    assert trial_degrees(BasisSpec(21, (0.7, 1.5, 3.0, 6.0), (4, 2, 2, 0)))[-1] == (4, 2, 2, 0)
    assert len(trial_degrees(BasisSpec(21, (0.7, 1.5, 3.0), (4, 2, 2)))) == 16


@pytest.mark.parametrize("degrees", [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_a_basis_of_lower_degrees_is_a_part_of_the_full_one(degrees):
    full, part = alard_lupton_basis(SPEC).images, alard_lupton_basis(replace(SPEC, degrees=degrees)).images
    np.testing.assert_array_equal(full[kept_functions(SPEC, degrees)], part)


@pytest.mark.parametrize("degrees", [(1, 1), (3, 1), (2, 2)])
def test_the_degrees_of_the_truth_win(pairs, degrees):
    choice = degrees_by_bic(pool_of(pairs[degrees], basis=BASIS, n_star_per_cell=0))
    assert choice.degrees == degrees
    assert choice.votes[degrees] > 0.5 * sum(choice.votes.values())
    assert f"degrees {degrees[0]} {degrees[1]} by the votes of" in str(choice)


def test_the_vote_of_a_candidate_is_that_of_the_direct_form(pairs):
    pool = pool_of(pairs[3, 1], basis=BASIS, n_star_per_cell=1)
    choice = degrees_by_bic(pool)
    places = pool.visit()
    votes = []
    for place in places:
        row = pool.candidates.table[pool.rows[place]]
        at = slice(row["box_y0"], row["box_y1"] + 1), slice(row["box_x0"], row["box_x1"] + 1)
        criteria = {d: plain_criterion(pairs[3, 1], at, d) for d in trial_degrees(SPEC)}
        votes.append(min(criteria, key=criteria.get))
    expected = {d: votes.count(d) for d in set(votes)}
    assert choice.votes == expected


def plain_criterion(pair, at, degrees):
    basis = alard_lupton_basis(replace(SPEC, degrees=degrees)).images
    half = SPEC.size // 2
    inner = np.s_[half:-half, half:-half]
    template, science = (image.image[at].astype(float) for image in (pair.template, pair.science))
    rows = np.vstack([direct.design(template, basis), np.ones(science[inner].size)])
    data = science[inner].ravel()
    solution = np.linalg.lstsq(rows.T, data, rcond=None)[0]
    kernel = np.tensordot(solution[:-1], basis, axes=1)
    variance = (
        pair.science.variance[at][inner].ravel() + direct.design(pair.template.variance[at], kernel[None] ** 2)[0]
    )
    return ((data - solution @ rows) ** 2 / variance).sum() + len(basis) * np.log(len(data))


def test_without_a_good_fit_the_full_degrees_stay(pairs):
    choice = degrees_by_bic(pool_of(pairs[3, 1], basis=BASIS, candidate_residual_std_max=0.0))
    assert (choice.degrees, choice.votes) == (SPEC.degrees, {})
