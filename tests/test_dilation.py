"""Planes and flags grow by squares, exactly."""

import numpy as np
import pytest

from psfmatch_cli.dilation import dilate, spread_at


@pytest.mark.parametrize("radius", [0, 1, 4, 13])
def test_planes_grow_by_a_square(radius):
    rng = np.random.default_rng(3)
    mask = (1 << rng.integers(0, 9, size=(30, 27))) * (rng.random((30, 27)) < 0.01)
    mask = mask.astype(np.int32)
    mask[0, 26] |= -(2**31)
    expected = np.zeros_like(mask)
    for y in range(30):
        for x in range(27):
            part = mask[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
            expected[y, x] = np.bitwise_or.reduce(part, axis=None)
    grown = dilate(mask, radius)
    np.testing.assert_array_equal(grown, expected)
    assert not np.shares_memory(grown, mask)


@pytest.mark.parametrize("at", [(0, 6, 0, 27), (10, 14, 3, 9), (24, 30, 20, 27)])
def test_a_part_grows_as_the_whole_does(at):
    flags = np.random.default_rng(1).random((30, 27)) < 0.02
    y0, y1, x0, x1 = at
    np.testing.assert_array_equal(spread_at(flags, slice(y0, y1), slice(x0, x1), 3), dilate(flags, 3)[y0:y1, x0:x1])
