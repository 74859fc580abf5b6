"""Clipped statistics, bins, and the surface through them."""

import logging

import numpy as np
import pytest

from psfmatch_cli.background import clipped_mean_std, fit_background, subtract_background
from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, MaskedImage


def plane_bits(shape, name, where):
    mask = np.zeros(shape, np.int32)
    mask[where] = 1 << DEFAULT_PLANES[name]
    return mask


def surface(shape):
    """A smooth sky of 1000 with 5 % of gradient and curvature."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None] - 0.5
    return 1000 + 30 * x - 20 * y + 25 * x * y - 40 * y**2


# Clipped statistics


@pytest.mark.parametrize("values", [[1, 1, 1, 1, 2, 3, 4], [1, 1, 1, 1, 2, 3, 4, 50]])
def test_clipped_statistics_of_the_reference(values):
    stats = clipped_mean_std(values)
    assert stats.mean == pytest.approx(1.857142857, abs=1e-9)  # the reference has nine decimals
    assert stats.std == pytest.approx(1.214985793, abs=1e-9)
    assert stats.n == 7


def test_equal_quartiles_keep_only_the_median():
    stats = clipped_mean_std([1.0] * 8 + [100.0])
    assert (stats.mean, stats.std, stats.n) == (1.0, 0.0, 8)


def test_a_single_value_has_no_deviation():
    stats = clipped_mean_std([3.0])
    assert (stats.mean, stats.n) == (3.0, 1)
    assert np.isnan(stats.std)


def test_every_pass_starts_from_all_values():
    values = np.random.default_rng(1).normal(10, 2, 400)
    values[:20] += np.linspace(6, 40, 20)
    center, width = np.median(values), 3 * 0.741301109252802 * np.subtract(*np.percentile(values, [75, 25]))
    for _ in range(3):
        kept = values[np.abs(values - center) <= width]
        center, width = kept.mean(), 3 * kept.std(ddof=1)
    stats = clipped_mean_std(values)
    # Summed in another order: rounding only.
    assert stats.mean == pytest.approx(center, rel=1e-13)
    assert stats.std == pytest.approx(width / 3, rel=1e-12)
    assert stats.n == len(kept)


def test_clipping_is_blind_to_the_order_and_shape():
    values = np.random.default_rng(2).normal(size=(30, 40))
    assert clipped_mean_std(values) == clipped_mean_std(values.ravel()[::-1])


def test_values_that_are_not_finite_are_left_out():
    assert clipped_mean_std([1, np.nan, 1, np.inf, 1]) == clipped_mean_std([1, 1, 1])


def test_no_value_is_an_error():
    with pytest.raises(InputError, match="at least one finite value"):
        clipped_mean_std([np.nan])


# The surface


@pytest.mark.parametrize("xy0", [(0, 0), (3000, -50)])
def test_a_smooth_sky_comes_back(xy0):
    shape = (700, 900)
    truth = surface(shape)
    image = truth + np.random.default_rng(3).normal(0, 5, shape)
    fit = fit_background(MaskedImage.from_arrays(image, variance=np.full(shape, 25.0), xy0=xy0))
    assert fit.kind == "chebyshev"
    assert (fit.n_bins, fit.order) == (6 * 8, 5)
    # 48 bins with an error of 5/128 fix 21 terms: about 0.03 inside, several times that at the corners.
    assert np.abs(fit.image - truth).max() < 0.3
    # 3 sigma clipping takes 1.4 % off the standard deviation; the slope within a bin adds up to 5 %.
    assert fit.rms == pytest.approx(5, rel=0.05)


def test_bins_are_counted_from_the_ceiling_and_set_the_order():
    image = np.random.default_rng(4).normal(size=(257, 128))
    fit = fit_background(MaskedImage.from_arrays(image, variance=np.ones_like(image)))
    assert (fit.n_bins, fit.order) == (3, 0)


def test_stars_are_clipped_away():
    shape = (512, 512)
    rng = np.random.default_rng(5)
    image = 100 + rng.normal(0, 5, shape)
    y, x = np.mgrid[:512, :512]
    for _ in range(100):
        image += 3000 * np.exp(-0.5 * ((x - rng.uniform(0, 512)) ** 2 + (y - rng.uniform(0, 512)) ** 2) / 1.5**2)
    fit = fit_background(MaskedImage.from_arrays(image, variance=np.full(shape, 25.0)))
    # The wings that clipping can not tell from sky: a few hundredths of the noise.
    assert np.abs(fit.image - 100).mean() < 0.5


def test_nan_and_masked_pixels_do_not_count():
    shape = (384, 384)
    image = 50 + np.random.default_rng(6).normal(0, 1, shape)
    image[:100, :200] = np.nan
    image[200:300, 100:300] = 1e6
    mask = plane_bits(shape, "DETECTED", (slice(200, 300), slice(100, 300)))
    fit = fit_background(MaskedImage.from_arrays(image, mask, np.ones(shape)))
    assert np.isfinite(fit.image).all()
    # Order 2 through 9 bins of errors from 0.008 up: well below the noise of 1.
    assert np.abs(fit.image - 50).max() < 0.2


def test_the_order_falls_to_what_the_bins_left_determine():
    shape = (512, 512)
    image = np.random.default_rng(7).normal(10, 1, shape)
    image[:, 128:] = np.nan
    fit = fit_background(MaskedImage.from_arrays(image, variance=np.ones(shape)))
    assert (fit.n_bins, fit.order) == (4, 0)
    assert np.abs(fit.image - 10).max() < 0.05


@pytest.mark.parametrize(
    "settings",
    [
        {"statistics_property": "MEDIAN"},
        {"statistics_property": "MEAN"},
        {"weighting": False},
        {"weight_by": "variance"},
        {"bin_size": 64, "approx_order_x": 2},
    ],
)
def test_settings_give_the_same_surface_of_a_plain_sky(settings):
    shape = (400, 400)
    image = surface(shape) + np.random.default_rng(8).normal(0, 1, shape)
    masked_image = MaskedImage.from_arrays(image, variance=np.ones(shape))
    fit = fit_background(masked_image, BackgroundConfig(**settings))
    assert np.abs(fit.image - surface(shape)).max() < 0.5


def test_weights_are_inverse_errors_or_their_squares():
    shape = (128, 256)
    rng = np.random.default_rng(9)
    image = np.hstack([rng.normal(0, 1, (128, 128)), rng.normal(10, 4, (128, 128))])
    masked_image = MaskedImage.from_arrays(image, variance=np.ones(shape))
    by_error = fit_background(masked_image, BackgroundConfig(approx_order_x=0)).image[0, 0]
    by_variance = fit_background(masked_image, BackgroundConfig(approx_order_x=0, weight_by="variance")).image[0, 0]
    # Weighted means of 0 and 10 with weights 4 : 1 and 16 : 1; the bins' own errors are 0.01 and 0.03.
    assert by_error == pytest.approx(10 / 5, abs=0.15)
    assert by_variance == pytest.approx(10 / 17, abs=0.15)


def test_an_exposure_without_variance_has_a_background():
    image = np.random.default_rng(10).normal(5, 1, (200, 200))
    fit = fit_background(MaskedImage.from_arrays(image))
    assert np.abs(fit.image - 5).max() < 0.1


def test_the_median_stands_in_and_says_so(caplog):
    image = np.full((200, 200), 7.0)
    image[50:60] = 9.0
    with caplog.at_level(logging.WARNING, "psfmatch_cli"):
        fit = fit_background(MaskedImage.from_arrays(image, variance=np.ones_like(image)))
    assert fit.kind == "median"
    assert (fit.image == 7).all()
    assert "the median 7 is used everywhere" in caplog.text


@pytest.mark.parametrize("image", [np.full((64, 64), np.nan), np.zeros((64, 64))], ids=["nan", "masked"])
def test_no_usable_pixel_is_an_error(image):
    mask = plane_bits(image.shape, "EDGE", ...)
    with pytest.raises(InputError, match="no unmasked pixel for the background: all 4096 pixels"):
        fit_background(MaskedImage.from_arrays(image, mask, np.ones_like(image)))


def test_the_input_is_not_changed():
    image = np.random.default_rng(11).normal(size=(150, 150))
    image[3, 4] = np.nan
    masked_image = MaskedImage.from_arrays(image, variance=np.ones_like(image))
    before = masked_image.copy()
    subtract_background(masked_image, fit_background(masked_image))
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(masked_image, name), getattr(before, name))


# Pixels above the background


def test_bad_pixels_are_zero_above_the_background():
    image = np.full((130, 130), 20.0) + np.random.default_rng(12).normal(size=(130, 130))
    image[5, 6] = np.nan
    mask = plane_bits(image.shape, "CR", (10, 11)) | plane_bits(image.shape, "BAD", (20, slice(21, 23)))
    mask |= plane_bits(image.shape, "INTRP", (20, 21))
    masked_image = MaskedImage.from_arrays(image, mask, np.full_like(image, 1.0))
    pixels = subtract_background(masked_image, fit_background(masked_image))
    assert sorted(zip(*np.nonzero(pixels.bad), strict=True)) == [(5, 6), (10, 11), (20, 22)]
    assert not pixels.image[pixels.bad].any()
    assert not pixels.variance[pixels.bad].any()
    assert pixels.image[20, 21] == masked_image.image[20, 21] - pixels.background.image[20, 21]


def test_unknown_variance_becomes_the_sky_noise():
    image = np.random.default_rng(13).normal(0, 3, (200, 200))
    masked_image = MaskedImage.from_arrays(image)
    pixels = subtract_background(masked_image, fit_background(masked_image))
    assert not pixels.bad.any()
    assert pixels.variance[0, 0] == pytest.approx(9, rel=0.1)
