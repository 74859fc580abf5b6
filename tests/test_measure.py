"""Measured sources: positions, fluxes, shapes and flags of what was put in."""

import numpy as np
import pytest
from astropy.wcs import WCS

from psfmatch_cli.background import fit_background, subtract_background
from psfmatch_cli.config import DetectionConfig
from psfmatch_cli.detect import detect
from psfmatch_cli.exposure import DEFAULT_PLANES, Exposure, MaskedImage
from psfmatch_cli.flags import FLAG_PLANES
from psfmatch_cli.measure import measure_sources
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf
from psfmatch_cli.search import search
from psfmatch_cli.stamps import adaptive_moments, cut_stamps, measure_stamps, psf_trace
from star_fields import add_star, flux_of_snr, grid_positions, moffat, noisy_exposure, star_field

FWHM = 3.0
SIGMA = FWHM / FWHM_PER_SIGMA
COLUMNS = [
    *("id", "parent", "x", "y", "x_err", "y_err", "peak_x", "peak_y", "peak_value", "significance", "npix"),
    *("footprint", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1", "psf_flux", "psf_flux_err", "gauss_flux"),
    *("Ixx", "Iyy", "Ixy", "fwhm", "elongation", "size_extendedness", "half_light_radius", "isolation"),
    *(f"{name}{form}" for name in FLAG_PLANES for form in ("", "_center")),
    *("flag_centroid", "flag_shape", "flag_negative"),
]


def in_order_of(sources, x, y):
    """The sources nearest to the positions, each within a pixel."""
    distance = np.hypot(np.subtract.outer(x, sources["x"]), np.subtract.outer(y, sources["y"]))
    assert (distance.min(axis=1) < 1).all()
    return sources[distance.argmin(axis=1)]


def gaussian_exposure(x, y, flux, ixx, iyy, ixy, *, noise=1.0, shape=(101, 101), seed=0, **attributes):
    """Elliptical Gaussian of given moments on no sky."""
    dy, dx = np.mgrid[: shape[0], : shape[1]] - np.array([y, x])[:, None, None]
    determinant = ixx * iyy - ixy**2
    radius2 = (iyy * dx**2 - 2 * ixy * dx * dy + ixx * dy**2) / determinant
    model = flux / (2 * np.pi * np.sqrt(determinant)) * np.exp(-0.5 * radius2)
    image = model + np.random.default_rng(seed).normal(0, noise, shape)
    return Exposure(MaskedImage.from_arrays(image, None, np.full(shape, noise**2)), **attributes)


def bright_star(shape=(80, 80), at=(40.0, 40.0), known_variance=True):
    model = np.zeros(shape)
    add_star(model, *at, 50000.0, FWHM)
    return noisy_exposure(model, np.random.default_rng(1), known_variance=known_variance)


# Table


def test_columns_and_units():
    exposure, *_ = star_field(4, FWHM, side=128)
    sources = detect(exposure, psf_sigma=SIGMA).sources
    assert sources.colnames == COLUMNS
    units = {name: str(sources[name].unit) for name in ("x", "fwhm", "Ixx", "psf_flux", "bbox_x0", "isolation")}
    assert units == {"x": "pix", "fwhm": "pix", "Ixx": "pix2", "psf_flux": "ct", "bbox_x0": "pix", "isolation": "pix"}
    assert all(sources[name].dtype == bool for name in COLUMNS if name.startswith("flag_"))
    assert {"threshold", "thresholdType", "sigma", "smoothingKernelWidth", "nGrow", "backgroundKind"} <= set(
        sources.meta
    )


def test_every_source_has_no_parent():
    exposure, *_ = star_field(4, FWHM, side=128)
    assert not detect(exposure, psf_sigma=SIGMA).sources["parent"].any()


# Positions


def test_positions_of_bright_stars_to_two_hundredths_of_a_pixel():
    exposure, x, y, _ = star_field(64, FWHM, side=640, snr=(3000, 10000))
    sources = in_order_of(detect(exposure, psf_sigma=SIGMA).sources, x, y)
    # 150000 photons and more: 0.004 px of noise, of which 128 values see 3 sigma.
    assert np.abs(sources["x"] - x).max() < 0.02
    assert np.abs(sources["y"] - y).max() < 0.02


def test_position_errors_are_the_scatter():
    exposure, x, y, _ = star_field(400, FWHM, side=1000, snr=(30, 60), seed=2)
    sources = in_order_of(detect(exposure, psf_sigma=SIGMA).sources, x, y)
    pulls = np.concatenate([(sources["x"] - x) / sources["x_err"], (sources["y"] - y) / sources["y_err"]])
    # 800 pulls know their own scatter to 2.5 %; the error formula is that of a Gaussian star.
    assert np.std(pulls) == pytest.approx(1, abs=0.15)
    assert np.abs(np.mean(pulls)) < 0.12


def test_positions_are_parent_pixels_and_the_sky_is_that_of_the_array():
    exposure, x, y, _ = star_field(4, FWHM, side=128, snr=(3000, 10000))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 2.0], [64.0, 64.0], [-1e-4, 1e-4]
    shifted = MaskedImage.from_arrays(exposure.image, None, exposure.variance, xy0=(1000, -20))
    sources = in_order_of(detect(exposure.with_pixels(shifted, wcs=wcs), psf_sigma=SIGMA).sources, x + 1000, y - 20)
    assert np.abs(sources["x"] - 1000 - x).max() < 0.02
    ra, dec = wcs.pixel_to_world_values(x, y)
    # 0.02 px of 1e-4 deg.
    np.testing.assert_allclose(sources["ra"], ra, atol=2e-6)
    np.testing.assert_allclose(sources["dec"], dec, atol=2e-6)
    inside = (sources["bbox_x0"] <= sources["peak_x"]) & (sources["peak_x"] <= sources["bbox_x1"])
    assert (inside & (sources["bbox_y0"] <= sources["peak_y"]) & (sources["peak_y"] <= sources["bbox_y1"])).all()


def test_a_centroid_that_runs_away_is_flagged_and_stays_at_its_peak():
    model = np.zeros((90, 90))
    add_star(model, 45.0, 45.0, 400000.0, FWHM)
    add_star(model, 45.0, 51.0, 12000.0, FWHM)
    sources = detect(noisy_exposure(model, np.random.default_rng(3)), psf_sigma=1.6 * SIGMA).sources
    if len(sources) == 2:
        faint = sources[np.argmin(sources["peak_value"])]
        near = np.hypot(faint["x"] - faint["peak_x"], faint["y"] - faint["peak_y"]) < 3.9
        assert near or faint["flag_centroid"]
    assert not sources[np.argmax(sources["peak_value"])]["flag_centroid"]


# Fluxes


@pytest.mark.parametrize("known", [True, False], ids=["psf image", "gaussian"])
def test_psf_flux_comes_back(known):
    rng = np.random.default_rng(4)
    x, y = grid_positions(49, 500, rng)
    u = np.arange(-12, 13)
    psf = Psf.from_image(moffat(u, u[:, None], FWHM)) if known else None
    sigma = FWHM / FWHM_PER_SIGMA
    flux = flux_of_snr(10 ** rng.uniform(2, 3, 49), FWHM)
    model = np.zeros((500, 500))
    for star in zip(x, y, flux, strict=True):
        if known:
            add_star(model, *star, FWHM)
        else:
            dx, dy = np.arange(500) - star[0], np.arange(500)[:, None] - star[1]
            model += star[2] / (2 * np.pi * sigma**2) * np.exp(-0.5 * (dx**2 + dy**2) / sigma**2)
    exposure = noisy_exposure(model, rng, psf=psf)
    sources = in_order_of(detect(exposure, psf_sigma=sigma).sources, x, y)
    ratio = sources["psf_flux"] / flux
    # A PSF image cut at 4 FWHM lacks 1 % of a Moffat's flux; the sky is biased by 0.1 counts in all pixels.
    assert np.median(ratio) == pytest.approx(1, abs=0.012)
    pulls = (sources["psf_flux"] / np.median(ratio) - flux) / sources["psf_flux_err"]
    # 49 pulls know their scatter to 10 %.
    assert np.std(pulls) == pytest.approx(1, abs=0.35)


def test_psf_flux_of_a_measured_psf_is_that_of_its_profile():
    exposure, x, y, flux = star_field(64, FWHM, side=640, snr=(300, 1000), seed=11)
    found = detect(exposure)
    assert found.metadata["sigmaOrigin"] == "measured from 64 stars"
    sources = in_order_of(found.sources, x, y)
    # The width is measured to 1 %, which is 2 % of a flux; a Gaussian would lack 20 % of a Moffat's.
    assert np.median(sources["psf_flux"] / flux) == pytest.approx(1, abs=0.025)
    # For the same reason stars are no more extended than that.
    assert np.median(sources["size_extendedness"]) < 0.03


def test_bad_pixels_take_no_flux():
    exposure = bright_star()
    image = exposure.image.copy()
    image[41, 42] = np.nan
    image[38, 39] = 60000
    mask = np.zeros(exposure.shape, np.int32)
    mask[38, 39] = 1 << DEFAULT_PLANES["CR"]
    spoilt = exposure.with_pixels(MaskedImage.from_arrays(image, mask, exposure.variance))
    clean, masked = (detect(e, psf_sigma=SIGMA).sources for e in (exposure, spoilt))
    assert len(clean) == len(masked) == 1
    # Two pixels off the core move the centroid by a tenth of a pixel, and the flux with it.
    assert masked["psf_flux"][0] == pytest.approx(clean["psf_flux"][0], rel=0.06)
    assert masked["flag_nodata"][0]
    assert masked["flag_cr"][0]


# Shapes


@pytest.mark.parametrize("moments", [(1.6, 1.6, 0.0), (2.5, 1.5, 0.4), (9.0, 4.0, -2.0), (40.0, 25.0, 8.0)])
def test_adaptive_moments_of_a_gaussian_are_its_own(moments):
    ixx, iyy, ixy = moments
    flux = 2e5 * np.sqrt(ixx * iyy - ixy**2)
    exposure = gaussian_exposure(50.3, 49.6, flux, *moments)
    source = detect(exposure, psf_sigma=1.3).sources
    assert len(source) == 1
    # The noise of the peak is 1/30000; sampling and the edge of the stamp leave a few 1e-3.
    assert [source[name][0] for name in ("Ixx", "Iyy", "Ixy")] == pytest.approx(moments, rel=0.01, abs=0.02)
    assert source["gauss_flux"][0] == pytest.approx(flux, rel=0.01)
    determinant = ixx * iyy - ixy**2
    assert source["fwhm"][0] == pytest.approx(FWHM_PER_SIGMA * determinant**0.25, rel=0.005)
    axes = np.linalg.eigvalsh([[ixx, ixy], [ixy, iyy]])
    assert source["elongation"][0] == pytest.approx(np.sqrt(axes[1] / axes[0]), rel=0.01)


@pytest.mark.parametrize("known", [True, False], ids=["psf image", "sigma alone"])
def test_extendedness_is_the_share_of_the_size_that_is_not_the_psf(known):
    sigma = 1.6
    u = np.arange(-9, 10)
    psf = Psf.from_image(np.exp(-0.5 * (u**2 + u[:, None] ** 2) / sigma**2)) if known else None
    for own, tolerance in ((0.0, 0.01), (0.8, 0.02), (3.0, 0.02)):
        variance = sigma**2 + own**2
        exposure = gaussian_exposure(50.2, 49.7, 1e6, variance, variance, 0.0, psf=psf)
        source = detect(exposure, psf_sigma=sigma).sources
        assert source["size_extendedness"][0] == pytest.approx(own**2 / variance, abs=tolerance)


def test_what_is_narrower_than_the_psf_is_not_extended():
    exposure = gaussian_exposure(50.0, 50.0, 1e6, 1.0, 1.0, 0.0)
    assert detect(exposure, psf_sigma=2.0).sources["size_extendedness"][0] == 0.0


def test_the_size_of_a_psf_is_that_of_its_moments_or_of_its_sigma():
    u = np.arange(-12, 13)
    # An elliptical Gaussian of Ixx 4 and Iyy 2.25.
    psf = Psf.from_image(np.exp(-0.5 * (u**2 / 4 + u[:, None] ** 2 / 2.25)))
    assert psf_trace(psf, 1.7) == pytest.approx(6.25, rel=1e-3)  # the tolerance of the iteration
    assert psf_trace(None, 1.7) == 2 * 1.7**2
    cut = Psf(np.full((3, 3), 1 / 9))
    assert psf_trace(cut, 1.7) == 2 * 1.7**2


def test_half_light_radius_of_a_gaussian():
    exposure = gaussian_exposure(50.0, 50.0, 1e6, 4.0, 4.0, 0.0)
    source = detect(exposure, psf_sigma=2.0).sources
    # r50 = 1.1774 sigma.
    assert source["half_light_radius"][0] == pytest.approx(2.355, rel=0.02)


def test_moments_do_not_depend_on_the_first_weight():
    exposure = gaussian_exposure(50.2, 50.1, 1e6, 6.0, 4.0, 1.0)
    pixels = subtract_background(exposure.masked_image, fit_background(exposure.masked_image))
    stamps = cut_stamps(pixels, np.array([50.2]), np.array([50.1]), np.array([0]), 20)
    narrow, wide = (adaptive_moments(stamps, sigma) for sigma in (1.0, 4.0))
    for name, values in narrow.items():
        # Both stop at changes of 1e-4 of the trace.
        assert wide[name] == pytest.approx(values, rel=2e-3)


def test_what_has_no_moments_is_flagged():
    image = np.random.default_rng(5).normal(size=(60, 60))
    image[30, 30] += 5000
    exposure = Exposure(MaskedImage.from_arrays(image, None, np.ones_like(image)))
    source = detect(exposure, psf_sigma=1.2).sources
    assert source["flag_shape"][0]
    assert np.isnan(source["fwhm"][0])
    assert np.isnan(source["gauss_flux"][0])


def test_measuring_many_is_measuring_each():
    exposure, x, y, _ = star_field(30, FWHM, snr=(50, 500))
    pixels = subtract_background(exposure.masked_image, fit_background(exposure.masked_image))
    extent = np.linspace(0.5, 12, 30)
    together = measure_stamps(pixels, x, y, SIGMA, extent=extent, psf=None)
    for i in (0, 13, 29):
        one = np.s_[i : i + 1]
        alone = measure_stamps(pixels, x[one], y[one], SIGMA, extent=extent[one], psf=None)
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][one], values, rtol=1e-6)


def test_without_shapes_the_other_columns_are_the_same():
    exposure, *_ = star_field(30, FWHM, snr=(50, 500))
    found = search(exposure, fit_background(exposure.masked_image), DetectionConfig(), psf_sigma=SIGMA)
    full, brief = measure_sources(exposure, found), measure_sources(exposure, found, shapes=False)
    assert set(brief.colnames) == set(full.colnames) - {
        *("gauss_flux", "Ixx", "Iyy", "Ixy", "fwhm", "elongation", "size_extendedness", "half_light_radius"),
        *("isolation", "flag_centroid", "flag_shape"),
        *(name for name in full.colnames if name.startswith(tuple(FLAG_PLANES))),
    }
    for name in brief.colnames:
        # Stamps of faint sources are cut larger for shapes: sums differ in their last digits.
        np.testing.assert_allclose(brief[name], full[name], rtol=1e-5)


# Isolation and flags


def test_isolation_is_the_distance_to_the_nearest_peak():
    model = np.zeros((128, 128))
    for x, y in ((30, 30), (60, 70), (60, 100)):
        add_star(model, x, y, 50000.0, FWHM)
    sources = detect(noisy_exposure(model, np.random.default_rng(6)), psf_sigma=SIGMA).sources
    isolation = in_order_of(sources, np.array([30, 60, 60]), np.array([30, 70, 100]))["isolation"]
    np.testing.assert_allclose(isolation, [50, 30, 30], atol=1.5)
    assert np.isinf(detect(bright_star(), psf_sigma=SIGMA).sources["isolation"][0])


@pytest.mark.parametrize("name", FLAG_PLANES)
@pytest.mark.parametrize("distance", [0, 3, 25])
def test_flags_come_from_the_planes_near_the_source(name, distance):
    exposure = bright_star()
    mask = np.zeros(exposure.shape, np.int32)
    plane = FLAG_PLANES[name][0]
    mask[40, 40 + distance] = 1 << DEFAULT_PLANES[plane]
    if plane in ("BAD", "CR"):
        mask |= np.where(mask, 1 << DEFAULT_PLANES["INTRP"], 0).astype(np.int32)
    flagged = exposure.with_pixels(MaskedImage.from_arrays(exposure.image, mask, exposure.variance))
    sources = in_order_of(detect(flagged, psf_sigma=SIGMA).sources, np.array([40]), np.array([40]))
    assert sources[name][0] == (distance < 25)
    # NO_DATA is an edge, too; a pixel that is BAD or CR has been interpolated here.
    raised = {name} | ({"flag_edge"} if name == "flag_nodata" else set())
    raised |= {"flag_interpolated"} if name in ("flag_bad", "flag_cr") else set()
    centers = {f"{raised_name}_center" for raised_name in raised} if distance == 0 else set()
    assert {column for column in sources.colnames if column.endswith("_center") and sources[column][0]} == centers


def test_sources_near_the_border_are_flagged():
    x = np.array([8.0, 60.0, 110.0])
    model = np.zeros((120, 120))
    for at in x:
        add_star(model, at, 60.0, 50000.0, FWHM)
    sources = detect(noisy_exposure(model, np.random.default_rng(7)), psf_sigma=SIGMA).sources
    # The border is 4 pixels of the smoothing kernel and 3 of growing.
    np.testing.assert_array_equal(in_order_of(sources, x, np.full(3, 60.0))["flag_edge"], [False, False, False])
    model = np.zeros((120, 120))
    add_star(model, 5.0, 60.0, 50000.0, FWHM)
    assert detect(noisy_exposure(model, np.random.default_rng(8)), psf_sigma=SIGMA).sources["flag_edge"][0]


def test_a_neighbour_of_a_saturated_star_is_not_saturated():
    model = np.zeros((100, 100))
    add_star(model, 45.0, 50.0, 300000.0, FWHM)
    add_star(model, 58.0, 50.0, 30000.0, FWHM)
    exposure = noisy_exposure(model, np.random.default_rng(9))
    mask = np.where(exposure.image > 8000, 1 << DEFAULT_PLANES["SAT"], 0)
    exposure = exposure.with_pixels(MaskedImage.from_arrays(exposure.image, mask, exposure.variance))
    sources = detect(exposure, psf_sigma=SIGMA).sources
    assert len(set(sources["footprint"])) == 1
    both = in_order_of(sources, np.array([45.0, 58.0]), np.array([50.0, 50.0]))
    np.testing.assert_array_equal(both["flag_saturated"], [True, False])
