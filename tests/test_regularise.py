"""Regularisation: its matrix against tabulated values and loops, its strength against the singular vectors' formula."""

import numpy as np
import pytest
from pydantic import ValidationError

import reference_direct as direct
from psfmatch_cli.basis import delta_function_basis
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.design import convolve_stamps
from psfmatch_cli.errors import FitError, UsageError
from psfmatch_cli.regularise import (
    central_difference,
    forward_difference,
    regularization_matrix,
    regularization_strength,
    relative_strength,
    scan_risks,
    scanned_strengths,
)
from psfmatch_cli.solve import normal_equations

#: Sides of the table.
SIDES = (3, 5, 21)
#: Settings: trace of H at these sides.
TRACES = [
    ({"central_regularization_stencil": 5}, (92, 324, 7940)),
    ({}, (85, 261, 5413)),
    ({"regularization_type": "forwardDifference", "forward_regularization_orders": [1]}, (80, 172, 2636)),
    ({"regularization_type": "forwardDifference", "forward_regularization_orders": [2]}, (104, 292, 5828)),
    ({"regularization_type": "forwardDifference", "forward_regularization_orders": [3]}, (104, 572, 16412)),
    ({"regularization_type": "forwardDifference"}, (356, 868, 15332)),
]


@pytest.mark.parametrize(("settings", "traces"), TRACES)
def test_traces_of_the_table(settings, traces):
    config = KernelConfig(**settings)
    found = [np.trace(regularization_matrix(side, config, fit_background=False)) for side in SIDES]
    # The table has integers; the nine-point weights are sixths.
    np.testing.assert_allclose(found, traces, rtol=1e-13)


@pytest.mark.parametrize(("stencil", "corner", "center"), [(5, 9.0, 20.0), (9, 9.0 + 1 / 36, 13.0)])
@pytest.mark.parametrize("side", SIDES)
def test_central_differences(side, stencil, corner, center):
    matrix = regularization_matrix(side, KernelConfig(central_regularization_stencil=stencil), fit_background=False)
    # The Laplacian of a constant is 0: only the ring, 9 a pixel, is left of the sum of all elements.
    assert matrix.sum() == pytest.approx(9 * 4 * (side - 1), rel=1e-12)
    assert np.linalg.matrix_rank(matrix, hermitian=True) == side**2
    assert matrix[0, 0] == pytest.approx(corner, rel=1e-14)
    if side >= 5:
        assert matrix[side**2 // 2, side**2 // 2] == pytest.approx(center, rel=1e-14)


def test_forward_differences():
    assert forward_difference(21, (1,), 3.0).toarray()[-1, -1] == 6
    assert forward_difference(21, (3,), 3.0).toarray()[-1, -1] == 6
    both = forward_difference(3, (1, 2), 3.0).toarray()
    assert both[-1, -1] == 12
    assert both[0].tolist() == [-4, 3, -1, 3, 0, 0, -1, 0, 0]


@pytest.mark.parametrize("stencil", [5, 9])
def test_central_differences_equal_the_loops(stencil):
    expected = direct.central_difference(6, stencil, 2.5)
    np.testing.assert_allclose(central_difference(6, stencil, 2.5).toarray(), expected, atol=1e-15)


@pytest.mark.parametrize("orders", [(1,), (2,), (3,), (1, 2), (1, 3), (3, 2, 1)])
def test_forward_differences_equal_the_loops(orders):
    expected = direct.forward_difference(6, orders, 2.5)
    np.testing.assert_array_equal(forward_difference(6, orders, 2.5).toarray(), expected)


def test_smooth_kernels_cost_less_than_noisy_ones():
    v, u = np.mgrid[-5:6, -5:6]
    smooth = np.exp(-0.5 * (u**2 + v**2) / 2.0**2).ravel()
    shuffled = np.random.default_rng(1).permutation(smooth)
    for kind in ("centralDifference", "forwardDifference"):
        matrix = regularization_matrix(11, KernelConfig(regularization_type=kind), fit_background=False)
        assert smooth @ matrix @ smooth < 0.2 * (shuffled @ matrix @ shuffled)


def test_the_background_is_not_regularised():
    config = KernelConfig()
    plain, padded = (regularization_matrix(5, config, fit_background=on) for on in (False, True))
    assert padded.shape == (26, 26)
    np.testing.assert_array_equal(padded[:-1, :-1], plain)
    assert not padded[-1].any()
    assert not padded[:, -1].any()


def test_the_matrix_is_made_once_and_cannot_be_changed():
    matrix = regularization_matrix(5, KernelConfig(), fit_background=True)
    assert regularization_matrix(5, KernelConfig(), fit_background=True) is matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1.0


def test_no_penalty_is_allowed():
    matrix = regularization_matrix(5, KernelConfig(regularization_border_penalty=0), fit_background=False)
    assert matrix.sum() == pytest.approx(0.0, abs=1e-12)


def test_what_there_is_not_is_refused():
    with pytest.raises(UsageError, match="stencil must be 5 or 9, got 1"):
        central_difference(5, 1, 3.0)
    for orders in ((0,), (4,), (1, 4), ()):
        with pytest.raises(UsageError, match="forward_regularization_orders must be of 1, 2 and 3"):
            forward_difference(5, orders, 3.0)
    for made in (lambda p: central_difference(5, 9, p), lambda p: forward_difference(5, (1,), p)):
        with pytest.raises(UsageError, match="border_penalty must be at least 0, got -1"):
            made(-1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"central_regularization_stencil": 1},
        {"regularization_border_penalty": -1},
        {"forward_regularization_orders": [0]},
        {"forward_regularization_orders": [4]},
        {"regularization_type": "laplace"},
        {"lambda_type": "none"},
    ],
)
def test_settings_that_there_are_not_are_refused(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        KernelConfig(**settings)


# Strength


def candidate(side: int, stamp: int, *, background: bool, weighted: bool, seed: int = 3) -> tuple:
    """Design matrix (pixels in rows), weights, M, v and H of a noisy star."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:stamp, :stamp] - stamp // 2
    template = 100 * np.exp(-0.5 * (u**2 + v**2) / 1.2**2) + rng.normal(size=(stamp, stamp))
    design = convolve_stamps(template[None], delta_function_basis(side))
    inner = (slice(side // 2, stamp - side // 2),) * 2
    target = 90 * np.exp(-0.5 * (u**2 + v**2) / 1.6**2)[inner].reshape(1, -1) + rng.normal(size=design.shape[2])
    weight = rng.uniform(0.2, 1.0, size=target.shape) if weighted else np.full(target.shape, 0.5)
    made = normal_equations(design, target, weight, background)
    columns = np.vstack([design[0], np.ones(design.shape[2])]) if background else design[0]
    penalty = regularization_matrix(side, KernelConfig(), fit_background=background)
    return columns.T, weight[0], made.matrix[0], made.vector[0], penalty


@pytest.mark.parametrize("limit", [np.inf, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("stamp", [15, 11], ids=["full-rank", "deficient"])
def test_risks_equal_those_of_the_singular_vectors(stamp, background, weighted, limit):
    design, _, matrix, vector, penalty = candidate(7, stamp, background=background, weighted=weighted)
    n = len(matrix)
    # 81 pixels fix 49 parameters, 25 do not: there P is not the unit matrix.
    assert np.linalg.matrix_rank(design) == (n if stamp == 15 else 25)
    lambdas = scanned_strengths(KernelConfig())
    expected = [direct.risk(design, matrix, vector, penalty, strength, limit) for strength in lambdas]
    scan = scan_risks(matrix, vector, penalty, lambdas, limit)
    # Risks of about 0.1, differences of terms of order one; M + lambda H has condition numbers of up to 1e8.
    np.testing.assert_allclose(scan.risks, expected, rtol=0, atol=1e-8)
    assert scan.best == lambdas[np.argmin(expected)]


def test_the_risk_is_the_mean_square_error():
    _, _, matrix, _, penalty = candidate(5, 15, background=False, weighted=False)
    rng = np.random.default_rng(8)
    truth = rng.normal(size=25)
    lambdas = np.array([0.1, 10.0, 1000.0])
    root = np.linalg.cholesky(matrix)
    gain = [np.linalg.inv(matrix + strength * penalty) for strength in lambdas]
    errors, risks = [], []
    for _ in range(400):
        # The noise of v has the covariance M.
        vector = matrix @ truth + root @ rng.normal(size=25)
        errors.append([np.sum((inverse @ vector - truth) ** 2) for inverse in gain])
        risks.append(scan_risks(matrix, vector, penalty, lambdas).risks)
    difference = np.array(risks) + truth @ truth - np.array(errors)
    scatter = difference.std(axis=0) / np.sqrt(len(difference))
    # Four standard errors of the mean of 400 noise realisations.
    assert (np.abs(difference.mean(axis=0)) < 4 * scatter).all()


def test_fainter_stars_get_more_regularisation():
    best = []
    for scale in (1.0, 1e-4):
        _, _, matrix, vector, penalty = candidate(7, 15, background=True, weighted=False)
        # Signal to noise ratio times the root of the scale, with the noise in the vector left as it is.
        noise = np.linalg.cholesky(matrix) @ np.random.default_rng(2).normal(size=len(vector))
        clean = vector - noise
        config = KernelConfig(lambda_type="minimizeUnbiasedRisk", lambda_min=-4, lambda_max=4)
        best.append(regularization_strength(matrix * scale, clean * scale + noise * scale**0.5, penalty, config))
    bright, faint = (relative_strength(b.strength, matrix * s, penalty) for b, s in zip(best, (1.0, 1e-4), strict=True))
    assert faint > 10 * bright


def test_strengths_that_need_no_scan():
    _, _, matrix, vector, penalty = candidate(5, 15, background=True, weighted=False)
    absolute = regularization_strength(matrix, vector, penalty, KernelConfig(lambda_value=0.7))
    assert (absolute.strength, absolute.scan) == (0.7, None)
    relative = regularization_strength(
        matrix, vector, penalty, KernelConfig(lambda_type="relative", lambda_scaling=1e-3)
    )
    assert relative.strength == pytest.approx(1e-3 * np.trace(matrix) / np.trace(penalty), rel=1e-14)
    assert relative_strength(relative.strength, matrix, penalty) == pytest.approx(1e-3, rel=1e-14)
    # In other units of counts the absolute strength means something else, the relative one does not.
    assert relative_strength(0.7, 4 * matrix, penalty) == pytest.approx(relative_strength(0.7, matrix, penalty) / 4)
    assert relative_strength(0.7, 0 * matrix, penalty) == np.inf


def test_the_biased_risk_has_the_condition_limit():
    _, _, matrix, vector, penalty = candidate(7, 15, background=False, weighted=False)
    limit = 50.0
    assert np.linalg.cond(matrix) > limit
    for kind, used in (("minimizeBiasedRisk", limit), ("minimizeUnbiasedRisk", np.inf)):
        found = regularization_strength(
            matrix, vector, penalty, KernelConfig(lambda_type=kind, max_condition_number=limit)
        )
        expected = scan_risks(matrix, vector, penalty, scanned_strengths(KernelConfig()), used)
        np.testing.assert_array_equal(found.scan.risks, expected.risks)
        assert found.strength == found.scan.best == expected.best


def test_scanned_strengths():
    default = scanned_strengths(KernelConfig())
    assert len(default) == 31
    # Rounding of sums of tenths, as powers of ten.
    np.testing.assert_allclose(np.log10(default[[0, 10, 30]]), [-1, 0, 2], atol=1e-14)
    linear = KernelConfig(lambda_step_type="linear", lambda_min=0.1, lambda_max=1.0, lambda_step=0.3)
    np.testing.assert_allclose(scanned_strengths(linear), [0.1, 0.4, 0.7, 1.0], atol=1e-14)
    short = KernelConfig(lambda_min=1.0, lambda_max=1.0)
    assert scanned_strengths(short).tolist() == [10.0]
    uneven = KernelConfig(lambda_min=0.0, lambda_max=1.0, lambda_step=0.4)
    np.testing.assert_allclose(np.log10(scanned_strengths(uneven)), [0, 0.4, 0.8], atol=1e-14)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lambda_min": 3.0}, "lambda_max must not be below kernel.lambda_min, got 2 and 3"),
        ({"lambda_step_type": "linear", "lambda_min": 0.0}, "lambda_min must be above 0 in a linear scan, got 0"),
        ({"lambda_step": 1e-9}, "at most 10000 strengths"),
    ],
)
def test_impossible_scans_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        scanned_strengths(KernelConfig(**settings))


def test_a_scan_without_a_solution_is_an_error():
    lambdas = np.array([1.0])
    with pytest.raises(FitError, match="not positive definite at lambda = 1"):
        scan_risks(
            np.zeros((26, 26)), np.zeros(26), regularization_matrix(5, KernelConfig(), fit_background=True), lambdas
        )
    with pytest.raises(FitError, match="not finite"):
        scan_risks(np.full((25, 25), np.nan), np.zeros(25), np.eye(25), lambdas)
