"""Bins, and the surface or the interpolation through them."""

import logging

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.interpolate import Akima1DInterpolator, CubicSpline

from psfmatch_cli.background import fit_background, subtract_background
from psfmatch_cli.config import BackgroundConfig
from psfmatch_cli.errors import FitError, InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, MaskedImage


def plane_bits(shape, name, where):
    mask = np.zeros(shape, np.int32)
    mask[where] = 1 << DEFAULT_PLANES[name]
    return mask


def surface(shape):
    """A smooth sky of 1000 with 5 % of gradient and curvature."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None] - 0.5
    return 1000 + 30 * x - 20 * y + 25 * x * y - 40 * y**2


def plain(image, **attributes):
    """Masked image of variance 1."""
    return MaskedImage.from_arrays(image, variance=np.ones(np.shape(image)), **attributes)


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


def test_the_median_is_of_the_unmasked_pixels_or_of_those_that_can_be_used():
    image = np.full((100, 100), 7.0)
    image[:30] = 9.0
    # Each bin has equal values: no error, hence no weight, hence no surface.
    config = BackgroundConfig(bin_size=10)
    half = plane_bits(image.shape, "SUSPECT", slice(30, None))
    assert (fit_background(plain(image, mask=half), config).image == 9).all()
    everything = half | plane_bits(image.shape, "SAT", slice(0, 30))
    assert (fit_background(plain(image, mask=everything), config).image == 7).all()


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


# Bins


def test_bins_may_be_oblong():
    image = np.random.default_rng(14).normal(size=(240, 360))
    fit = fit_background(plain(image), BackgroundConfig(bin_size=100, bin_size_x=60))
    assert (fit.n_bins, fit.order) == (6 * 3, 2)
    fit = fit_background(plain(image), BackgroundConfig(bin_size=100, bin_size_y=40))
    assert (fit.n_bins, fit.order) == (4 * 6, 3)


def test_narrow_bins_resolve_what_wide_ones_smear():
    truth = 100 + 10 * np.sin(np.arange(512) / 512 * 6 * np.pi) * np.ones((512, 1))
    image = truth + np.random.default_rng(15).normal(size=truth.shape)
    resolved = fit_background(plain(image), BackgroundConfig(use_approx=False, bin_size_x=32))
    smeared = fit_background(plain(image), BackgroundConfig(use_approx=False))
    # Bins of 32 of a period of 171 px take 6 % off the amplitude of 10; those of 128 px nearly all of it.
    assert np.std(resolved.image - truth) < 1
    assert np.std(smeared.image - truth) > 5


def test_a_nan_spoils_its_bin_or_only_itself():
    image = np.full((300, 300), 10.0) + np.random.default_rng(16).normal(size=(300, 300))
    image[:100, :100] += 100
    image[50, 50] = np.nan
    unmasked = MaskedImage(image.astype("f4"), np.zeros(image.shape, "i4"), np.ones(image.shape, "f4"))
    config = BackgroundConfig(bin_size=100, approx_order_x=0)
    safe = fit_background(unmasked, config)
    strict = fit_background(unmasked, config.model_copy(update={"is_nan_safe": False}))
    assert (safe.n_bins, strict.n_bins) == (9, 8)
    # One bin of nine is 100 counts above the others.
    assert safe.image[0, 0] == pytest.approx(10 + 100 / 9, abs=0.1)
    assert strict.image[0, 0] == pytest.approx(10, abs=0.1)
    # With NO_DATA, which is ignored, it is no NaN that matters.
    assert fit_background(plain(image), config.model_copy(update={"is_nan_safe": False})).n_bins == 9


def test_bins_of_one_pixel_still_know_the_noise():
    image = np.random.default_rng(17).normal(0, 3, (40, 40))
    fit = fit_background(MaskedImage.from_arrays(image), BackgroundConfig(bin_size=1, weighting=False))
    assert fit.rms == pytest.approx(3, rel=0.1)  # 1600 values: 2 %, clipping 1 %


# Too few bins


def wavy(shape):
    """A sky of order 4 along x: 100 counts times T_4."""
    x = np.linspace(-1, 1, shape[1])
    return 1000 + 100 * np.polynomial.chebyshev.chebval(x, [0, 0, 0, 0, 1]) * np.ones((shape[0], 1))


def test_too_few_bins_are_an_error_a_lower_order_or_smaller_bins():
    truth = wavy((300, 300))
    image = truth + np.random.default_rng(18).normal(size=truth.shape)
    fits = {
        style: fit_background(plain(image), BackgroundConfig(undersample_style=style))
        for style in ("REDUCE_INTERP_ORDER", "INCREASE_NXNYSAMPLE")
    }
    assert {style: (fit.n_bins, fit.order) for style, fit in fits.items()} == {
        "REDUCE_INTERP_ORDER": (9, 2),
        "INCREASE_NXNYSAMPLE": (49, 6),
    }
    # The means over a seventh of the image are off by up to 25 of 100 counts where T_4 is steepest; order 2 has none
    # of it.
    assert np.std(fits["INCREASE_NXNYSAMPLE"].image - truth) < 12
    assert np.std(fits["REDUCE_INTERP_ORDER"].image - truth) > 50
    with pytest.raises(FitError, match=r"has 3 x 3 bins in 300 x 300 pixels, and a surface of order 6 needs 7 along"):
        fit_background(plain(image), BackgroundConfig(undersample_style="THROW_EXCEPTION"))


def test_too_few_bins_for_a_spline():
    image = np.random.default_rng(19).normal(size=(300, 300))
    config = BackgroundConfig(use_approx=False)
    smaller = fit_background(plain(image), config.model_copy(update={"undersample_style": "INCREASE_NXNYSAMPLE"}))
    assert (smaller.kind, smaller.n_bins) == ("akima_spline", 25)
    with pytest.raises(FitError, match="has 3 x 3 bins in 300 x 300 pixels, and AKIMA_SPLINE needs 5 along each axis"):
        fit_background(plain(image), config.model_copy(update={"undersample_style": "THROW_EXCEPTION"}))


def test_no_more_bins_than_pixels():
    image = np.random.default_rng(20).normal(size=(4, 90))
    fit = fit_background(plain(image), BackgroundConfig(undersample_style="INCREASE_NXNYSAMPLE"))
    assert (fit.n_bins, fit.order) == (4 * 7, 3)


@pytest.mark.parametrize(("bins", "kind"), [(5, "akima_spline"), (4, "natural_spline"), (2, "linear"), (1, "constant")])
def test_few_bins_lower_the_interpolation(bins, kind):
    image = np.random.default_rng(21).normal(size=(640, 128 * bins))
    assert fit_background(plain(image), BackgroundConfig(use_approx=False)).kind == kind


def test_one_order_for_both_axes():
    assert BackgroundConfig(approx_order_x=3, approx_order_y=3).approx_order_y == 3
    with pytest.raises(ValidationError, match=r"approx_order_y must be -1 or the same as approx_order_x \(6\)"):
        BackgroundConfig(approx_order_y=4)


# Interpolation


ALGORITHMS = ("CONSTANT", "LINEAR", "NATURAL_SPLINE", "AKIMA_SPLINE")


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_interpolation_of_a_plane_is_the_plane(algorithm):
    y, x = np.mgrid[:330, :410]
    truth = 50 + 0.02 * x - 0.05 * y
    fit = fit_background(
        plain(truth, xy0=(-7, 1000)), BackgroundConfig(use_approx=False, bin_size=41, algorithm=algorithm)
    )
    # Also beyond the outermost centres: nothing but the rounding of float32.
    np.testing.assert_allclose(fit.image, truth, atol=2e-5)


def test_constant_interpolation_has_steps():
    image = np.kron(np.arange(12.0).reshape(3, 4), np.ones((50, 50)))
    fit = fit_background(plain(image), BackgroundConfig(use_approx=False, bin_size=50, algorithm="CONSTANT"))
    np.testing.assert_array_equal(fit.image, image)


def test_no_algorithm_is_no_background():
    image = 30 + np.random.default_rng(22).normal(0, 2, (200, 200))
    fit = fit_background(plain(image), BackgroundConfig(algorithm="NONE", undersample_style="THROW_EXCEPTION"))
    assert fit.kind == "none"
    assert not fit.image.any()
    assert fit.rms == pytest.approx(2, rel=0.05)


def by_loops(values, y, x, rows, columns, algorithm):
    """Interpolation along each column of bins, then along each row of pixels, one line at a time."""

    def line(at, known, wanted):
        keep = np.isfinite(known)
        at, known = at[keep], known[keep]
        n = len(at)
        if algorithm == "CONSTANT" or n == 1:
            return np.array([known[np.argmin(np.abs(at - w))] for w in wanted])
        if algorithm == "LINEAR" or n == 2:
            outer = np.polyfit(at[:2], known[:2], 1), np.polyfit(at[-2:], known[-2:], 1)
            inner = np.interp(wanted, at, known)
            inner = np.where(wanted < at[0], np.polyval(outer[0], wanted), inner)
            return np.where(wanted > at[-1], np.polyval(outer[1], wanted), inner)
        if algorithm == "NATURAL_SPLINE" or n < 5:
            return CubicSpline(at, known, bc_type="natural")(wanted)
        return Akima1DInterpolator(at, known)(wanted, extrapolate=True)

    along_y = np.column_stack([line(y, values[:, k], rows) for k in range(values.shape[1])])
    return np.stack([line(x, row, columns) for row in along_y])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_interpolation_is_that_of_the_loops(algorithm):
    rng = np.random.default_rng(23)
    levels = rng.normal(100, 10, (7, 8))
    image = np.kron(levels, np.ones((30, 20)))
    # Bins inside the image without a usable pixel, and a column of bins without any.
    levels[2, 3] = levels[4, 3] = levels[5, 6] = np.nan
    levels[:, 4] = np.nan
    image[np.kron(np.isnan(levels), np.ones((30, 20))) > 0] = np.nan
    config = BackgroundConfig(use_approx=False, bin_size_x=20, bin_size_y=30, algorithm=algorithm)
    fit = fit_background(plain(image), config)
    kept = np.arange(8) != 4
    y, x = np.arange(7) * 30 + 14.5, (np.arange(8) * 20 + 9.5)[kept]
    expected = by_loops(levels[:, kept], y, x, np.arange(210), np.arange(160), algorithm)
    np.testing.assert_allclose(fit.image, expected, rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["LINEAR", "NATURAL_SPLINE", "AKIMA_SPLINE"])
def test_values_are_held_where_outer_bins_are_missing(algorithm):
    y, x = np.mgrid[:700, :700] / 700
    image = 100 * np.exp(3 * y)
    image[np.hypot(x, 1 - y) < 0.4] = np.nan
    fit = fit_background(plain(image), BackgroundConfig(use_approx=False, bin_size=50, algorithm=algorithm))
    # Held at most half a bin beyond the last one: the empty corner stays below the highest value of the image.
    assert fit.image.max() < 1.1 * np.nanmax(image)
    known = np.isfinite(image)
    # Rows that cross the empty corner are no worse than others: bins of 50 px of a slope of 3 per 700.
    assert np.abs(fit.image[known] / image[known] - 1).max() < 0.12


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
