"""Bad pixels get the weighted means of the sound ones around them."""

import numpy as np
import pytest

from psfmatch_cli.neighbours import REACH, replacements

SHAPE = (40, 50)


def direct(image: np.ndarray, sound: np.ndarray, y: int, x: int) -> float | None:
    """Weighted mean around one pixel, neighbour by neighbour; None without any."""
    total = weights = 0.0
    for v in range(max(y - REACH, 0), min(y + REACH, SHAPE[0] - 1) + 1):
        for u in range(max(x - REACH, 0), min(x + REACH, SHAPE[1] - 1) + 1):
            weight = np.exp(-0.5 * ((v - y) ** 2 + (u - x) ** 2)) * sound[v, u]
            total, weights = total + (weight * image[v, u] if weight else 0.0), weights + weight
    return total / weights if weights else None


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.97])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_are_those_of_the_direct_means(fraction, threads):
    rng = np.random.default_rng(4)
    image, variance = rng.normal(100, 5, SHAPE).astype(np.float32), rng.uniform(1, 2, SHAPE).astype(np.float32)
    bad = rng.random(SHAPE) < fraction
    bad[10:12, 20] = bad[30, 5] = bad[0, 0] = True
    bad[15:25, 30:40] = True
    image[bad], variance[bad] = np.nan, np.inf
    made = replacements(image, variance, bad, ~bad, threads)
    expected = {int(i): direct(image, ~bad, *divmod(int(i), SHAPE[1])) for i in np.flatnonzero(bad)}
    assert made.index.tolist() == [i for i, value in expected.items() if value is not None]
    # Sums in double precision, stored in single.
    np.testing.assert_allclose(made.image, [expected[i] for i in made.index.tolist()], rtol=1e-6)
    assert np.isfinite(made.variance).all()


def test_values_are_put_into_the_part_they_lie_in():
    image, bad = np.ones(SHAPE, np.float32), np.zeros(SHAPE, bool)
    bad[5, 7] = bad[20, 30] = bad[20, 45] = True
    made = replacements(image, 2 * image, bad, ~bad)
    part, variance = np.zeros((2, 10, 20), np.float32)
    made.put(slice(15, 25), slice(25, 45), part, variance)
    assert np.argwhere(part).tolist() == [[5, 5]]
    assert (part[5, 5], variance[5, 5]) == (1.0, 2.0)


def test_a_sound_image_needs_no_values():
    image = np.ones(SHAPE, np.float32)
    assert len(replacements(image, image, np.zeros(SHAPE, bool), np.ones(SHAPE, bool)).index) == 0
