"""Spatial polynomials, the matching kernel and the background as functions of position."""

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import box_of, known_kernel, plane
from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel, exponent_pairs, n_terms

REGION = Box(-40, 900, 159, 1199)


def test_exponents_go_degree_by_degree_with_falling_x_power():
    assert exponent_pairs(2) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]


@pytest.mark.parametrize("order", range(7))
def test_number_of_terms(order):
    assert n_terms(order) == len(exponent_pairs(order))


@pytest.mark.parametrize("kind", ["chebyshev1", "polynomial"])
def test_terms_equal_numpys_polynomials(kind):
    model = SpatialModel(kind, 4, REGION)
    for x, y in [(-40, 900), (159, 1199), (12.25, 1003.5), (59.5, 1049.5)]:
        expected = direct.spatial_terms(kind, 4, REGION, x, y)
        # The recurrence loses a few units in the last place.
        np.testing.assert_allclose(model.terms(x, y), expected, rtol=1e-13, atol=1e-13)


def test_the_region_reaches_half_a_pixel_beyond_its_first_and_last_centre():
    model = SpatialModel("chebyshev1", 1, REGION)
    _, x, y = model.terms(-40, 1199)
    # 200 columns, 300 rows: exact up to one rounding.
    assert x == pytest.approx(-1 + 1 / 200, abs=1e-15)
    assert y == pytest.approx(1 - 1 / 300, abs=1e-15)


def test_separable_terms_are_factors_of_the_terms():
    model = SpatialModel("chebyshev1", 3, REGION)
    xs, ys = np.arange(-40, 20), np.arange(900, 930)
    fx, fy = model.separable_terms(xs, ys)
    grid = model.terms(*np.meshgrid(xs, ys))
    np.testing.assert_array_equal(fy[:, :, None] * fx[:, None, :], grid)


def test_unknown_model_and_negative_order_are_refused():
    with pytest.raises(UsageError, match="chebyshev1 or polynomial, got 'spline'"):
        SpatialModel("spline", 1, REGION)
    with pytest.raises(UsageError, match="at least 0, got -1"):
        SpatialModel("chebyshev1", -1, REGION)


@pytest.mark.parametrize("kind", ["chebyshev1", "polynomial"])
def test_kernel_image_is_the_sum_over_basis_and_terms(kind):
    kernel = known_kernel(2, (200, 300), xy0=(7, -90), kind=kind)
    for x, y in [(7, -90), (150.5, 20.25)]:
        # Sums of some dozen products of order one.
        np.testing.assert_allclose(kernel.image(x, y), direct.kernel_at(kernel, x, y), atol=1e-14)


def test_kernel_sum_is_that_of_its_image_and_follows_the_shape_of_the_positions():
    kernel = known_kernel(2, (200, 300), ratio=0.8)
    x, y = np.meshgrid(np.linspace(0, 299, 4), np.linspace(0, 199, 3))
    sums = kernel.sum(x, y)
    expected = [[kernel.image(a, b).sum() for a, b in zip(*row, strict=True)] for row in zip(x, y, strict=True)]
    # Sums of 225 products in two orders.
    np.testing.assert_allclose(sums, expected, atol=1e-13)
    # All basis images but the first sum to zero: no variation whatever the coefficients.
    np.testing.assert_allclose(sums, 0.8, atol=1e-13)
    assert kernel.center_sum == pytest.approx(0.8, abs=1e-13)


def test_center_sum_is_taken_at_the_middle_of_the_region():
    model = SpatialModel("polynomial", 1, REGION)
    kernel = MatchingKernel(np.ones((1, 3, 3)), np.array([[1.0, 2.0, 3.0]]), model)
    x, y = REGION.center
    assert kernel.center_sum == pytest.approx(9 * (1 + 2 * x + 3 * y), rel=1e-14)


def test_sizes():
    kernel = known_kernel(1, (64, 64))
    assert (kernel.size, kernel.half_size, kernel.term_images.shape) == (15, 7, (3, 15, 15))


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 3, 5), (3, 3)])
def test_kernel_images_have_odd_equal_sides(shape):
    with pytest.raises(UsageError, match="square with an odd side"):
        MatchingKernel(np.ones(shape), np.ones((1, 1)), SpatialModel("chebyshev1", 0, REGION))


def test_coefficients_must_fit_basis_and_order():
    with pytest.raises(UsageError, match=r"shape \(2, 1\), expected \(2, 3\)"):
        MatchingKernel(np.ones((2, 3, 3)), np.ones((2, 1)), SpatialModel("chebyshev1", 1, REGION))
    with pytest.raises(UsageError, match=r"\(2,\) coefficients, expected 3"):
        BackgroundModel(np.ones(2), SpatialModel("chebyshev1", 1, REGION))


def test_background_image_is_the_model_at_every_pixel():
    background = plane((9, 14), [2.0, -1.0, 0.5, 0.25, -3.0, 1.0], xy0=(30, 40))
    box = Box(28, 41, 39, 47)
    expected = direct.polynomial_field(background.spatial, background.coefficients, box)
    # Stored as float32.
    np.testing.assert_allclose(background.image(box), expected, rtol=1e-6, atol=1e-6)
    assert background.image(box).dtype == np.float32


def test_background_zero_is_zero_everywhere():
    background = BackgroundModel.zero(box_of((10, 20)))
    assert not background.image(box_of((10, 20))).any()
    assert background(3.5, 1e6) == 0
