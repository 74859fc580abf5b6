"""All candidates together: the spatially varying kernel and background.

Every candidate constrains its local parameters ``a`` through (M, v); they are spatial polynomials of
the global ones, ``a = L s`` with the terms at the candidate's position in L, so that ``A = sum L^T M L``
and ``w = sum L^T v`` (Alard 2000, A&AS 144, 363, sec. 2). Where the basis has a constant first term its
coefficient has no spatial terms, and the kernel sum is the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.errors import NotFiniteError
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel
from psfmatch_cli.solve import NormalEquations, condition_number, solve_attenuated, solve_symmetric


@dataclass(frozen=True)
class SpatialLayout:
    """Which global parameters there are.

    Order: for every basis image its kernel terms (one for the first if it is constant), then the
    background terms.

    Parameters
    ----------
    n_basis : int
    constant_first : bool
    kernel : SpatialModel
    background : SpatialModel or None
        None if no background is fitted.
    """

    n_basis: int
    constant_first: bool
    kernel: SpatialModel
    background: SpatialModel | None

    @property
    def n_full(self) -> int:
        """Number of parameters if the first basis image had all terms."""
        return self.n_basis * self.kernel.size + (self.background.size if self.background else 0)

    @property
    def kept(self) -> NDArray[np.intp]:
        """Indices of the real parameters among n_basis * n_terms (+ background)."""
        n_terms = self.kernel.size
        first = [0] if self.constant_first else list(range(n_terms))
        return np.array([*first, *range(n_terms, self.n_full)])

    @property
    def n_parameters(self) -> int:
        return len(self.kept)

    def places_of(self, lower: SpatialLayout) -> NDArray[np.intp]:
        """Places, among these parameters, of those of a layout with a lower order of the kernel."""
        n_kernel, n_terms = self.n_basis * self.kernel.size, self.kernel.size
        kernel = np.arange(n_kernel).reshape(self.n_basis, n_terms)[:, : lower.kernel.size].ravel()
        full = np.concatenate([kernel, np.arange(n_kernel, self.n_full)])[lower.kept]
        return np.searchsorted(self.kept, full)

    def unpack(self, solution: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Kernel coefficients (n_basis, n_terms) and background coefficients of a global solution."""
        n_terms = self.kernel.size
        n_kernel = self.n_basis * n_terms
        full = np.zeros(self.n_full)
        full[self.kept] = solution
        return full[:n_kernel].reshape(self.n_basis, n_terms), full[n_kernel:] if self.background else None

    def unpack_matrix(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """A matrix of the global parameters with zeros for those that do not exist."""
        full = np.zeros((self.n_full, self.n_full))
        full[np.ix_(self.kept, self.kept)] = matrix
        return full

    def local(self, solution: NDArray[np.float64], x: NDArray, y: NDArray) -> NDArray[np.float64]:
        """Local parameters at N positions, (N, n_basis + background)."""
        kernel, background = self.unpack(solution)
        out = self.kernel.terms(x, y).T @ kernel.T
        if self.background is not None:
            out = np.column_stack([out, self.background.terms(x, y).T @ background])
        return out


def accumulate(
    equations: NormalEquations, x: NDArray, y: NDArray, layout: SpatialLayout
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Global matrix A and vector w of candidates at parent positions (x, y)."""
    nb, p = layout.n_basis, layout.kernel.terms(x, y)
    n_terms = len(p)
    m, v = equations.matrix, equations.vector
    pp = np.einsum("sc,tc->cst", p, p).reshape(len(m), -1)
    kk = (m[:, :nb, :nb].reshape(len(m), -1).T @ pp).reshape(nb, nb, n_terms, n_terms)
    n_kernel = nb * n_terms
    matrix, vector = np.zeros((layout.n_full, layout.n_full)), np.zeros(layout.n_full)
    matrix[:n_kernel, :n_kernel] = kk.transpose(0, 2, 1, 3).reshape(n_kernel, n_kernel)
    vector[:n_kernel] = (v[:, :nb].T @ p.T).ravel()
    if layout.background is not None:
        r = layout.background.terms(x, y)
        pr = np.einsum("sc,tc->cst", p, r).reshape(len(m), -1)
        cross = (m[:, :nb, nb].T @ pr).reshape(n_kernel, len(r))
        matrix[:n_kernel, n_kernel:] = cross
        matrix[n_kernel:, :n_kernel] = cross.T
        matrix[n_kernel:, n_kernel:] = (r * m[:, nb, nb]) @ r.T
        vector[n_kernel:] = r @ v[:, nb]
    kept = layout.kept
    return matrix[np.ix_(kept, kept)], vector[kept]


def accumulate_noise(
    products: NDArray[np.float64], bias: NDArray[np.float64], x: NDArray, y: NDArray, layout: SpatialLayout
) -> NDArray[np.float64]:
    """What `accumulate` makes of normal matrices ``bias[c] * products``, (n_basis, n_basis), without a background."""
    p = layout.kernel.terms(x, y)
    n_kernel = layout.n_basis * len(p)
    full = np.zeros((layout.n_full, layout.n_full))
    full[:n_kernel, :n_kernel] = np.kron(products, (p * bias) @ p.T)
    return full[np.ix_(layout.kept, layout.kept)]


@dataclass(frozen=True)
class SpatialSystem:
    """Global normal equations.

    Parameters
    ----------
    matrix : ndarray, (n_parameters, n_parameters)
    vector : ndarray, (n_parameters,)
    noise : ndarray, (n_parameters, n_parameters)
        The part of the matrix that is the convolved image's noise; zeros for no correction.
    """

    matrix: NDArray[np.float64]
    vector: NDArray[np.float64]
    noise: NDArray[np.float64]

    def at(self, places: NDArray[np.intp]) -> SpatialSystem:
        """The system of some of the parameters, the others 0."""
        square = np.ix_(places, places)
        return SpatialSystem(self.matrix[square], self.vector[places], self.noise[square])

    def __sub__(self, other: SpatialSystem) -> SpatialSystem:
        return SpatialSystem(self.matrix - other.matrix, self.vector - other.vector, self.noise - other.noise)

    def solve(self) -> tuple[NDArray[np.float64], str]:
        """Parameters, and the name of the method that solved for them.

        Raises
        ------
        FitError
            If there is no finite solution.
        """
        if not self.noise.any():
            return solve_symmetric(self.matrix, self.vector)
        return solve_attenuated(self.matrix, self.noise, self.vector)

    def response(self) -> NDArray[np.float64]:
        """Matrix R, (n_parameters, n_parameters), with ``parameters = R vector``; errors as `solve`."""
        return replace(self, vector=np.eye(len(self.vector))).solve()[0]


@dataclass(frozen=True)
class SpatialSolution:
    """A solved spatial system.

    Parameters
    ----------
    parameters : ndarray, (n_parameters,)
    layout : SpatialLayout
    matrix : ndarray, (n_parameters, n_parameters)
        Of the normal equations, for the condition number and the uncertainties.
    solver : str
        Method that solved it.
    covariance : ndarray, (n_parameters, n_parameters), or None
        Of the parameters, if it was asked for.
    """

    parameters: NDArray[np.float64]
    layout: SpatialLayout
    matrix: NDArray[np.float64]
    solver: str
    covariance: NDArray[np.float64] | None = None

    def models(self, basis: KernelBasis) -> tuple[MatchingKernel, BackgroundModel]:
        """The kernel and the background that the parameters describe."""
        kernel, background = self.layout.unpack(self.parameters)
        of_kernel = of_background = None
        if self.covariance is not None:
            n = kernel.size
            full = self.layout.unpack_matrix(self.covariance)
            of_kernel, of_background = full[:n, :n], full[n:, n:]
        matching = MatchingKernel(basis.images, kernel, self.layout.kernel, of_kernel)
        if background is None:
            return matching, BackgroundModel.zero(self.layout.kernel.region)
        return matching, BackgroundModel(background, self.layout.background, of_background)


def solve_spatial(
    system: SpatialSystem, layout: SpatialLayout, spread: NDArray[np.float64] | None = None
) -> SpatialSolution:
    """Fit of the spatial model to all candidates.

    Parameters
    ----------
    system : SpatialSystem
    layout : SpatialLayout
    spread : ndarray, (n_parameters, n_parameters), optional
        Covariance S of the system's vector. With the matrix R that takes the vector to the parameters, their
        covariance is ``R S R^T``: weights need not be inverse variances for it to be true.

    Raises
    ------
    NotFiniteError
        If the solution is not finite; the message names the first such parameter and the condition number.
    SingularSystemError
        If no eigenvalue of the system is positive.
    """
    parameters, solver = system.solve()
    if not np.isfinite(parameters).all():
        raise NotFiniteError(
            f"the spatial solution is not finite: parameter {np.argmin(np.isfinite(parameters))} of "
            f"{layout.n_parameters}, solver {solver}, condition number {condition_number(system.matrix):.3g}"
        )
    covariance = None
    if spread is not None:
        response = system.response()
        covariance = response @ spread @ response.T
    return SpatialSolution(parameters, layout, system.matrix, solver, covariance)
