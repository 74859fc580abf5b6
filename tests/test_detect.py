"""Detection: what was put in is found, at its place, above the right threshold."""

import numpy as np
import pytest
from scipy import ndimage

from psfmatch_cli.background import fit_background
from psfmatch_cli.config import DetectionConfig
from psfmatch_cli.detect import detect
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.psf import FWHM_PER_SIGMA, gaussian_psf
from psfmatch_cli.smoothing import convolve_separable, smoothing_profile
from star_fields import NOISE, add_star, flux_of_snr, noisy_exposure, star_field

FWHM = 3.0
SIGMA = FWHM / FWHM_PER_SIGMA


def blank(shape=(128, 128), seed=0, **attributes):
    return noisy_exposure(np.zeros(shape), np.random.default_rng(seed), **attributes)


def with_mask(exposure, mask):
    image, variance = exposure.image.copy(), exposure.variance.copy()
    return exposure.with_pixels(MaskedImage.from_arrays(image, mask, variance, xy0=exposure.xy0))


def matched(sources, x, y, radius):
    """Index of the nearest source to each position, and whether it is within the radius."""
    distance = np.hypot(np.subtract.outer(x, sources["x"]), np.subtract.outer(y, sources["y"]))
    nearest = distance.argmin(axis=1)
    return nearest, distance[np.arange(len(x)), nearest] < radius


# What is found


def test_all_stars_are_found_and_nothing_else():
    exposure, x, y, _ = star_field(49, FWHM, snr=(20, 1000))
    sources = detect(exposure, psf_sigma=SIGMA).sources
    _, found = matched(sources, x, y, 0.5)
    assert found.all()
    assert len(sources) == 49


def test_noise_alone_has_no_sources():
    detection = detect(blank((300, 300)), psf_sigma=SIGMA)
    assert len(detection.sources) == 0
    assert not detection.footprints.any()
    assert {"x", "psf_flux", "flag_edge", "isolation"} <= set(detection.sources.colnames)


def test_a_field_of_ten_stars():
    exposure, x, y, _ = star_field(10, FWHM, side=400)
    sources = detect(exposure).sources
    assert len(sources) == 10
    assert matched(sources, x, y, 0.5)[1].all()


def test_significance_is_the_matched_filter_signal_to_noise():
    sigma, flux = 2.0, 5000.0
    y, x = np.mgrid[:101, :101]
    model = flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * ((x - 50) ** 2 + (y - 50) ** 2) / sigma**2)
    image = model + np.random.default_rng(1).normal(0, 10, model.shape)
    exposure = Exposure(MaskedImage.from_arrays(image, variance=np.full_like(image, 100.0)))
    source = detect(exposure, psf_sigma=sigma).sources
    # A Gaussian through its own filter: flux / (sqrt(4 pi) sigma noise) = 70.5, itself with a noise of 1.
    assert len(source) == 1
    assert source["significance"][0] == pytest.approx(flux / (np.sqrt(4 * np.pi) * sigma * 10), abs=3)


def test_crowded_stars_are_rows_of_their_own():
    rng = np.random.default_rng(2)
    model, side, n = np.zeros((256, 256)), 256, 300
    x, y = rng.uniform(10, side - 10, (2, n))
    flux = flux_of_snr(10 ** rng.uniform(2, 3, n), FWHM)
    for star in zip(x, y, flux, strict=True):
        add_star(model, *star, FWHM)
    exposure = noisy_exposure(model, rng)
    separate = detect(exposure, psf_sigma=SIGMA).sources
    merged = detect(exposure, DetectionConfig(deblend=False), psf_sigma=SIGMA).sources
    gap = np.hypot(np.subtract.outer(x, x), np.subtract.outer(y, y)) + 1e9 * np.eye(n)
    apart = gap.min(axis=1) > 2 * FWHM
    # Two FWHM apart two stars have a dip between them, unless one is far brighter or has less than the
    # contrast (0.5 %) of the whole merged footprint: 8 % of them here.
    assert matched(separate, x[apart], y[apart], 1.0)[1].mean() > 0.88
    assert len(merged) < 0.8 * len(separate)
    assert len(set(separate["footprint"])) < 0.5 * len(separate)
    np.testing.assert_array_equal(separate["id"], np.arange(1, len(separate) + 1))


def test_rows_of_a_footprint_start_with_the_brightest():
    exposure, *_ = star_field(100, FWHM, side=256)
    sources = detect(exposure, psf_sigma=SIGMA).sources
    for footprint in set(sources["footprint"]):
        values = sources["peak_value"][sources["footprint"] == footprint]
        assert (np.diff(values) <= 0).all()


# Footprints and masks


def test_footprints_are_grown_boxes_and_marks():
    model = np.zeros((128, 128))
    add_star(model, 60.0, 70.0, 20000.0, FWHM)
    exposure = noisy_exposure(model, np.random.default_rng(3), known_variance=True)
    config = DetectionConfig()
    detection = detect(exposure, config, psf_sigma=SIGMA)
    row = detection.sources[0]
    n_grow = int(config.n_sigma_to_grow * SIGMA + 0.5)
    bare = detect(exposure, config.model_copy(update={"n_sigma_to_grow": 0.0}), psf_sigma=SIGMA)
    diamond = ndimage.generate_binary_structure(2, 1)
    np.testing.assert_array_equal(
        detection.footprints, ndimage.binary_dilation(bare.footprints, diamond, iterations=n_grow)
    )
    rows, columns = np.nonzero(detection.footprints)
    box = (columns.min(), rows.min(), columns.max(), rows.max())
    assert tuple(row[f"bbox_{corner}"] for corner in ("x0", "y0", "x1", "y1")) == box
    assert row["npix"] == bare.footprints.sum()
    assert detection.metadata["nGrow"] == n_grow


def test_marks_replace_the_old_ones():
    exposure, *_ = star_field(4, FWHM, side=128)
    mask = np.zeros(exposure.shape, np.int32)
    mask[:5] = 1 << DEFAULT_PLANES["DETECTED"] | 1 << DEFAULT_PLANES["DETECTED_NEGATIVE"] | 1 << DEFAULT_PLANES["CR"]
    exposure = with_mask(exposure, mask)
    detection = detect(exposure, psf_sigma=SIGMA)
    marked = detection.mark(exposure.masked_image)
    np.testing.assert_array_equal(marked.flagged(["DETECTED"]), detection.footprints)
    assert not marked.flagged(["DETECTED_NEGATIVE"]).any()
    assert marked.flagged(["CR"])[:5].all()
    half = detection.metadata["smoothingKernelWidth"] // 2
    expected = np.ones(exposure.shape, bool)
    expected[half:-half, half:-half] = False
    np.testing.assert_array_equal(marked.flagged(["EDGE"]), expected)
    with pytest.raises(InputError, match=r"shape \(128, 128\), the image \(8, 8\)"):
        detection.mark(MaskedImage.from_arrays(np.zeros((8, 8))))


def test_nothing_is_searched_where_there_is_no_data_nor_in_the_border():
    exposure, x, y, _ = star_field(16, FWHM, side=256, snr=(300, 1000))
    mask = np.zeros(exposure.shape, np.int32)
    mask[:, :64] = 1 << DEFAULT_PLANES["NO_DATA"]
    image = exposure.image.copy()
    image[:, 200:] = np.nan
    exposure = exposure.with_pixels(MaskedImage.from_arrays(image, mask, exposure.variance))
    detection = detect(exposure, psf_sigma=SIGMA)
    inside = (x > 75) & (x < 190)
    assert matched(detection.sources, x[inside], y[inside], 0.5)[1].all()
    # Growing may reach 3 pixels into the part without data, peaks may not.
    assert ((detection.sources["peak_x"] >= 64) & (detection.sources["peak_x"] < 200)).all()


def test_a_nan_pixel_spoils_only_itself():
    exposure, x, y, _ = star_field(9, FWHM, side=200, snr=(300, 1000))
    image = exposure.image.copy()
    image[::17, ::13] = np.nan
    exposure = exposure.with_pixels(MaskedImage.from_arrays(image, None, exposure.variance))
    sources = detect(exposure, psf_sigma=SIGMA).sources
    assert matched(sources, x, y, 1.0)[1].all()


def test_masked_spikes_are_not_sources():
    exposure = blank()
    image, mask = exposure.image.copy(), np.zeros(exposure.shape, np.int32)
    image[40, 50] = image[80, 30:34] = 60000
    mask[40, 50] = 1 << DEFAULT_PLANES["BAD"]
    mask[80, 30:34] = 1 << DEFAULT_PLANES["CR"]
    exposure = exposure.with_pixels(MaskedImage.from_arrays(image, mask, exposure.variance))
    assert len(detect(exposure, psf_sigma=SIGMA).sources) == 0


# Threshold


def test_threshold_types_agree_where_the_noise_is_the_same_everywhere():
    exposure, *_ = star_field(25, FWHM, snr=(20, 200), seed=4)
    flat = exposure.with_pixels(MaskedImage.from_arrays(exposure.image, None, np.full(exposure.shape, NOISE**2)))
    noise = NOISE * np.sqrt((smoothing_profile(SIGMA) ** 2).sum() ** 2)
    counts = {
        kind: len(detect(flat, DetectionConfig(threshold_type=kind, threshold_value=value), psf_sigma=SIGMA).sources)
        for kind, value in {"pixel_stdev": 10, "stdev": 10, "value": 10 * noise, "variance": 10 / noise}.items()
    }
    assert counts == dict.fromkeys(counts, 25)


def test_auto_takes_the_pixel_noise_where_it_is_known():
    exposure, *_ = star_field(9, FWHM, side=200)
    unknown, *_ = star_field(9, FWHM, side=200, known_variance=False)
    assert detect(exposure, psf_sigma=SIGMA).metadata["thresholdType"] == "pixel_stdev"
    found = detect(unknown, psf_sigma=SIGMA)
    assert found.metadata["thresholdType"] == "stdev"
    assert len(found.sources) == 9
    assert not found.sources["flag_bad"].any()


def test_the_pixel_threshold_follows_the_noise():
    shape = (200, 200)
    noise = np.where(np.arange(200) < 100, 1.0, 10.0) * np.ones(shape)
    model = np.zeros(shape)
    for x in (50.0, 150.0):
        add_star(model, x, 100.0, 200.0, FWHM)
    image = model + np.random.default_rng(5).normal(size=shape) * noise
    exposure = Exposure(MaskedImage.from_arrays(image, None, noise**2))
    sources = detect(exposure, psf_sigma=SIGMA).sources
    assert [round(x) for x in sources["x"]] == [50]


def test_a_noiseless_image_needs_a_value():
    model = np.zeros((128, 128))
    add_star(model, 64.0, 64.0, 1000.0, FWHM)
    exposure = Exposure(MaskedImage.from_arrays(np.where(model > 0.01, model, 0.0)))
    background = fit_background(exposure.masked_image)
    assert background.kind == "median"
    with pytest.raises(InputError, match="has no noise"):
        detect(exposure, psf_sigma=SIGMA, background=background)
    config = DetectionConfig(threshold_type="value", threshold_value=5)
    assert len(detect(exposure, config, psf_sigma=SIGMA, background=background).sources) == 1


# Width of the PSF


def test_the_width_is_given_or_of_the_psf_or_of_the_stars():
    exposure, *_ = star_field(25, FWHM)
    assert detect(exposure, psf_sigma=1.5).metadata["sigma"] == 1.5
    psf = gaussian_psf(4.0, "header")
    known = detect(exposure.with_pixels(exposure.masked_image, psf=psf)).metadata
    assert (known["sigma"], known["sigmaOrigin"]) == (psf.sigma, "header")
    measured = detect(exposure).metadata
    assert measured["sigma"] == pytest.approx(SIGMA, rel=0.015)
    assert measured["sigmaOrigin"] == "measured from 25 stars"


def test_without_smoothing_there_is_no_border():
    exposure, x, y, _ = star_field(9, FWHM, side=200, snr=(500, 1000))
    detection = detect(exposure, psf_sigma=SIGMA, smooth=False)
    assert not detection.edge.any()
    assert detection.metadata["smoothingKernelWidth"] == 1
    assert matched(detection.sources, x, y, 0.5)[1].all()


def test_kernel_width_is_odd_and_about_seven_sigma():
    # int(7 sigma + 0.5) // 2 * 2 + 1, by hand.
    assert [len(smoothing_profile(s)) for s in (0.5, 1.0, 1.27, 2.0, 3.3)] == [5, 7, 9, 15, 23]
    assert smoothing_profile(1.3).sum() == pytest.approx(1, abs=1e-14)


def test_fast_smoothing_is_the_plain_convolution():
    image = np.random.default_rng(6).normal(size=(75, 91)).astype(np.float32)
    profile = smoothing_profile(1.7)
    half = len(profile) // 2
    plain = ndimage.correlate(image.astype(float), np.outer(profile, profile), mode="constant")
    smooth = convolve_separable(image, profile)
    inner = np.s_[half:-half, half:-half]
    # float32 sums of values about 1.
    np.testing.assert_allclose(smooth[inner], plain[inner], atol=1e-6)
    smooth[inner] = 0
    assert not smooth.any()


# Errors and side effects


def test_no_psf_and_no_star_is_an_error():
    with pytest.raises(InputError, match="no star was found to measure it; give its width"):
        detect(blank())


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_a_width_must_be_positive(sigma):
    with pytest.raises(UsageError, match=r"psf_sigma must be a number of pixels from 0\.212 to 42\.5"):
        detect(blank(), psf_sigma=sigma)


def test_an_image_smaller_than_the_kernel_is_an_error():
    with pytest.raises(InputError, match="smaller than the smoothing kernel of 15 pixels"):
        detect(blank((12, 40)), psf_sigma=2.0)


def test_an_image_without_usable_pixels_is_an_error():
    exposure = with_mask(blank(), np.full((128, 128), 1 << DEFAULT_PLANES["NO_DATA"], np.int32))
    with pytest.raises(InputError, match="no unmasked pixel"):
        detect(exposure, psf_sigma=SIGMA)


def test_a_pixel_threshold_without_variance_is_an_error():
    with pytest.raises(InputError, match="needs a variance plane"):
        detect(blank(known_variance=False), DetectionConfig(threshold_type="pixel_stdev"), psf_sigma=SIGMA)


def test_the_exposure_is_bit_identical_afterwards():
    exposure, *_ = star_field(9, FWHM, side=200)
    before = exposure.masked_image.copy()
    detect(exposure).mark(exposure.masked_image)
    for name in ("image", "mask", "variance"):
        assert getattr(exposure, name).tobytes() == getattr(before, name).tobytes()


def test_the_limits_of_sep_grow_and_are_restored(monkeypatch):
    import sep

    messages = []
    extract = sep.extract

    def watched(*arguments, **options):
        try:
            return extract(*arguments, **options)
        except Exception as error:
            messages.append(str(error))
            raise

    monkeypatch.setattr(sep, "extract", watched)
    monkeypatch.setattr("psfmatch_cli.extract.FIRST_PIXEL_STACK", 1000)
    monkeypatch.setattr("psfmatch_cli.extract.FIRST_OBJECT_LIMIT", 16)
    limits = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    rng = np.random.default_rng(7)
    model = np.zeros((128, 128))
    for x, y in rng.uniform(10, 118, (250, 2)):
        add_star(model, x, y, 1e5, FWHM)
    background = fit_background(blank().masked_image)
    sources = detect(noisy_exposure(model, rng), psf_sigma=SIGMA, background=background).sources
    assert len(sources) > 80
    assert any("pixel buffer" in message for message in messages)
    assert any("deblending" in message for message in messages)
    assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == limits


def test_other_failures_of_sep_are_not_hidden(monkeypatch):
    import sep

    def broken(*arguments, **options):
        raise Exception("memory allocation error")

    monkeypatch.setattr(sep, "extract", broken)
    with pytest.raises(Exception, match="memory allocation"):
        detect(blank(), psf_sigma=SIGMA)


def test_peaks_with_one_centroid_are_one_source():
    from astropy.table import Table

    from psfmatch_cli.measure import without_repeats

    columns = {"id": [1, 2, 3], "x": [10.0, 10.2, 30.0], "y": [5.0, 5.1, 5.0], "significance": [9.0, 20.0, 7.0]}
    kept = without_repeats(Table(columns))
    assert list(kept["significance"]) == [20.0, 7.0]
