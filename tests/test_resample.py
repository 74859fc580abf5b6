import numpy as np
import pytest

from psfmatch_cli.resample import KRIGING_FWHM, REACH, gather, kernel_weights, locate, pack, padding, resampling_kernel
from sky_fields import resample_plainly

# Lanczos-3 weights at taps -2..3, not normalised, and their sum.
LANCZOS3 = {
    0.0: ([0, 0, 1, 0, 0, 0], 1.0),
    0.25: ([0.030021, -0.132871, 0.890067, 0.270190, -0.067791, 0.007356], 0.996972),
    0.5: ([0.024317, -0.135095, 0.607927, 0.607927, -0.135095, 0.024317], 0.994299),
    0.9: ([0.001167, -0.023770, 0.093816, 0.981835, -0.070917, 0.017231], 0.999363),
}


@pytest.mark.parametrize("fraction", LANCZOS3)
def test_lanczos3_weights_are_the_published_numbers(fraction):
    weights, total = LANCZOS3[fraction]
    # The numbers are rounded to 6 decimals.
    exact = kernel_weights("lanczos3", np.array([fraction]))[:, 0]
    np.testing.assert_allclose(exact * total, weights, atol=1.5e-6)
    found = resampling_kernel("lanczos3").weights(np.array([fraction]))[:, 0]
    np.testing.assert_allclose(found * total, weights, atol=1.5e-6)


@pytest.mark.parametrize("name", REACH)
def test_polynomial_weights_are_the_normalised_kernel(name):
    fraction = np.linspace(0, 1, 2001)
    exact = kernel_weights(name, fraction)
    kernel = resampling_kernel(name)
    np.testing.assert_allclose(kernel.weights(fraction), exact, atol=2e-8)
    # float32 rounds to 6e-8 of weights up to 1.
    np.testing.assert_allclose(kernel.weights(fraction.astype(np.float32)), exact, atol=2e-7)


@pytest.mark.parametrize(("name", "degree"), [("bilinear", 1), ("bicubic", 2), ("lanczos4", 0), ("kriging4", 1)])
def test_polynomials_that_a_kernel_keeps(name, degree):
    """A field that is a polynomial of this degree comes back at any position, one of the next does not."""
    reach, fraction = REACH[name], np.linspace(0, 1, 101)
    weights, taps = kernel_weights(name, fraction), np.arange(-reach + 1, reach + 1)
    for power in range(degree + 1):
        np.testing.assert_allclose((taps**power) @ weights, fraction**power, atol=1e-11)
    assert np.abs((taps ** (degree + 1)) @ weights - fraction ** (degree + 1)).max() > 5e-3


def test_bicubic_is_the_cubic_convolution():
    # Keys (1981): halfway between samples -1/16, 9/16, 9/16, -1/16.
    np.testing.assert_allclose(kernel_weights("bicubic", np.array([0.5]))[:, 0], np.array([-1, 9, 9, -1]) / 16)


def test_kriging_is_the_best_linear_estimate_of_gaussian_stars():
    """No other weights of sum and slope alike give smaller errors, on average, for a star anywhere nearby."""
    sigma, taps, f = KRIGING_FWHM / np.sqrt(8 * np.log(2)), np.arange(-3, 5), 0.3
    centers = np.linspace(-20, 20, 4001)[:, None]
    samples = np.exp(-0.5 * ((taps - centers) / sigma) ** 2)
    truth = np.exp(-0.5 * ((f - centers[:, 0]) / sigma) ** 2)
    weights = kernel_weights("kriging4", np.array([f]))[:, 0]
    best = np.mean((samples @ weights - truth) ** 2)
    rng = np.random.default_rng(4)
    for _ in range(50):
        change = rng.normal(size=8)
        # Neither the sum nor the slope may change.
        change -= np.polynomial.polynomial.polyval(taps, np.polynomial.polynomial.polyfit(taps, change, 1))
        assert np.mean((samples @ (weights + 0.01 * change) - truth) ** 2) > best


@pytest.mark.parametrize("name", REACH)
def test_whole_pixels_have_exactly_one_weight(name):
    weights = resampling_kernel(name).weights(np.array([0, 1], np.float32))
    assert np.count_nonzero(weights) == 2
    assert weights[REACH[name] - 1, 0] == 1
    assert weights[REACH[name], 1] == 1


@pytest.mark.parametrize("name", REACH)
def test_gathered_sums_are_the_plain_sums(name):
    rng = np.random.default_rng(11)
    image = rng.normal(1000, 50, size=(40, 50)).astype(np.float32)
    variance = rng.uniform(1, 9, size=image.shape).astype(np.float32)
    kernel = resampling_kernel(name)
    x, y = rng.uniform(6, 43, 300), rng.uniform(6, 33, 300)
    taps = locate(kernel, image.shape, x, y)
    found, noise = gather(pack(image, variance, padding(kernel)), kernel, taps)
    expected, expected_noise = resample_plainly(image, variance, x, y, np.ones(300), name)
    # Up to 100 products of weights with the float32 rounding of 1e-7 times the gradient of fractions and sums.
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    np.testing.assert_allclose(noise, expected_noise, rtol=5e-6)


def test_positions_off_the_image_read_only_padding():
    kernel = resampling_kernel("lanczos3")
    image = np.ones((20, 30), np.float32)
    x = np.array([np.nan, -50.0, 500.0, 10.0, 1e300])
    y = np.array([5.0, 5.0, 5.0, np.nan, -np.inf])
    found, noise = gather(pack(image, image, padding(kernel)), kernel, locate(kernel, image.shape, x, y))
    assert not found.any()
    assert not noise.any()
