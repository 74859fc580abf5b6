"""The polynomial through the sky of a difference: a background put in comes back, and outliers do not matter."""

import numpy as np
import pytest

from made_pairs import box_of, plane
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.kernel import BackgroundModel, SpatialModel, n_terms
from psfmatch_cli.sky import added, binned_sky, fit_sky

SHAPE, NOISE = (320, 400), 3.0
#: One coefficient per term up to order 3: of the size of the noise of a pixel, large to that of a bin (0.15).
COEFFICIENTS = np.array([4.0, -2.5, 3.0, 2.0, 1.5, -2.5, 1.5, -2.0, 1.5, 2.0])


def noisy_sky(order: int, *, seed: int = 1, xy0=(0, 0)) -> tuple[MaskedImage, BackgroundModel]:
    """White noise on a Chebyshev background of that order."""
    truth = plane(SHAPE, COEFFICIENTS[: n_terms(order)], xy0=xy0)
    noise = NOISE * np.random.default_rng(seed).normal(size=SHAPE)
    image = truth.image(box_of(SHAPE, xy0)) + noise
    return MaskedImage.from_arrays(image, variance=np.full(SHAPE, NOISE**2), xy0=xy0), truth


def stars(seed: int = 2, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Image of residuals of bright stars and the mask of their footprints."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image, mask = np.zeros(SHAPE), np.zeros(SHAPE, bool)
    for xc, yc in zip(rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n), strict=True):
        distance = np.hypot(x - xc, y - yc)
        image += 2000 * np.exp(-0.5 * (distance / 2) ** 2)
        mask |= distance < 10
    return image, mask


def coefficients_of(fit, order: int) -> np.ndarray:
    """Coefficients up to that order, with zeros for those that were not fitted."""
    out = np.zeros(max(n_terms(order), len(fit.background.coefficients)))
    out[: len(fit.background.coefficients)] = fit.background.coefficients
    return out


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("xy0", [(0, 0), (5000, -300)])
def test_a_background_put_in_comes_back(order, xy0):
    sky, truth = noisy_sky(order, xy0=xy0)
    image, mask = stars()
    sky.image[:] += image
    fit = fit_sky(sky, mask, sky.box, "chebyshev1", 4)
    assert fit.order >= order
    found = coefficients_of(fit, order)
    expected = np.zeros(len(found))
    expected[: n_terms(order)] = truth.coefficients
    # Chebyshev terms have a mean square of 1/4 at least: 3 counts of noise on 1e5 pixels give 0.02 a coefficient.
    np.testing.assert_allclose(found, expected, atol=0.1)
    residual = fit.background.image(sky.box) - truth.image(sky.box)
    # The noise of the mean is 0.008; a surface of ten terms has some 0.03 everywhere and thrice that in a corner.
    assert residual.std() < 0.06
    assert abs(residual.mean()) < 0.03


def test_the_order_is_that_of_the_data_most_of_the_time():
    nothing = np.zeros(SHAPE, bool)
    orders = [fit_sky(noisy_sky(1, seed=s)[0], nothing, box_of(SHAPE), "chebyshev1", 4).order for s in range(8)]
    # The criterion lets noise add an order now and then.
    assert sum(order == 1 for order in orders) >= 6
    assert min(orders) == 1


def test_the_highest_order_is_the_callers():
    sky, _ = noisy_sky(3)
    assert fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "chebyshev1", 1).order == 1
    assert fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "chebyshev1", 0).order == 0


@pytest.mark.parametrize("contamination", [50.0, -20.0, 3.0])
def test_one_bin_in_twenty_may_be_contaminated(contamination):
    sky, truth = noisy_sky(1)
    rng = np.random.default_rng(3)
    for row, column in zip(*np.unravel_index(rng.choice(16 * 20, 16, replace=False), (16, 20)), strict=True):
        sky.image[20 * row : 20 * row + 20, 20 * column : 20 * column + 20] += contamination
    fit = fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "chebyshev1", 4)
    residual = fit.background.image(sky.box) - truth.image(sky.box)
    # Contamination of 3 counts, 20 times the noise of a bin, moves a plain mean by 0.15; bins are left out at 4 sigma.
    assert abs(residual.mean()) < 0.05
    assert residual.std() < 0.1


def test_residuals_that_no_mask_covers_hardly_matter():
    sky, truth = noisy_sky(1)
    sky.image[:] += stars(n=60)[0]
    fit = fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "chebyshev1", 4)
    # Sixty stars of 5e4 counts have a mean of 24 counts per pixel.
    residual = fit.background.image(sky.box) - truth.image(sky.box)
    assert abs(residual.mean()) < 0.3


def test_plain_polynomials_describe_the_same_surface():
    sky, _ = noisy_sky(2)
    fits = [fit_sky(sky, np.zeros(SHAPE, bool), sky.box, kind, 2) for kind in ("chebyshev1", "polynomial")]
    first, second = (fit.background.image(sky.box) for fit in fits)
    # The same span; float32 images.
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_bins_hold_the_means_of_their_usable_pixels():
    image = np.arange(64.0 * 48).reshape(64, 48)
    sky = MaskedImage.from_arrays(image, variance=np.ones((64, 48)), xy0=(10, 20))
    bad = np.zeros((64, 48), bool)
    bad[:16, :16] = True
    bad[20, 20] = True
    sky.image[20, 20] = np.nan
    x, y, value = binned_sky(sky, bad)
    assert len(value) == 11, "bins of 16 x 16 pixels but the one without any usable"
    k = np.flatnonzero((x == 10 + 23.5) & (y == 20 + 7.5))[0]
    # No value is beyond the limit of the clipping: the plain mean, of a slice without the gap.
    assert value[k] == pytest.approx(image[:16, 16:32].mean(), rel=1e-6)
    assert len(x) == len(y) == 11


def test_too_little_sky_is_none():
    sky, _ = noisy_sky(0)
    bad = np.ones(SHAPE, bool)
    bad[:20, :60] = False
    assert fit_sky(sky, bad, sky.box, "chebyshev1", 4) is None
    assert fit_sky(sky, np.ones(SHAPE, bool), sky.box, "chebyshev1", 4) is None


def test_few_bins_allow_low_orders_only():
    sky, _ = noisy_sky(3)
    bad = np.ones(SHAPE, bool)
    bad[:60, :60] = False
    fit = fit_sky(sky, bad, sky.box, "chebyshev1", 4)
    assert fit.n_bins == 9
    assert fit.order <= 1


def test_a_sky_without_any_noise_has_a_fit():
    sky = MaskedImage.from_arrays(np.full(SHAPE, 7.0), variance=np.ones(SHAPE))
    fit = fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "chebyshev1", 4)
    np.testing.assert_allclose(fit.background.image(sky.box), 7.0, atol=1e-5)


def test_the_difference_is_unchanged():
    sky, _ = noisy_sky(1)
    before = sky.copy()
    fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "chebyshev1", 4)
    np.testing.assert_array_equal(sky.image, before.image)


def test_backgrounds_of_different_order_add():
    first, second = plane(SHAPE, [1.0, 2.0, 3.0]), plane(SHAPE, [10.0, 1.0, 0.0, 4.0, 5.0, 6.0])
    for total in (added(first, second), added(second, first)):
        assert total.coefficients.tolist() == [11.0, 3.0, 3.0, 4.0, 5.0, 6.0]
    assert first.coefficients.tolist() == [1.0, 2.0, 3.0]
    assert second.coefficients.tolist() == [10.0, 1.0, 0.0, 4.0, 5.0, 6.0]


def test_the_zero_background_adds_nothing():
    model = SpatialModel("chebyshev1", 1, box_of(SHAPE))
    total = added(BackgroundModel.zero(box_of(SHAPE)), BackgroundModel(np.array([1.0, 2.0, 3.0]), model))
    assert total.coefficients.tolist() == [1.0, 2.0, 3.0]


def test_plain_polynomials_work_far_from_the_origin():
    sky, truth = noisy_sky(1, xy0=(5000, 9000))
    fit = fit_sky(sky, np.zeros(SHAPE, bool), sky.box, "polynomial", 4)
    residual = fit.background.image(sky.box) - truth.image(sky.box)
    # As for Chebyshev polynomials, if the powers of 9000 pixels do not spoil the fit.
    assert residual.std() < 0.1
