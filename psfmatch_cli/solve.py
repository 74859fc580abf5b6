"""Normal equations of candidates, and the solution of symmetric systems.

At one candidate the target stamp I is modelled as ``sum_i a_i (T * B_i) + b`` (Alard & Lupton 1998,
eq. 1 to 4). With one weight per pixel w, design rows C_i and data I: ``M = C w C^T``, ``v = C w I``. All
candidates are treated at once: every array has the candidate as its first axis.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import NotFiniteError, SingularSystemError, UsageError

#: Relative size below which an eigenvalue counts as zero.
_EIGENVALUE_CUT = 1e-14
#: Smallest attenuation that is corrected for: parameters are raised at most threefold.
LEAST_ATTENUATION = 1 / 3


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of N candidates with n local parameters (basis coefficients, then background).

    Parameters
    ----------
    matrix : ndarray, (N, n, n)
    vector : ndarray, (N, n)
    data_square : ndarray, (N,)
        Weighted sum of squares of the data, so that chi2 follows without the pixels.
    n_pixels : ndarray, (N,)
        Pixels with a weight.
    """

    matrix: NDArray[np.float64]
    vector: NDArray[np.float64]
    data_square: NDArray[np.float64]
    n_pixels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index) -> NormalEquations:
        return NormalEquations(self.matrix[index], self.vector[index], self.data_square[index], self.n_pixels[index])

    def without_last(self) -> NormalEquations:
        """The same with the last parameter, a candidate's own constant, eliminated: it takes its best value."""
        column, corner = self.matrix[:, :-1, -1], self.matrix[:, -1, -1]
        scaled = column / np.where(corner > 0, corner, 1.0)[:, None]
        matrix = self.matrix[:, :-1, :-1] - scaled[:, :, None] * column[:, None, :]
        vector = self.vector[:, :-1] - scaled * self.vector[:, -1:]
        square = self.data_square - self.vector[:, -1] ** 2 / np.where(corner > 0, corner, 1.0)
        return NormalEquations(matrix, vector, square, self.n_pixels)

    def spread_without_last(self, spread: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariance, (N, n - 1, n - 1), of the vector of `without_last`, from that of the whole, (N, n, n)."""
        scaled = self.matrix[:, :-1, -1] / np.where(self.matrix[:, -1, -1] > 0, self.matrix[:, -1, -1], 1.0)[:, None]
        cross = scaled[:, :, None] * spread[:, None, -1, :-1]
        corner = scaled[:, :, None] * scaled[:, None, :] * spread[:, -1, -1, None, None]
        return spread[:, :-1, :-1] - cross - cross.transpose(0, 2, 1) + corner

    def best_last(self, others: NDArray[np.float64]) -> NDArray[np.float64]:
        """Best last parameter of each candidate for given others, (N, n - 1) -> (N,)."""
        corner = self.matrix[:, -1, -1]
        rest = self.vector[:, -1] - np.einsum("ci,ci->c", self.matrix[:, -1, :-1], others)
        return rest / np.where(corner > 0, corner, 1.0)

    def chi2(self, solutions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted sum of squared residuals of each candidate for its parameters, (N, n) -> (N,)."""
        quadratic = np.einsum("ci,cij,cj->c", solutions, self.matrix, solutions, optimize=True)
        return self.data_square - 2 * np.einsum("ci,ci->c", solutions, self.vector) + quadratic


def normal_equations(design: NDArray, target: NDArray, weight: NDArray, fit_background: bool) -> NormalEquations:
    """Normal equations of all candidates, summed in double precision.

    Parameters
    ----------
    design : ndarray, (N, n_basis, P)
        Convolved stamps, from `psfmatch_cli.design.convolve_stamps`.
    target : ndarray, (N, P)
        Data.
    weight : ndarray, (N, P)
        Inverse variance of each pixel, 0 to leave it out.
    fit_background : bool
        Add one constant per candidate as the last parameter.
    """
    n_basis = design.shape[1]
    n = n_basis + fit_background
    root = np.sqrt(weight, dtype=np.float64)
    rows = np.empty((len(design), n + 1, design.shape[2]))
    np.multiply(design, root[:, None], out=rows[:, :n_basis])
    rows[:, n_basis:n] = root[:, None]
    np.multiply(target, root, out=rows[:, n])
    # Products of all rows with all: the matrix, the vector and the square of the data at once.
    product = rows @ rows.transpose(0, 2, 1)
    return NormalEquations(
        product[:, :n, :n].copy(), product[:, :n, n].copy(), product[:, n, n].copy(), np.count_nonzero(weight, axis=1)
    )


def solve_each(equations: NormalEquations) -> NDArray[np.float64]:
    """Solution of every candidate alone, (N, n); NaN where its system is singular."""
    try:
        return np.linalg.solve(equations.matrix, equations.vector[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return np.array([_solve_or_nan(m, v) for m, v in zip(equations.matrix, equations.vector, strict=True)])


def _solve_or_nan(matrix: NDArray, vector: NDArray) -> NDArray[np.float64]:
    try:
        return np.linalg.solve(matrix, vector)
    except np.linalg.LinAlgError:
        return np.full(len(vector), np.nan)


def solve_symmetric(matrix: NDArray[np.float64], vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Solution of a symmetric system and the name of the method that gave it.

    ``"cholesky"`` if the matrix is positive definite, ``"ldl"`` (symmetric LU with pivoting) if it is indefinite
    but regular, else ``"eigen"``: with the eigenvalues above 1e-14 of the largest (the solution is rank deficient).

    Raises
    ------
    NotFiniteError
        If the matrix or the vector is not finite.
    SingularSystemError
        If no eigenvalue is positive. (Upstream divides by every eigenvalue that is not exactly 0, however small.)
    """
    if not (np.isfinite(matrix).all() and np.isfinite(vector).all()):
        raise NotFiniteError(
            "the normal equations hold values that are not finite; are there NaN pixels in the stamps?"
        )
    try:
        solution, solver = _solve_cholesky(matrix, vector), "cholesky"
    except np.linalg.LinAlgError:
        solution, solver = _solve_indefinite(matrix, vector), "ldl"
    if solution is None:
        return _solve_deficient(matrix, vector), "eigen"
    return solution, solver


def _solve_cholesky(matrix: NDArray, vector: NDArray) -> NDArray[np.float64] | None:
    """Solution of a positive definite system, None if it is singular to rounding; LinAlgError if not definite."""
    from scipy import linalg

    factor = linalg.cho_factor(matrix, lower=True, check_finite=False)
    # A pivot over its diagonal element is what of a parameter the others do not say: free of the parameters' units.
    pivots = np.diag(factor[0]) ** 2 / np.diag(matrix)
    if pivots.min() <= np.finfo(float).eps * len(matrix):
        return None
    return linalg.cho_solve(factor, vector, check_finite=False)


def _solve_indefinite(matrix: NDArray, vector: NDArray) -> NDArray[np.float64] | None:
    """Solution of a symmetric system by Bunch-Kaufman pivoting, None if it is singular to rounding."""
    from scipy import linalg

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", linalg.LinAlgWarning)
            return linalg.solve(matrix, vector, assume_a="sym", check_finite=False)
    except (linalg.LinAlgError, linalg.LinAlgWarning):
        return None


def _solve_deficient(matrix: NDArray, vector: NDArray) -> NDArray[np.float64]:
    """Shortest solution from the eigenvalues that count."""
    values, vectors = np.linalg.eigh(matrix)
    keep = values > _EIGENVALUE_CUT * values[-1]
    if values[-1] <= 0:
        raise SingularSystemError("the normal equations are singular: no positive eigenvalue")
    return (vectors[:, keep] / values[keep]) @ (vectors[:, keep].T @ vector)


def solve_attenuated(
    matrix: NDArray[np.float64], noise: NDArray[np.float64], vector: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    """Solution of ``(matrix - noise) a = vector``, limited where noise is most of the matrix.

    In the eigenvectors u of ``noise u = nu matrix u`` (``u^T matrix u = 1``) a combination of parameters, of which
    the fraction nu is noise, is attenuated by 1 - nu: it is divided by that, but never by less than
    `LEAST_ATTENUATION`. So the correction cannot turn what is only noise into kernel.

    Raises
    ------
    FitError
        As `solve_symmetric`, which also takes over where the matrix is not positive definite.
    """
    from scipy import linalg

    try:
        fractions, vectors = linalg.eigh(noise, matrix)
    except (linalg.LinAlgError, ValueError):
        return solve_symmetric(matrix, vector)
    scaled = vectors / np.maximum(1.0 - fractions, LEAST_ATTENUATION)
    return scaled @ (vectors.T @ vector), "generalised eigen"


def condition_number(matrix: NDArray[np.float64], kind: Literal["EIGENVALUE", "SVD"] = "EIGENVALUE") -> float:
    """Condition number of a symmetric matrix; infinite if it is singular or not finite.

    Parameters
    ----------
    matrix : ndarray, (n, n)
    kind : {"EIGENVALUE", "SVD"}
        Largest over smallest eigenvalue, signed: negative if just one of them is; or the ratio of the extreme
        singular values.

    Raises
    ------
    UsageError
        On another kind.
    """
    if kind not in ("EIGENVALUE", "SVD"):
        raise UsageError(f"the kind of condition number must be EIGENVALUE or SVD, got {kind!r}")
    if not np.isfinite(matrix).all():
        return float("inf")
    values = np.linalg.eigvalsh(matrix)[::-1] if kind == "EIGENVALUE" else np.linalg.svd(matrix, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] != 0 else float("inf")
