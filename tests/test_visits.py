"""Which candidates of a cell are fitted, and who takes the place of one that is rejected."""

import numpy as np
import pytest
from astropy.table import Table

from made_pairs import exposure, gaussian_stars
from psfmatch_cli.basis import BasisSpec, alard_lupton_basis
from psfmatch_cli.candidates import select_candidates
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.pool import CandidatePool

SIDE, KERNEL_SIZE = 256, 9


def pool_of(stars, flux, **kernel) -> CandidatePool:
    """Pool of the stars, in cells of 128 pixels unless said otherwise."""
    x, y = np.array(stars, float).T
    image = gaussian_stars((SIDE, SIDE), x, y, flux, 1.8)
    template, science = (exposure(image, 25.0, name=name) for name in ("template", "science"))
    config = KernelConfig(**kernel)
    sources = Table({"x": x, "y": y})
    made = select_candidates(
        sources, template, science, CandidateConfig(), config, kernel_size=KERNEL_SIZE, n_parameters=3
    )
    assert len(made) == len(stars)
    basis = alard_lupton_basis(BasisSpec(KERNEL_SIZE, (1.0,), (0,)))
    return CandidatePool(made, template, science, basis, config, True, (0.0, 0.0))


def visited(pool: CandidatePool) -> list[int]:
    """Ids of the candidates that a visit would fit, cell by cell."""
    return np.asarray(pool.candidates.table["id"])[pool.rows[pool.visit()]].tolist()


def reject(pool: CandidatePool, *ids: int) -> None:
    pool.reason[np.isin(np.asarray(pool.candidates.table["id"])[pool.rows], ids)] = "single-fit"


NINE = [(x, y) for y in (20, 50, 80) for x in (20, 50, 80)]
FLUX = [1e4 * (1 + k) for k in range(9)]


def test_one_in_each_cell_are_all_used():
    stars = [(30 + 80 * column, 30 + 80 * row) for row in range(3) for column in range(3)]
    pool = pool_of(stars, 2e4, size_cell_x=80, size_cell_y=80, n_star_per_cell=3)
    # Row by row from the bottom.
    assert visited(pool) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_of_many_in_one_cell_the_best_are_used():
    assert visited(pool_of(NINE, FLUX, n_star_per_cell=3)) == [9, 8, 7]
    assert visited(pool_of(NINE, FLUX, n_star_per_cell=1)) == [9]
    assert visited(pool_of(NINE, FLUX, n_star_per_cell=20)) == [9, 8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("limit", [0, -1])
def test_without_a_limit_all_are_used(limit):
    assert len(visited(pool_of(NINE, FLUX, n_star_per_cell=limit))) == 9


def test_the_next_of_the_cell_takes_the_place_at_the_next_visit():
    pool = pool_of(NINE, FLUX, n_star_per_cell=3)
    reject(pool, 8)
    assert visited(pool) == [9, 7, 6]
    reject(pool, 9, 6)
    assert visited(pool) == [7, 5, 4]
    reject(pool, 7, 5, 4, 3, 2)
    assert visited(pool) == [1]
    reject(pool, 1)
    assert visited(pool) == []


def test_a_cell_is_not_filled_from_another():
    stars = [*NINE, (200, 30)]
    pool = pool_of(stars, [*FLUX, 5e3], n_star_per_cell=3)
    assert visited(pool) == [9, 8, 7, 10]
    reject(pool, 10)
    assert visited(pool) == [9, 8, 7]


def test_of_equal_ratings_the_last_of_the_list_is_used_first():
    assert visited(pool_of(NINE, 2e4, n_star_per_cell=2)) == [9, 8]


def test_only_those_that_were_visited_are_fitted():
    pool = pool_of(NINE, FLUX, n_star_per_cell=3)
    pool.build(pool.visit())
    assert len(pool.fitted) == 3
    reject(pool, 9)
    pool.build(pool.visit())
    assert len(pool.fitted) == 4
    ids = np.asarray(pool.candidates.table["id"])
    assert sorted(ids[pool.fitted.rows].tolist()) == [6, 7, 8, 9]
