import numpy as np
import pytest

from psfmatch_cli.grid import SkyMap, inside
from psfmatch_cli.mapping import POSITION_TOLERANCE, map_pixels
from sky_fields import make_wcs

SHAPE = (150, 130)


def rows(mapping, first, last):
    """Values of whole science rows."""
    return mapping.part(slice(first, last), slice(0, mapping.shape[1]))


def distortion(quadratic, cubic=0.0, quartic=0.0):
    """SIP coefficients that displace by quadratic * u^2 and so on, pixels."""
    a, b = np.zeros((5, 5)), np.zeros((5, 5))
    a[2, 0], b[1, 1], b[0, 3], a[4, 0] = quadratic, -quadratic, cubic, quartic
    return a, b


# PV2_1 and PV1_1 are the linear terms; PV1_7 is a cubic one, in degrees: some pixels at the corner.
TPV = [(1, 1, 1.0), (2, 1, 1.0), (1, 4, 0.2), (2, 5, 0.3), (1, 7, 30.0)]
PAIRS = {
    "rotation": ({"rotation": 3.0}, {}),
    "flip and scale": ({"flip": True, "scale": 0.7}, {"rotation": 120.0}),
    "template SIP": ({"sip": distortion(2e-4, 1e-6)}, {}),
    "science SIP": ({}, {"sip": distortion(2e-4, 1e-6)}),
    "TPV": ({"pv": TPV}, {"rotation": -20.0}),
    "across RA 0": ({"center": (0.001, 0.0)}, {"center": (359.999, 0.0), "rotation": 10.0}),
    "at the pole": ({"center": (0.0, 89.999)}, {"center": (77.0, 89.995)}),
}


def sky_map(template, science):
    return SkyMap(make_wcs(SHAPE, **science), make_wcs(SHAPE, **template))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("step", [0, 5, 16, 64])
def test_interpolated_positions_are_the_exact_ones(name, step):
    exact_map = sky_map(*PAIRS[name])
    mapping = map_pixels(exact_map, SHAPE, SHAPE, step)
    rng = np.random.default_rng(1)
    y, x = rng.integers(SHAPE[0], size=300), rng.integers(SHAPE[1], size=300)
    found = rows(mapping, 0, SHAPE[0])[:, y, x]
    exact = np.array(exact_map(x, y))
    on_template = ((exact > -0.5) & (exact < np.array(SHAPE)[::-1, None])).all(axis=0)
    assert on_template.sum() > 20
    np.testing.assert_allclose(found[:2, on_template], exact[:, on_template], atol=POSITION_TOLERANCE)
    area = exact_map.area(x, y)
    # A hundredth of the 0.1 % to which the flux of a star must be conserved.
    np.testing.assert_allclose(found[2, on_template], area[on_template], rtol=1e-5 if step <= 16 else 1e-4)


def test_every_pixel_is_a_node_if_asked():
    exact_map = sky_map({"sip": distortion(2e-4)}, {})
    mapping = map_pixels(exact_map, SHAPE, SHAPE, 0)
    assert mapping.step == 1
    exact = np.array(exact_map(np.arange(SHAPE[1]), np.full(SHAPE[1], 40)))
    np.testing.assert_array_equal(rows(mapping, 40, 41)[:2, 0], exact)


def test_blocks_of_rows_are_the_rows():
    mapping = map_pixels(sky_map({"rotation": 5.0}, {}), SHAPE, SHAPE, 16)
    np.testing.assert_array_equal(rows(mapping, 37, 52), rows(mapping, 0, 150)[:, 37:52])


@pytest.mark.parametrize("step", [1, 16])
@pytest.mark.parametrize("columns", [slice(0, 16), slice(5, 6), slice(31, 100), slice(64, 130)])
def test_parts_of_rows_are_those_of_the_rows(step, columns):
    wide = make_wcs(SHAPE, scale=5000.0, center=(60.0, 0.0))
    mapping = map_pixels(SkyMap(wide, make_wcs(SHAPE, scale=5000.0, center=(0.0, 0.0))), SHAPE, (2000, 2000), step)
    assert step == 1 or len(mapping.exact_index), "pixels beside a gap are among them"
    found, whole = mapping.part(slice(37, 52), columns), rows(mapping, 37, 52)
    # Matrix products of other lengths may round in another order.
    np.testing.assert_allclose(found, whole[..., columns], rtol=1e-13, equal_nan=True)


def test_nodes_close_up_where_the_distortion_is_strong():
    """A quartic term of 3 px at the edge: cubics through nodes 64 px apart miss it by most of a pixel."""
    exact_map = sky_map({}, {"sip": distortion(1e-4, 0.0, 1e-7)})
    mapping = map_pixels(exact_map, SHAPE, SHAPE, 64)
    assert 1 < mapping.step < 64
    y, x = np.indices(SHAPE)[:, ::7, ::7]
    exact = np.array(exact_map(x, y))
    found = rows(mapping, 0, SHAPE[0])[:2, ::7, ::7]
    on_template = ((exact > 0) & (exact < 129)).all(axis=0)
    assert on_template.sum() > 50
    np.testing.assert_allclose(found[:, on_template], exact[:, on_template], atol=POSITION_TOLERANCE)


def test_a_distortion_in_one_corner_is_seen():
    """A bump of 2 px that only one in two hundred pixels feels: what random positions would miss."""

    class Bumped(SkyMap):
        def __call__(self, x, y):
            found_x, found_y = super().__call__(x, y)
            return found_x + 2 * np.exp(-0.5 * ((x - 1900) ** 2 + (y - 1890) ** 2) / 25.0**2), found_y

    shape = (2000, 2000)
    bumped = Bumped(make_wcs(shape), make_wcs(shape, rotation=0.1))
    mapping = map_pixels(bumped, shape, shape, 64)
    assert mapping.step <= 16
    y, x = np.mgrid[1800:2000:3, 1800:2000:3]
    exact = np.array(bumped(x, y))
    on_template = inside(*exact, shape)
    found = rows(mapping, 1800, 2000)[:2, ::3, 1800::3]
    np.testing.assert_allclose(found[:, on_template], exact[:, on_template], atol=POSITION_TOLERANCE)


def test_a_distortion_that_cannot_be_inverted_far_out_does_not_matter():
    """Within the image 1.5 px of a cubic term, a node and more outside no position at all."""
    exact_map = sky_map({"sip": distortion(1e-3, 2e-5)}, {})
    mapping = map_pixels(exact_map, SHAPE, SHAPE, 64)
    assert np.isnan(mapping.nodes).any()
    y, x = np.indices(SHAPE)[:, ::7, ::7]
    exact = np.array([*exact_map(x, y), exact_map.area(x, y)])
    on_template = ((exact[:2] > 0) & (exact[:2] < 129)).all(axis=0)
    assert on_template.sum() > 50
    found = rows(mapping, 0, SHAPE[0])[:, ::7, ::7]
    np.testing.assert_allclose(found[:, on_template], exact[:, on_template], atol=2 * POSITION_TOLERANCE)


def test_pixels_beside_positions_without_sky_are_exact():
    """A science image that reaches over the horizon of the template's projection."""
    shape = (90, 120)
    wide = make_wcs(shape, scale=5000.0, center=(60.0, 0.0))
    exact_map = SkyMap(wide, make_wcs(shape, scale=5000.0, center=(0.0, 0.0)))
    mapping = map_pixels(exact_map, shape, (2000, 2000), 16)
    y, x = np.indices(shape)
    exact = np.array(exact_map(x, y))
    # TAN ends where the sky is 90 deg from its centre, at an infinite distance.
    assert 0.05 < np.isnan(exact[0]).mean() < 0.95
    near = np.hypot(*exact) < 300
    np.testing.assert_array_equal(np.isnan(rows(mapping, 0, 90)[0]), np.isnan(exact[0]))
    np.testing.assert_allclose(rows(mapping, 0, 90)[:2, near], exact[:, near], atol=0.1)
