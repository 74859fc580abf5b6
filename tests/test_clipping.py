"""Clipped mean and standard deviation."""

import numpy as np
import pytest

from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.errors import InputError


@pytest.mark.parametrize("values", [[1, 1, 1, 1, 2, 3, 4], [1, 1, 1, 1, 2, 3, 4, 50]])
def test_clipped_statistics_of_the_reference(values):
    stats = clipped_mean_std(values)
    assert stats.mean == pytest.approx(1.857142857, abs=1e-9)  # the reference has nine decimals
    assert stats.std == pytest.approx(1.214985793, abs=1e-9)
    assert stats.n == 7


def test_equal_quartiles_keep_only_the_median():
    stats = clipped_mean_std([1.0] * 8 + [100.0])
    assert (stats.mean, stats.std, stats.n) == (1.0, 0.0, 8)


def test_a_single_value_has_no_deviation():
    stats = clipped_mean_std([3.0])
    assert (stats.mean, stats.n) == (3.0, 1)
    assert np.isnan(stats.std)


def test_every_pass_starts_from_all_values():
    values = np.random.default_rng(1).normal(10, 2, 400)
    values[:20] += np.linspace(6, 40, 20)
    center, width = np.median(values), 3 * 0.741301109252802 * np.subtract(*np.percentile(values, [75, 25]))
    for _ in range(3):
        kept = values[np.abs(values - center) <= width]
        center, width = kept.mean(), 3 * kept.std(ddof=1)
    stats = clipped_mean_std(values)
    # Summed in another order: rounding only.
    assert stats.mean == pytest.approx(center, rel=1e-13)
    assert stats.std == pytest.approx(width / 3, rel=1e-12)
    assert stats.n == len(kept)


def test_clipping_is_blind_to_the_order_and_shape():
    values = np.random.default_rng(2).normal(size=(30, 40))
    assert clipped_mean_std(values) == clipped_mean_std(values.ravel()[::-1])


def test_values_that_are_not_finite_are_left_out():
    assert clipped_mean_std([1, np.nan, 1, np.inf, 1]) == clipped_mean_std([1, 1, 1])


def test_no_value_is_an_error():
    with pytest.raises(InputError, match="at least one finite value"):
        clipped_mean_std([np.nan])
