"""The FWHM put in comes back: from stars alone, among galaxies and cosmic rays, masked or not."""

import numpy as np
import pytest
from scipy.optimize import brentq

from psfmatch_cli.background import fit_background, subtract_background
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.psf_measure import measure_psf
from star_fields import add_galaxies, add_star, flux_of_snr, moffat, noisy_exposure, star_field


def pixel_convolved_fwhm(fwhm):
    """FWHM of a Moffat profile averaged over square pixels: geometric mean of that along an axis and a diagonal."""
    steps = (np.arange(21) + 0.5) / 21 - 0.5

    def along(ux, uy):
        def excess(r):
            return moffat(r * ux + steps, r * uy + steps[:, None], fwhm).mean() - 0.5 * center

        center = moffat(steps, steps[:, None], fwhm).mean()
        return 2 * brentq(excess, 0.2 * fwhm, 2 * fwhm)

    return np.sqrt(along(1.0, 0.0) * along(np.sqrt(0.5), np.sqrt(0.5)))


def without_noise_plane(exposure):
    return Exposure(MaskedImage.from_arrays(exposure.image))


# Stars alone


@pytest.mark.parametrize("fwhm", [1.2, 1.7, 2.5, 4.0, 8.0, 15.0])
def test_the_width_of_sampled_stars(fwhm):
    exposure, *_ = star_field(36, fwhm, side=max(360, int(80 * fwhm)))
    psf = measure_psf(exposure)
    assert psf.n_stars >= 25
    # The target; the noise of 36 stars is 0.3 %.
    assert psf.fwhm == pytest.approx(fwhm, rel=0.015)
    assert psf.sigma == psf.fwhm / FWHM_PER_SIGMA
    assert psf.ellipticity < 0.02


@pytest.mark.parametrize(("fwhm", "tolerance"), [(1.2, 0.035), (1.7, 0.015), (3.0, 0.015)])
def test_the_width_is_that_of_the_pixel_convolved_profile(fwhm, tolerance):
    exposure, *_ = star_field(36, fwhm, side=360, subpixels=7)
    # Below 1.7 px the square pixel makes the profile something else than a Moffat: 2.5 % small.
    assert measure_psf(exposure).fwhm == pytest.approx(pixel_convolved_fwhm(fwhm), rel=tolerance)


@pytest.mark.parametrize("beta", [2.5, 8.0])
def test_the_exponent_of_the_profile_is_found(beta):
    exposure, *_ = star_field(49, 4.0, snr=(100, 2000), beta=beta)
    psf = measure_psf(exposure)
    assert psf.fwhm == pytest.approx(4.0, rel=0.01)
    # Wings within 1.5 FWHM tell the exponent to 10 %, and less the closer to a Gaussian.
    assert psf.beta == pytest.approx(beta, rel=0.3)


def test_elongated_stars():
    exposure, *_ = star_field(49, 3.0, axis_ratio=0.7, angle=0.5)
    psf = measure_psf(exposure)
    assert psf.fwhm == pytest.approx(3.0, rel=0.015)
    assert psf.ellipticity == pytest.approx((1 - 0.7**2) / (1 + 0.7**2), abs=0.02)
    assert psf.position_angle == pytest.approx(0.5, abs=0.05)


def test_two_nearly_equal_widths_are_ordered():
    narrow, wide = (
        [measure_psf(star_field(30, fwhm, seed=seed)[0]).fwhm for seed in seeds]
        for fwhm, seeds in ((4.0, range(4)), (4.1, range(10, 14)))
    )
    assert max(narrow) < min(wide)


@pytest.mark.parametrize("n", [1, 3])
def test_few_stars(n):
    exposure, *_ = star_field(n, 3.0, side=300, snr=(600, 1500))
    psf = measure_psf(exposure)
    assert psf.n_stars == n
    # One star of 30000 photons knows its width to 1 %, if the exponent is taken for granted.
    assert psf.fwhm == pytest.approx(3.0, rel=0.02)


def test_noise_and_mask_planes_are_not_needed():
    exposure, *_ = star_field(36, 2.5, known_variance=False)
    assert measure_psf(exposure).fwhm == pytest.approx(2.5, rel=0.015)


def test_a_noiseless_image():
    model = np.zeros((200, 200))
    for i in range(5):
        add_star(model, 30.2 + 35 * i, 40.0 + 25.3 * i, 1000.0, 2.5)
    psf = measure_psf(Exposure(MaskedImage.from_arrays(model)))
    assert psf.n_stars == 5
    assert psf.fwhm == pytest.approx(2.5, rel=1e-3)  # wings of neighbours only


# A PSF that varies


@pytest.mark.parametrize("change", [0.08, 0.3])
def test_the_map_of_a_varying_width(change):
    def truth(x, y):
        return 3.0 * (1 + change * (0.6 * (x / 800 - 0.5) + 0.4 * (y / 800 - 0.5)))

    exposure, x, y, _ = star_field(64, truth, side=800)
    psf = measure_psf(exposure)
    assert psf.fwhm == pytest.approx(3.0, rel=0.015)
    assert psf.n_stars >= 55
    # A parabola through 60 stars of 1 % each.
    np.testing.assert_allclose(psf.fwhm_at(x, y), truth(x, y), rtol=0.02)
    # The stars reach to 50 px from the border.
    assert psf.fwhm_max - psf.fwhm_min == pytest.approx(3.0 * change * 0.875, rel=0.25)
    assert psf.fwhm_min < psf.fwhm_mean < psf.fwhm_max
    assert psf.fwhm_scatter < 0.05


def test_stars_are_listed_in_parent_pixels():
    exposure, x, y, flux = star_field(16, 3.0, side=300, snr=(100, 1000))
    shifted = exposure.with_pixels(MaskedImage.from_arrays(exposure.image, None, exposure.variance, xy0=(500, -30)))
    psf = measure_psf(shifted)
    stars = psf.stars
    distance = np.hypot(np.subtract.outer(stars["x"] - 500, x), np.subtract.outer(stars["y"] + 30, y))
    assert (distance.min(axis=1) < 0.1).all()  # 5000 photons and sky: 0.03 px
    # The flux of a Moffat fitted within 1.5 FWHM, for the exponent that the stars have in common.
    assert np.median(stars["flux"] / flux[distance.argmin(axis=1)]) == pytest.approx(1, abs=0.08)
    assert (stars["snr"] > 20).all()
    assert np.median(np.abs(stars["fwhm"] - 3.0) / stars["fwhm_err"]) < 2
    plain = measure_psf(exposure)
    assert psf.fwhm_at(520.0, 40.0) == pytest.approx(plain.fwhm_at(20.0, 70.0), rel=1e-12)
    assert psf.origin == f"measured from {psf.n_stars} stars"


# Other things in the field


@pytest.mark.parametrize(("n_stars", "n_galaxies", "tolerance"), [(40, 100, 0.015), (12, 120, 0.025), (5, 40, 0.04)])
def test_stars_among_galaxies(n_stars, n_galaxies, tolerance):
    rng = np.random.default_rng(n_galaxies)
    model = np.zeros((700, 700))
    add_galaxies(model, n_galaxies, 3.0, rng)
    for x, y in rng.uniform(15, 685, (n_stars, 2)):
        add_star(model, x, y, flux_of_snr(10 ** rng.uniform(1.7, 3), 3.0), 3.0)
    psf = measure_psf(noisy_exposure(model, rng))
    # Galaxies of a fifth of the PSF can not be told from stars and are a few percent larger: the fewer stars
    # there are, the more such a galaxy matters.
    assert psf.fwhm == pytest.approx(3.0, rel=tolerance)


def test_cosmic_rays_and_hot_pixels_are_not_stars():
    exposure, *_ = star_field(49, 3.5, side=600)
    rng = np.random.default_rng(3)
    image = exposure.image.copy()
    for x, y in rng.integers(5, 595, (600, 2)):
        length, angle, charge = rng.choice([1, 1, 2, 3, 5]), rng.uniform(0, np.pi), 10 ** rng.uniform(2.3, 4)
        for t in np.arange(0, length, 0.5):
            image[int(y + t * np.sin(angle)), int(x + t * np.cos(angle)) % 600] += charge
    psf = measure_psf(without_noise_plane(Exposure(MaskedImage.from_arrays(image))))
    assert psf.fwhm == pytest.approx(3.5, rel=0.015)


@pytest.mark.parametrize("core", ["flat", "hollow", "masked"])
def test_saturated_stars_are_not_used(core):
    exposure, *_ = star_field(100, 3.0, side=800, snr=(50, 20000), seed=5)
    image = exposure.image.copy()
    saturated = image > np.quantile(image, 0.999)
    assert 20 < len(np.unique(np.nonzero(saturated)[0] // 80 * 10 + np.nonzero(saturated)[1] // 80)) < 80
    mask = np.zeros(image.shape, np.int32)
    if core == "flat":
        image[saturated] = image[saturated].min()
    else:
        image[saturated] = 150.0
    if core == "masked":
        mask[saturated] = 1 << DEFAULT_PLANES["SAT"]
    psf = measure_psf(Exposure(MaskedImage.from_arrays(image, mask)))
    assert psf.n_stars > 20
    assert psf.fwhm == pytest.approx(3.0, rel=0.015)


def test_a_crowded_field():
    rng = np.random.default_rng(6)
    model = np.zeros((400, 400))
    for x, y in rng.uniform(0, 400, (600, 2)):
        add_star(model, x, y, flux_of_snr(20 * rng.pareto(1.0) + 20, 3.0), 3.0)
    assert measure_psf(noisy_exposure(model, rng)).fwhm == pytest.approx(3.0, rel=0.02)


def test_missing_data_do_not_matter():
    exposure, *_ = star_field(64, 3.0, side=640)
    image = exposure.image.copy()
    image[:, 400:] = np.nan
    image[::29, ::31] = np.nan
    psf = measure_psf(Exposure(MaskedImage.from_arrays(image, None, exposure.variance)))
    assert psf.fwhm == pytest.approx(3.0, rel=0.015)
    assert (psf.stars["x"] < 400).all()


# Nothing to measure, settings, side effects


@pytest.mark.parametrize("shape", [(300, 300), (12, 12)])
def test_no_star(shape):
    assert measure_psf(noisy_exposure(np.zeros(shape), np.random.default_rng(7))) is None


def test_hot_pixels_alone_are_no_stars():
    exposure = noisy_exposure(np.zeros((300, 300)), np.random.default_rng(8))
    image = exposure.image.copy()
    image[tuple(np.random.default_rng(9).integers(0, 300, (2, 200)))] += 5000
    assert measure_psf(without_noise_plane(Exposure(MaskedImage.from_arrays(image)))) is None


def test_all_masked_is_an_error():
    with pytest.raises(InputError, match="no unmasked pixel"):
        measure_psf(Exposure(MaskedImage.from_arrays(np.full((64, 64), np.nan))))


def test_the_brightest_stars_are_used_first():
    exposure, *_ = star_field(49, 3.0)
    few, all_of_them = measure_psf(exposure, max_stars=10), measure_psf(exposure)
    assert few.n_stars == 10
    assert few.stars["snr"].min() > np.median(all_of_them.stars["snr"])


def test_work_done_before_is_not_repeated_and_the_exposure_not_changed():
    exposure, *_ = star_field(25, 3.0)
    before = exposure.masked_image.copy()
    pixels = subtract_background(exposure.masked_image, fit_background(exposure.masked_image))
    copies = pixels.image.copy(), pixels.variance.copy()
    assert measure_psf(exposure, pixels=pixels).fwhm == measure_psf(exposure).fwhm
    np.testing.assert_array_equal(pixels.image, copies[0])
    np.testing.assert_array_equal(pixels.variance, copies[1])
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(exposure, name), getattr(before, name))
