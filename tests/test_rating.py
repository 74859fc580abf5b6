"""Ratings, cells and the order in which candidates of a cell are visited."""

from bisect import bisect_left

import numpy as np
import pytest

import reference_direct as reference
from made_pairs import exposure
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.exposure import Box
from psfmatch_cli.rating import cell_sizes, cells_of, core_significances, ranks, worse_neighbours
from psfmatch_cli.stacks import holds_unfit, medians, unfit_pixels


def rated(masked, radius, planes=()):
    """Rating of the whole image as one stamp."""
    height, width = masked.shape
    return core_significances(masked, np.array([[0, 0, width - 1, height - 1]]), planes, radius)[0]


def test_the_rating_is_the_mean_significance_above_the_local_level():
    image = np.full((11, 11), 1000.0)
    image[3:8, 3:8] = 1030.0
    stamp = exposure(image, 9.0).masked_image
    assert rated(stamp, 2) == 10.0
    assert rated(stamp, 3) == pytest.approx(10.0 * 25 / 49)
    # Beyond the stamp: all of it.
    assert rated(stamp, 20) == pytest.approx(10.0 * 25 / 121)


def test_pixels_without_a_noise_and_unusable_ones_do_not_count():
    image = np.zeros((7, 7))
    image[3, 3], image[3, 4], image[2, 3] = 30.0, 60.0, 90.0
    stamp = exposure(image, 9.0).masked_image
    stamp.variance[3, 4] = 0.0
    stamp.mask[2, 3] |= stamp.bits(["SAT"])
    assert rated(stamp, 1, ["SAT"]) == pytest.approx(10.0 / 7)
    assert rated(stamp, 1) == pytest.approx((30.0 + 90.0) / 3 / 8)
    stamp.mask[:] |= stamp.bits(["SAT"])
    assert np.isnan(rated(stamp, 1, ["SAT"]))


def test_many_stamps_are_rated_as_each_alone():
    rng = np.random.default_rng(7)
    masked = exposure(rng.normal(100.0, 5.0, (90, 80)), 25.0).masked_image
    masked.mask[rng.random(masked.shape) < 0.05] |= masked.bits(["SAT"])
    masked.image[rng.random(masked.shape) < 0.002] = np.nan
    masked.variance[rng.random(masked.shape) < 0.05] = 0.0
    halves = rng.integers(1, 12, (60, 2))
    centers = np.array([rng.integers(half, side - half) for half, side in zip(halves.T, (80, 90), strict=True)])
    boxes = np.stack([*(centers - halves.T), *(centers + halves.T)], axis=1)
    made = core_significances(masked, boxes, ["SAT"], 3)
    unfit = unfit_pixels(masked, ["SAT"])
    for value, (x0, y0, x1, y1) in zip(made, boxes, strict=True):
        box = Box(*(int(v) for v in (x0, y0, x1, y1)))
        expected = reference.core_significance(masked.cutout(box), ~unfit[box.slices((0, 0))], 3)
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)  # 32-bit pixels
    hit = holds_unfit(masked, boxes, ["SAT"])
    np.testing.assert_array_equal(hit, [unfit[y0 : y1 + 1, x0 : x1 + 1].any() for x0, y0, x1, y1 in boxes])
    assert 0 < hit.sum() < len(hit)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_medians_of_many_rows(count):
    rng = np.random.default_rng(count)
    values = rng.normal(size=(50, count)).astype(np.float32)
    np.testing.assert_allclose(medians(values), np.median(values.astype(float), axis=1), rtol=1e-12)
    values[3, 0] = np.nan
    values[4] = np.inf
    expected = np.median(values[3][1:].astype(float)) if count > 1 else np.nan
    np.testing.assert_allclose(medians(values)[3], expected)
    assert np.isnan(medians(values)[4])


def test_ranks_are_those_of_upstreams_insertion():
    """Each candidate goes before the first of its cell that is not better."""
    rng = np.random.default_rng(1)
    cell_x, cell_y = rng.integers(0, 3, (2, 200))
    rating = rng.integers(0, 6, 200).astype(float)
    lists: dict[tuple[int, int], list[int]] = {}
    for n, cell in enumerate(zip(cell_x, cell_y, strict=True)):
        kept = lists.setdefault(cell, [])
        kept.insert(bisect_left([-rating[k] for k in kept], -rating[n]), n)
    expected = np.empty(200, int)
    for kept in lists.values():
        expected[kept] = np.arange(len(kept))
    np.testing.assert_array_equal(ranks(cell_x, cell_y, rating), expected)


def test_cells_grow_where_there_would_be_too_many_candidates():
    region = Box(0, 0, 1279, 1279)
    # Nine in each of ten by ten cells, of which five are used.
    x, y = (np.tile(values.ravel(), 9) for values in np.meshgrid(*2 * [64 + 128 * np.arange(10)]))
    assert cell_sizes(x, y, region, KernelConfig(n_star_per_cell=5, max_candidates=500)) == (128.0, 128.0)
    assert cell_sizes(x, y, region, KernelConfig(n_star_per_cell=5, max_candidates=125)) == (256.0, 256.0)
    assert cell_sizes(x, y, region, KernelConfig(n_star_per_cell=0, max_candidates=125)) == (128.0, 128.0)


def test_places_that_no_candidate_takes_do_not_count():
    region, kernel = Box(0, 0, 1279, 1279), KernelConfig(n_star_per_cell=5, max_candidates=100)
    x, y = (values.ravel() for values in np.meshgrid(*2 * [64 + 128 * np.arange(10)]))
    assert cell_sizes(x, y, region, kernel) == (128.0, 128.0)


@pytest.mark.parametrize("limit", [10, 37, 100, 299])
def test_the_limit_is_kept_by_little(limit):
    rng = np.random.default_rng(3)
    region, kernel = Box(100, 0, 2099, 999), KernelConfig(n_star_per_cell=4, max_candidates=limit)
    x, y = rng.uniform(100, 2099, 3000), rng.uniform(0, 999, 3000)
    sizes = cell_sizes(x, y, region, kernel)
    assert sizes[0] == sizes[1] > 128
    column, row = cells_of(x, y, region, sizes)
    counts = np.unique(column + 100 * row, return_counts=True)[1]
    # Whole numbers of cells along both axes: steps of up to a factor of two where they are few.
    assert 0.4 * limit <= np.minimum(counts, 4).sum() <= limit


def test_one_cell_may_exceed_the_limit():
    region = Box(0, 0, 299, 299)
    x = y = np.linspace(10, 290, 40)
    width, height = cell_sizes(x, y, region, KernelConfig(n_star_per_cell=30, max_candidates=10))
    assert min(width, height) >= 300


def test_a_candidate_is_in_the_cell_of_its_nearest_pixel():
    region = Box(-10, 20, 189, 299)
    x = np.array([-10.5, 53.4, 53.5, 53.6, 189.4, 117.0])
    y = np.array([19.5, 119.4, 119.5, 299.4, 20.0, 219.9])
    column, row = cells_of(x, y, region, (64.0, 100.0))
    # 200 by 280 pixels: four by three cells, the last ones cut.
    assert column.tolist() == [0, 0, 1, 1, 3, 1]
    assert row.tolist() == [0, 0, 1, 2, 0, 2]


def test_the_better_of_neighbours_is_kept():
    x, y = np.array([0.0, 5.0, 10.0, 50.0, 53.0]), np.zeros(5)
    # The second loses to the first and so refuses the third no more.
    assert worse_neighbours(x, y, np.array([3.0, 2.0, 1.0, 4.0, 4.0]), 6.0).tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert worse_neighbours(x[:1], y[:1], np.ones(1), 6.0).tolist() == [False]
    assert worse_neighbours(x[:0], y[:0], np.ones(0), 6.0).tolist() == []
