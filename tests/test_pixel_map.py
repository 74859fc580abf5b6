import numpy as np
import pytest

from psfmatch_cli.grid import SkyMap
from psfmatch_cli.pixel_map import AffineMap, CorrectedMap, Displacement, terms
from psfmatch_cli.warp import warp
from sky_fields import blank, gaussian_stars, make_exposure, make_wcs

SHAPE = (120, 140)
MATRIX, OFFSET = np.array([[0.9, -0.3], [0.25, 1.1]]), np.array([12.0, -7.0])
CUBIC = np.array(
    [[3.0, 0.4, -0.2, 0.6, 0.1, -0.5, 0.3, 0.0, 0.2, -0.1], [-1.0, 0.1, 0.5, -0.3, 0.2, 0.4, 0.0, 0.1, 0.0, 0.3]]
)


def displacement(order=3):
    n = (order + 1) * (order + 2) // 2
    return Displacement(CUBIC[:, :n], (70.0, 60.0), 70.0)


def positions(n=50):
    return np.random.default_rng(1).uniform(0, 120, (2, n))


def test_terms_stand_degree_by_degree():
    np.testing.assert_allclose(terms(5.0, 7.0, (1.0, 1.0), 2.0, 2), [1, 2, 3, 4, 6, 9])


def test_an_affine_map_and_its_reverse():
    made = AffineMap(MATRIX, OFFSET)
    x, y = positions()
    np.testing.assert_allclose(made(x, y), MATRIX @ [x, y] + OFFSET[:, None])
    np.testing.assert_allclose(made.reverse()(*made(x, y)), [x, y], atol=1e-11)
    np.testing.assert_allclose(made.jacobian(x, y), np.broadcast_to(MATRIX, (50, 2, 2)), atol=1e-11)
    np.testing.assert_allclose(made.area(3.0, 4.0), np.linalg.det(MATRIX))


def test_identity():
    x, y = positions()
    np.testing.assert_array_equal(AffineMap.identity()(x, y), [x, y])


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_displacement_and_its_inverse(order):
    made = displacement(order)
    assert made.order == order
    x, y = positions()
    moved = np.array([x, y]) + made(x, y)
    # The iteration ends below 1e-6 px.
    np.testing.assert_allclose(made.invert(*moved), [x, y], atol=1e-5)


def test_a_displacement_that_folds_the_image_has_no_inverse_there():
    folding = Displacement(np.array([[0.0, -200.0, 0.0], [0.0, 0.0, 0.0]]), (70.0, 60.0), 70.0)
    assert np.isnan(folding.invert(np.array([10.0]), np.array([20.0]))).all()


@pytest.mark.parametrize("base", [AffineMap(MATRIX, OFFSET), SkyMap(make_wcs(SHAPE), make_wcs(SHAPE, rotation=20.0))])
def test_a_corrected_map_moves_first_and_can_be_reversed(base):
    made = CorrectedMap(displacement(), base)
    x, y = positions()
    np.testing.assert_allclose(made(x, y), base(*(np.array([x, y]) + displacement()(x, y))))
    np.testing.assert_allclose(made.reverse()(*made(x, y)), [x, y], atol=2e-5)
    assert made.reverse().reverse() is made


@pytest.mark.parametrize("size", [1.0, 0.4])
def test_warping_along_a_map_without_any_sky(size):
    """A star goes where the map says, with all its counts; at 0.4 template pixels are averaged."""
    angle = np.radians(25.0)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / size
    pixel_map = CorrectedMap(displacement(2), AffineMap(matrix, np.array([60.0, 10.0])))
    shape = (420, 420)
    x, y = (float(v) for v in pixel_map(70.3, 40.7))
    template = make_exposure(gaussian_stars(shape, [x], [y], [1e4], 4.0 / size), None)
    result = warp(template, blank(SHAPE, None), pixel_map=pixel_map)
    assert result.method == ("adaptive" if size < 0.75 else "kriging4")
    stamp = np.nan_to_num(result.exposure.image.astype(float))[20:62, 50:92]
    assert stamp.sum() == pytest.approx(1e4, rel=1e-3)
    columns, rows = np.arange(50, 92), np.arange(20, 62)
    assert (stamp * columns).sum() / stamp.sum() == pytest.approx(70.3, abs=5e-3)
    assert (stamp * rows[:, None]).sum() / stamp.sum() == pytest.approx(40.7, abs=5e-3)
    assert result.exposure.wcs is None
