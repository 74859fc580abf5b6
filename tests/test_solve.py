"""Normal equations of single candidates against loops over their pixels, and the solvers."""

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import small_basis
from psfmatch_cli.basis import BasisSpec, KernelBasis, alard_lupton_basis, delta_function_basis
from psfmatch_cli.design import convolve_stamps
from psfmatch_cli.errors import FitError, UsageError
from psfmatch_cli.solve import (
    NormalEquations,
    condition_number,
    normal_equations,
    solve_attenuated,
    solve_each,
    solve_symmetric,
)


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(4)


@pytest.mark.parametrize("shape", [(12, 12), (9, 16)])
def test_convolved_stamps_equal_the_loops(rng, shape):
    basis = alard_lupton_basis(BasisSpec(7, (0.8, 1.7), (3, 2)))
    stamps = rng.normal(size=(2, *shape))
    expected = np.array([direct.design(stamp, basis.images) for stamp in stamps])
    # Sums of 49 products of order one in another order.
    np.testing.assert_allclose(convolve_stamps(stamps, basis), expected, atol=1e-13)


def test_stamps_of_a_basis_without_factors_equal_those_of_one_with(rng):
    basis = small_basis()
    plain = KernelBasis(basis.images, basis.constant_first)
    stamps = 1e4 * rng.normal(size=(3, 31, 31))
    # Values of 1e4.
    np.testing.assert_allclose(convolve_stamps(stamps, plain), convolve_stamps(stamps, basis), atol=1e-9)


def test_stamps_of_delta_functions_are_shifted_stamps(rng):
    basis = delta_function_basis(5)
    plain = KernelBasis(basis.images, constant_first=False)
    stamps = rng.normal(size=(2, 9, 12)).astype(np.float32)
    expected = np.array([direct.design(stamp, basis.images) for stamp in stamps])
    # Products with ones and zeros alone.
    for found in (convolve_stamps(stamps, basis), convolve_stamps(stamps, plain)):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_convolution_is_not_correlation():
    kernel = np.zeros((1, 3, 3))
    kernel[0, 0, 2] = 1.0
    stamp = np.zeros((1, 5, 5))
    stamp[0, 2, 2] = 1.0
    moved = convolve_stamps(stamp, KernelBasis(kernel, constant_first=True)).reshape(3, 3)
    # A source goes where the kernel points: one row down, one column up.
    assert np.argwhere(moved).tolist() == [[0, 2]]


@pytest.mark.parametrize("fit_background", [True, False])
def test_normal_equations_equal_the_loops(rng, fit_background):
    design, target = rng.normal(size=(3, 5, 40)), rng.normal(size=(3, 40))
    weight = rng.uniform(0.5, 2.0, size=(3, 40)) * (rng.random((3, 40)) > 0.2)
    made = normal_equations(design, target, weight, fit_background)
    for k in range(3):
        matrix, vector = direct.normal_equations(design[k], target[k], weight[k], fit_background)
        # Sums of 40 products of order one.
        np.testing.assert_allclose(made.matrix[k], matrix, atol=1e-12)
        np.testing.assert_allclose(made.vector[k], vector, atol=1e-12)
    np.testing.assert_array_equal(made.n_pixels, (weight > 0).sum(axis=1))


def test_chi2_is_the_weighted_sum_of_squared_residuals(rng):
    design, target = rng.normal(size=(2, 4, 60)), rng.normal(size=(2, 60))
    weight, parameters = rng.uniform(0.5, 2.0, size=(2, 60)), rng.normal(size=(2, 5))
    made = normal_equations(design, target, weight, True)
    residual = target - np.einsum("ci,cip->cp", parameters[:, :4], design) - parameters[:, 4:]
    np.testing.assert_allclose(made.chi2(parameters), (weight * residual**2).sum(axis=1), rtol=1e-12)


def test_equations_can_be_picked(rng):
    made = normal_equations(rng.normal(size=(4, 2, 30)), rng.normal(size=(4, 30)), np.ones((4, 30)), True)
    picked = made[np.array([False, True, False, True])]
    assert len(picked) == 2
    np.testing.assert_array_equal(picked.matrix, made.matrix[[1, 3]])
    np.testing.assert_array_equal(picked.n_pixels, [30, 30])


def test_eliminating_the_constant_leaves_the_other_parameters(rng):
    design, target, weight = rng.normal(size=(3, 4, 60)), rng.normal(size=(3, 60)), rng.uniform(0.5, 2.0, size=(3, 60))
    made = normal_equations(design, target, weight, True)
    whole, reduced = solve_each(made), solve_each(made.without_last())
    # The same system, one step of the elimination done first.
    np.testing.assert_allclose(reduced, whole[:, :-1], rtol=1e-10)
    np.testing.assert_allclose(made.best_last(reduced), whole[:, -1], rtol=1e-10)
    np.testing.assert_allclose(made.without_last().chi2(reduced), made.chi2(whole), rtol=1e-10)


def test_a_candidate_without_pixels_has_nothing_to_eliminate(rng):
    made = normal_equations(rng.normal(size=(1, 2, 9)), rng.normal(size=(1, 9)), np.zeros((1, 9)), True)
    assert not made.without_last().matrix.any()
    assert made.best_last(np.ones((1, 2))).tolist() == [0.0]


def test_a_known_kernel_and_background_come_back(rng):
    basis = small_basis()
    coefficients = rng.normal(size=len(basis))
    design = convolve_stamps(rng.normal(size=(2, 35, 35)), basis)
    target = np.tensordot(design, coefficients, axes=(1, 0)) + 3.5
    solutions = solve_each(normal_equations(design, target, np.ones_like(target), True))
    # The condition number of this system of white noise is below 1e4.
    np.testing.assert_allclose(solutions, [[*coefficients, 3.5]] * 2, atol=1e-10)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.0])
def test_a_one_pixel_kernel_is_the_flux_ratio(ratio):
    template = np.zeros((1, 51, 51))
    template[0, 25, 25] = 1.0
    basis = KernelBasis(np.pad(np.ones((1, 1, 1)), ((0, 0), (1, 1), (1, 1))), constant_first=True)
    design = convolve_stamps(template, basis)
    made = normal_equations(design, ratio * design[:, 0], np.ones((1, design.shape[2])), False)
    assert solve_each(made)[0, 0] == pytest.approx(ratio, abs=1e-15)
    assert made.chi2(solve_each(made))[0] == pytest.approx(0.0, abs=1e-14)


def test_a_singular_candidate_is_nan_and_leaves_the_others_alone(rng):
    design, target = rng.normal(size=(3, 4, 50)), rng.normal(size=(3, 50))
    weight = np.ones((3, 50))
    alone = solve_each(normal_equations(design, target, weight, False))
    weight[1] = 0.0
    together = solve_each(normal_equations(design, target, weight, False))
    assert np.isnan(together[1]).all()
    # One system at a time or all in one call: the same algorithm.
    np.testing.assert_allclose(together[[0, 2]], alone[[0, 2]], rtol=1e-13)


def test_positive_definite_systems_are_solved_by_cholesky(rng):
    root = rng.normal(size=(6, 9))
    matrix, truth = root @ root.T, rng.normal(size=6)
    solution, solver = solve_symmetric(matrix, matrix @ truth)
    assert solver == "cholesky"
    np.testing.assert_allclose(solution, truth, atol=1e-10)


def test_indefinite_systems_are_solved_by_pivoting(rng):
    root = rng.normal(size=(6, 9))
    matrix, truth = root @ root.T, rng.normal(size=6)
    matrix[:3, :3] -= 2 * np.trace(matrix) * np.eye(3)
    values = np.linalg.eigvalsh(matrix)
    assert values[0] < 0 < values[-1]
    solution, solver = solve_symmetric(matrix, matrix @ truth)
    assert solver == "ldl"
    np.testing.assert_allclose(solution, truth, atol=1e-10)
    # A saddle: no pivot of its own on the diagonal.
    solution, solver = solve_symmetric(np.array([[0.0, 2.0], [2.0, 0.0]]), np.array([4.0, 6.0]))
    assert solver == "ldl"
    np.testing.assert_allclose(solution, [3, 2], atol=1e-15)


def test_singular_systems_are_not_left_to_rounding(rng):
    # Two equal parameters: the last pivot is rounding, of either sign.
    seen = set()
    for seed in range(20):
        root = np.random.default_rng(seed).normal(size=(4, 9))
        root[3] = root[1]
        matrix = root @ root.T
        truth = np.array([1.0, 2.0, -1.0, 2.0])
        solution, solver = solve_symmetric(matrix, matrix @ truth)
        seen.add(solver)
        np.testing.assert_allclose(solution, truth, atol=1e-9)
    assert seen == {"eigen"}


def test_units_of_the_parameters_do_not_decide_on_the_solver(rng):
    root = rng.normal(size=(5, 9))
    units = 10.0 ** np.array([0, 5, -5, 9, -9])
    matrix, truth = root @ root.T * np.outer(units, units), rng.normal(size=5) / units
    solution, solver = solve_symmetric(matrix, matrix @ truth)
    assert solver == "cholesky"
    np.testing.assert_allclose(solution, truth, rtol=1e-9)


def test_deficient_systems_get_the_shortest_solution(rng):
    root = rng.normal(size=(5, 3))
    matrix, vector = root @ root.T, root @ rng.normal(size=3)
    matrix[0, 0] -= 1e-15 * np.trace(matrix)
    solution, solver = solve_symmetric(matrix, vector)
    assert solver == "eigen"
    # The pseudo-inverse of a rank 3 system; the perturbation that rules out Cholesky is of 1e-15.
    np.testing.assert_allclose(solution, np.linalg.pinv(root @ root.T, rcond=1e-12) @ vector, atol=1e-10)


def test_attenuation_by_noise_is_undone(rng):
    root = rng.normal(size=(6, 12))
    clean, truth = root @ root.T, rng.normal(size=6)
    # Less than two thirds of the observed matrix is noise in every direction.
    noise = np.diag(np.full(6, 0.5 * np.linalg.eigvalsh(clean)[0]))
    solution, solver = solve_attenuated(clean + noise, noise, clean @ truth)
    assert solver == "generalised eigen"
    np.testing.assert_allclose(solution, truth, atol=1e-10)


def test_what_is_mostly_noise_is_raised_threefold_at_most(rng):
    root = rng.normal(size=(6, 12))
    clean, vector = root @ root.T, rng.normal(size=6)
    noise = 1e3 * clean
    plain = np.linalg.solve(clean + noise, vector)
    np.testing.assert_allclose(solve_attenuated(clean + noise, noise, vector)[0], 3 * plain, rtol=1e-9)


def test_a_deficient_system_with_noise_is_solved_as_one_without():
    matrix = np.diag([2.0, 0.0])
    solution, solver = solve_attenuated(matrix, np.diag([0.1, 0.1]), np.array([4.0, 0.0]))
    assert solver == "eigen"
    np.testing.assert_allclose(solution, [2.0, 0.0], atol=1e-12)


def test_nan_is_an_error_with_noise_as_without():
    with pytest.raises(FitError, match="not finite"):
        solve_attenuated(np.diag([1.0, np.nan]), np.eye(2), np.ones(2))


def test_systems_that_nobody_can_solve_are_errors():
    with pytest.raises(FitError, match="not finite; are there NaN pixels"):
        solve_symmetric(np.diag([1.0, np.nan]), np.ones(2))
    with pytest.raises(FitError, match="not finite"):
        solve_symmetric(np.eye(2), np.array([1.0, np.inf]))
    with pytest.raises(FitError, match="no positive eigenvalue"):
        solve_symmetric(np.zeros((3, 3)), np.ones(3))
    with pytest.raises(FitError, match="no positive eigenvalue"):
        solve_symmetric(np.diag([-1.0, 0.0]), np.ones(2))


def test_condition_number_is_signed():
    assert condition_number(np.diag([2.0, 8.0, 4.0])) == pytest.approx(4.0, rel=1e-14)
    assert condition_number(np.diag([-2.0, 8.0])) == pytest.approx(-4.0, rel=1e-14)
    assert condition_number(np.diag([-2.0, -8.0])) == pytest.approx(0.25, rel=1e-14)
    assert condition_number(np.diag([0.0, 8.0])) == float("inf")
    assert condition_number(np.zeros((2, 2))) == float("inf")


def test_condition_number_by_singular_values(rng):
    assert condition_number(np.diag([2.0, 8.0, 4.0]), "SVD") == pytest.approx(4.0, rel=1e-14)
    assert condition_number(np.diag([-2.0, 8.0]), "SVD") == pytest.approx(4.0, rel=1e-14)
    assert condition_number(np.diag([2.0, -8.0]), "SVD") == pytest.approx(4.0, rel=1e-14)
    assert condition_number(np.diag([0.0, 8.0]), "SVD") == float("inf")
    root = rng.normal(size=(5, 9))
    matrix = root @ root.T
    assert condition_number(matrix, "SVD") == pytest.approx(condition_number(matrix), rel=1e-10)


@pytest.mark.parametrize("kind", ["EIGENVALUE", "SVD"])
def test_condition_number_without_a_number_is_infinite(kind):
    assert condition_number(np.diag([1.0, np.nan]), kind) == float("inf")


def test_other_condition_numbers_are_refused():
    with pytest.raises(UsageError, match="must be EIGENVALUE or SVD, got 'L1'"):
        condition_number(np.eye(2), "L1")


def test_equations_hold_one_entry_per_candidate():
    made = NormalEquations(np.ones((2, 1, 1)), np.ones((2, 1)), np.ones(2), np.ones(2, int))
    assert len(made) == 2
