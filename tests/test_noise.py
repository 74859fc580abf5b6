import logging

import numpy as np
import pytest

from psfmatch_cli.detector import DetectorTerms
from psfmatch_cli.errors import InputError
from psfmatch_cli.io import ReadOptions, read_exposure
from psfmatch_cli.noise import Sky, VarianceLaw, choose_law, clipped_center_and_width, measure_sky, variance_plane
from reference_data import data_folder

SHAPE = (512, 512)


def no_bad(shape=SHAPE):
    return np.zeros(shape, bool)


def star_field(rng, sky, gain=1.0, read_noise=0.0, n_stars=150, fwhm=3.0, shape=SHAPE):
    """Expected counts and one noisy realisation of stars on a sky."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    truth = np.broadcast_to(np.asarray(sky, float), shape).copy()
    sigma = fwhm / 2.3548
    for cy, cx, flux in zip(
        rng.uniform(0, shape[0], n_stars),
        rng.uniform(0, shape[1], n_stars),
        10 ** rng.uniform(2, 5, n_stars),
        strict=True,
    ):
        near = np.s_[max(int(cy) - 12, 0) : int(cy) + 13, max(int(cx) - 12, 0) : int(cx) + 13]
        r2 = (y[near] - cy) ** 2 + (x[near] - cx) ** 2
        truth[near] += flux * np.exp(-0.5 * r2 / sigma**2) / (2 * np.pi * sigma**2)
    noisy = rng.poisson(np.maximum(truth, 0) * gain) / gain + rng.normal(0, read_noise / gain + 1e-9, shape)
    return truth, noisy.astype(np.float32)


def test_width_of_whole_numbers_does_not_jump():
    rng = np.random.default_rng(1)
    for sigma in (0.8, 1.3, 5.24):
        values = np.rint(rng.normal(0.3, sigma, 400_000))
        # Rounding adds 1/12 to the variance; 400000 values give 0.1 %.
        assert clipped_center_and_width(values)[1] == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.01)


def test_width_ignores_outliers_and_is_zero_for_equal_values():
    rng = np.random.default_rng(2)
    values = np.append(rng.normal(10, 2, 20_000), np.full(200, 1e4))
    center, width = clipped_center_and_width(values)
    # 20000 values: the standard errors are 0.014 and 0.01.
    assert center == pytest.approx(10, abs=0.05)
    assert width == pytest.approx(2, abs=0.04)
    assert clipped_center_and_width(np.r_[np.zeros(100), 1.0])[1] == 0


def test_sky_noise_under_stars_and_a_steep_gradient():
    rng = np.random.default_rng(3)
    ramp = 1000 + np.arange(SHAPE[1])
    truth, image = star_field(rng, 0, n_stars=200)
    image = (truth + ramp + rng.normal(0, 20, SHAPE)).astype(np.float32)
    sky = measure_sky(image, no_bad())
    # The ramp spans 25 sigma; what is left of it at the edges and of faint star wings is 1 %.
    assert sky.sigma == pytest.approx(20, rel=0.015)
    assert sky.level == pytest.approx(ramp.mean(), rel=0.02)
    assert abs(np.median(sky.background - ramp)) < 2


def test_sky_is_not_disturbed_by_bad_pixels():
    rng = np.random.default_rng(4)
    image = rng.normal(100, 10, SHAPE).astype(np.float32)
    bad = no_bad()
    bad[:, 100:200] = True
    image[bad] = np.nan
    sky = measure_sky(image, bad)
    assert sky.sigma == pytest.approx(10, rel=0.01)
    assert np.isfinite(sky.background).all()
    with pytest.raises(InputError, match="no usable pixel"):
        measure_sky(image, ~no_bad())


def test_small_images_have_a_sky_too():
    image = np.random.default_rng(5).normal(50, 3, (15, 20)).astype(np.float32)
    # 300 values give the width to 4 %; three times that.
    assert measure_sky(image, no_bad(image.shape)).sigma == pytest.approx(3, rel=0.12)


@pytest.mark.parametrize("gain", [0.4, 1.5, 8.0])
def test_gain_is_estimated_from_the_sky(gain):
    _, image = star_field(np.random.default_rng(6), 2000.0, gain)
    sky = measure_sky(image, no_bad())
    law = choose_law(DetectorTerms(), sky, "f")
    # sigma is measured to 0.3 %, the gain follows its square; faint stars widen the sky a little.
    assert law.gain == pytest.approx(gain, rel=0.02)
    assert law.sources["gain"] == "estimated from sky level and sky noise"
    assert law(sky.level) == pytest.approx(sky.sigma**2)


def test_a_known_read_noise_enters_the_estimate():
    _, image = star_field(np.random.default_rng(7), 200.0, 2.0, read_noise=20.0)
    sky = measure_sky(image, no_bad())
    assert choose_law(DetectorTerms(read_noise=20.0), sky, "f").gain == pytest.approx(2.0, rel=0.03)
    assert choose_law(DetectorTerms(dark_variance=100.0), sky, "f").gain == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("level", [0.0, 20.0, -3.0])
def test_a_subtracted_sky_gives_a_constant_variance(level):
    image = np.random.default_rng(8).normal(level, 10, SHAPE).astype(np.float32)
    law = choose_law(DetectorTerms(), measure_sky(image, no_bad()), "f")
    assert law.gain is None
    assert law.constant == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_numbers_that_are_no_counts_give_a_constant_variance(factor):
    _, image = star_field(np.random.default_rng(9), 500.0)
    image = image * np.float32(factor)
    sky = measure_sky(image, no_bad())
    law = choose_law(DetectorTerms(), sky, "f")
    assert law.gain is None
    assert law.constant == sky.sigma**2


HEADER = {"gain": "header GAIN"}
PLANE = np.zeros((2, 2), np.float32)


def sky_of(level, sigma):
    return Sky(level, sigma, PLANE)


def test_a_headers_gain_that_fits_is_kept_and_misses_only_read_noise():
    law = choose_law(DetectorTerms(gain=2.0, sources=HEADER), sky_of(200.0, 11.0), "f")
    assert law.gain == 2.0
    assert law.constant == pytest.approx(121 - 100)
    assert law.sources["constant"] == "raised to the measured sky noise"


def test_a_headers_gain_that_predicts_a_little_too_much_is_scaled():
    terms = DetectorTerms(gain=2.0, dark_variance=10.0, sources=HEADER)
    law = choose_law(terms, sky_of(200.0, 10.0), "f")
    assert law.gain == pytest.approx(2.0 * 1.1)
    assert law(200.0) == pytest.approx(100.0)
    assert "times 1.100 to agree with the measured sky noise" in law.sources["gain"]


@pytest.mark.parametrize(("gain", "sigma"), [(120.0, 10.0), (0.1, 10.0)])
def test_a_headers_gain_that_does_not_fit_is_refused_aloud(caplog, gain, sigma):
    law = choose_law(DetectorTerms(gain=gain, sources=HEADER), sky_of(200.0, sigma), "f.fits")
    assert law.gain == pytest.approx(2.0)
    predicted = f"{np.sqrt(200 / gain):.4g}"
    assert f"(header GAIN) predicts a sky noise of {predicted} counts, measured is 10" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_a_headers_gain_is_kept_where_the_subtracted_sky_is_unknown(caplog):
    law = choose_law(DetectorTerms(gain=2.0, read_noise=4.0, sources=HEADER), sky_of(0.5, 10.0), "f")
    assert (law.gain, law(0.5)) == (2.0, pytest.approx(100.0))
    assert not caplog.records


def test_a_subtracted_sky_that_is_known_is_added_back():
    terms = DetectorTerms(gain=2.0, sky_level=180.0, sources=HEADER)
    law = choose_law(terms, sky_of(0.0, 9.6), "f")
    assert law(0.0) == pytest.approx(9.6**2)
    assert law(-180.0) == pytest.approx(9.6**2 - 90)


def test_an_options_gain_is_obeyed_and_the_formula_is_exact(caplog):
    sources = {"gain": "option", "read_noise": "option"}
    law = choose_law(DetectorTerms(gain=2.0, read_noise=6.0, pedestal=20.0, sources=sources), sky_of(220.0, 10.4), "f")
    assert (law.gain, law.constant) == (2.0, 9.0)
    assert law(np.array([20.0, 10.0, 1020.0])).tolist() == [9.0, 9.0, 509.0]
    assert not caplog.records


def test_an_options_gain_that_does_not_fit_is_obeyed_aloud(caplog):
    law = choose_law(DetectorTerms(gain=0.2, read_noise=6.0, sources={"gain": "option"}), sky_of(200.0, 10.0), "f")
    assert law.gain == 0.2
    assert "gain 0.2 e-/count (option) predicts a sky noise of 43.59 counts, measured is 10" in caplog.text
    assert "the option is obeyed" in caplog.text


def test_an_options_gain_without_read_noise_is_completed_by_the_sky():
    law = choose_law(DetectorTerms(gain=2.0, sources={"gain": "option"}), sky_of(0.0, 10.0), "f")
    assert (law.gain, law(0.0), law(100.0)) == (2.0, pytest.approx(100.0), pytest.approx(150.0))


def test_no_noise_and_no_gain_is_an_error():
    with pytest.raises(InputError, match="f: the sky has no noise to measure; give a variance or noise file"):
        choose_law(DetectorTerms(), sky_of(10.0, 0.0), "f")
    with pytest.raises(InputError, match="no noise and no level"):
        choose_law(DetectorTerms(gain=1.0, sources=HEADER), sky_of(0.0, 0.0), "f")
    assert choose_law(DetectorTerms(gain=1.0, sources=HEADER), sky_of(10.0, 0.0), "f")(10.0) == 10.0


def test_variance_follows_the_light():
    rng = np.random.default_rng(10)
    vignetted = 400.0 + 0.8 * np.arange(SHAPE[1])
    truth, image = star_field(rng, vignetted, gain=2.0, read_noise=5.0)
    sky = measure_sky(image, no_bad())
    variance = variance_plane(image, no_bad(), sky, VarianceLaw(2.0, 6.25))
    expected = truth / 2.0 + 6.25
    assert variance.dtype == np.float32
    on_sky = truth - vignetted < 0.1
    # The background mesh is 64 pixels wide; its noise is 0.3 counts of 600.
    assert np.percentile(np.abs(variance / expected - 1)[on_sky], 99) < 0.03
    bright = truth - vignetted > 2000
    # A bright pixel stands for itself: its own noise is 2 % there.
    assert np.abs(variance / expected - 1)[bright].max() < 0.1
    z = ((image - truth) / np.sqrt(variance))[on_sky]
    assert clipped_center_and_width(z)[1] == pytest.approx(1, abs=0.02)


def test_variance_does_not_know_the_noise_of_its_pixel():
    rng = np.random.default_rng(11)
    image = rng.poisson(25, SHAPE).astype(np.float32)
    variance = variance_plane(image, no_bad(), measure_sky(image, no_bad()), VarianceLaw(1.0, 0.0))
    # The mean weighted by the Poisson variance of each pixel itself would be 1 count, 4 %, too low. What is left
    # comes from the 0.1 % of smoothed pixels beyond 3 sigma; the standard error is 0.01.
    assert np.average(image, weights=1 / variance) == pytest.approx(25, abs=0.04)


def test_weighted_fluxes_of_stars_are_nearly_unbiased():
    rng = np.random.default_rng(12)
    flux, step, sigma = 2000.0, 32, 3 / 2.3548
    offset = np.arange(-9, 10)
    profile = np.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / sigma**2)
    profile /= profile.sum()
    cell = np.zeros((step, step))
    cell[7:26, 7:26] = profile
    image = rng.poisson(25 + flux * np.tile(cell, (16, 16))).astype(np.float32)
    variance = variance_plane(image, no_bad(), measure_sky(image, no_bad()), VarianceLaw(1.0, 0.0))
    weight = 1 / variance
    p = np.tile(cell, (16, 16))
    sums = [(term * weight).reshape(16, step, 16, step).sum(axis=(1, 3)) for term in (p * (image - 25), p * p)]
    # The noisy pixel's own variance gives 0.985; 256 stars of 2.5 % each give 0.0016.
    assert np.mean(sums[0] / sums[1]) / flux == pytest.approx(1, abs=0.011)


def test_bad_pixels_do_not_spread():
    image = np.random.default_rng(13).normal(100, 10, SHAPE).astype(np.float32)
    clean = variance_plane(image, no_bad(), measure_sky(image, no_bad()), VarianceLaw(1.0, 0.0))
    bad = no_bad()
    bad[200, 300] = True
    image[200, 300] = np.nan
    variance = variance_plane(image, bad, measure_sky(image, bad), VarianceLaw(1.0, 0.0))
    assert np.isfinite(variance).all()
    np.testing.assert_allclose(variance[210:, 310:], clean[210:, 310:], rtol=1e-3)


@pytest.mark.parametrize(
    ("folder", "name", "mask"),
    [
        ("eso085", "template.fit", None),
        ("eso085", "science.fit", None),
        ("sdss-r", "template.fits.gz", "template_mask.fits.gz"),
        ("sdss-r", "science_aligned.fits.gz", "science_aligned_mask.fits.gz"),
    ],
)
def test_variance_of_real_images_fits_their_sky(folder, name, mask):
    import sep

    root = data_folder(folder)
    exposure = read_exposure(root / name, ReadOptions(mask=root / mask if mask else None))
    bad = exposure.mask != 0
    background = sep.Background(exposure.image, mask=bad)
    residual = exposure.image - background.back()
    _, segments = sep.extract(residual, 1.5, err=background.globalrms, mask=bad, segmentation_map=True)
    z = (residual / np.sqrt(exposure.variance))[(segments == 0) & ~bad]
    assert clipped_center_and_width(z)[1] == pytest.approx(1, abs=0.02)
