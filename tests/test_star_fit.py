"""The displacement between two lists of stars comes back, at the order that it has."""

import numpy as np
import pytest

from psfmatch_cli.star_fit import StarFit, fit_stars
from psfmatch_cli.star_list import StarList
from psfmatch_cli.star_match import find_offset

SHAPE = (1500, 2000)


def lists(move, n=150, *, error=0.02, others=60, seed=3, within=1.0):
    """Stars of a science image, and of the template where `move` takes them, with others in both."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SHAPE[1] * within, n + others), rng.uniform(0, SHAPE[0] * within, n + others)
    moved = np.array(move(x, y)) + rng.normal(0, error, (2, n + others))
    moved[:, n:] = rng.uniform(0, SHAPE[1], others), rng.uniform(0, SHAPE[0], others)
    make = lambda u, v: StarList(u, v, np.full(len(u), error), np.ones(len(u)))  # noqa: E731
    return make(x, y), make(*moved)


def fit(move, n=150, **options) -> tuple[StarFit, float]:
    """The fit, and the largest error of its displacement over the image."""
    first, second = lists(move, n, **options)
    made = fit_stars(first, second, find_offset(first, second, 60.0), SHAPE)
    y, x = (np.linspace(0, size - 1, 12) for size in SHAPE)
    x, y = (v.ravel() for v in np.meshgrid(x, y))
    return made, float(np.abs(made.displacement(x, y) - (np.array(move(x, y)) - [x, y])).max())


def turned(degrees, scale=1.0):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return lambda x, y: (1000 + c * (x - 1000) - s * (y - 750), 750 + s * (x - 1000) + c * (y - 750))


def curved(x, y):
    """2 px at the corners."""
    return x + 2e-6 * (x - 1000) ** 2, y - 1.5e-6 * (x - 1000) * (y - 750)


def cubic(x, y):
    r2 = ((x - 1000) / 1000) ** 2 + ((y - 750) / 1000) ** 2
    return x + 1.5 * r2 * (x - 1000) / 1000, y + 1.5 * r2 * (y - 750) / 1000


MOVES = [
    (lambda x, y: (x + 0.3, y - 0.1), 0),
    (lambda x, y: (x + 5.0, y + 3.0), 0),
    (lambda x, y: (x - 33.0, y + 20.0), 0),
    (turned(0.02), 1),
    (turned(0.3), 1),
    (turned(0.0, 1.0001), 1),
    (lambda x, y: turned(0.02, 1.0001)(x + 5, y - 4), 1),
    (curved, 2),
    (cubic, 3),
]


@pytest.mark.parametrize(("move", "order"), MOVES)
def test_the_displacement_comes_back_at_its_order(move, order):
    made, error = fit(move)
    assert made.order == order
    # 150 stars of 0.02 * sqrt(2) px: the mean to 0.003, the corners of a cubic some ten times worse.
    assert error < (0.008, 0.02, 0.04, 0.15)[order]
    assert len(made.pairs) > 120
    left = made.residuals()
    assert np.sqrt(np.mean(left.dx**2)) == pytest.approx(0.02 * 1.0, abs=0.01)


def test_size_and_error_of_the_displacement():
    made, _ = fit(lambda x, y: (x + 0.3, y - 0.4))
    assert made.size == pytest.approx(0.5, abs=0.01)
    # Two coordinates of a mean of 150 stars.
    assert made.error == pytest.approx(0.02 * np.sqrt(2 / 150), rel=0.4)


@pytest.mark.parametrize(("n", "most"), [(3, 0), (6, 0), (12, 1), (30, 2)])
def test_few_stars_allow_low_orders_only(n, most):
    made, _ = fit(cubic, n, others=0)
    assert made.order <= most


def test_noise_does_not_raise_the_order():
    orders = [fit(lambda x, y: (x, y), 60, error=0.1, seed=seed)[0].order for seed in range(20)]
    assert np.mean(np.array(orders) > 0) <= 0.1


def test_stars_in_a_corner_do_not_curve_the_rest():
    """Fitted where the left tenth of the image has all the stars, the far side stays put."""
    _, error = fit(turned(0.02), 60, within=0.3)
    assert error < 0.5


def test_a_third_of_wrong_stars_do_no_harm():
    made, error = fit(turned(0.02), 100, others=50)
    assert error < 0.03
    assert made.order == 1
