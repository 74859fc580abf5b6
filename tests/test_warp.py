import logging

import numpy as np
import pytest

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import InputError, RegistrationError, UsageError
from psfmatch_cli.exposure import DEFAULT_PLANES
from psfmatch_cli.grid import SkyMap
from psfmatch_cli.psf import FWHM_PER_SIGMA, Psf, gaussian_psf
from psfmatch_cli.resample import REACH, kernel_weights
from psfmatch_cli.warp import is_surface_brightness, warp, warp_psf
from sky_fields import blank, gaussian_stars, make_exposure, make_wcs, plane, resample_plainly

SHAPE = (110, 120)
BIT = {name: 1 << bit for name, bit in DEFAULT_PLANES.items()}
LANCZOS3 = WarpConfig(warping_kernel_name="lanczos3")
CURVED = ([[0, 0, 1e-4], [0, 1e-4, 0], [-1e-4, 0, 0]],) * 2


def shifted(template_image, dx, dy, *, mask=None, config=None, **attributes):
    """A template warped by a pure shift: output (x, y) shows template (x + dx, y + dy)."""
    template = make_exposure(template_image, make_wcs(SHAPE, shift=(dx, dy)), mask=mask, name="template", **attributes)
    return warp(template, blank(SHAPE, make_wcs(SHAPE), name="science"), config or WarpConfig()).exposure


def smooth_field(shape=SHAPE, seed=0):
    """Positive noise of a correlation length of some pixels."""
    from scipy.ndimage import gaussian_filter

    return 1000 + 300 * gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REACH)
@pytest.mark.parametrize(
    "template_wcs", [{"rotation": 3.0, "scale": 0.505}, {"rotation": 200.0, "flip": True}, {"sip": CURVED}]
)
def test_pixels_are_the_defining_sums(name, template_wcs):
    rng = np.random.default_rng(3)
    image, variance = rng.normal(500, 40, SHAPE), rng.uniform(10, 90, SHAPE)
    template = make_exposure(image, make_wcs(SHAPE, **template_wcs), variance=variance)
    science = blank(SHAPE, make_wcs(SHAPE))
    found = warp(template, science, WarpConfig(warping_kernel_name=name, interp_length=0)).exposure
    sky_map = SkyMap(science.wcs, template.wcs)
    x, y = rng.integers(SHAPE[1], size=400), rng.integers(SHAPE[0], size=400)
    at_x, at_y = sky_map(x, y)
    area = sky_map.area(x, y)
    expected, noise = resample_plainly(template.image, template.variance, at_x, at_y, area, name)
    whole = np.isfinite(expected)
    assert whole.sum() > 200
    # float32 fractions are known to 3e-8 px of neighbours that differ by some 40; sums of up to 100 products.
    np.testing.assert_allclose(found.image[y[whole], x[whole]], expected[whole], rtol=5e-6)
    np.testing.assert_allclose(found.variance[y[whole], x[whole]], noise[whole], rtol=5e-6)


def star_errors(fwhm, name, template_wcs):
    """Largest error of the fitted position, pixels, and of the relative flux of warped Gaussian stars."""
    shape = (200, 200)
    rng = np.random.default_rng(8)
    gx, gy = np.meshgrid(np.arange(40, 170, 30.0), np.arange(40, 170, 30.0))
    x, y = gx.ravel() + rng.uniform(0, 1, gx.size), gy.ravel() + rng.uniform(0, 1, gx.size)
    flux = rng.uniform(1e3, 1e5, len(x))
    template = make_exposure(gaussian_stars(shape, x, y, flux, fwhm), make_wcs(shape, **template_wcs))
    science = blank(shape, make_wcs(shape))
    image = warp(template, science, WarpConfig(warping_kernel_name=name)).exposure.image
    to_science = SkyMap(template.wcs, science.wcs)
    true_x, true_y = to_science(x, y)
    sigma = fwhm / FWHM_PER_SIGMA * np.sqrt(to_science.area(x, y))
    fits = [fit_star(image, *star) for star in zip(true_x, true_y, sigma, flux, strict=True)]
    return np.max([shift for shift, _ in fits]), np.max([loss for _, loss in fits])


def fit_star(image, x, y, sigma, flux):
    """Distance from (x, y) of the least-squares position of a Gaussian, and relative error of the summed counts."""
    i, j = round(x), round(y)
    # 11 px hold all of a star of 4 px and none of the next.
    rows, columns = np.mgrid[j - 11 : j + 12, i - 11 : i + 12]
    stamp = image[rows, columns].astype(float)
    shape = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2)
    slopes = [shape, shape * (columns - x) / sigma**2, shape * (rows - y) / sigma**2]
    amplitude, along, across = np.linalg.lstsq(np.reshape(slopes, (3, -1)).T, stamp.ravel(), rcond=None)[0]
    return np.hypot(along, across) / amplitude, abs(stamp.sum() / flux - 1)


# The normalised Lanczos kernel does not keep a slope: it moves a straight line, and with it a broad star, by up to
# 0.020, 0.015, 0.012 px an axis (orders 3, 4, 5), depending on the sub-pixel phase. What this does to the
# fitted position of a star depends on its width; limits in pixels, some 20 % above what was measured.
SHIFTS = [
    ("lanczos3", 2.5, 0.003),
    ("lanczos3", 3.0, 0.005),
    ("lanczos4", 2.5, 0.001),
    ("lanczos4", 3.0, 0.0015),
    ("lanczos4", 4.0, 0.005),
    ("lanczos5", 2.5, 0.0006),
    ("lanczos5", 3.0, 0.0005),
    ("lanczos5", 4.0, 0.002),
]


@pytest.mark.parametrize(("name", "fwhm", "limit"), SHIFTS)
@pytest.mark.parametrize(
    "template_wcs", [{"shift": (0.37, -0.21)}, {"shift": (0.5, 0.25)}, {"rotation": 3.0, "shift": (2.3, 1.1)}]
)
def test_stars_keep_place_and_flux(name, fwhm, limit, template_wcs):
    move, loss = star_errors(fwhm, name, template_wcs)
    assert move < limit
    assert loss < 4e-4


@pytest.mark.parametrize(("name", "limit"), [("lanczos3", 4e-3), ("lanczos4", 3e-3), ("lanczos5", 2.2e-3)])
@pytest.mark.parametrize("template_wcs", [{"scale": 0.505}, {"scale": 0.495, "rotation": -3.0, "flip": True}])
def test_another_scale_costs_little_flux(name, limit, template_wcs):
    """With the phase drifting across a star the shifts of its parts differ, which stretches it."""
    move, loss = star_errors(3.0, name, template_wcs)
    assert move < 0.005
    assert loss < limit


def test_counts_of_an_object_are_conserved_and_pixels_scaled():
    image = gaussian_stars(SHAPE, [60.3], [54.8], [5000.0], 4.0) + 7.0
    template = make_exposure(image, make_wcs(SHAPE, scale=0.45))
    found = warp(template, blank(SHAPE, make_wcs(SHAPE)), WarpConfig(warping_kernel_name="lanczos5")).exposure
    sky = found.image[30:35, 30:35].mean()
    # 1/0.9^2 template pixels to a science pixel.
    assert sky == pytest.approx(7.0 / 0.81, rel=1e-5)
    assert (found.image - sky)[35:75, 40:80].sum() == pytest.approx(5000.0, rel=2.5e-3)


def test_surface_brightness_is_conserved_if_that_is_the_unit(caplog):
    template = make_exposure(np.full(SHAPE, 7.0), make_wcs(SHAPE, scale=0.45), header={"BUNIT": "MJy/sr"})
    with caplog.at_level(logging.INFO):
        found = warp(template, blank(SHAPE, make_wcs(SHAPE))).exposure
    np.testing.assert_allclose(found.image[20:80, 20:80], 7.0, rtol=1e-6)
    assert "MJy/sr" in caplog.text


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("MJy/sr", True),
        ("MJy sr-1", True),
        ("MJy sr**(-1)", True),
        ("mJy arcsec^-2", True),
        ("Jy/beam", True),
        ("10**-6 erg/(s cm2 arcsec2)", True),
        ("mag / arcsec2", True),
        ("electron", False),
        ("adu/s", False),
        ("nJy", False),
        ("ELECTRONS/S", False),
        ("counts s-1", False),
        ("srb", False),
        (None, False),
    ],
)
def test_units_per_solid_angle_are_known(unit, expected):
    header = {} if unit is None else {"BUNIT": unit}
    assert is_surface_brightness(make_exposure(np.zeros((3, 3)), None, header=header)) == expected


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (-20, 5)])
def test_whole_pixel_shifts_copy(dx, dy):
    image = smooth_field()
    found = shifted(image, dx, dy)
    rows = slice(max(0, -dy), SHAPE[0] - max(0, dy))
    columns = slice(max(0, -dx), SHAPE[1] - max(0, dx))
    from_rows = slice(max(0, dy), SHAPE[0] + min(0, dy))
    from_columns = slice(max(0, dx), SHAPE[1] + min(0, dx))
    # The areas differ from 1 by the curvature of the projection, 1e-9.
    np.testing.assert_allclose(found.image[rows, columns], image[from_rows, from_columns], rtol=1e-6)
    np.testing.assert_allclose(found.variance[rows, columns], 1.0, rtol=1e-6)
    assert np.isfinite(found.image).sum() == found.image[rows, columns].size
    assert not found.mask[rows, columns].any()


def test_a_mirror_image_is_mirrored():
    image = smooth_field()
    template = make_exposure(image, make_wcs(SHAPE, flip=True))
    found = warp(template, blank(SHAPE, make_wcs(SHAPE))).exposure
    np.testing.assert_allclose(found.image, image[:, ::-1], rtol=1e-6)


def test_across_ra_zero():
    image = smooth_field()
    template = make_exposure(image, make_wcs(SHAPE, center=(0.0, 0.0), shift=(4.0, 0.0)))
    science = blank(SHAPE, make_wcs(SHAPE, center=(0.0, 0.0)))
    found = warp(template, science).exposure
    np.testing.assert_allclose(found.image[:, :-4], image[:, 4:], rtol=1e-6)


def test_bilinear_agrees_with_reproject():
    from reproject import reproject_interp

    template = make_exposure(smooth_field(), make_wcs(SHAPE, rotation=7.0, scale=0.52))
    science = blank(SHAPE, make_wcs(SHAPE))
    found = warp(template, science, WarpConfig(warping_kernel_name="bilinear")).exposure
    theirs, _ = reproject_interp((template.image, template.wcs), science.wcs, shape_out=SHAPE, order="bilinear")
    area = SkyMap(science.wcs, template.wcs).area(*np.indices(SHAPE)[::-1])
    both = np.isfinite(found.image) & np.isfinite(theirs)
    assert both.mean() > 0.7
    # Positions interpolated to 1e-3 px, usually 1e-7, times a gradient of some per cent per pixel.
    np.testing.assert_allclose(found.image[both], (theirs * area)[both], rtol=1e-5)


def test_lanczos_agrees_with_reproject_on_a_smooth_field():
    from reproject import reproject_interp
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(smooth_field(), 2)
    template = make_exposure(image, make_wcs(SHAPE, rotation=7.0))
    science = blank(SHAPE, make_wcs(SHAPE))
    found = warp(template, science).exposure.image
    theirs, _ = reproject_interp((image, template.wcs), science.wcs, shape_out=SHAPE, order="bicubic")
    inner = np.s_[25:-25, 25:-25]
    # Two different interpolations of a field of 3 px sigma, whose rms is 30 counts.
    np.testing.assert_allclose(found[inner], theirs[inner], atol=0.5)


# -- missing and bad pixels --------------------------------------------------------------------------------------------


def test_outputs_that_lean_on_missing_pixels_are_missing():
    image = np.full(SHAPE, 100.0)
    image[50, 60] = np.nan
    found = shifted(image, 0.3, 0.4)
    # Output 60 + u reads pixel 60 with the weight of the tap -u; taps -3..4 are those of outputs 56 to 63.
    weights = np.zeros((2, 9))
    weights[:, :8] = kernel_weights("kriging4", np.array([0.4, 0.3])).T[:, ::-1]
    gone = np.abs(np.outer(*weights)) > 0.005
    around = np.s_[46:55, 56:65]
    np.testing.assert_array_equal(np.isnan(found.image[around]), gone)
    np.testing.assert_array_equal(np.isinf(found.variance[around]), gone)
    np.testing.assert_array_equal(found.mask[around] & BIT["NO_DATA"] != 0, gone)
    # The others are renormalised: a constant stays one.
    np.testing.assert_allclose(found.image[around][~gone], 100.0, rtol=1e-5)


def test_a_gap_stays_a_gap():
    image = np.full(SHAPE, 100.0)
    image[:, 50:60] = np.nan
    found = shifted(image, 0.5, 0.0, config=LANCZOS3)
    # Taps at +-2.5 px weigh 2.4 %: three columns beyond the gap on the near side, two on the far one.
    assert np.isnan(found.image[:, 47:62]).all()
    assert np.isfinite(found.image[:, [46, 62]]).all()
    assert (found.mask[:, 47:62] & BIT["NO_DATA"]).all()
    np.testing.assert_allclose(found.image[:, 30:47], 100.0, rtol=1e-6)


def test_pixels_flagged_no_data_have_no_weight():
    image, mask = np.full(SHAPE, 100.0), plane(SHAPE, "NO_DATA", (60, 50))
    image[50, 60] = 1e9
    found = shifted(image, 0.3, 0.4, mask=mask)
    assert np.isnan(found.image[50, 60])
    np.testing.assert_allclose(found.image[np.isfinite(found.image)], 100.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["BAD", "CR"])
def test_garbage_does_not_spread_and_is_flagged(name):
    truth = smooth_field()
    clean = shifted(truth, 0.3, 0.4)
    image, mask = truth.copy(), plane(SHAPE, name, (60, 50), (61, 50), (61, 51))
    image[mask != 0] = 1e6
    found = shifted(image, 0.3, 0.4, mask=mask)
    flagged = found.mask & BIT[name] != 0
    usual = np.isfinite(clean.image)
    assert np.isfinite(found.image[usual]).all()
    assert 9 < flagged.sum() < 80
    # The replaced values are off by the curvature of the field, rms 40: 0.5 % of a few of them is left unflagged.
    assert np.abs(found.image - clean.image)[usual & ~flagged].max() < 2.0
    assert np.abs(found.image - clean.image)[usual & flagged].max() < 200.0
    assert not (found.mask[usual] & BIT["NO_DATA"]).any()


def test_repaired_pixels_are_used_as_they_are():
    image = smooth_field()
    mask = plane(SHAPE, "BAD", (60, 50)) | plane(SHAPE, "INTRP", (60, 50))
    found = shifted(image, 0.3, 0.4, mask=mask)
    np.testing.assert_array_equal(found.image, shifted(image, 0.3, 0.4).image)
    flagged = found.mask == BIT["BAD"] | BIT["INTRP"]
    assert [tuple(p) for p in np.argwhere(flagged)] == [(49, 59), (49, 60), (50, 59), (50, 60)]


def test_leaning_on_an_unrepaired_pixel_is_not_interpolated():
    mask = plane(SHAPE, "CR", (60, 50)) | plane(SHAPE, "INTRP", (61, 50))
    found = shifted(smooth_field(), 0.5, 0.0, mask=mask)
    assert found.mask[50, 60] == BIT["CR"]
    assert found.masked_image.unusable(["CR"])[50, 60]


def test_a_large_bad_area_has_no_value():
    mask = np.zeros(SHAPE, np.int32)
    mask[40:60, 40:60] = BIT["BAD"]
    found = shifted(np.full(SHAPE, 100.0), 0.0, 0.0, mask=mask)
    assert np.isnan(found.image[43:57, 43:57]).all()
    assert (found.mask[43:57, 43:57] == BIT["BAD"] | BIT["NO_DATA"]).all()
    np.testing.assert_allclose(found.image[np.isfinite(found.image)], 100.0, rtol=1e-5)


# -- mask --------------------------------------------------------------------------------------------------------------


WHOLE_AND_HALF = [
    ((0.0, 0.0), [50], [60]),
    ((0.5, 0.0), [50], [59, 60]),
    ((0.0, 0.7), [49, 50], [60]),
    ((0.1, 0.9), [49, 50], [59, 60]),
]


@pytest.mark.parametrize(("shift", "rows", "columns"), WHOLE_AND_HALF)
def test_mask_is_that_of_the_one_to_four_pixels_around(shift, rows, columns):
    found = shifted(np.zeros(SHAPE), *shift, mask=plane(SHAPE, "DETECTED", (60, 50)))
    expected = np.zeros(SHAPE, bool)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(found.mask & BIT["DETECTED"] != 0, expected)


@pytest.mark.parametrize(
    ("config", "name", "side"),
    [
        (WarpConfig(), "EDGE", 8),
        (LANCZOS3, "EDGE", 6),
        (WarpConfig(grow_full_mask=["SUSPECT"]), "SUSPECT", 8),
        (WarpConfig(grow_full_mask=[]), "EDGE", 2),
        (WarpConfig(mask_warping_kernel_name=""), "DETECTED", 8),
        (WarpConfig(warping_kernel_name="bicubic", mask_warping_kernel_name=""), "DETECTED", 4),
        (WarpConfig(warping_kernel_name="lanczos5", mask_warping_kernel_name="lanczos4"), "DETECTED", 8),
    ],
)
def test_planes_that_spread(config, name, side):
    found = shifted(np.zeros(SHAPE), 0.3, 0.6, mask=plane(SHAPE, name, (60, 50)), config=config)
    y, x = np.nonzero(found.mask & BIT[name])
    assert len(x) == side**2
    assert (x.min(), x.max(), y.min(), y.max()) == (60 - side // 2, 59 + side // 2, 50 - side // 2, 49 + side // 2)


@pytest.mark.parametrize("name", ["BAD", "DETECTED", "SUSPECT"])
def test_mask_is_nearest_neighbour_plus_growth(name):
    """No masked pixel is lost at any turn, and a plane that does not spread grows by less than a pixel."""
    rng = np.random.default_rng(9)
    mask = np.zeros(SHAPE, np.int32)
    mask[rng.integers(SHAPE[0], size=60), rng.integers(SHAPE[1], size=60)] = BIT[name] | BIT["INTRP"]
    template = make_exposure(smooth_field(), make_wcs(SHAPE, rotation=37.0, scale=0.45), mask=mask)
    science = blank(SHAPE, make_wcs(SHAPE))
    found = warp(template, science).exposure
    x, y = SkyMap(science.wcs, template.wcs)(*np.indices(SHAPE)[::-1])
    whole = np.isfinite(found.image)
    column, row = (np.floor(v[whole] + 0.5).astype(int) for v in (x, y))
    flagged = found.mask[whole] & BIT[name] != 0
    nearest = mask[row, column] & BIT[name] != 0
    assert nearest.sum() > 20
    assert flagged[nearest].all()
    masked_y, masked_x = np.nonzero(mask)
    away = np.maximum(np.abs(x[whole][:, None] - masked_x), np.abs(y[whole][:, None] - masked_y)).min(axis=1)
    np.testing.assert_array_equal(flagged, away < 1)


def test_saturated_pixels_flag_what_leans_on_them():
    found = shifted(np.zeros(SHAPE), 0.5, 0.0, mask=plane(SHAPE, "SAT", (60, 50)), config=LANCZOS3)
    # Weights 2.4, 13.6, 61, 61, 13.6, 2.4 per cent.
    assert [tuple(p) for p in np.argwhere(found.mask & BIT["SAT"])] == [(50, x) for x in range(57, 63)]


# -- what goes with the pixels -----------------------------------------------------------------------------------------


def test_attributes_come_from_the_right_image():
    header = {"OBJECT": "T"}
    template = make_exposure(
        smooth_field(), make_wcs(SHAPE), xy0=(7, 8), filter="r", fluxmag0=2e9, header=header, psf=gaussian_psf(3.0),
        name="old",
    )  # fmt: skip
    science = blank((60, 50), make_wcs((60, 50)), xy0=(100, -200), filter="g", fluxmag0=1e9, name="new")
    found = warp(template, science).exposure
    assert found.wcs is science.wcs
    assert found.box == science.box
    assert (found.filter, found.fluxmag0, found.header, found.name) == ("r", 2e9, header, "old")
    # Scale and orientation are equal.
    assert found.psf is template.psf


def test_the_template_is_not_changed():
    image, mask = smooth_field(), plane(SHAPE, "CR", (10, 10))
    image[20, 20] = np.nan
    template = make_exposure(image, make_wcs(SHAPE), mask=mask)
    before = template.masked_image.copy()
    warp(template, blank(SHAPE, make_wcs(SHAPE, rotation=2.0)))
    np.testing.assert_array_equal(template.image, before.image)
    np.testing.assert_array_equal(template.mask, before.mask)
    np.testing.assert_array_equal(template.variance, before.variance)


def test_threads_do_not_matter(monkeypatch):
    monkeypatch.setattr("psfmatch_cli.warp_direct.TILE", 20)
    template = make_exposure(smooth_field(), make_wcs(SHAPE), mask=plane(SHAPE, "CR", (10, 10)))
    science = blank(SHAPE, make_wcs(SHAPE, rotation=2.0))
    one, four = (warp(template, science, threads=n).exposure for n in (1, 4))
    np.testing.assert_array_equal(one.image, four.image)
    np.testing.assert_array_equal(one.mask, four.mask)


def test_partial_overlap_fills_the_rest_with_no_data():
    found = shifted(np.full(SHAPE, 5.0), 60.25, 0.0)
    # Template columns 60.25 and on; near 119.5 the window reaches over the border.
    assert np.isfinite(found.image[:, :56]).all()
    assert np.isnan(found.image[:, 60:]).all()
    assert (found.mask[:, 60:] == BIT["NO_DATA"]).all()
    assert np.isposinf(found.variance[:, 60:]).all()


def test_psf_is_turned_and_scaled():
    u = np.arange(-15, 16)
    image = np.exp(-0.5 * ((u[None, :] / 3.0) ** 2 + (u[:, None] / 1.5) ** 2))
    psf = Psf(image / image.sum())
    quarter = warp_psf(psf, np.array([[0.0, -1.0], [1.0, 0.0]]), "lanczos3")
    np.testing.assert_allclose(quarter.image, psf.image.T, atol=1e-8)
    finer = warp_psf(gaussian_psf(4.0), 0.8 * np.eye(2), "lanczos3")
    # Science pixels of 0.8 template pixels.
    # FWHMs read off between pixels are good to 1 %.
    assert finer.sigma == pytest.approx(gaussian_psf(5.0).sigma, rel=1e-2)
    assert finer.image.sum() == pytest.approx(1.0, abs=1e-12)
    assert finer.image.shape[0] % 2 == 1


def test_psf_of_the_warped_image_is_that_of_its_stars():
    shape = (61, 61)
    sigma = 4.0 / FWHM_PER_SIGMA
    star = gaussian_stars(shape, [30.0], [30.0], [1.0], 4.0)
    template = make_exposure(star, make_wcs(shape, scale=0.5), psf=gaussian_psf(4.0))
    found = warp(template, blank(shape, make_wcs(shape, scale=0.4, rotation=30.0))).exposure
    half = found.psf.image.shape[0] // 2
    stamp = found.image[30 - half : 31 + half, 30 - half : 31 + half]
    assert sigma < found.psf.sigma < 1.3 * sigma
    # The PSF image is cut at 5 sigma, which leaves 4e-6 of the peak, 0.05.
    np.testing.assert_allclose(found.psf.image, stamp / stamp.sum(), atol=1e-6)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_no_overlap_is_an_error():
    with pytest.raises(RegistrationError, match="do not overlap on the sky"):
        shifted(np.zeros(SHAPE), 500.0, 0.0)


def test_an_overlap_without_a_usable_pixel_is_an_error():
    image = np.full(SHAPE, 5.0)
    image[:, 60:] = np.nan
    with pytest.raises(RegistrationError, match=r"no usable pixel of template falls on science: .* choose another"):
        shifted(image, 70.0, 0.0)


def test_a_missing_wcs_is_an_error():
    with pytest.raises(RegistrationError, match=r"new has no celestial WCS.*astrometrically"):
        warp(blank(SHAPE, make_wcs(SHAPE)), blank(SHAPE, None, name="new"))


def test_a_mask_kernel_wider_than_the_image_kernel_is_an_error():
    config = WarpConfig(warping_kernel_name="bilinear", mask_warping_kernel_name="lanczos3")
    with pytest.raises(UsageError, match="mask warping kernel lanczos3 is wider than the image's, bilinear"):
        shifted(np.zeros(SHAPE), 0.0, 0.0, config=config)


def test_a_template_without_usable_pixels_is_an_error():
    with pytest.raises(InputError, match=r"template has no usable pixel.*13200 have no value"):
        shifted(np.full(SHAPE, np.nan), 0.0, 0.0)
