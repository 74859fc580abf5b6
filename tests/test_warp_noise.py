import numpy as np
import pytest
from scipy.signal import fftconvolve

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.resample import kernel_weights, resampling_kernel
from psfmatch_cli.warp import warp
from psfmatch_cli.warp_noise import autocorrelation, gaussian_autocorrelation
from sky_fields import blank, gaussian_stars, make_exposure, make_wcs

SHAPE = (900, 900)


def warped_noise(name, **template_wcs):
    noise = np.random.default_rng(41).normal(size=SHAPE)
    template = make_exposure(noise, make_wcs(SHAPE, **template_wcs))
    result = warp(template, blank(SHAPE, make_wcs(SHAPE)), WarpConfig(warping_kernel_name=name))
    # The largest square that rotated templates still fill.
    return result, result.exposure.image[130:-130, 130:-130].astype(float)


def sample_correlation(image, dx, dy):
    height, width = image.shape
    one = image[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    two = image[max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
    return (one * two).mean() / (image**2).mean()


CASES = [
    ("lanczos3", {"rotation": 12.0}),
    ("lanczos3", {"shift": (0.5, 0.3)}),
    ("lanczos5", {"rotation": 30.0, "scale": 0.6}),
    ("bilinear", {"rotation": 1.0}),
    ("bicubic", {"rotation": 5.0, "flip": True}),
    ("kriging4", {"rotation": 12.0}),
    ("kriging4", {"shift": (0.5, 0.5)}),
]


@pytest.mark.parametrize(("name", "template_wcs"), CASES)
def test_autocorrelation_of_warped_white_noise(name, template_wcs):
    result, image = warped_noise(name, **template_wcs)
    rho = result.autocorrelation
    m = rho.shape[0] // 2
    assert rho[m, m] == 1.0
    np.testing.assert_array_equal(rho, rho[::-1, ::-1])
    beyond = np.pad(rho, 3)
    for dx, dy in [(1, 0), (0, 1), (1, 1), (-1, 1), (2, 0), (0, 2), (2, 1), (3, 0)]:
        # 4e5 pixels know a correlation to 0.2 %.
        assert sample_correlation(image, dx, dy) == pytest.approx(beyond[m + 3 + dy, m + 3 + dx], abs=0.008)


@pytest.mark.parametrize(("name", "template_wcs"), CASES)
@pytest.mark.parametrize("fwhm", [2.0, 5.0])
def test_variance_after_a_convolution_is_honest(name, template_wcs, fwhm):
    result, image = warped_noise(name, **template_wcs)
    kernel = gaussian_stars((31, 31), [15], [15], [1.0], fwhm)
    own = fftconvolve(kernel, kernel[::-1, ::-1])
    rho, middle, m = result.autocorrelation, 30, result.autocorrelation.shape[0] // 2
    factor = (rho * own[middle - m : middle + m + 1, middle - m : middle + m + 1]).sum()
    plane = result.exposure.variance[130:-130, 130:-130].mean()
    smooth = fftconvolve(image, kernel, mode="valid")
    # 2 %: 4e5 pixels, of which one in 2 FWHM^2 counts, know a variance to sqrt(2 x 2 x 25 / 4e5) = 1.6 %.
    assert smooth.var() == pytest.approx(plane * factor, rel=0.02 if fwhm < 3 else 0.03)
    # Without the correlation it would be off by much more.
    naive = plane * (kernel**2).sum()
    assert abs(smooth.var() / naive - 1) > 0.03


def test_variance_plane_is_the_pixel_variance():
    result, image = warped_noise("lanczos3", rotation=12.0)
    assert image.var() == pytest.approx(result.exposure.variance[130:-130, 130:-130].mean(), rel=0.01)


def test_half_pixel_shift_by_the_formula():
    weights = kernel_weights("lanczos3", np.array([0.5]))[:, 0]
    expected = np.correlate(weights, weights, "full") / (weights**2).sum()
    found = autocorrelation(resampling_kernel("lanczos3"), np.array([[10.5, 20.0]]), np.eye(2)[None])
    m = found.shape[0] // 2
    np.testing.assert_allclose(found[m], expected, atol=1e-7)
    # Whole pixels on y: no correlation there.
    np.testing.assert_allclose(np.delete(found, m, axis=0), 0, atol=1e-12)


def test_whole_pixel_shift_leaves_noise_white():
    result, _ = warped_noise("lanczos3", shift=(3.0, -2.0))
    np.testing.assert_allclose(result.autocorrelation, [[1.0]])


def test_autocorrelation_of_a_place_follows_its_phase():
    """A template of another scale: the phase drifts by half a pixel over 100 px."""
    template = blank(SHAPE, make_wcs(SHAPE, scale=0.5 / 1.005))
    science = blank(SHAPE, make_wcs(SHAPE), xy0=(1000, 2000))
    result = warp(template, science)
    # The centres, at 449.5, agree: pixel 449 falls on 448.9975, pixel 549 on 549.4975.
    center = result.autocorrelation_at(1000 + 449, 2000 + 449)
    away = result.autocorrelation_at(1000 + 549, 2000 + 549)
    m = center.shape[0] // 2
    assert abs(center[m, m + 1]) < 0.01
    half = away.shape[0] // 2
    assert away[half, half + 1] == pytest.approx(0.2, abs=0.05)


def test_gaussian_average_correlates_over_root_two_sigma():
    rho = gaussian_autocorrelation(1.3)
    m = rho.shape[0] // 2
    assert rho[m, m + 2] == pytest.approx(np.exp(-0.25 * (2 / 1.3) ** 2))
    # What is cut off is negligible.
    assert rho[0, 0] < 1e-6
