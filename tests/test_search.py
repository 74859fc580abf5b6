"""The search: polarity, what makes a footprint, growing, and the backgrounds beside the main one."""

import logging

import numpy as np
import pytest
from scipy import ndimage

from psfmatch_cli.config import BackgroundConfig, DetectionConfig
from psfmatch_cli.detect import detect
from psfmatch_cli.errors import FitError
from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf
from star_fields import NOISE, SKY, add_star, flux_of_snr, moffat, noisy_exposure, star_field

FWHM = 3.0
SIGMA = FWHM / FWHM_PER_SIGMA
#: No background is fitted: the sky is what the test put in.
NO_BACKGROUND = BackgroundConfig(algorithm="NONE")


def found(exposure, **settings):
    return detect(exposure, DetectionConfig(**settings), psf_sigma=SIGMA)


def sky_noise(model, seed=0, level=0.0, **attributes):
    """Exposure of a model of either sign on a sky of a given level, with white noise and a true variance."""
    image = model + level + np.random.default_rng(seed).normal(0, NOISE, model.shape)
    return Exposure(MaskedImage.from_arrays(image, None, np.full(model.shape, NOISE**2)), **attributes)


def stars(shape, positions, snr):
    model = np.zeros(shape)
    for (x, y), value in zip(positions, np.broadcast_to(snr, len(positions)), strict=True):
        add_star(model, x, y, np.sign(value) * flux_of_snr(abs(value), FWHM), FWHM)
    return model


def places(sources):
    return sorted((round(float(x)), round(float(y))) for x, y in zip(sources["x"], sources["y"], strict=True))


# Polarity


BRIGHT, DARK = [(40.0, 40.0), (40.0, 120.0)], [(120.0, 40.0), (120.0, 120.0), (80.0, 80.0)]


@pytest.fixture(scope="module")
def both_signs():
    u = np.arange(-12, 13)
    psf = Psf.from_image(moffat(u, u[:, None], FWHM))
    return sky_noise(stars((160, 160), BRIGHT + DARK, [100, 100, -100, -100, -100]), psf=psf)


def test_positive_sources_are_the_default(both_signs):
    detection = found(both_signs)
    assert places(detection.sources) == sorted(BRIGHT)
    assert not detection.negative_footprints.any()
    assert not detection.sources["flag_negative"].any()


def test_negative_sources_have_negative_fluxes(both_signs):
    detection = found(both_signs, threshold_polarity="negative")
    sources = detection.sources
    assert places(sources) == sorted(DARK)
    assert sources["flag_negative"].all()
    # The noise is 1 %, and 1 % of the flux is beyond the PSF image.
    np.testing.assert_allclose(sources["psf_flux"], -flux_of_snr(100, FWHM), rtol=0.04)
    assert (sources["gauss_flux"] < 0).all()
    assert (sources["significance"] < -10).all()
    assert (sources["peak_value"] < 0).all()
    assert (sources["psf_flux_err"] > 0).all()
    assert (sources["fwhm"] > 0).all()
    assert not detection.footprints.any()


def test_both_signs_are_one_table_and_two_mask_planes(both_signs):
    detection = found(both_signs, threshold_polarity="both")
    sources = detection.sources
    assert places(sources[~sources["flag_negative"]]) == sorted(BRIGHT)
    assert places(sources[sources["flag_negative"]]) == sorted(DARK)
    np.testing.assert_array_equal(sources["id"], np.arange(1, 6))
    assert len(set(sources["footprint"])) == 5
    # The nearest source is one of the other sign, 40 px off along both axes.
    assert sources["isolation"].max() == pytest.approx(40 * 2**0.5, abs=2)
    marked = detection.mark(both_signs.masked_image)
    for plane, positions in (("DETECTED", BRIGHT), ("DETECTED_NEGATIVE", DARK)):
        labels, n = ndimage.label(marked.flagged([plane]))
        assert n == len(positions)
        assert all(labels[int(y), int(x)] for x, y in positions)
    assert detection.metadata["thresholdPolarity"] == "both"


def test_the_negative_of_the_inverted_image_is_the_positive(both_signs):
    image = both_signs.image
    inverted = both_signs.with_pixels(MaskedImage.from_arrays(-image, None, both_signs.variance))
    positive = found(both_signs).sources
    negative = found(inverted, threshold_polarity="negative").sources
    for name in ("x", "y", "Ixx", "fwhm", "psf_flux_err", "npix", "isolation", "half_light_radius"):
        # The clipped means of the bins are summed in another order.
        np.testing.assert_allclose(negative[name], positive[name], rtol=1e-4, err_msg=name)
    for name in ("psf_flux", "gauss_flux", "peak_value", "significance"):
        np.testing.assert_allclose(negative[name], -positive[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(("kind", "value"), [("stdev", 10.0), ("value", 50.0), ("pixel_stdev", 10.0)])
def test_every_threshold_has_both_signs(both_signs, kind, value):
    sources = found(both_signs, threshold_polarity="both", threshold_type=kind, threshold_value=value).sources
    assert (len(sources), sources["flag_negative"].sum()) == (5, 3)


# Which footprints count


def test_a_footprint_needs_a_pixel_above_the_multiple():
    positions = [(40.0, 40.0), (120.0, 40.0), (200.0, 40.0), (200.0, 50.0)]
    exposure = sky_noise(stars((160, 240), positions, [25, 100, 1000, 40]), seed=1)
    plain = found(exposure).sources
    assert places(plain) == positions
    # The significance of the faint one in the footprint of the brightest is below the multiple; it stays.
    assert plain["significance"][np.argmax(plain["y"])] < 50
    sources = found(exposure, include_threshold_multiplier=5).sources
    assert places(sources) == positions[1:]
    assert len(found(exposure, include_threshold_multiplier=0.1).sources) == 4


def test_a_multiple_of_a_threshold_in_counts():
    exposure = sky_noise(stars((100, 200), [(50, 50), (150, 50)], [25, 100]), seed=2)
    values = [
        len(found(exposure, threshold_type="value", threshold_value=20, include_threshold_multiplier=m).sources)
        for m in (1, 5, 100)
    ]
    assert values == [2, 1, 0]


# Growing


@pytest.fixture(scope="module")
def close_pair():
    """Two stars whose footprints touch only when they have grown."""
    return sky_noise(stars((100, 100), [(42.0, 50.0), (56.0, 50.0)], 200), seed=3)


def test_isotropic_growth_is_a_disc(close_pair):
    bare = found(close_pair, n_sigma_to_grow=0).footprints
    disc = np.hypot(*np.mgrid[-3:4, -3:4]) <= 3
    grown = found(close_pair, isotropic_grow=True)
    assert grown.metadata["nGrow"] == 3
    np.testing.assert_array_equal(grown.footprints, ndimage.binary_dilation(bare, disc))
    diamond = found(close_pair).footprints
    assert diamond.sum() < grown.footprints.sum()


def test_nothing_found_has_nothing_to_grow():
    assert not found(sky_noise(np.zeros((60, 60))), isotropic_grow=True).footprints.any()


def test_footprints_merge_only_if_they_grow_together(close_pair):
    together, apart = found(close_pair), found(close_pair, combined_grow=False)
    assert len(together.sources) == len(apart.sources) == 2
    assert list(together.sources["footprint"]) == [1, 1]
    assert list(apart.sources["footprint"]) == [1, 2]
    np.testing.assert_array_equal(together.footprints, apart.footprints)
    bare = found(close_pair, n_sigma_to_grow=0)
    for side, step in (("x0", -3), ("y0", -3), ("x1", 3), ("y1", 3)):
        np.testing.assert_array_equal(apart.sources[f"bbox_{side}"], bare.sources[f"bbox_{side}"] + step)
    assert apart.sources["bbox_x1"][0] > apart.sources["bbox_x0"][1], "they overlap"


def test_boxes_that_grow_apart_end_at_the_image():
    exposure = sky_noise(stars((60, 60), [(5.0, 30.0)], 300), seed=4)
    row = found(exposure, combined_grow=False, n_sigma_to_grow=10).sources[0]
    assert (row["bbox_x0"], row["bbox_y0"] > 0, row["bbox_x1"] < 59) == (0, True, True)


def test_original_footprints_are_listed_and_grown_ones_marked(close_pair):
    bare, listed = found(close_pair, n_sigma_to_grow=0), found(close_pair, return_original_footprints=True)
    for name in ("footprint", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1", "npix"):
        np.testing.assert_array_equal(listed.sources[name], bare.sources[name])
    np.testing.assert_array_equal(listed.footprints, found(close_pair).footprints)


@pytest.mark.parametrize("grow", [{}, {"combined_grow": False}, {"return_original_footprints": True}])
def test_without_deblending_a_footprint_is_one_source(close_pair, grow):
    bare = found(close_pair, n_sigma_to_grow=0)
    sources = found(close_pair, deblend=False, **grow).sources
    assert len(sources) == (2 if grow else 1)
    assert sources["npix"].sum() == bare.footprints.sum()


# The background estimated again


def test_the_background_without_the_footprints_is_nearer_to_the_truth():
    rng = np.random.default_rng(5)
    model = np.zeros((384, 384))
    for x, y in rng.uniform(0, 384, (500, 2)):
        add_star(model, x, y, flux_of_snr(300, FWHM), FWHM)
    exposure = noisy_exposure(model, rng)
    first, again = found(exposure), found(exposure, re_estimate_background=True)
    bias = [float(np.mean(detection.background - SKY)) for detection in (first, again)]
    # 500 stars in 147456 pixels: the clipped means keep their wings, the second ones see a third of the image.
    assert bias[0] > 2
    assert 0 < bias[1] < 0.3 * bias[0]
    np.testing.assert_array_equal(first.footprints, again.footprints)
    np.testing.assert_array_equal(first.sources["peak_value"], again.sources["peak_value"])
    # What the background gives up, the fluxes of the same sources gain: the area of the PSF's square is 4 pi sigma^2.
    gain = np.median(again.sources["psf_flux"] - first.sources["psf_flux"])
    assert gain == pytest.approx(4 * np.pi * SIGMA**2 * (bias[0] - bias[1]), rel=0.1)


def test_footprints_everywhere_leave_the_first_background(caplog):
    image = np.full((64, 64), 100.0)
    exposure = Exposure(MaskedImage.from_arrays(image, None, np.ones(image.shape)))
    with caplog.at_level(logging.WARNING, "psfmatch_cli"):
        detection = found(
            exposure, re_estimate_background=True, background=NO_BACKGROUND, n_sigma_to_grow=20, min_pixels=9
        )
    assert detection.footprints.all()
    assert "the background is not estimated again: no unmasked pixel" in caplog.text
    assert not detection.background.any()


# Backgrounds for the search alone


@pytest.fixture(scope="module")
def on_galaxies():
    """25 stars on two large galaxies that no background is fitted to."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:320, :320]
    model = sum(a * np.exp(-0.5 * ((x - cx) ** 2 + (y - 160) ** 2) / 35**2) for cx, a in ((100, 1000), (220, 900)))
    positions = rng.uniform(60, 260, (25, 2))
    model += stars(model.shape, positions, 80)
    return sky_noise(model, seed=6), positions


def n_found(detection, positions):
    sources = detection.sources
    x, y = positions.T
    distance = np.hypot(np.subtract.outer(x, sources["x"]), np.subtract.outer(y, sources["y"]))
    return int((distance.min(axis=1) < 1).sum())


def test_peaks_stand_out_above_the_local_background(on_galaxies):
    exposure, positions = on_galaxies
    plain = found(exposure, background=NO_BACKGROUND)
    local = found(exposure, background=NO_BACKGROUND, do_temp_local_background=True)
    assert n_found(plain, positions) < 20
    assert n_found(local, positions) == 25
    np.testing.assert_array_equal(plain.footprints, local.footprints)
    assert not local.background.any()


def test_simple_footprints_keep_their_peaks(on_galaxies):
    exposure, _ = on_galaxies
    plain = found(exposure, background=NO_BACKGROUND)
    spared = found(exposure, background=NO_BACKGROUND, do_temp_local_background=True, n_peaks_max_simple=10**6)
    np.testing.assert_array_equal(np.asarray(plain.sources["x"]), np.asarray(spared.sources["x"]))


def test_a_complex_footprint_without_a_peak_above_the_local_background_keeps_its_first():
    y, x = np.mgrid[:256, :256]
    # Wide enough for bins of 20 px to follow: nothing is left above the local background.
    model = sum(a * np.exp(-0.5 * ((x - cx) ** 2 + (y - 128) ** 2) / 25**2) for cx, a in ((90, 100), (160, 120)))
    exposure = sky_noise(model, seed=7)
    small_bins = BackgroundConfig(use_approx=False, bin_size=20)
    settings = {"background": NO_BACKGROUND, "min_pixels": 5}
    plain = found(exposure, **settings)
    local = found(exposure, **settings, do_temp_local_background=True, temp_local_background=small_bins)
    assert len(plain.sources) > 1
    assert len(local.sources) == 1
    assert local.sources["peak_value"][0] == plain.sources["peak_value"].max()


def test_dark_peaks_stand_out_above_the_local_background(on_galaxies):
    exposure, positions = on_galaxies
    inverted = exposure.with_pixels(MaskedImage.from_arrays(-exposure.image, None, exposure.variance))
    settings = {"background": NO_BACKGROUND, "threshold_polarity": "negative"}
    assert n_found(found(inverted, **settings), positions) < 20
    local = found(inverted, **settings, do_temp_local_background=True)
    assert n_found(local, positions) == 25
    assert local.sources["flag_negative"].all()


def test_the_threshold_is_that_of_the_image_above_the_local_background(on_galaxies):
    exposure, positions = on_galaxies
    settings = {"background": NO_BACKGROUND, "threshold_type": "stdev", "threshold_value": 3}
    plain = found(exposure, **settings)
    inside = positions[[plain.footprints[round(y), round(x)] for x, y in positions]]
    small_bins = BackgroundConfig(use_approx=False, bin_size=20)
    local = found(exposure, **settings, do_temp_local_background=True, temp_local_background=small_bins)
    # The galaxies widen the distribution of the image to more than the peak of a star.
    assert 9 < n_found(local, inside) == len(inside)
    assert n_found(plain, inside) < len(inside)


def test_a_wide_background_is_for_the_search_alone():
    positions = [(60.0, 60.0), (140.0, 100.0)]
    exposure = sky_noise(stars((200, 200), positions, 200), seed=8, level=1000.0)
    everything = found(exposure, background=NO_BACKGROUND)
    assert everything.footprints.mean() > 0.9
    detection = found(exposure, background=NO_BACKGROUND, do_temp_wide_background=True)
    sources = detection.sources
    assert places(sources) == [(60, 60), (140, 100)]
    assert not detection.background.any()
    # Measured above no background: 1000 counts in the area of the PSF, 4 pi sigma^2, count as flux.
    expected = found(exposure).sources["psf_flux"] + 1000 * 4 * np.pi * SIGMA**2
    np.testing.assert_allclose(sources["psf_flux"], expected, rtol=0.02)


def test_each_temporary_background_has_its_own_settings(on_galaxies):
    exposure, _ = on_galaxies
    undersampled = BackgroundConfig(use_approx=False, bin_size=300, undersample_style="THROW_EXCEPTION")
    for name in ("local", "wide"):
        settings = {f"do_temp_{name}_background": True, f"temp_{name}_background": undersampled}
        with pytest.raises(FitError, match="has 2 x 2 bins in 320 x 320 pixels"):
            found(exposure, **settings)


def test_counts_can_be_added_to_the_background(caplog):
    exposure, *_ = star_field(9, FWHM, side=200)
    plain = found(exposure)
    with caplog.at_level(logging.WARNING, "psfmatch_cli"):
        adjusted = found(exposure, adjust_background=2.0)
    np.testing.assert_allclose(adjusted.background - plain.background, 2, atol=1e-4)
    lost = np.asarray(plain.sources["psf_flux"] - adjusted.sources["psf_flux"])
    # The window of the centroid follows the change by some hundredths of a percent of a flux of 1e4.
    np.testing.assert_allclose(lost, 2 * 4 * np.pi * SIGMA**2, rtol=0.15)
    assert "2 counts are added to the background" in caplog.text
    again = found(exposure, adjust_background=2.0, re_estimate_background=True)
    assert np.mean(again.background - plain.background) == pytest.approx(2, abs=0.3)


def test_old_detections_count_in_the_main_background_alone():
    model = stars((200, 200), [(100.0, 100.0)], 100)
    mask = np.zeros(model.shape, np.int32)
    mask[:60] = 1 << DEFAULT_PLANES["DETECTED"]
    model[:60] += 500
    noisy = sky_noise(model, seed=9)
    exposure = noisy.with_pixels(MaskedImage.from_arrays(noisy.image, mask, noisy.variance))
    detection = found(exposure, background=BackgroundConfig(approx_order_x=0))
    assert np.abs(detection.background).max() < 1, "what was detected before is no background"
    assert detection.footprints[20, 100], "and is found again"
    assert (100, 100) in places(detection.sources)
