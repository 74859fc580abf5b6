"""The shares of a mixture by products of matrices against the plain iteration."""

import numpy as np

from psfmatch_cli.star_locus import MIN_SHARE, SHARE_ITERATIONS, _shares, _total_with_stars


def plain_shares(densities):
    """Shares and the density of each source: the mean of what every component has of every source, again and again."""
    shares = np.full((len(densities), 1), 1.0 / len(densities))
    for _ in range(SHARE_ITERATIONS):
        total = (shares * densities).sum(axis=0)
        shares = np.maximum((shares * densities / total).mean(axis=1, keepdims=True), MIN_SHARE)
        shares /= shares.sum()
    return shares[:, 0], (shares * densities).sum(axis=0)


def test_shares_are_those_of_the_plain_iteration():
    densities = np.random.default_rng(3).exponential([[1.0], [0.2], [1e-4]], (3, 300))
    for made, expected in zip(_shares(densities), plain_shares(densities), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-12)


def test_rows_of_star_densities_are_as_each_alone():
    rng = np.random.default_rng(4)
    star, null = rng.exponential(1.0, (12, 200)), rng.exponential(1.0, (4, 200))
    star[3] *= 1e-6
    together = _total_with_stars(star, null)
    for row, total in zip(star, together, strict=True):
        expected = plain_shares(np.stack([row, *null]))[1]
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        np.testing.assert_allclose(_total_with_stars(row, null), expected, rtol=1e-12)
