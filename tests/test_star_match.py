"""Stars of two lists are matched where they are the same, and not by chance."""

import numpy as np
import pytest

from psfmatch_cli.star_list import StarList
from psfmatch_cli.star_match import StarPairs, find_offset, measure_offsets, pair_stars


def stars(x, y, error=0.02):
    return StarList(np.asarray(x, float), np.asarray(y, float), np.full(len(x), error), np.ones(len(x)))


def field(n, side=1000, seed=0):
    return np.random.default_rng(seed).uniform(0, side, (2, n))


def two_lists(n_common, n_first, n_second, shift, *, side=1000, scatter=0.02, seed=1):
    """Lists that share some stars, shifted by (dx, dy), among others of their own."""
    rng = np.random.default_rng(seed)
    common = rng.uniform(0, side, (2, n_common))
    first = np.hstack([common, rng.uniform(0, side, (2, n_first - n_common))])
    second = np.hstack([common + np.array(shift)[:, None], rng.uniform(0, side, (2, n_second - n_common))])
    return tuple(stars(*(values + rng.normal(0, scatter, values.shape))) for values in (first, second))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (5.0, 3.0), (-40.0, 31.0)])
@pytest.mark.parametrize(("common", "first", "second"), [(200, 300, 400), (30, 200, 200), (8, 12, 60)])
def test_the_offset_of_common_stars_is_found(shift, common, first, second):
    found = find_offset(*two_lists(common, first, second, shift), 60.0)
    np.testing.assert_allclose([found.dx, found.dy], shift, atol=0.1)
    assert found.n >= 0.9 * common


def test_a_few_stars_are_enough_where_nothing_is_expected():
    assert find_offset(*two_lists(3, 3, 3, (0.2, 0.1)), 60.0).n == 3
    # At an offset that is one of ten thousand, three might be chance.
    assert find_offset(*two_lists(3, 60, 60, (33.0, 21.0)), 60.0) is None


@pytest.mark.parametrize(("n", "side"), [(5, 1000), (50, 1000), (500, 2000), (500, 400)])
@pytest.mark.parametrize("seed", range(10))
def test_unrelated_stars_do_not_match(n, side, seed):
    """Also crowded ones: in the last case 35 chance pairs lie within a pixel at any offset."""
    assert find_offset(stars(*field(n, side, 2 * seed)), stars(*field(n, side, 2 * seed + 1)), 60.0) is None


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_stars_do_not_match(n):
    few = stars(*field(n))
    assert find_offset(few, few, 60.0) is None


def test_a_turn_spreads_the_offsets():
    x, y = field(200)
    turn = np.radians(0.4)
    u, v = x - 500, y - 500
    second = stars(500 + np.cos(turn) * u - np.sin(turn) * v, 500 + np.sin(turn) * u + np.cos(turn) * v)
    found = find_offset(stars(x, y), second, 60.0)
    assert found.tolerance > 1.0
    assert np.hypot(found.dx, found.dy) < 2.0
    assert found.n > 60


def test_pairs_are_each_others_nearest():
    first = stars([10.0, 11.0, 50.0, 80.0], [10.0, 10.0, 50.0, 80.0])
    second = stars([11.3, 50.4, 95.0], [10.0, 50.0, 80.0])
    pairs = pair_stars(first, second, np.zeros((2, 4)), 2.0)
    np.testing.assert_allclose(pairs.x, [11.0, 50.0])
    np.testing.assert_allclose(pairs.dx, [0.3, 0.4])
    np.testing.assert_allclose(pairs.error, np.hypot(0.02, 0.02))


def test_pairs_of_empty_lists():
    assert len(pair_stars(stars([], []), stars([1.0], [1.0]), np.zeros((2, 0)), 2.0)) == 0
    assert len(pair_stars(stars([1.0], [1.0]), stars([], []), np.zeros((2, 1)), 2.0)) == 0


def pairs_of(dx, dy, error):
    zeros = np.zeros(len(dx))
    return StarPairs(zeros, zeros, dx, dy, np.broadcast_to(error, zeros.shape).astype(float))


def test_offset_and_rms_without_outliers():
    rng = np.random.default_rng(6)
    dx, dy = rng.normal(0.3, 0.05, 400), rng.normal(-0.1, 0.05, 400)
    dx[:20] += rng.uniform(1, 3, 20)
    found = measure_offsets(pairs_of(dx, dy, 0.05))
    # 380 stars of 0.05 px know their mean to 0.0026 px.
    np.testing.assert_allclose([found.dx, found.dy], [0.3, -0.1], atol=0.01)
    assert found.rms == pytest.approx(0.05 * np.sqrt(2), rel=0.1)
    assert found.noise == pytest.approx(0.05 * np.sqrt(2))
    assert 370 <= found.n <= 380
    assert found.distance == pytest.approx(np.hypot(0.3, 0.1), abs=0.01)


def test_identical_stars_have_no_offset():
    found = measure_offsets(pairs_of(np.zeros(5), np.zeros(5), 0.0))
    assert (found.dx, found.dy, found.rms, found.n) == (0.0, 0.0, 0.0, 5)
