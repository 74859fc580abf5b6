"""The shares of a mixture by products of matrices against the plain iteration."""

import numpy as np

from psfmatch_cli.star_locus import _shares, _total_with_stars


def test_rows_of_star_densities_are_as_each_alone():
    rng = np.random.default_rng(4)
    star, null = rng.exponential(1.0, (12, 200)), rng.exponential(1.0, (4, 200))
    star[3] *= 1e-6
    together = _total_with_stars(star, null)
    for row, total in zip(star, together, strict=True):
        expected = _shares(np.stack([row, *null]))[1]
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        np.testing.assert_allclose(_total_with_stars(row, null), expected, rtol=1e-12)
