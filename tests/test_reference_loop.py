"""The whole loop on the 193 x 193 comparison pair, against the tabulated run of an independent implementation.

The pair is not part of the repository: the tests are skipped where its folder is absent. The table has six
decimals for kernel sums and five for residuals; kernels are tabulated for correlation, so ours are flipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.table import Table

from psfmatch_cli.basis import alard_lupton_basis, basis_spec
from psfmatch_cli.candidates import select_candidates
from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.config import CandidateConfig, KernelConfig
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.match import MatchResult, match
from psfmatch_cli.pool import CandidatePool
from reference_data import data_folder

#: Integer centres of the nine candidates, in their order.
CENTERS = [(32, 32), (96, 32), (160, 32), (96, 95), (31, 96), (160, 96), (96, 160), (160, 160), (32, 160)]
#: Kernel sum, own mean and rms, spatial mean and rms without a background, order 2 (run a), by id.
WITHOUT_BACKGROUND = {
    1: (0.964877, -0.03641, 0.93795, -0.09474, 0.94118),
    2: (0.972059, 0.03269, 0.94570, -0.01337, 0.96036),
    3: (1.013876, -0.03202, 0.97252, -0.00365, 0.97771),
    5: (1.029850, 0.01385, 0.98122, 0.07000, 0.98837),
    6: (1.016853, 0.00710, 0.90493, 0.03708, 0.91407),
    7: (0.989917, 0.00207, 0.94227, -0.01148, 0.95520),
    8: (0.995028, -0.00111, 0.93364, -0.00615, 0.93938),
    9: (1.003891, 0.00659, 0.95707, 0.01478, 0.96339),
}
#: Kernel sum, background, own rms, spatial mean and rms with a background, orders 1 and 1 (run c); None: rejected.
WITH_BACKGROUND = {
    1: (1.008127, -1.17887, 0.93626, -0.08243, 0.94446),
    2: (0.933232, 1.05830, 0.94449, None, None),
    3: (1.051923, -1.03703, 0.97158, None, None),
    4: (1.004526, 0.86407, 0.96844, 0.08062, 0.98657),
    5: (1.013708, 0.44149, 0.98104, 0.06642, 0.99924),
    6: (1.008408, 0.23018, 0.90497, 0.01502, 0.91577),
    7: (0.987452, 0.06717, 0.94229, -0.03670, 0.97546),
    8: (0.996350, -0.03603, 0.93363, -0.03622, 0.94811),
    9: (0.996064, 0.21333, 0.95696, -0.00675, 0.96949),
}


@dataclass(frozen=True)
class Run:
    """Configuration of a run and what came out.

    Parameters
    ----------
    background : bool
    kind : str
    orders : (int, int or None)
        Of kernel and background.
    used : set of int
        Ids of the candidates in the final fit.
    condition, kernel_sum, background_level : float
        Eigenvalue ratio, final kernel sum, background at (96, 96).
    n_parameters : int
    row : list of float
        Kernel at (96, 96), row 10, columns 8 to 12.
    """

    background: bool
    kind: str
    orders: tuple[int, int | None]
    used: set[int]
    condition: float
    n_parameters: int
    kernel_sum: float
    background_level: float
    row: list[float]


UNCLIPPED, CLIPPED = {1, 2, 3, 5, 6, 7, 8, 9}, {1, 4, 5, 6, 7, 8, 9}
RUNS = {
    "a": Run(
        False, "chebyshev1", (2, None), UNCLIPPED, 2.3535e7, 157, 0.998289, 0.0,
        [0.059666, -0.077970, 0.253315, -0.072751, 0.051966],
    ),
    "b": Run(
        False, "chebyshev1", (1, None), UNCLIPPED, 4.3864e6, 79, 0.998292, 0.0,
        [0.019021, 0.020051, 0.036727, 0.027134, 0.015753],
    ),
    "c": Run(
        True, "chebyshev1", (1, 1), CLIPPED, 9.5192e6, 82, 1.001991, 0.05628,
        [0.017786, 0.036676, 0.008738, 0.037071, 0.021512],
    ),
    "d": Run(
        True, "polynomial", (0, 0), CLIPPED, 1.9498e6, 28, 1.002005, 0.08760,
        [0.018554, 0.026868, 0.016297, 0.035619, 0.018554],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def exposures() -> tuple[Exposure, Exposure]:
    from astropy.io import fits

    made = []
    for name in ("templateMI.fits", "scienceMI.fits"):
        with fits.open(data_folder("reference-pair") / name) as file:
            image, mask, variance = (file[k].data for k in (1, 2, 3))
            pixels = MaskedImage(image.astype(np.float32), mask.astype(np.int32), variance.astype(np.float32))
        made.append(Exposure(pixels))
    return made[0], made[1]


def pool_of(run: Run, exposures: tuple[Exposure, Exposure]) -> CandidatePool:
    config = KernelConfig(
        scale_by_fwhm=False,
        wing_gaussian=False,
        kernel_size_min=21,
        kernel_sum_errors=False,
        correct_noise_bias=False,
        n_star_per_cell=3,
        fit_for_background=run.background,
        spatial_model_type=run.kind,
    )
    spec = basis_spec(None, None, config)
    x, y = np.array(CENTERS, float).T
    candidates = select_candidates(
        Table({"id": np.arange(1, 10), "x": x, "y": y}),
        *exposures,
        CandidateConfig(mask_policy="reject"),
        config,
        kernel_size=spec.size,
        n_parameters=spec.n_functions + run.background,
    )
    return CandidatePool(candidates, *exposures, alard_lupton_basis(spec), config, True, (0.0, 0.0))


@pytest.fixture(scope="module")
def results(exposures) -> dict[str, MatchResult]:
    return {name: match(pool_of(run, exposures), *run.orders) for name, run in RUNS.items()}


def by_id(result: MatchResult, number: int):
    return result.candidates.table[number - 1]


def test_cells_hold_the_candidates_by_rating(results):
    table = results["a"].candidates.table
    cells = {}
    for row in table[np.argsort(table["rank"])]:
        cells.setdefault((int(row["cell_x"]), int(row["cell_y"])), []).append(int(row["id"]))
    assert cells == {(0, 0): [2, 5, 1, 4], (1, 0): [3, 6], (0, 1): [9, 7], (1, 1): [8]}


@pytest.mark.parametrize("name", RUNS)
def test_used_and_rejected(results, name):
    table, run = results[name].candidates.table, RUNS[name]
    assert set(table["id"][table["status"] == "used"]) == run.used
    rejected = table[table["status"] == "rejected"]
    assert list(zip(rejected["id"], rejected["reason"], strict=True)) == (
        [(2, "kernel-sum"), (3, "kernel-sum")] if run.background else []
    )
    assert results[name].converged
    assert results[name].n_iterations == 1


@pytest.mark.parametrize("name", RUNS)
def test_final_solution(results, name):
    result, run = results[name], RUNS[name]
    assert len(result.solution.parameters) == run.n_parameters
    assert result.kernel.center_sum == pytest.approx(run.kernel_sum, abs=2.5e-6)
    assert float(result.background(96, 96)) == pytest.approx(run.background_level, abs=6e-6)
    # Five digits.
    assert result.condition_number == pytest.approx(run.condition, rel=2e-5)
    flipped = result.kernel.image(96, 96)[::-1, ::-1]
    np.testing.assert_allclose(flipped[10, 8:13], run.row, atol=2.5e-6)


def test_sum_of_squares_of_the_overfitted_kernel(results):
    assert (results["a"].kernel.image(96, 96) ** 2).sum() == pytest.approx(0.124553, abs=2.5e-6)


@pytest.mark.parametrize("number", WITHOUT_BACKGROUND)
def test_single_candidates_without_background(results, number):
    row = by_id(results["a"], number)
    found = [row[k] for k in ("kernel_sum", "own_mean", "own_rms", "spatial_mean", "spatial_rms")]
    np.testing.assert_allclose(found, WITHOUT_BACKGROUND[number], atol=1.2e-5)


def test_the_fourth_of_a_full_cell_is_never_built(results):
    row = by_id(results["a"], 4)
    assert row["status"] == "unused"
    assert np.isnan(row["kernel_sum"])


@pytest.mark.parametrize("number", WITH_BACKGROUND)
def test_single_candidates_with_background(results, number):
    row = by_id(results["c"], number)
    found = [row[k] for k in ("kernel_sum", "background", "own_rms", "spatial_mean", "spatial_rms")]
    expected = [np.nan if value is None else value for value in WITH_BACKGROUND[number]]
    np.testing.assert_allclose(found, expected, atol=1.2e-5)


@pytest.mark.parametrize(
    ("name", "ids", "mean", "std"),
    [
        ("a", UNCLIPPED, 0.998294, 0.022361),
        ("c", UNCLIPPED, 1.001685, 0.009938),
        ("c", CLIPPED, 1.002091, 0.009136),
    ],
)
def test_clipped_kernel_sums(results, name, ids, mean, std):
    stats = clipped_mean_std([by_id(results[name], number)["kernel_sum"] for number in ids])
    assert stats.mean == pytest.approx(mean, abs=2.5e-6)
    assert stats.std == pytest.approx(std, abs=2.5e-6)
