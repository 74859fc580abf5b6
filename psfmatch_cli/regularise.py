"""Regularisation of the delta-function basis: what is kept small, and how strongly.

With one free parameter per kernel pixel the solution of ``M a = v`` follows the noise. Instead
``(M + lambda H) a = v`` is solved, where ``H = B^T B`` and the rows of B are finite differences of the kernel image:
``a^T H a`` is its roughness (Becker, Homrighausen, Connolly et al. 2012, MNRAS 425, 1341). Kernel pixel
(x, y) of a kernel of side n is parameter ``x + n y``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import KernelConfig
from psfmatch_cli.errors import FitError, NotFiniteError, SingularSystemError, UsageError
from psfmatch_cli.solve import NormalEquations

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Weights of the centre, its four neighbours at an edge and its four at a corner, by points of the stencil.
LAPLACIANS = {5: (-4.0, 1.0, 0.0), 9: (-20 / 6, 4 / 6, 1 / 6)}
#: Weights of a forward difference at the pixel and those after it, by order.
FORWARD_DIFFERENCES = {1: (-1.0, 1.0), 2: (-1.0, 2.0, -1.0), 3: (-1.0, 3.0, -3.0, 1.0)}
#: Values that a scan of strengths has at most: a solution is kept for each.
MOST_STRENGTHS = 10_000


@dataclass(frozen=True)
class RiskScan:
    """Risk of one candidate's solution by strength of the regularisation.

    Parameters
    ----------
    lambdas : ndarray, (n_lambdas,)
    risks : ndarray, (n_lambdas,)
        Estimated mean square error of the parameters, less a constant.
    best : float
        The strength of least risk.
    """

    lambdas: NDArray[np.float64]
    risks: NDArray[np.float64]
    best: float


@dataclass(frozen=True)
class Regularization:
    """Strength of the regularisation and, where it was scanned for, the scan."""

    strength: float
    scan: RiskScan | None = None


def regularization_matrix(size: int, config: KernelConfig, *, fit_background: bool) -> NDArray[np.float64]:
    """The matrix H of a kernel of that side, (n, n), read-only.

    ``n = size^2``, one more if the background is fitted: it is not regularised, its row and column are 0.

    Raises
    ------
    UsageError
        On a stencil, an order or a penalty that there is not.
    """
    return _regularization_matrix(
        size,
        config.regularization_type == "centralDifference",
        config.central_regularization_stencil,
        tuple(config.forward_regularization_orders),
        config.regularization_border_penalty,
        fit_background,
    )


@lru_cache(maxsize=4)
def _regularization_matrix(
    size: int, central: bool, stencil: int, orders: tuple[int, ...], penalty: float, fit_background: bool
) -> NDArray[np.float64]:
    differences = central_difference(size, stencil, penalty) if central else forward_difference(size, orders, penalty)
    matrix = (differences.T @ differences).toarray()
    if fit_background:
        matrix = np.pad(matrix, (0, 1))
    matrix.setflags(write=False)
    return matrix


def central_difference(size: int, stencil: int, penalty: float) -> csr_array:
    """Laplacian of the inner pixels, and `penalty` times the pixel on the outer ring; sparse, (size^2, size^2).

    Raises
    ------
    UsageError
        If the stencil has neither 5 nor 9 points, or the penalty is negative.
    """
    if stencil not in LAPLACIANS:
        raise UsageError(f"kernel.central_regularization_stencil must be 5 or 9, got {stencil}")
    _check_penalty(penalty)
    pixels = np.arange(size * size).reshape(size, size)
    inner, ring = pixels[1:-1, 1:-1].ravel(), np.ones((size, size), bool)
    ring[1:-1, 1:-1] = False
    entries = [(pixels[ring], 0, penalty)]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            entries.append((inner, dx + size * dy, LAPLACIANS[stencil][abs(dx) + abs(dy)]))
    return _sparse(size, entries)


def forward_difference(size: int, orders: tuple[int, ...], penalty: float) -> csr_array:
    """Sum of the forward differences of these orders in x and in y; sparse, (size^2, size^2).

    Towards the far edges, where fewer pixels follow than the order has, the order falls; the last column and row
    get `penalty` times the pixel.

    Raises
    ------
    UsageError
        If there is no order, one is not 1, 2 or 3, or the penalty is negative.
    """
    if not orders or not set(orders) <= FORWARD_DIFFERENCES.keys():
        raise UsageError(f"kernel.forward_regularization_orders must be of 1, 2 and 3, got {list(orders)}")
    _check_penalty(penalty)
    weights = {0: (penalty,)} | FORWARD_DIFFERENCES
    y, x = np.divmod(np.arange(size * size), size)
    entries = []
    for order in orders:
        for position, stride in ((x, 1), (y, size)):
            tapered = np.minimum(size - 1 - position, order)
            for at_edge in range(order + 1):
                pixels = np.flatnonzero(tapered == at_edge)
                entries += [(pixels, j * stride, weight) for j, weight in enumerate(weights[at_edge])]
    return _sparse(size, entries)


def _sparse(size: int, entries: list[tuple[NDArray, int, float]]) -> csr_array:
    """Matrix with a weight in the rows of some pixels at a number of columns to the right; repeated ones add up."""
    from scipy.sparse import coo_array

    rows = np.concatenate([pixels for pixels, _, _ in entries])
    columns = np.concatenate([pixels + shift for pixels, shift, _ in entries])
    weights = np.concatenate([np.full(len(pixels), weight) for pixels, _, weight in entries])
    return coo_array((weights, (rows, columns)), shape=(size * size, size * size)).tocsr()


def _check_penalty(penalty: float) -> None:
    if not penalty >= 0:
        raise UsageError(f"kernel.regularization_border_penalty must be at least 0, got {penalty}")


def relative_strength(strength: float, matrix: NDArray[np.float64], penalty: NDArray[np.float64]) -> float:
    """``lambda trace(H) / trace(M)``: the strength free of the images' units, infinite for ``M = 0``.

    M has the unit of counts squared over variance: the same lambda means less for a brighter star.
    """
    trace = np.trace(matrix)
    return float(strength * np.trace(penalty) / trace) if trace > 0 else float("inf")


def regularization_strength(
    matrix: NDArray[np.float64], vector: NDArray[np.float64], penalty: NDArray[np.float64], config: KernelConfig
) -> Regularization:
    """The strength lambda for one candidate, as `lambda_type` says.

    Parameters
    ----------
    matrix, vector : ndarray, (n, n) and (n,)
        M and v of the candidate.
    penalty : ndarray, (n, n)
        H, from `regularization_matrix`.
    config : KernelConfig
        ``absolute``: `lambda_value`; ``relative``: ``lambda_scaling trace(M) / trace(H)``; else the strength of
        least risk of the scan, with `condition_limit` in the biased risk and without in the unbiased one.

    Raises
    ------
    UsageError
        If the scan has no values, too many, or one that is not positive.
    FitError
        If M is not finite, or ``M + lambda H`` not positive definite at the least lambda of the scan.
    """
    if config.lambda_type == "absolute":
        return Regularization(config.lambda_value)
    if config.lambda_type == "relative":
        return Regularization(float(config.lambda_scaling * np.trace(matrix) / np.trace(penalty)))
    limit = config.condition_limit if config.lambda_type == "minimizeBiasedRisk" else np.inf
    scan = scan_risks(matrix, vector, penalty, scanned_strengths(config), limit)
    return Regularization(scan.best, scan)


class KernelRegularizer:
    """Regularisation of the single fits of a kernel of one side.

    Parameters
    ----------
    size : int
        Side of the kernel, pixels.
    config : KernelConfig
    """

    def __init__(self, size: int, config: KernelConfig):
        self.config = config
        #: The matrix H, (n, n), with the row and column of a fitted background.
        self.matrix = regularization_matrix(size, config, fit_background=config.fit_for_background)

    def strengths(self, equations: NormalEquations) -> NDArray[np.float64]:
        """The strength lambda for every candidate, (N,); NaN where its scan is not possible."""
        return np.array([self._strength(m, v) for m, v in zip(equations.matrix, equations.vector, strict=True)])

    def _strength(self, matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> float:
        try:
            return regularization_strength(matrix, vector, self.matrix, self.config).strength
        except FitError:
            # One candidate without a solution: it is refused as singular.
            return float("nan")


def scanned_strengths(config: KernelConfig) -> NDArray[np.float64]:
    """The strengths of the scan, ascending.

    Raises
    ------
    UsageError
        As `regularization_strength`.
    """
    low, high, step = config.lambda_min, config.lambda_max, config.lambda_step
    if high < low:
        raise UsageError(f"kernel.lambda_max must not be below kernel.lambda_min, got {high:g} and {low:g}")
    # The end counts where only rounding is missing: (2 - -1) / 0.1 is 30 whole steps.
    n = np.floor((high - low) / step + 1e-6) + 1
    if n > MOST_STRENGTHS:
        raise UsageError(f"a scan has at most {MOST_STRENGTHS} strengths, kernel.lambda_step {step:g} makes {n:.0f}")
    values = low + step * np.arange(int(n))
    if config.lambda_step_type == "log":
        return 10.0**values
    if low <= 0:
        raise UsageError(f"kernel.lambda_min must be above 0 in a linear scan, got {low:g}; 0.1 suits")
    return values


def scan_risks(
    matrix: NDArray[np.float64],
    vector: NDArray[np.float64],
    penalty: NDArray[np.float64],
    lambdas: NDArray[np.float64],
    condition_limit: float = np.inf,
) -> RiskScan:
    """Risk of the regularised solution of one candidate at each strength.

    With ``a = (M + lambda H)^-1 v``, M+ the pseudo-inverse of M without the eigenvalues below the largest over
    `condition_limit`, and P the projection on the parameters that the data say anything about::

        risk = a^T P a + 2 (trace(P (M + lambda H)^-1) - a^T M+ v)

    Without a limit this estimates the mean square error of P a, less the square of the true P a. P is ``V V^T`` of the
    singular vectors V of the design matrix C with nonzero singular values. They span what C's rows span, and so
    do, for weights W that are all positive, the eigenvectors of ``M = C^T W C``: M is enough. A singular value
    below about 1e-7 of the largest, whose square is rounding in M, counts as zero here.

    One diagonalisation of H against ``M + lambda_0 H`` serves all strengths: with ``X^T (M + lambda_0 H) X = 1``
    and ``X^T H X = diag(d)``, ``(M + lambda H)^-1 = X diag(1 / (1 + (lambda - lambda_0) d)) X^T``.

    Parameters
    ----------
    matrix, vector, penalty : ndarray, (n, n), (n,) and (n, n)
        M, v and H.
    lambdas : ndarray, (n_lambdas,)
        Strengths, positive.
    condition_limit : float
        Limit of the eigenvalues' ratio in M+.

    Raises
    ------
    FitError
        If M is not finite, or ``M + lambda H`` not positive definite at the least lambda.
    """
    if not (np.isfinite(matrix).all() and np.isfinite(vector).all()):
        raise NotFiniteError(
            "the normal equations hold values that are not finite; are there NaN pixels in the stamps?"
        )
    values, vectors = np.linalg.eigh(matrix)
    constrained = values > np.finfo(float).eps * len(values) * values[-1]
    cut = values[-1] / condition_limit if condition_limit > 0 else np.inf
    well_constrained = constrained & (values >= cut)
    chosen = vectors[:, well_constrained]
    unregularised = chosen @ ((chosen.T @ vector) / values[well_constrained])

    least = lambdas.min()
    roughness, modes = _diagonalise(matrix, penalty, least)
    factors = 1.0 / (1.0 + np.outer(lambdas - least, roughness))
    solutions = (factors * (modes.T @ vector)) @ modes.T
    projected_modes = vectors[:, constrained].T @ modes
    squares = ((solutions @ vectors[:, constrained]) ** 2).sum(axis=1)
    traces = factors @ (projected_modes**2).sum(axis=0)
    risks = squares + 2 * (traces - solutions @ unregularised)
    return RiskScan(lambdas, risks, float(lambdas[np.argmin(risks)]))


def _diagonalise(matrix: NDArray, penalty: NDArray, least: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues d and vectors X of H against ``M + least H``, which X makes the unit matrix."""
    from scipy import linalg

    try:
        return linalg.eigh(penalty, matrix + least * penalty, check_finite=False)
    except linalg.LinAlgError as error:
        raise SingularSystemError(
            f"M + lambda H is not positive definite at lambda = {least:g}; start the scan higher (kernel.lambda_min)"
        ) from error
