"""Blocks cover everything once, and threads neither change results nor swallow errors."""

import numpy as np
import pytest

from psfmatch_cli.blocks import each, row_bands, sample_step


@pytest.mark.parametrize(("shape", "pixels"), [((10, 7), 21), ((10, 7), 1), ((10, 7), 1000), ((1, 5), 3)])
def test_bands_cover_every_row_once(shape, pixels):
    count = np.zeros(shape, int)
    for rows in row_bands(shape, pixels):
        count[rows] += 1
        assert count[rows].size <= max(pixels, shape[1])
    assert (count == 1).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_errors_come_out(threads):
    assert each(lambda n: n * n, range(20), threads) == [n * n for n in range(20)]
    with pytest.raises(ZeroDivisionError):
        each(lambda n: 1 / (n - 7), range(20), threads)


def test_a_sample_has_about_the_wanted_size():
    assert sample_step((100, 100), 10**6) == 1
    for side in (1000, 2048, 5000):
        step = sample_step((side, side), 250_000)
        # The step is a whole number: within a factor of 9 / 4 either way.
        assert 250_000 / 2.3 < len(range(0, side, step)) ** 2 < 250_000 * 2.3
