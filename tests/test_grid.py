import logging

import numpy as np
import pytest

from psfmatch_cli.errors import RegistrationError
from psfmatch_cli.grid import SkyMap, compare_grids, find_overlap
from sky_fields import blank, make_wcs

SHAPE = (120, 160)


def pair(template, science, template_shape=SHAPE, science_shape=SHAPE):
    """Blank template and science exposures from the keywords of their WCSs."""
    return (
        blank(template_shape, make_wcs(template_shape, **template), name="template"),
        blank(science_shape, make_wcs(science_shape, **science), name="science"),
    )


def test_one_wcs_is_one_grid():
    comparison = compare_grids(*pair({}, {}), 1e-3)
    assert comparison.same
    # Rounding of degrees: 360 deg x 1e-16 over 0.5 arcsec pixels is 1e-9 px.
    assert comparison.max_offset < 1e-7
    assert comparison.overlap_fraction == pytest.approx(1.0)
    assert comparison.scale_ratio == pytest.approx(1.0, abs=1e-7)
    assert not comparison.flipped


def test_tolerance_decides_on_a_small_shift():
    images = pair({"shift": (0.0008, 0.0)}, {})
    assert compare_grids(*images, 1e-3).same
    assert not compare_grids(*images, 5e-4).same
    assert compare_grids(*images, 1e-3).max_offset == pytest.approx(0.0008, abs=1e-6)


def test_equal_sky_but_another_origin_is_not_the_same_grid():
    template, science = pair({}, {})
    assert not compare_grids(template, blank(SHAPE, science.wcs, xy0=(5, 0)), 1e-3).same


def test_shift_is_the_overlap():
    comparison = compare_grids(*pair({"shift": (40.0, 0.0)}, {}), 1e-3)
    # Template pixels begin 40 px before the science ones on x: 120 of 160 columns.
    assert comparison.overlap_fraction == pytest.approx(0.75, abs=1e-4)
    assert comparison.max_offset == pytest.approx(40.0, abs=1e-3)


@pytest.mark.parametrize("center", [(0.0, 5.0), (359.9999, -30.0), (120.0, 89.999), (10.0, -90.0)])
def test_sky_seams_do_not_matter(center):
    moved = ((center[0] + 0.0005) % 360, center[1])
    comparison = compare_grids(*pair({"center": moved, "rotation": 30.0}, {"center": center}), 1e-3)
    assert 0.8 < comparison.overlap_fraction <= 1.0
    assert comparison.scale_ratio == pytest.approx(1.0, abs=1e-5)


def test_overlap_of_images_turned_by_45_degrees():
    square = (200, 200)
    comparison = compare_grids(*pair({"rotation": 45.0}, {}, square, square), 1e-3)
    # The regular octagon that two squares share has 2 (sqrt 2 - 1) of the area.
    assert comparison.overlap_fraction == pytest.approx(2 * (np.sqrt(2) - 1), abs=0.01)
    assert abs(comparison.rotation) == pytest.approx(45.0, abs=0.01)


def test_mirror_images_are_recognised():
    comparison = compare_grids(*pair({"flip": True}, {}), 1e-3)
    assert comparison.flipped
    assert comparison.overlap_fraction == pytest.approx(1.0)


def test_scale_ratio_is_template_over_science_pixel():
    assert compare_grids(*pair({"scale": 0.2}, {"scale": 0.5}), 1e-3).scale_ratio == pytest.approx(0.4, rel=1e-4)


@pytest.mark.parametrize(("scale", "allowed"), [(29.0, True), (31.0, False), (1 / 29, True), (1 / 31, False)])
def test_pixels_that_cannot_show_the_same_stars_are_an_error(scale, allowed):
    images = pair({"scale": 0.5 * scale}, {"scale": 0.5})
    if allowed:
        assert compare_grids(*images, 1e-3).scale_ratio == pytest.approx(scale, rel=1e-3)
    else:
        with pytest.raises(RegistrationError, match=r"one pixel of science covers .* their WCSs cannot both be right"):
            compare_grids(*images, 1e-3)


def test_small_template_between_the_samples_is_found():
    comparison = compare_grids(*pair({"shift": (50.0, 30.0)}, {}, (3, 3), (1000, 1000)), 1e-3)
    assert comparison.overlap_fraction == pytest.approx(9e-6, rel=0.01)


def test_small_template_with_a_distortion_that_diverges_is_found():
    """Positions only a few template sizes away have no solution: only that there is an overlap is known."""
    sip = np.zeros((4, 4)), np.zeros((4, 4))
    sip[0][3, 0] = sip[1][0, 3] = 3e-5
    comparison = compare_grids(*pair({"shift": (7.0, 3.0), "sip": sip}, {}, (20, 20), (9000, 9000)), 1e-3)
    assert 0 < comparison.overlap_fraction < 1e-3


@pytest.mark.parametrize("center", [(150.2, 20.0), (330.0, -20.0), (151.0, 88.0)])
def test_no_common_sky_is_an_error(center):
    template, science = pair({"center": center}, {})
    with pytest.raises(RegistrationError, match=r"template \(centre .* science \(centre 150.00000, \+20.00000 deg\)"):
        compare_grids(template, science, 1e-3)


def test_frames_are_related():
    """FK5 of another equinox: the same sky has other coordinates, by 0.3 deg in 25 years."""
    template, science = pair({}, {})
    old = make_wcs(SHAPE)
    old.wcs.radesys, old.wcs.equinox = "FK5", 1975.0
    from astropy.coordinates import FK5, SkyCoord

    there = SkyCoord(150.0, 20.0, unit="deg").transform_to(FK5(equinox="J1975"))
    old.wcs.crval = there.ra.deg, there.dec.deg
    old.wcs.set()
    assert find_overlap(SkyMap(science.wcs, template.wcs), template, science).fraction == pytest.approx(1.0)
    x, y = SkyMap(science.wcs, old)(79.5, 59.5)
    # The centres agree; the frame has turned the field only a little.
    np.testing.assert_allclose([x, y], [79.5, 59.5], atol=1e-3)


def test_galactic_and_equatorial_grids_are_related():
    from astropy.coordinates import SkyCoord

    science = make_wcs(SHAPE)
    galactic = make_wcs(SHAPE)
    there = SkyCoord(150.0, 20.0, unit="deg").galactic
    galactic.wcs.ctype, galactic.wcs.crval = ["GLON-TAN", "GLAT-TAN"], [there.l.deg, there.b.deg]
    galactic.wcs.radesys = ""
    galactic.wcs.set()
    x, y = SkyMap(science, galactic)([79.5, 100.0], [59.5, 30.0])
    # The centres agree, the axes are turned about them.
    np.testing.assert_allclose([x[0], y[0]], [79.5, 59.5], atol=1e-5)
    assert np.hypot(x[1] - 79.5, y[1] - 59.5) == pytest.approx(np.hypot(20.5, 29.5), abs=1e-3)


def test_frames_that_cannot_be_related_are_an_error():
    template, science = pair({}, {})
    template.wcs.wcs.radesys = "XYZ"
    template.wcs.wcs.set()
    with pytest.raises(RegistrationError, match=r"XYZ.*cannot be related.*RADESYS"):
        compare_grids(template, science, 1e-3)


@pytest.mark.parametrize("with_wcs", [False, True])
def test_without_a_wcs_equal_boxes_count_as_aligned(with_wcs, caplog):
    template = blank(SHAPE, None, name="template")
    science = blank(SHAPE, make_wcs(SHAPE) if with_wcs else None, name="science")
    with caplog.at_level(logging.WARNING):
        comparison = compare_grids(template, science, 1e-3)
    assert comparison.same
    assert np.isnan(comparison.max_offset)
    assert comparison.overlap_fraction == 1.0
    # Only one image with a WCS is odd enough for a warning.
    assert bool(caplog.records) == with_wcs


@pytest.mark.parametrize(("shape", "xy0"), [((100, 160), (0, 0)), ((100, 160), (3, 0))])
def test_without_a_wcs_other_sizes_are_an_error(shape, xy0):
    with pytest.raises(RegistrationError, match=r"no celestial WCS in template and science.*--register asterisms"):
        compare_grids(blank(shape, None, xy0=xy0, name="template"), blank(SHAPE, None, name="science"), 1e-3)


def test_jacobian_of_a_turned_and_scaled_grid():
    template, science = pair({"scale": 0.25}, {"rotation": 10.0})
    found = SkyMap(science.wcs, template.wcs).jacobian(70.0, 50.0)
    # Both grids are turned about their centres: 2 template pixels a science pixel, at an angle of 10 deg.
    np.testing.assert_allclose(np.linalg.det(found), 4.0, rtol=1e-4)
    np.testing.assert_allclose(found[0, 0], 2 * np.cos(np.radians(10)), rtol=1e-4)
    assert found.shape == (2, 2)


@pytest.mark.parametrize("with_wcs", [False, True])
def test_without_a_wcs_other_origins_are_a_warning_where_sizes_are_equal(with_wcs, caplog):
    template = blank(SHAPE, None, xy0=(3, 0), name="template")
    science = blank(SHAPE, make_wcs(SHAPE) if with_wcs else None, name="science")
    if with_wcs:
        with pytest.raises(RegistrationError, match="no celestial WCS in template, and the pixel grids differ"):
            compare_grids(template, science, 1e-3)
        return
    assert compare_grids(template, science, 1e-3).same
    assert "number the pixels from (3, 0) (template) and (0, 0) (science)" in caplog.text
