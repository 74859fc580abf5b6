import numpy as np
import pytest

from psfmatch_cli.exposure import DEFAULT_PLANES
from psfmatch_cli.grid import SkyMap
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.warp import warp
from psfmatch_cli.warp_adaptive import SIGMA
from sky_fields import blank, gaussian_stars, make_exposure, make_wcs, plane

FINE, COARSE = (240, 260), (80, 90)
BIT = {name: 1 << bit for name, bit in DEFAULT_PLANES.items()}


def averaged(image, *, rotation=7.0, scale=0.2, **attributes):
    """A template of 0.2 arcsec pixels on science pixels of 0.5 arcsec."""
    template = make_exposure(image, make_wcs(FINE, scale=scale), **attributes)
    return template, warp(template, blank(COARSE, make_wcs(COARSE, rotation=rotation)))


def test_stars_keep_place_and_flux():
    fwhm = 6.0
    rng = np.random.default_rng(2)
    gx, gy = (g.ravel() for g in np.meshgrid(np.linspace(60, 200, 4), np.linspace(60, 180, 4)))
    x, y, flux = gx + rng.uniform(size=16), gy + rng.uniform(size=16), rng.uniform(1e3, 1e5, 16)
    template, result = averaged(gaussian_stars(FINE, x, y, flux, fwhm), psf=gaussian_psf(fwhm))
    assert result.method == "adaptive"
    image = result.exposure.image
    true_x, true_y = SkyMap(template.wcs, result.exposure.wcs)(x, y)
    for xs, ys, f in zip(true_x, true_y, flux, strict=True):
        rows, columns = np.mgrid[round(ys) - 7 : round(ys) + 8, round(xs) - 7 : round(xs) + 8]
        stamp = image[rows, columns].astype(float)
        # The Gaussian average is over a finite square, see SAMPLED_WIDTH.
        assert stamp.sum() == pytest.approx(f, rel=2e-4)
        assert (columns * stamp).sum() / stamp.sum() == pytest.approx(xs, abs=1e-3)
        assert (rows * stamp).sum() / stamp.sum() == pytest.approx(ys, abs=1e-3)
    # The star's own width in science pixels, and that of the average.
    expected = np.hypot(fwhm / FWHM_PER_SIGMA * 0.4, SIGMA)
    assert result.exposure.psf.sigma == pytest.approx(expected, rel=0.05)


def test_psf_is_that_of_the_stars():
    star = gaussian_stars(FINE, [129.5], [119.5], [1.0], 6.0)
    _, result = averaged(star, rotation=0.0, psf=gaussian_psf(6.0))
    # The middle of the template lies between pixels, as does that of the science image: compare second moments.
    image, psf = result.exposure.image[25:55, 30:60].astype(float), result.exposure.psf.image

    def width(stamp):
        columns = np.arange(stamp.shape[1])
        mean = (columns * stamp).sum() / stamp.sum()
        return np.sqrt(((columns - mean) ** 2 * stamp).sum() / stamp.sum())

    assert width(psf) == pytest.approx(width(image), rel=2e-3)


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.35])
def test_variance_and_correlation_are_those_of_averaged_noise(scale):
    shape, onto = (500, 500), (100, 100)
    template = make_exposure(np.random.default_rng(6).normal(0, 3, shape), make_wcs(shape, scale=scale),
                             variance=np.full(shape, 9.0))  # fmt: skip
    result = warp(template, blank(onto, make_wcs(onto, scale=0.5, rotation=20.0)))
    known = np.isfinite(result.exposure.image)
    noise = np.where(known, result.exposure.image, 0).astype(float)
    # Some 7000 pixels, correlated over 2: 3 %.
    assert noise[known].var() == pytest.approx(result.exposure.variance[known].mean(), rel=0.06)
    m = result.autocorrelation.shape[0] // 2
    for dx, dy in [(1, 0), (0, 1), (1, 1), (2, 0)]:
        both = known[: 100 - dy, : 100 - dx] & known[dy:, dx:]
        product = (noise[: 100 - dy, : 100 - dx] * noise[dy:, dx:])[both].mean() / noise[known].var()
        assert product == pytest.approx(result.autocorrelation[m + dy, m + dx], abs=0.05)
    np.testing.assert_array_equal(result.autocorrelation_at(50, 50), result.autocorrelation)


def test_surface_brightness_keeps_its_level():
    _, result = averaged(np.full(FINE, 4.0), header={"BUNIT": "MJy/sr"})
    np.testing.assert_allclose(result.exposure.image[20:60, 20:70], 4.0, rtol=1e-6)
    _, result = averaged(np.full(FINE, 4.0))
    np.testing.assert_allclose(result.exposure.image[20:60, 20:70], 4.0 * 6.25, rtol=1e-4)


def test_missing_and_bad_pixels():
    image = np.full(FINE, 10.0)
    image[118:122, 128:132] = np.nan
    image[80, 80] = 1e6
    mask = plane(FINE, "CR", (80, 80)) | plane(FINE, "DETECTED", (180, 160))
    template, result = averaged(image, rotation=0.0, mask=mask)
    found = result.exposure
    x, y = SkyMap(template.wcs, found.wcs)([129.5, 80, 180], [119.5, 80, 160])
    i, j = np.round(x).astype(int), np.round(y).astype(int)
    assert np.isnan(found.image[j[0], i[0]])
    assert found.mask[j[0], i[0]] & BIT["NO_DATA"]
    assert np.isposinf(found.variance[j[0], i[0]])
    assert found.mask[j[1], i[1]] == BIT["CR"]
    assert found.mask[j[2], i[2]] == BIT["DETECTED"]
    level = found.image[np.isfinite(found.image)]
    np.testing.assert_allclose(level, 62.5, rtol=1e-3)
    assert (found.mask & BIT["CR"] != 0).sum() < 20
    assert (found.mask & BIT["DETECTED"] != 0).sum() < 9


def test_outside_the_template_there_is_no_data():
    template = make_exposure(np.ones(FINE), make_wcs(FINE, scale=0.2, shift=(-100, 0)))
    found = warp(template, blank(COARSE, make_wcs(COARSE))).exposure
    gone = np.isnan(found.image)
    assert 0.3 < gone.mean() < 0.9
    assert (found.mask[gone] & BIT["NO_DATA"]).all()
    assert not (found.mask[~gone] & BIT["NO_DATA"]).any()


def test_threads_do_not_matter():
    template = make_exposure(np.random.default_rng(1).normal(size=FINE), make_wcs(FINE, scale=0.2))
    science = blank(COARSE, make_wcs(COARSE))
    one, two = (warp(template, science, threads=n).exposure for n in (1, 2))
    np.testing.assert_array_equal(one.image, two.image)
