"""Moments of kernel images, and kernels on a grid."""

import numpy as np
import pytest

from made_pairs import known_kernel, plane
from psfmatch_cli.errors import UsageError
from psfmatch_cli.kernel_report import grid_table, image_table, kernel_at, kernel_summary
from psfmatch_cli.kernel_shape import kernel_grid, kernel_shape

SHAPE = (200, 300)


def gaussian(side, x, y, sigma_x, sigma_y):
    v, u = np.mgrid[-(side // 2) : side // 2 + 1, -(side // 2) : side // 2 + 1]
    return np.exp(-0.5 * (((u - x) / sigma_x) ** 2 + ((v - y) / sigma_y) ** 2))


@pytest.fixture(scope="module")
def kernel():
    return known_kernel(1, SHAPE)


def test_moments_of_a_gaussian():
    image = gaussian(41, 0.7, -0.4, 2.0, 3.0)
    shape = kernel_shape(1.5 * image / image.sum())
    assert (shape.sum, shape.x, shape.y) == pytest.approx((1.5, 0.7, -0.4))
    # Cut at 6 sigma and sampled at 2 pixels a sigma, sums are as good as integrals.
    assert (shape.xx, shape.yy) == pytest.approx((4.0, 9.0), rel=1e-5)
    assert shape.xy == pytest.approx(0.0, abs=1e-5)
    assert shape.fwhm == pytest.approx(2.3548 * np.sqrt(6.0), rel=1e-4)
    assert shape.shift == pytest.approx(np.hypot(0.7, 0.4))


def test_a_sharpening_kernel_has_no_width_and_an_empty_one_no_centroid():
    sharp = -gaussian(21, 0, 0, 3.0, 3.0)
    sharp[10, 10] += 1.0 - sharp.sum()
    assert np.isnan(kernel_shape(sharp).fwhm)
    assert np.isnan(kernel_shape(np.zeros((5, 5))).shift)


def test_the_grid_is_that_of_the_kernel_at_the_middles_of_its_cells(kernel):
    grid = kernel_grid(kernel, 3, 2)
    np.testing.assert_allclose(grid.x, [49.5, 149.5, 249.5])
    np.testing.assert_allclose(grid.y, [49.5, 149.5])
    np.testing.assert_allclose(grid.images[1, 2], kernel.image(249.5, 149.5), atol=1e-12)
    size = kernel.size
    np.testing.assert_array_equal(grid.mosaic()[size:, 2 * size :], grid.images[1, 2])
    with pytest.raises(UsageError, match="at least 1 x 1 cells, got 0 x 2"):
        kernel_grid(kernel, 0, 2)


def test_tables_hold_the_kernel(kernel):
    background = plane(SHAPE, [5.0, 1.0, 2.0])
    table = grid_table(kernel, background, kernel_grid(kernel, 3, 2))
    assert (table["x"][4], table["y"][4]) == (149.5, 149.5)
    np.testing.assert_allclose(table["sum"], kernel.sum(table["x"], table["y"]))
    np.testing.assert_allclose(table["background"], background(table["x"], table["y"]))
    image = image_table(kernel, 20.0, 30.0)
    assert image.colnames == ["u", "v", "value"]
    np.testing.assert_allclose(np.asarray(image["value"]).reshape(kernel.size, -1), kernel.image(20.0, 30.0))
    row = image[np.argmin(np.hypot(image["u"] - 1, image["v"]))]
    assert row["value"] == pytest.approx(kernel.image(20.0, 30.0)[kernel.half_size, kernel.half_size + 1])


def test_a_position_outside_is_refused(kernel):
    with pytest.raises(UsageError, match=r"\(300, 10\) is outside of the pixels"):
        kernel_at(kernel, plane(SHAPE, [0.0]), 300.0, 10.0)


def test_the_summary_holds_ranges(kernel):
    made = kernel_summary(kernel, plane(SHAPE, [5.0, 1.0, 2.0]))
    assert made["region"] == [0, 0, 299, 199]
    low, high = made["kernel_sum_range"]
    assert low <= made["kernel_sum"] <= high
    assert made["background_range"] == pytest.approx([5.0 - 3.0 * 0.8, 5.0 + 3.0 * 0.8])
