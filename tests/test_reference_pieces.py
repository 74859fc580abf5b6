"""Single pieces of the method against published and independently computed numbers."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from psfmatch_cli.basis import delta_function_basis
from psfmatch_cli.design import convolve_stamps
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import SpatialModel
from psfmatch_cli.solve import NormalEquations, condition_number, normal_equations, solve_symmetric
from psfmatch_cli.spatial import SpatialLayout

#: Side of the kernel and its half.
SIDE, HALF = 21, 10


@pytest.fixture(scope="module")
def kernel() -> np.ndarray:
    """Gaussian of sigma 2 in x and 3 in y, of unit sum."""
    v, u = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
    image = np.exp(-0.5 * (u / 2.0) ** 2 - 0.5 * (v / 3.0) ** 2)
    return image / image.sum()


def delta_function_fit(kernel: np.ndarray, constant: bool) -> NormalEquations:
    """One pixel of large variance convolved with the kernel, fitted by delta functions and a background, 961 pixels."""
    template, variance = np.zeros((71, 71)), np.full((71, 71), 1e-4)
    template[35, 35] = variance[35, 35] = 1.0
    science, science_variance = (fftconvolve(a, k, mode="same") for a, k in ((template, kernel), (variance, kernel**2)))
    stamp, inner = np.s_[10:-10, 10:-10], np.s_[20:-20, 20:-20]
    template = template[stamp]
    summed = (variance + science_variance)[inner].reshape(1, -1)
    weight = np.full(summed.shape, 1 / np.median((variance + science_variance)[stamp])) if constant else 1 / summed
    design = convolve_stamps(template[None], delta_function_basis(SIDE))
    return normal_equations(design, science[inner].reshape(1, -1), weight, fit_background=True)


@pytest.mark.parametrize(("constant", "condition"), [(True, 1.78e3), (False, 9.1e6)])
@pytest.mark.parametrize("kind", ["EIGENVALUE", "SVD"])
def test_condition_number_of_the_delta_function_fit(kernel, constant, condition, kind):
    made = delta_function_fit(kernel, constant)
    assert made.matrix.shape == (1, 442, 442)
    # The references have three and two digits.
    assert condition_number(made.matrix[0], kind) == pytest.approx(condition, rel=3e-3)


@pytest.mark.parametrize("constant", [True, False])
def test_a_delta_function_fit_recovers_every_kernel_pixel(kernel, constant):
    made = delta_function_fit(kernel, constant)
    solution, solver = solve_symmetric(made.matrix[0], made.vector[0])
    fitted = solution[:-1].reshape(SIDE, SIDE)
    assert solver == "cholesky"
    large = kernel > 1e-3
    # Published tolerances: 5 decimals of the ratio, 7 of sum and background.
    np.testing.assert_allclose((fitted / kernel)[large], 1, atol=5e-6)
    np.testing.assert_allclose(fitted, kernel, atol=1e-8)
    assert fitted.sum() == pytest.approx(kernel.sum(), abs=5e-8)
    assert solution[-1] == pytest.approx(0.0, abs=5e-8)


@pytest.mark.parametrize(
    ("constant_first", "kernel_order", "background_order"),
    [(True, 0, 0), (True, 2, 1), (False, 2, None), (False, 1, 2)],
)
def test_spatial_parameter_counts(constant_first, kernel_order, background_order):
    region = Box(0, 0, 99, 99)
    background = None if background_order is None else SpatialModel("polynomial", background_order, region)
    layout = SpatialLayout(4, constant_first, SpatialModel("chebyshev1", kernel_order, region), background)
    terms = (kernel_order + 1) * (kernel_order + 2) // 2
    n_kernel = 4 * terms - (terms - 1 if constant_first else 0)
    n_background = 0 if background is None else (background_order + 1) * (background_order + 2) // 2
    assert layout.n_parameters == n_kernel + n_background
    coefficients, _ = layout.unpack(np.arange(1.0, layout.n_parameters + 1))
    assert coefficients.shape == (4, terms)
    assert coefficients[0, 1:].any() == (not constant_first and terms > 1)
