"""The spatial order that the data choose: that of the truth, if the candidates can tell it."""

import numpy as np
import pytest

from made_pairs import MadePair, known_kernel, make_pair, plane, star_grid
from made_pools import pool_of
from psfmatch_cli.choose import MAX_GAIN, MAX_ORDER, choose_kernel_order, clearly_worse, robust_mean
from psfmatch_cli.errors import NoCandidatesError

SHAPE = (400, 400)
STARS = star_grid(SHAPE, flux=(5e4, 2e5))


@pytest.fixture(scope="module")
def pairs() -> dict[int, MadePair]:
    """By the order of the true kernel; signal to noise ratios of thousands."""
    return {
        order: make_pair(known_kernel(order, SHAPE), STARS, shape=SHAPE, background=plane(SHAPE, [20.0]), noise=5.0)
        for order in (0, 1, 2)
    }


@pytest.mark.parametrize("order", [1, 2])
def test_a_varying_kernel_gets_its_order(pairs, order):
    choice = choose_kernel_order(pool_of(pairs[order], n_star_per_cell=0), 1)
    # Nothing keeps the next order from being a little better: the true kernel varies inside the stamps, too.
    assert choice.order in (order, order + 1)
    assert choice.scores[order] < choice.scores[order - 1]
    # Limits of three sigmas may cost one or two of 81.
    assert len(STARS) - 2 <= choice.n_candidates <= len(STARS)
    assert sorted(choice.scores) == list(range(MAX_ORDER + 1))


def test_a_constant_kernel_gets_a_low_order(pairs):
    orders = []
    for seed in range(5):
        pair = make_pair(known_kernel(0, SHAPE), STARS, shape=SHAPE, noise=5.0, seed=seed)
        orders.append(choose_kernel_order(pool_of(pair, n_star_per_cell=0), 1).order)
    # Order 1 costs nothing here; higher ones only by chance.
    assert max(orders) <= 2
    assert sum(order <= 1 for order in orders) >= 4


@pytest.mark.parametrize(("n", "highest"), [(3, 0), (7, 0), (8, 1), (13, 1), (14, 2), (21, 2), (22, 3)])
def test_few_candidates_allow_low_orders_only(pairs, n, highest):
    unclipped = {"single_kernel_clipping": False, "kernel_sum_clipping": False}
    choice = choose_kernel_order(pool_of(pairs[0], rows=slice(n), n_star_per_cell=0, **unclipped), 0)
    assert max(choice.scores) == highest
    assert choice.n_candidates == n


def test_one_candidate_has_a_constant_kernel(pairs):
    choice = choose_kernel_order(pool_of(pairs[0], rows=slice(1)), 0)
    assert (choice.order, choice.n_candidates) == (0, 1)


def test_all_in_one_cell_are_left_out_one_by_one(pairs):
    pool = pool_of(pairs[0], n_star_per_cell=0, size_cell_x=1000, size_cell_y=1000)
    choice = choose_kernel_order(pool, 0)
    assert choice.order <= 1
    assert np.isfinite(choice.left_out).all()


def test_a_choice_describes_itself(pairs):
    choice = choose_kernel_order(pool_of(pairs[0], rows=slice(9)), 0)
    assert str(choice).startswith(f"order {choice.order} from {choice.n_candidates} candidates (left-out residual")


def test_nobody_left_is_an_error(pairs):
    # Residuals of noise have an rms of 1.
    with pytest.raises(NoCandidatesError, match=r"all 81 kernel candidates were rejected \(81 single-fit\)"):
        choose_kernel_order(pool_of(pairs[0], candidate_residual_std_max=0.5), 0)


def test_one_outlier_does_not_decide():
    one, other = np.zeros(30), np.zeros(30)
    one[3] = 50.0
    assert robust_mean(one) == pytest.approx(MAX_GAIN / 30, abs=1e-12)
    assert not clearly_worse(one - 0.1, other)
    assert not clearly_worse(other, other)


def test_candidates_without_a_score_count_at_the_limit():
    one, other = np.zeros(10), np.zeros(10)
    one[:5] = np.inf
    assert clearly_worse(one, other)
    assert not clearly_worse(np.full(10, np.inf), np.full(10, np.inf))
