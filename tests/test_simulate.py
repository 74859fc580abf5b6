"""The simulator tells the truth about what it renders."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from psfmatch_cli.errors import UsageError
from psfmatch_cli.psf import Psf
from psfmatch_cli.simulate import PRESETS, SimulatedPair, preset, simulate_pair
from psfmatch_cli.simulation.detector import Detector, saturated_pixels
from psfmatch_cli.simulation.render import CONSERVING_RADIUS, MoffatShape, galaxy_stamp, moffat_stamp
from psfmatch_cli.simulation.sky import noise_pixels


@pytest.fixture(scope="module")
def pair() -> SimulatedPair:
    return simulate_pair(preset("demo", width=512, height=384, seed=5, n_transients=12, xy0=(100, -7)))


def box_sum(image, x: float, y: float, half: int) -> float:
    ix, iy = round(x), round(y)
    return float(image[iy - half : iy + half + 1, ix - half : ix + half + 1].sum(dtype=float))


@pytest.mark.parametrize("fwhm", [1.7, 2.2, 3.4, 4.6])
def test_star_keeps_its_flux_and_place(fwhm):
    psf = MoffatShape(fwhm, 0.1, -0.05, 3.5)
    half = int(np.ceil(CONSERVING_RADIUS * fwhm))
    stamp = moffat_stamp(psf, 0.31, -0.42, half)
    offsets = np.arange(-half, half + 1)
    assert abs(stamp.sum() - 1.0) < 1e-4  # promised
    # What the truncated wing takes from the centroid is below 1e-3 pixel.
    assert abs((stamp.sum(axis=0) @ offsets) - 0.31) < 1e-3
    assert abs((stamp.sum(axis=1) @ offsets) + 0.42) < 1e-3


@pytest.mark.parametrize("fwhm", [1.7, 3.4])
def test_star_is_integrated_over_pixels(fwhm):
    psf, fine = MoffatShape(fwhm, 0.1, -0.05, 3.5), 31
    centres = (np.arange(21 * fine) + 0.5) / fine - 10.5
    xx, xy, yy = psf.quadratic_form
    dx, dy = centres - 0.3, centres[:, None] + 0.2
    values = psf.peak * (1.0 + xx * dx**2 + 2.0 * xy * dx * dy + yy * dy**2) ** -3.5
    direct = values.reshape(21, fine, 21, fine).mean(axis=(1, 3))
    # The midpoint rule with 31 points and the quadrature are both good to some 1e-4 of the peak.
    assert np.abs(moffat_stamp(psf, 0.3, -0.2, 10) - direct).max() < 3e-4 * direct.max()


def test_position_angle_of_ellipticity():
    stamp = moffat_stamp(MoffatShape(4.0, 0.2, 0.1, 3.5), 0.0, 0.0, 20)
    offsets = np.arange(-20, 21.0)
    weight = stamp * np.exp(-0.5 * (offsets**2 + offsets[:, None] ** 2) / 4.0)
    xx, yy, xy = (np.sum(weight * a) for a in (offsets**2, offsets[:, None] ** 2, offsets * offsets[:, None]))
    assert xx > yy
    assert xy > 0
    # Weighting and pixels shrink both components alike, so their ratio stays.
    assert abs((xx - yy) / (2.0 * xy) - 2.0) < 0.02


@pytest.mark.parametrize("fwhm", [1.7, 4.6])
def test_galaxy_is_an_exponential_disc_through_the_psf(fwhm):
    psf, fine, radius = MoffatShape(fwhm, 0.0, 0.0, 3.5), 5, 2.0
    half = int(np.ceil(max(CONSERVING_RADIUS * fwhm, 12 * radius)))
    offsets = np.arange(-half * fine, half * fine + 1) / fine
    # Averaging over each fine sample tames the cusp at the centre.
    sub = np.linspace(-0.5, 0.5, 11)[:-1] + 0.05
    disc = sum(np.exp(-np.hypot(offsets + a / fine, offsets[:, None] + b / fine) / radius) for a in sub for b in sub)
    disc /= disc.sum()
    sharp = moffat_stamp(psf, 0.25, -0.4, half * fine, 1.0 / fine)
    direct = fftconvolve(sharp, disc, mode="same")[::fine, ::fine]
    stamp = galaxy_stamp(psf, 0.25, -0.4, radius, 0.5, 0.0, 0.0, jacobian=np.eye(2))
    assert stamp.shape == direct.shape
    assert abs(stamp.sum() - 1.0) < 1e-4
    assert np.abs(stamp - direct).max() < 2e-3 * direct.max()  # fine samples of 0.2 pixel


def test_galaxy_turns_with_the_grid():
    psf = MoffatShape(4.0, 0.0, 0.0, 3.5)
    quarter_turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    along = galaxy_stamp(psf, 0.0, 0.0, 2.0, 0.0, 0.4, 0.2, jacobian=np.eye(2))
    turned = galaxy_stamp(psf, 0.0, 0.0, 2.0, 0.0, 0.4, 0.2, jacobian=quarter_turn)
    # (x, y) goes to (-y, x): rotating the array by 90 degrees the same way gives the same galaxy.
    np.testing.assert_allclose(turned, np.rot90(along, k=-1), atol=1e-12)


def test_seed_decides_everything():
    small = {"width": 128, "height": 96, "n_transients": 2}
    first, again = (simulate_pair(preset("demo", seed=3, **small)) for _ in range(2))
    other = simulate_pair(preset("demo", seed=4, **small))
    for role in ("template", "science"):
        np.testing.assert_array_equal(getattr(first, role).image, getattr(again, role).image)
        np.testing.assert_array_equal(getattr(first, role).mask, getattr(again, role).mask)
        assert (getattr(first, role).image != getattr(other, role).image).any()
    no_rays = simulate_pair(preset("demo", seed=3, cosmic_rays=0, **small))
    np.testing.assert_array_equal(first.science_truth, no_rays.science_truth)


def test_stars_in_both_images_have_their_flux():
    config = preset("demo", width=200, height=200, seed=8, n_stars=1, n_galaxies=0, n_transients=0, faintest_snr=300)
    lonely = simulate_pair(config)
    star = lonely.stars[0]
    half = int(min(star["x"], star["y"], 199 - star["x"], 199 - star["y"]))
    assert half > CONSERVING_RADIUS * config.science_fwhm
    empty = simulate_pair(config.model_copy(update={"n_stars": 0}))
    for role, flux in (("science", star["flux"]), ("template", star["flux_template"])):
        light = getattr(lonely, f"{role}_truth").astype(float) - getattr(empty, f"{role}_truth")
        assert abs(box_sum(light, star["x"], star["y"], half) / flux - 1.0) < 3e-4  # float32 on a sky of 1000
    assert abs(star["flux"] / star["flux_template"] - config.flux_ratio) < 1e-12


def test_psf_varies_as_asked(pair):
    x, y = (c.ravel() for c in np.meshgrid(np.linspace(0, 511, 40), np.linspace(0, 383, 40)))
    fwhm = {role: np.array([s.fwhm for s in pair.fields[role].at(x, y)]) for role in ("template", "science")}
    for role, nominal in (("template", 3.4), ("science", 4.6)):
        # The range is set on a grid of its own; the last 1e-3 depends on where the points lie.
        np.testing.assert_allclose([fwhm[role].min(), fwhm[role].max()], nominal * np.array([0.96, 1.04]), rtol=1e-3)
    assert abs(np.corrcoef(fwhm["template"], fwhm["science"])[0, 1]) < 0.9


def test_psf_image_has_the_asked_fwhm(pair):
    x, y = 356.0, 185.0
    psf = Psf.from_image(pair.psf_image("science", x, y, 40))
    shape = pair.fields["science"].at(x - 100, y + 7)[0]
    # Integration over a pixel adds about 8 ln 2 / 12 to the square; linear interpolation errs by 1 %.
    assert abs(psf.fwhm / np.hypot(shape.fwhm, np.sqrt(8.0 * np.log(2.0) / 12.0)) - 1.0) < 0.03
    assert abs(pair.psf_image("science", x, y, 40).sum() - 1.0) < 1e-4


def test_transients_are_the_difference_of_the_noise_free_images(pair):
    without = simulate_pair(pair.config.model_copy(update={"n_transients": 0}))
    new = pair.science_truth.astype(float) - without.science_truth
    gone = pair.template_truth.astype(float) - without.template_truth
    assert len(pair.transients) == 12
    for row in pair.transients:
        x, y = row["x"] - 100, row["y"] + 7
        in_science, in_template = box_sum(new, x, y, 16), box_sum(gone, x, y, 16)
        # 16 pixels are 3.5 FWHM and hold 99 to 99.9 % of the flux.
        if row["flux"] > 0:
            assert abs(in_science / row["flux"] - 1.0) < 0.01
            assert abs(in_template) < 1e-3 * row["flux"]
        else:
            assert abs(-pair.config.flux_ratio * in_template / row["flux"] - 1.0) < 0.01


def test_transient_snr_is_that_of_a_matched_filter():
    config = preset("demo", width=256, height=256, seed=8, n_stars=0, n_galaxies=0, n_transients=5, psf_variation=0.0)
    pair = simulate_pair(config)
    variance = config.sky / config.gain + (config.read_noise / config.gain) ** 2
    gain = config.gain * config.flux_ratio * config.depth
    variance += config.flux_ratio**2 * (config.template_sky / gain + config.depth * (config.read_noise / gain) ** 2)
    profile = pair.psf_image("science", 128, 128, 12)
    for row in pair.transients:
        flux = abs(row["flux"])
        best = flux * np.sqrt(np.sum(profile**2 / (variance + flux * profile / config.gain)))
        assert abs(best / row["snr"] - 1.0) < 0.01  # the sky has a slope of 2 % over the field


@pytest.mark.parametrize("fwhm", [3.4, 4.6])
def test_noise_pixels_are_those_of_the_psf(fwhm):
    stamp = moffat_stamp(MoffatShape(fwhm, 0.0, 0.0, 3.5), 0.0, 0.0, 40)
    assert abs(noise_pixels(fwhm) * np.sum(stamp**2) - 1.0) < 0.06  # integration over pixels broadens the PSF


@pytest.mark.parametrize("variance_from", ["image", "expected"])
def test_variance_plane_is_the_noise(variance_from):
    pair = simulate_pair(preset("demo", width=512, height=512, seed=6, variance_from=variance_from))
    for role in ("template", "science"):
        exposure, truth = getattr(pair, role), getattr(pair, f"{role}_truth")
        clean = exposure.mask == 0
        z = ((exposure.image - truth) / np.sqrt(exposure.variance))[clean]
        # 260 000 pixels give the width to 0.002; a variance from the noisy image adds 0.1 %.
        assert abs(1.4826 * np.median(np.abs(z - np.median(z))) - 1.0) < 0.01
        assert abs(z.std() - 1.0) < 0.01


def test_planes_are_where_the_defects_are():
    config = preset("demo", width=400, height=300, seed=11, unflagged=3, bad_columns=2, dead_pixels=7, saturation=6e3)
    pair = simulate_pair(config)
    science = pair.science
    full = science.masked_image.flagged(["SAT"])
    assert full.any()
    assert (science.image[full & (science.mask == science.masked_image.bits(["SAT"]))] == config.saturation).all()
    bad = science.masked_image.flagged(["BAD"])
    assert bad.all(axis=0).sum() == 2
    assert (science.image[bad & ~bad.all(axis=0)] == 0).sum() >= 6  # one of the seven may be in a bad column
    excess = (science.image - pair.science_truth) / np.sqrt(science.variance)
    rays = science.masked_image.flagged(["CR"]) & ~full & ~bad
    assert np.median(excess[rays]) > 5
    missed = (science.mask == 0) & (np.abs(excess) > 10)
    assert 3 <= missed.sum() <= 45  # three tracks of up to 15 pixels
    assert not pair.template.masked_image.flagged(["CR"]).all()


def test_excess_charge_bleeds_along_the_column():
    truth = np.full((41, 21), 10.0)
    truth[20, 10] = 800.0
    full = saturated_pixels(truth, 100.0)
    assert full[:, 10].sum() == 2 * 3 + 1  # 700 of excess fill three pixels each way
    assert full.sum() == full[:, 10].sum()


def test_detector_noise_of_a_flat():
    detector = Detector(gain=2.0, read_noise=6.0, saturation=1e5)
    flat = np.full((300, 300), 1000.0)
    exposed = detector.expose(flat, (0, 0), np.random.default_rng(1))
    assert abs(exposed.image.var() / detector.variance(flat)[0, 0] - 1.0) < 0.02  # 90 000 pixels: 0.5 % expected
    assert not exposed.mask.any()


def test_background_is_the_difference_of_the_skies():
    config = preset("demo", width=96, height=80, n_stars=0, n_galaxies=0, n_transients=0)
    pair = simulate_pair(config)
    difference = pair.science_truth - config.flux_ratio * pair.template_truth
    np.testing.assert_allclose(pair.background(), difference, atol=1e-3)  # float32 at 1000 counts


def test_warped_template_shows_the_same_sky():
    config = preset("warped", width=256, height=256, n_stars=30, faintest_snr=100, n_transients=0, xy0=(5, 9))
    pair = simulate_pair(config)
    stars = pair.stars
    there = pair.science.wcs.pixel_to_world(stars["x"] - 5, stars["y"] - 9)
    here = pair.template.wcs.pixel_to_world(stars["x_template"] - 5, stars["y_template"] - 9)
    assert there.separation(here).arcsec.max() < 1e-6
    moved = np.hypot(stars["x_template"] - stars["x"], stars["y_template"] - stars["y"])
    assert moved.max() > 20
    unsaturated = stars[~stars["saturated"]]
    brightest = unsaturated[np.argmax(unsaturated["flux"])]
    x, y = brightest["x_template"] - 5, brightest["y_template"] - 9
    around = pair.template_truth[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
    assert np.unravel_index(np.argmax(around), around.shape) == (3, 3)


def test_tables_hold_parent_positions(pair):
    assert pair.science.xy0 == (100, -7)
    for table in (pair.stars, pair.galaxies, pair.transients):
        assert (table["x"] >= 99.5).all()
        assert (table["x"] < 611.5).all()
        assert (table["y"] >= -7.5).all()
        assert (table["y"] < 376.5).all()
    isolated = pair.stars[np.argmax(pair.stars["snr"] * ~pair.stars["saturated"])]
    x, y = round(isolated["x"] - 100), round(isolated["y"] + 7)
    assert pair.science_truth[y, x] > pair.science_truth[y, x - 5]


def test_psf_is_attached_when_asked():
    config = preset("demo", width=96, height=80, n_transients=0, attach_psf=True, wcs=False)
    pair = simulate_pair(config)
    assert pair.science.wcs is None
    assert abs(pair.template.psf.fwhm / 3.4 - 1.0) < 0.1  # the pixel and the variation
    assert simulate_pair(config.model_copy(update={"attach_psf": False})).science.psf is None


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_made(name):
    pair = simulate_pair(preset(name, width=160, height=128, n_stars=10, n_galaxies=3, n_transients=1))
    assert pair.science.shape == pair.template.shape == (128, 160)
    assert len(pair.stars) == 10


def test_unknown_preset():
    with pytest.raises(UsageError, match="no simulation 'dense'; known are standard, crowded"):
        preset("dense")
