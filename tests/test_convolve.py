"""The fast convolution against the pixel-by-pixel one: image, variance, mask, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest

import reference_direct as direct
from made_pairs import box_of, convolved_truth, known_kernel
from psfmatch_cli.convolve import convolve
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, MaskedImage
from psfmatch_cli.filling import fill_bad
from psfmatch_cli.kernel import MatchingKernel, SpatialModel
from psfmatch_cli.kernel_square import TOLERANCE

SHAPE = (41, 52)


def noisy(shape=SHAPE, *, xy0=(0, 0), level=0.0, seed=2) -> MaskedImage:
    """Noise with a source, a sloping variance, and one pixel each of two planes; none is bad."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = level + rng.normal(size=shape) + 300 * np.exp(-0.5 * ((x - 30) ** 2 + (y - 17) ** 2) / 4)
    made = MaskedImage.from_arrays(image, variance=1.0 + 0.02 * x + rng.random(shape), xy0=xy0)
    made.mask[18, 33] |= made.bits(["SAT"])
    made.mask[15, 20] |= made.bits(["SUSPECT"])
    return made


def delta_kernel(size: int = 11, shape=SHAPE) -> MatchingKernel:
    image = np.zeros((1, size, size))
    image[0, size // 2, size // 2] = 1.0
    return MatchingKernel(image, np.ones((1, 1)), SpatialModel("chebyshev1", 0, box_of(shape)))


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("xy0", [(0, 0), (-300, 12345)])
def test_the_fast_convolution_equals_the_direct_one(order, xy0):
    pixels, kernel = noisy(xy0=xy0), known_kernel(order, SHAPE, xy0=xy0)
    made = convolve(pixels, kernel)
    image, variance, mask = direct.convolve(pixels, kernel)
    empty = ~np.isfinite(image)
    np.testing.assert_array_equal(~np.isfinite(made.image), empty)
    np.testing.assert_array_equal(made.flagged(["NO_DATA"]), empty)
    # Single precision of a transform whose largest value is 300: some units of 2e-5.
    np.testing.assert_allclose(made.image[~empty], image[~empty], atol=1e-4)
    # The polynomial of the squared kernel is cut to the order that leaves this.
    np.testing.assert_allclose(made.variance[~empty], variance[~empty], rtol=TOLERANCE)
    assert np.isposinf(made.variance[empty]).all()
    assert np.isnan(made.image[empty]).all()
    # Saturation spreads over the kernel's square; what is not bad stays where it is.
    np.testing.assert_array_equal(made.flagged(["SAT"])[~empty], ((mask & made.bits(["SAT"])) != 0)[~empty])
    assert np.argwhere(made.flagged(["SUSPECT"]) & ~empty).tolist() == [[15, 20]]


def test_a_constant_kernel_needs_no_approximation_of_its_square():
    pixels, kernel = noisy(), known_kernel(0, SHAPE)
    _, variance, _ = direct.convolve(pixels, kernel)
    inner = np.isfinite(variance)
    # Single precision.
    np.testing.assert_allclose(convolve(pixels, kernel).variance[inner], variance[inner], rtol=2e-6)


def test_tiles_join_without_seams():
    shape = (530, 470)
    pixels, kernel = noisy(shape, level=1000.0), known_kernel(2, shape)
    made = convolve(pixels, kernel)
    inner = np.s_[7:-7, 7:-7]
    expected = convolved_truth(pixels.image.astype(float), kernel)[inner]
    assert np.isfinite(made.image[inner]).all()
    # Values of 1250 are stored to 6e-5, and the transforms of deviations of 300 add some 2e-5.
    np.testing.assert_allclose(made.image[inner], expected, atol=3e-4)


def test_the_sky_level_costs_no_precision():
    kernel = known_kernel(1, SHAPE)
    low, high = (convolve(noisy(level=level), kernel).image for level in (0.0, 32768.0))
    # The level times the kernel sum (1.25) comes back; values of 4e4 are stored to 2e-3, at input and output.
    np.testing.assert_allclose(high[7:-7, 7:-7] - 1.25 * 32768.0, low[7:-7, 7:-7], atol=0.02)


def test_a_delta_kernel_is_identity():
    pixels = noisy()
    made = convolve(pixels, delta_kernel())
    inner = np.s_[5:-5, 5:-5]
    # Rounding of a transform whose largest value is 300.
    np.testing.assert_allclose(made.image[inner], pixels.image[inner], atol=1e-4)
    np.testing.assert_allclose(made.variance[inner], pixels.variance[inner], rtol=1e-5)


def test_the_kernel_sum_is_the_flux_ratio():
    image = np.zeros((60, 60))
    image[30, 31] = 1e4
    made = convolve(MaskedImage.from_arrays(image, variance=np.ones((60, 60))), known_kernel(0, (60, 60), ratio=0.77))
    # Single precision of 225 values.
    assert np.nansum(made.image) == pytest.approx(7700, rel=1e-5)


def test_a_lopsided_kernel_is_not_mirrored():
    kernel = delta_kernel()
    kernel = replace(kernel, basis=np.roll(kernel.basis, (2, 3), axis=(1, 2)))
    image = np.zeros(SHAPE)
    image[20, 20] = 100.0
    made = convolve(MaskedImage.from_arrays(image, variance=np.ones(SHAPE)), kernel)
    assert np.unravel_index(np.nanargmax(made.image), SHAPE) == (22, 23)


@pytest.mark.parametrize("plane", ["BAD", "CR", "NO_DATA"])
@pytest.mark.parametrize("value", [1e5, 1e30, np.nan, np.inf])
def test_bad_pixels_are_filled_and_flagged_where_they_matter(plane, value):
    kernel, at = known_kernel(1, SHAPE), (20, 25)
    clean, pixels = noisy(), noisy()
    pixels.image[at], pixels.variance[at] = value, np.inf
    pixels.mask[at] |= pixels.bits([plane])
    expected, made = convolve(clean, kernel), convolve(pixels, kernel)
    flagged = made.flagged([plane, "NO_DATA"])
    square = np.zeros(SHAPE, bool)
    square[at[0] - 7 : at[0] + 8, at[1] - 7 : at[1] + 8] = True
    border = ~np.isfinite(expected.image)
    # The core of the kernel's square is flagged, nothing beyond the square.
    assert flagged[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2].all()
    assert not (flagged & ~square & ~border).any()
    # What is not flagged is right to half of the noise: a filled pixel under 1 % of the kernel's weight.
    fine = ~flagged & ~border
    sigma = np.sqrt(expected.variance[fine])
    assert (abs(made.image[fine] - expected.image[fine]) < 0.5 * sigma).all()
    np.testing.assert_allclose(made.variance[fine], expected.variance[fine], rtol=0.05)


def test_a_hole_is_empty_wherever_the_kernel_needs_it():
    kernel, pixels = known_kernel(1, SHAPE), noisy()
    pixels.image[15:26, 20:33] = np.nan
    pixels = MaskedImage.from_arrays(pixels.image, pixels.mask, pixels.variance)
    made = convolve(pixels, kernel)
    lost = made.flagged(["NO_DATA"])
    assert lost[13:28, 18:35].all()
    np.testing.assert_array_equal(np.isnan(made.image), lost)
    assert np.isposinf(made.variance[lost]).all()
    reach = np.zeros(SHAPE, bool)
    reach[15 - 7 : 26 + 7, 20 - 7 : 33 + 7] = True
    reach[:7] = reach[-7:] = reach[:, :7] = reach[:, -7:] = True
    assert not (lost & ~reach).any()


def test_repaired_pixels_are_used_as_they_are():
    pixels, plain = noisy(), noisy()
    pixels.mask[20, 25] |= pixels.bits(["BAD", "INTRP"])
    made, expected = convolve(pixels, known_kernel(1, SHAPE)), convolve(plain, known_kernel(1, SHAPE))
    np.testing.assert_array_equal(made.image, expected.image)
    inner = np.isfinite(made.image)
    assert not (made.flagged(["BAD"]) & inner).any()
    assert np.argwhere(made.flagged(["INTRP"]) & inner).tolist() == [[20, 25]]


def test_an_image_without_a_good_pixel_is_empty():
    pixels = MaskedImage.from_arrays(np.full(SHAPE, np.nan), variance=np.ones(SHAPE))
    made = convolve(pixels, known_kernel(0, SHAPE))
    assert np.isnan(made.image).all()
    assert made.flagged(["NO_DATA"]).all()


def test_a_hole_beyond_the_reach_of_good_pixels_counts_as_sky():
    pixels = MaskedImage.from_arrays(np.full((60, 70), 7.0), variance=np.full((60, 70), 3.0))
    pixels.image[15:45, 15:45], pixels.variance[15:45, 15:45] = 1e6, np.inf
    pixels.mask[15:45, 15:45] |= pixels.bits(["CR"])
    made, expected = convolve(pixels, known_kernel(0, (60, 70))), convolve(cleaned(pixels), known_kernel(0, (60, 70)))
    np.testing.assert_allclose(made.image, expected.image, rtol=1e-6)
    np.testing.assert_allclose(made.variance, expected.variance, rtol=1e-6)
    assert made.flagged(["CR"])[15:45, 15:45].all()


def cleaned(pixels: MaskedImage) -> MaskedImage:
    """The same constant image without its hole."""
    return MaskedImage.from_arrays(np.full(pixels.shape, 7.0), variance=np.full(pixels.shape, 3.0))


def test_the_border_is_lost_also_where_the_mask_had_no_such_plane():
    pixels = MaskedImage(np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.int32), np.ones(SHAPE, np.float32), {"BAD": 0})
    made = convolve(pixels, delta_kernel())
    lost = np.ones(SHAPE, bool)
    lost[5:-5, 5:-5] = False
    np.testing.assert_array_equal(made.flagged(["NO_DATA"]), lost)
    np.testing.assert_array_equal(np.isnan(made.image), lost)


def test_the_input_is_unchanged():
    pixels = noisy()
    pixels.image[20, 25] = np.nan
    before = pixels.copy()
    convolve(pixels, known_kernel(1, SHAPE))
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(pixels, name), getattr(before, name))
    assert dict(pixels.planes) == DEFAULT_PLANES


def test_threads_do_not_change_the_result():
    pixels, kernel = noisy(), known_kernel(1, SHAPE)
    np.testing.assert_array_equal(convolve(pixels, kernel, threads=2).image, convolve(pixels, kernel).image)


def test_an_image_smaller_than_the_kernel_is_refused():
    with pytest.raises(InputError, match="the image, 52 x 10 pixels, is smaller than the kernel, 11 x 11"):
        convolve(noisy((41, 52)).cutout(box_of((10, 52))), delta_kernel())


def test_an_image_as_large_as_the_kernel_has_one_pixel():
    made = convolve(noisy((41, 52)).cutout(box_of((11, 11))), delta_kernel())
    assert np.argwhere(np.isfinite(made.image)).tolist() == [[5, 5]]


def test_powers_of_large_positions_do_not_cancel_in_single_precision():
    x0, y0 = xy0 = (20000, 30000)
    pixels, kernel = noisy(xy0=xy0), known_kernel(1, SHAPE, xy0=xy0)
    xm, ym = x0 + 26.0, y0 + 20.0
    # A second basis image whose coefficient is (x - xm) (y - ym) / 500, multiplied out: 1, x, y, x^2, xy, y^2.
    coefficients = np.array([[1.0, 0, 0, 0, 0, 0], np.array([xm * ym, -ym, -xm, 0, 1, 0]) / 500])
    plain = MatchingKernel(kernel.basis[:2], coefficients, SpatialModel("polynomial", 2, kernel.spatial.region))
    image, variance, _ = direct.convolve(pixels, plain)
    inner = np.isfinite(image)
    made = convolve(pixels, plain)
    # 1e-16 of 6e8 / 500 in double precision, and the single precision of the transform.
    np.testing.assert_allclose(made.image[inner], image[inner], atol=2e-4)
    np.testing.assert_allclose(made.variance[inner], variance[inner], rtol=TOLERANCE)


def test_planes_that_are_left_out_are_gone_and_change_nothing_else():
    pixels, kernel = noisy(), known_kernel(1, SHAPE)
    pixels.mask[10:30, 5:40] |= pixels.bits(["DETECTED"])
    made = convolve(pixels, kernel, without=["DETECTED"])
    expected = convolve(pixels.without_planes(["DETECTED"]), kernel)
    np.testing.assert_array_equal(made.mask, expected.mask)
    np.testing.assert_array_equal(made.image, expected.image)


def test_correlated_noise_gets_the_variance_it_has():
    rng = np.random.default_rng(6)
    shape, smoothing = (400, 400), np.array([[0.25, 0.5, 0.25]])
    smoothing = smoothing.T @ smoothing
    white = MatchingKernel(smoothing[None], np.ones((1, 1)), SpatialModel("chebyshev1", 0, box_of(shape)))
    noise = convolve(MaskedImage.from_arrays(rng.normal(size=shape), variance=np.ones(shape)), white)
    image, variance = noise.image[1:-1, 1:-1], noise.variance[1:-1, 1:-1]
    own = np.array([[1, 4, 6, 4, 1]]) / 6.0
    made = convolve(
        MaskedImage.from_arrays(image, variance=variance), known_kernel(1, image.shape), autocorrelation=own.T @ own
    )
    # 1.6e5 pixels with a correlation length of some 3 pixels each way: about 1 % of the variance at one sigma.
    assert np.nanvar(made.image) == pytest.approx(np.mean(made.variance[np.isfinite(made.variance)]), rel=0.03)


def test_bad_pixels_are_replaced_in_a_copy_only():
    pixels = noisy()
    bad = np.zeros(SHAPE, bool)
    bad[30, 10], bad[0:12, 0:12] = True, True
    pixels.image[bad] = 1e6
    before = pixels.copy()
    made = fill_bad(pixels, bad)
    np.testing.assert_array_equal(pixels.image, before.image)
    np.testing.assert_array_equal(made.image[~bad], pixels.image[~bad])
    # Noise of 1 around it; beyond the reach of good pixels, the median of all.
    assert abs(made.image[30, 10]) < 3
    assert made.image[3, 3] == np.median(pixels.image[~bad])
