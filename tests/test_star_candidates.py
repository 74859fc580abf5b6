"""Which of many peaks are taken: the most significant of every part of the field."""

import numpy as np

from psfmatch_cli.star_candidates import CELLS, StarCandidates, _most_significant


def peaks(x, y, snr):
    return StarCandidates(x, y, np.ones(len(x)), np.full(len(x), 3.0), snr)


def test_few_are_taken_in_order_of_significance():
    rng = np.random.default_rng(1)
    found = peaks(*rng.uniform(0, 400, (2, 30)), rng.uniform(20, 500, 30))
    rows = _most_significant(found, (400, 400), 30)
    assert (np.diff(found.snr[rows]) <= 0).all()
    assert sorted(rows) == list(range(30))


def test_of_many_every_part_of_the_field_has_its_share():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 800, (2, 4000))
    snr = rng.uniform(20, 100, 4000)
    snr[(x < 100) & (y < 100)] += 1000.0  # the brightest are all in one corner
    found = peaks(x, y, snr)
    rows = _most_significant(found, (800, 800), 5 * CELLS**2)
    assert (np.diff(snr[rows]) <= 0).all()
    cell = (x // 100).astype(int) + CELLS * (y // 100).astype(int)
    np.testing.assert_array_equal(np.bincount(cell[rows]), 5)
    for number in range(CELLS**2):
        members = np.flatnonzero(cell == number)
        assert set(members[np.argsort(-snr[members])[:5]]) <= set(rows)
