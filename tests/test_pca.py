"""Principal components of kernels against the covariance of their pixels, and their invariants."""

import numpy as np
import pytest

import reference_direct as direct
from psfmatch_cli.errors import FitError, UsageError
from psfmatch_cli.pca import principal_components


def gaussian_kernels(widths, side: int = 9) -> np.ndarray:
    """Unit-sum Gaussians, somewhat off centre, of these widths."""
    v, u = np.mgrid[:side, :side] - side // 2
    images = np.array([np.exp(-0.5 * ((u - 0.1 * k) ** 2 + v**2 * 1.1) / s**2) for k, s in enumerate(widths)])
    return images / images.sum(axis=(1, 2), keepdims=True)


@pytest.fixture
def kernels() -> np.ndarray:
    """Eight kernels that differ by widths, places and noise."""
    made = gaussian_kernels(np.linspace(1.0, 1.8, 8)) + 0.003 * np.random.default_rng(6).normal(size=(8, 9, 9))
    return made / made.sum(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_components_equal_those_of_the_pixels_covariance(kernels, subtract_mean):
    found = principal_components(kernels, subtract_mean, 4)
    eigenvalues, images = direct.kernel_of_components(kernels, subtract_mean, 4)
    np.testing.assert_allclose(found.eigenvalues, eigenvalues[:8], atol=1e-15)
    # The eigenvalues of the first four are apart by factors; the sums of 81 pixels round at 1e-15.
    np.testing.assert_allclose(found.basis.images, images, atol=1e-10)
    np.testing.assert_allclose(found.mean, kernels.mean(axis=0), atol=1e-16)


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_the_first_sums_to_one_the_others_to_zero_with_unit_squares(kernels, subtract_mean):
    basis = principal_components(kernels, subtract_mean, 5).basis
    assert basis.constant_first
    assert len(basis) == 5
    np.testing.assert_allclose(basis.images.sum(axis=(1, 2)), [1, 0, 0, 0, 0], atol=1e-13)
    np.testing.assert_allclose((basis.images[1:] ** 2).sum(axis=(1, 2)), 1, atol=1e-13)


def test_kernels_that_vary_in_two_ways_need_the_mean_and_two_components(kernels):
    mean, one, two = kernels[:3]
    rng = np.random.default_rng(4)
    shares = rng.normal(size=(20, 2, 1, 1))
    made = mean + shares[:, 0] * (one - mean) + shares[:, 1] * (two - mean)
    found = principal_components(made, True, 5)
    # Rounding aside there is no third.
    assert len(found.basis) == 3
    assert len(found.eigenvalues) == 20
    flat = found.basis.images.reshape(3, -1)
    coefficients = np.linalg.lstsq(flat.T, made.reshape(20, -1).T, rcond=None)[0]
    np.testing.assert_allclose(flat.T @ coefficients, made.reshape(20, -1).T, atol=1e-14)
    # The kernel sum is the first coefficient.
    np.testing.assert_allclose(coefficients[0], 1, atol=1e-12)


@pytest.mark.parametrize(("wanted", "kept"), [(1, 1), (3, 3), (5, 4), (50, 4)])
def test_not_more_functions_than_kernels_the_mean_being_one(kernels, wanted, kept):
    assert len(principal_components(kernels[:4], True, wanted).basis) == kept
    assert len(principal_components(kernels[:4], False, wanted).basis) == kept


def test_three_equal_kernels():
    delta = np.zeros((3, 5, 5))
    delta[:, 2, 2] = 1.0
    plain = principal_components(delta, False, 5)
    np.testing.assert_allclose(plain.eigenvalues, [1, 0, 0], atol=1e-15)
    centred = principal_components(delta, True, 5)
    np.testing.assert_array_equal(centred.eigenvalues, [0, 0, 0])
    np.testing.assert_array_equal(centred.mean, delta[0])
    # Nothing is left to tell the kernels apart: the mean alone, not an error.
    for found in (plain, centred):
        np.testing.assert_allclose(found.basis.images, delta[:1], atol=1e-15)


def test_equal_kernels_that_round_give_their_mean_alone(kernels):
    found = principal_components(np.repeat(kernels[:1], 7, axis=0), True, 5)
    np.testing.assert_allclose(found.basis.images, kernels[:1], atol=1e-15)


def test_components_do_not_depend_on_the_order_of_the_kernels(kernels):
    shuffled = kernels[[3, 0, 7, 1, 6, 2, 5, 4]]
    one, other = (principal_components(k, True, 4).basis.images for k in (kernels, shuffled))
    np.testing.assert_allclose(one, other, atol=1e-10)


def test_the_peak_of_a_component_is_positive(kernels):
    images = principal_components(kernels, True, 4).basis.images
    for image in images[1:]:
        assert image.flat[np.abs(image).argmax()] > 0


def test_of_two_peaks_of_one_size_the_positive_one_counts():
    dipole = np.zeros((2, 3, 3))
    dipole[:, 1, 1] = 1.0
    # Halves are exact: both peaks of the component have one size.
    dipole[0, 1, 0], dipole[0, 1, 2] = 0.5, -0.5
    dipole[1, 1, 0], dipole[1, 1, 2] = -0.5, 0.5
    component = principal_components(dipole, True, 3).basis.images[1]
    np.testing.assert_allclose(np.abs(component[1]), [np.sqrt(0.5), 0, np.sqrt(0.5)], atol=1e-15)
    np.testing.assert_allclose(component.sum(), 0, atol=1e-15)


def test_kernels_that_are_not_finite_are_left_out(kernels):
    bad = kernels.copy()
    bad[[1, 4], 0, 0] = np.nan, np.inf
    found = principal_components(bad, True, 4)
    expected = principal_components(kernels[[0, 2, 3, 5, 6, 7]], True, 4)
    assert len(found.eigenvalues) == 6
    np.testing.assert_array_equal(found.basis.images, expected.basis.images)


def test_the_kernels_are_unchanged(kernels):
    before = kernels.copy()
    principal_components(kernels, True, 4)
    np.testing.assert_array_equal(kernels, before)


def test_what_has_no_components_is_an_error(kernels):
    with pytest.raises(FitError, match="no finite kernel"):
        principal_components(np.full((2, 3, 3), np.nan), True, 5)
    with pytest.raises(FitError, match="no finite kernel"):
        principal_components(np.empty((0, 3, 3)), True, 5)
    with pytest.raises(UsageError, match="num_principal_components must be at least 1, got 0"):
        principal_components(kernels, True, 0)
    zero_sum = kernels - kernels.mean(axis=(1, 2), keepdims=True)
    with pytest.raises(FitError, match=r"sums to zero; kernel\.subtract_mean_for_pca may help"):
        principal_components(zero_sum, False, 5)
    with pytest.raises(FitError, match="sums to zero"):
        principal_components(np.zeros((3, 3, 3)), False, 5)
