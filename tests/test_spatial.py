"""The spatial fit: blocks against lifting matrices, known varying kernels, coordinate conventions."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

import reference_direct as direct
from made_pairs import box_of, convolved_truth, gaussian_stars, known_kernel, plane, small_basis, star_grid
from psfmatch_cli.basis import BasisSpec, alard_lupton_basis
from psfmatch_cli.design import convolve_stamps
from psfmatch_cli.errors import FitError
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import MatchingKernel, SpatialModel
from psfmatch_cli.solve import NormalEquations, normal_equations
from psfmatch_cli.spatial import (
    SpatialLayout,
    SpatialSolution,
    SpatialSystem,
    accumulate,
    accumulate_noise,
    solve_spatial,
)

SHAPE = (240, 280)


def random_equations(rng, n_candidates: int, n: int) -> NormalEquations:
    root = rng.normal(size=(n_candidates, n, 2 * n))
    vector = rng.normal(size=(n_candidates, n))
    return NormalEquations(root @ root.transpose(0, 2, 1), vector, np.ones(n_candidates), np.full(n_candidates, n))


def layout(n_basis, *, first=True, order=1, background_order=None, kind="chebyshev1", region=None) -> SpatialLayout:
    region = region or box_of(SHAPE)
    background = None if background_order is None else SpatialModel(kind, background_order, region)
    return SpatialLayout(n_basis, first, SpatialModel(kind, order, region), background)


def equations_of(templates, targets, basis) -> NormalEquations:
    """Equations, with background, of stamps and of the targets' pixels where the kernel fits."""
    design = convolve_stamps(np.array(templates), basis)
    data = np.array(targets).reshape(len(design), -1)
    return normal_equations(design, data, np.ones(data.shape), True)


def made_with_local_kernels(kernel, background, stars, basis, *, half=22, noise=0.0) -> NormalEquations:
    """Equations of stamps, each of a star convolved with the kernel at its own centre: the model holds exactly."""
    rng = np.random.default_rng(3)
    templates, targets = [], []
    for x, y, flux in zip(stars["x"], stars["y"], stars["flux"], strict=True):
        corner = (int(np.floor(x + 0.5)) - half, int(np.floor(y + 0.5)) - half)
        star = gaussian_stars((2 * half + 1, 2 * half + 1), x, y, flux, 1.5, corner)
        target = fftconvolve(star, kernel.image(x, y), mode="valid") + background(x, y)
        templates.append(star)
        targets.append(target + noise * rng.normal(size=target.shape))
    return equations_of(templates, targets, basis)


def solved(equations, x, y, made: SpatialLayout) -> SpatialSolution:
    """Solution without a correction for noise."""
    matrix, vector = accumulate(equations, x, y, made)
    return solve_spatial(SpatialSystem(matrix, vector, np.zeros_like(matrix)), made)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("background_order", [None, 0, 2])
@pytest.mark.parametrize("kind", ["chebyshev1", "polynomial"])
def test_blocks_equal_the_lifting_form(first, background_order, kind):
    rng = np.random.default_rng(8)
    region = Box(-2, 3, 4, 6)
    equations = random_equations(rng, 6, 4 + (background_order is not None))
    x, y = rng.uniform(-2, 4, 6), rng.uniform(3, 6, 6)
    made = layout(4, first=first, order=2, background_order=background_order, kind=kind, region=region)
    matrix, vector = accumulate(equations, x, y, made)
    expected, right = direct.assemble(equations, x, y, made)
    assert matrix.shape == (made.n_parameters, made.n_parameters)
    # Rounding relative to the largest element.
    np.testing.assert_allclose(matrix, expected, atol=1e-12 * np.abs(expected).max(), rtol=0)
    np.testing.assert_allclose(vector, right, atol=1e-12 * np.abs(right).max(), rtol=0)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("background_order", [None, 1])
def test_the_system_of_a_lower_order_is_a_part_of_that_of_a_higher_one(first, background_order):
    rng = np.random.default_rng(8)
    equations = random_equations(rng, 6, 4 + (background_order is not None))
    x, y = rng.uniform(0, 280, 6), rng.uniform(0, 240, 6)
    low, high = (layout(4, first=first, order=order, background_order=background_order) for order in (1, 3))
    matrix, vector = accumulate(equations, x, y, high)
    part = SpatialSystem(matrix, vector, 2 * matrix).at(high.places_of(low))
    expected, right = accumulate(equations, x, y, low)
    # The same sums, perhaps in another order.
    np.testing.assert_allclose(part.matrix, expected, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_allclose(part.vector, right, atol=1e-13 * np.abs(right).max())
    np.testing.assert_array_equal(part.noise, 2 * part.matrix)
    np.testing.assert_array_equal(high.places_of(high), np.arange(high.n_parameters))


@pytest.mark.parametrize("background_order", [None, 1])
def test_noise_of_one_shape_sums_as_other_equations(background_order):
    rng = np.random.default_rng(8)
    root, bias = rng.normal(size=(4, 6)), rng.uniform(1, 3, 5)
    products = root @ root.T
    n = 4 + (background_order is not None)
    matrix = np.zeros((5, n, n))
    matrix[:, :4, :4] = bias[:, None, None] * products
    x, y = rng.uniform(0, 280, 5), rng.uniform(0, 240, 5)
    made = layout(4, order=2, background_order=background_order)
    expected, _ = accumulate(NormalEquations(matrix, np.zeros((5, n)), np.ones(5), np.full(5, n)), x, y, made)
    found = accumulate_noise(products, bias, x, y, made)
    np.testing.assert_allclose(found, expected, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("first", "background_order", "count"), [(True, None, 25), (True, 1, 28), (False, None, 30), (False, 2, 36)]
)
def test_number_of_parameters(first, background_order, count):
    assert layout(5, first=first, order=2, background_order=background_order).n_parameters == count


@pytest.mark.parametrize("first", [True, False])
def test_local_parameters_are_the_lifted_global_ones(first):
    rng = np.random.default_rng(1)
    made = layout(3, first=first, order=2, background_order=1)
    solution = rng.normal(size=made.n_parameters)
    x, y = rng.uniform(0, 279, 5), rng.uniform(0, 239, 5)
    expected = [direct.lifting_matrix(made, a, b) @ solution for a, b in zip(x, y, strict=True)]
    # A dozen products of order one.
    np.testing.assert_allclose(made.local(solution, x, y), expected, atol=1e-13)


def test_unpacking_leaves_the_first_coefficient_constant():
    kernel, background = layout(3, order=1, background_order=0).unpack(np.arange(1.0, 9.0))
    assert kernel.tolist() == [[1, 0, 0], [2, 3, 4], [5, 6, 7]]
    assert background.tolist() == [8]


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_known_varying_kernel_and_background_come_back(order):
    basis, truth, background = small_basis(), known_kernel(order, SHAPE), plane(SHAPE, [20.0, 3.0, -2.0])
    stars = star_grid(SHAPE)
    equations = made_with_local_kernels(truth, background, stars, basis)
    solution = solved(equations, stars["x"], stars["y"], layout(len(basis), order=order, background_order=1))
    kernel, fitted = solution.models(basis)
    assert solution.solver == "cholesky"
    # Double precision times a condition number near 1e7.
    np.testing.assert_allclose(kernel.coefficients, truth.coefficients, atol=1e-8)
    np.testing.assert_allclose(fitted.coefficients, background.coefficients, atol=1e-6)


def test_the_kernel_sum_does_not_vary_though_the_kernel_does():
    basis, truth = small_basis(), known_kernel(2, SHAPE, ratio=0.7)
    stars = star_grid(SHAPE)
    equations = made_with_local_kernels(truth, plane(SHAPE, [0.0]), stars, basis, noise=5.0)
    made = layout(len(basis), order=2, background_order=0)
    kernel, _ = solved(equations, stars["x"], stars["y"], made).models(basis)
    sums = kernel.sum(*np.meshgrid(np.linspace(0, 279, 7), np.linspace(0, 239, 7)))
    # All basis images but the first sum to zero within rounding.
    assert np.ptp(sums) < 1e-12
    assert abs(kernel.image(0, 0) - kernel.image(279, 239)).max() > 0.01


def test_chebyshev_and_plain_polynomials_give_the_same_kernels():
    basis, truth, background = small_basis(), known_kernel(2, SHAPE), plane(SHAPE, [20.0, 3.0, -2.0])
    stars = star_grid(SHAPE)
    equations = made_with_local_kernels(truth, background, stars, basis, noise=5.0)
    fits = [
        solved(equations, stars["x"], stars["y"], layout(len(basis), order=2, background_order=1, kind=kind))
        for kind in ("chebyshev1", "polynomial")
    ]
    (first, first_background), (second, second_background) = (fit.models(basis) for fit in fits)
    for x, y in [(0, 0), (140.0, 120.0), (279, 239)]:
        # The same span; powers of 280 pixels raise the condition number to 1e15 and cost half the digits.
        np.testing.assert_allclose(first.image(x, y), second.image(x, y), atol=1e-6)
        assert first_background(x, y) == pytest.approx(float(second_background(x, y)), abs=1e-5)


def test_the_origin_does_not_matter_to_chebyshev_polynomials():
    basis, truth = small_basis(), known_kernel(1, SHAPE)
    stars = star_grid(SHAPE)
    equations = made_with_local_kernels(truth, plane(SHAPE, [4.0]), stars, basis, noise=5.0)
    found = []
    for x0, y0 in [(0, 0), (0, 1500), (-7, 123456)]:
        made = layout(len(basis), order=1, background_order=0, region=box_of(SHAPE, (x0, y0)))
        found.append(solved(equations, stars["x"] + x0, stars["y"] + y0, made).parameters)
    # Positions of 1e5 pixels hold 11 decimals, and a condition number near 1e7 acts on their rounding.
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)


def test_the_origin_moves_the_constants_of_plain_polynomials():
    basis, truth = small_basis(), known_kernel(1, SHAPE)
    stars = star_grid(SHAPE)
    equations = made_with_local_kernels(truth, plane(SHAPE, [4.0]), stars, basis)
    kernels = []
    for y0 in (0, 1500):
        made = layout(len(basis), order=1, background_order=0, kind="polynomial")
        kernels.append(solved(equations, stars["x"], stars["y"] + y0, made).models(basis)[0])
    first, second = kernels
    assert abs(first.coefficients - second.coefficients)[1:, 0].max() > 1e-3
    # The kernel of a place is the same; powers of 1700 pixels cost some digits.
    np.testing.assert_allclose(first.image(30.0, 40.0), second.image(30.0, 1540.0), atol=1e-7)


#: Coefficients 1, x, y (raw pixels) of the six functions of the fake kernel set. It is defined by correlation: in
#: a convolution the two odd functions change their signs.
FAKE = [
    [1.0, 0, 0],
    [-0.005, 1e-6, -1e-6],
    [-0.005, -4e-6, -4e-6],
    [-0.001, -3e-5, 3e-5],
    [-0.001, 1.5e-5, 1.5e-5],
    [-0.005, -5e-5, 5e-5],
]


@pytest.fixture(scope="module")
def fake_fit():
    """Kernel fitted to nine stars whose image was made with the kernel of every pixel, 41 pixels off in its frame."""
    basis = alard_lupton_basis(BasisSpec(21, (2.5,), (2,)))
    centers = np.array([(128.0 * i + 64, 128.0 * j + 64) for j in range(3) for i in range(3)])
    template = gaussian_stars((405, 405), *(centers + 10).T, 1e4, 1.0)
    model = SpatialModel("polynomial", 1, box_of((385, 385)))
    science = convolved_truth(template, MatchingKernel(basis.images, np.array(FAKE), model), (31, 31))
    templates, targets = [], []
    for x, y in centers.astype(int) + 10:
        templates.append(template[y - 42 : y + 43, x - 42 : x + 43])
        targets.append(science[y - 32 : y + 33, x - 32 : x + 33])
    equations = equations_of(templates, targets, basis)
    made = SpatialLayout(len(basis), True, model, SpatialModel("polynomial", 0, model.region))
    return solved(equations, *centers.T, made).models(basis)


def test_fake_kernel_set_slopes(fake_fit):
    kernel, background = fake_fit
    # A stamp is fitted with one kernel, its image is made with that of each pixel.
    np.testing.assert_allclose(kernel.coefficients[1:, 1:], np.array(FAKE)[1:, 1:], rtol=1e-5)
    assert abs(background.coefficients[0]) < 1e-5


def test_fake_kernel_set_constants(fake_fit):
    kernel, _ = fake_fit
    assert kernel.coefficients[0].tolist()[1:] == [0, 0]
    assert kernel.coefficients[0, 0] == pytest.approx(0.999906, abs=1e-6)
    assert kernel.coefficients[4, 0] == pytest.approx(0.00021975, abs=1e-8)
    truth = np.array(FAKE)
    shifted = truth[:, 0] + 41 * truth[:, 1:].sum(axis=1)
    # One kernel for a stamp: the kernel's slopes leak into the constants at this level.
    np.testing.assert_allclose(kernel.coefficients[1:, 0], shifted[1:], atol=2e-4)


def test_nan_equations_are_an_error():
    equations = random_equations(np.random.default_rng(1), 2, 3)
    equations.matrix[1, 0, 0] = np.nan
    with pytest.raises(FitError, match="not finite"):
        solved(equations, np.array([1.0, 2.0]), np.array([1.0, 2.0]), layout(3, order=0))


def test_systems_of_parts_add_up():
    rng = np.random.default_rng(8)
    equations, made = random_equations(rng, 6, 4), layout(4, order=1)
    x, y = rng.uniform(0, 279, 6), rng.uniform(0, 239, 6)
    systems = []
    for part in (slice(None), slice(0, 2), slice(2, None)):
        matrix, vector = accumulate(equations[part], x[part], y[part], made)
        systems.append(SpatialSystem(matrix, vector, 0.1 * matrix))
    whole, first, second = systems
    rest = whole - first
    # Sums of six in another order.
    np.testing.assert_allclose(rest.matrix, second.matrix, atol=1e-12)
    np.testing.assert_allclose(rest.vector, second.vector, atol=1e-12)
    np.testing.assert_allclose(rest.noise, second.noise, atol=1e-12)


def test_noise_is_taken_off_the_matrix():
    rng = np.random.default_rng(8)
    equations, made = random_equations(rng, 6, 4), layout(4, order=1)
    matrix, vector = accumulate(equations, rng.uniform(0, 279, 6), rng.uniform(0, 239, 6), made)
    truth = np.linalg.solve(matrix, vector)
    # A tenth of the observed matrix is noise: in every direction less than the largest share that is corrected.
    system = SpatialSystem(matrix / 0.9, vector, matrix / 9)
    solution = solve_spatial(system, made)
    np.testing.assert_allclose(solution.parameters, truth, rtol=1e-9)
    assert solution.matrix is system.matrix
