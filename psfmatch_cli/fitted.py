"""Fitted candidates, and what follows from their equations and their pixels.

The stamps are kept, not the design: stamps convolved with every basis image are many times larger, and any model is
one convolution away.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.solve import NormalEquations


@dataclass(frozen=True)
class FittedStamps:
    """Candidates with their normal equations and their own solutions.

    P pixels of a stamp are fitted: those where the kernel fits.

    Parameters
    ----------
    rows : ndarray, (N,)
        Row of each candidate in the table.
    x, y : ndarray, (N,)
        Parent positions.
    target, target_variance, convolved_variance : ndarray, (N, P)
        The last before the convolution.
    transform, variance_transform : ndarray, (N, F, F // 2 + 1), complex
        Fourier transforms of the convolved image's stamps and of their variances.
    usable, judged : ndarray, (N, P), bool
        Pixels that are fitted, and those of them that residual statistics count.
    equations : NormalEquations
    noise_bias : ndarray, (N,)
        Weighted sum over the pixels of the convolved image's variance: see `noise_equations`.
    strengths : ndarray, (N,)
        Strength of the regularisation of each, 0 without.
    spread : ndarray, (N, n, n) or (N, 0, 0)
        ``C W V W C^T``: covariance of the normal vector for true pixel variances V.
    solutions : ndarray, (N, n)
        Own local parameters of each candidate.
    basis : KernelBasis
    side : int
        Side of the stamps, pixels.
    penalty : ndarray, (n, n), or None
        Matrix H of the regularisation: the own solutions solve ``(M + lambda H) a = v``.
    """

    rows: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    target: NDArray[np.float64]
    target_variance: NDArray[np.float64]
    convolved_variance: NDArray[np.float64]
    transform: NDArray[np.complex128]
    variance_transform: NDArray[np.complex128]
    usable: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    equations: NormalEquations
    noise_bias: NDArray[np.float64]
    strengths: NDArray[np.float64]
    spread: NDArray[np.float64]
    solutions: NDArray[np.float64]
    basis: KernelBasis
    side: int
    penalty: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray) -> FittedStamps:
        """Some of the candidates, by index or by a boolean array."""
        return replace(self, **{name: getattr(self, name)[index] for name in _PER_CANDIDATE})

    def without_pixels(self) -> FittedStamps:
        """The same candidates with their equations alone: cheap to take apart."""
        return replace(self, **{name: getattr(self, name)[..., :0] for name in _PER_PIXEL})

    @staticmethod
    def concatenated(parts: list[FittedStamps]) -> FittedStamps:
        """The candidates of several sets that have one basis and one side."""
        if len(parts) == 1:
            return parts[0]
        equations = NormalEquations(
            *(np.concatenate([getattr(part.equations, f.name) for part in parts]) for f in fields(NormalEquations))
        )
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in _PER_CANDIDATE
            if name != "equations"
        }
        return replace(parts[0], equations=equations, **arrays)

    def kernel_sums(self) -> NDArray[np.float64]:
        """Sums of the own kernels, (N,)."""
        return self.solutions[:, : len(self.basis)] @ self.basis.images.sum(axis=(1, 2))

    def kernels(self) -> NDArray[np.float64]:
        """Images of the own kernels, (N, size, size)."""
        return np.tensordot(self.solutions[:, : len(self.basis)], self.basis.images, axes=1)

    def penalised(self) -> NDArray[np.float64]:
        """Normal matrices of the own fits, with the regularisation, (N, n, n)."""
        if self.penalty is None:
            return self.equations.matrix
        return self.equations.matrix + self.strengths[:, None, None] * self.penalty


_PER_PIXEL = ("target", "target_variance", "convolved_variance", "transform", "variance_transform", "usable", "judged")
_PER_CANDIDATE = tuple(f.name for f in fields(FittedStamps) if f.name not in ("basis", "side", "penalty"))


def transform_side(side: int) -> int:
    """Side of the Fourier transforms of stamps of this side: pixels where the kernel fits do not wrap around."""
    from scipy import fft

    return fft.next_fast_len(side, real=True)


def convolved_at_pixels(
    transform: NDArray[np.complex128], kernels: NDArray[np.float64], side: int
) -> NDArray[np.float64]:
    """Stamps of a side, given by their transforms, convolved with one kernel each, at the fitted pixels: (N, P)."""
    from scipy import fft

    n, length = kernels.shape[1], transform.shape[1]
    inner = side - n + 1
    out = np.empty((len(kernels), inner**2))
    step = 64
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        product = transform[part] * fft.rfft2(kernels[part], (length, length))
        whole = fft.irfft2(product, (length, length))[:, n - 1 : side, n - 1 : side]
        out[part] = whole.reshape(-1, inner**2)
    return out


def convolved_variances(fitted: FittedStamps, local: NDArray[np.float64]) -> NDArray[np.float64]:
    """``V * K^2`` of every candidate at the fitted pixels for local parameters (N, n): (N, P)."""
    kernels = np.tensordot(local[:, : len(fitted.basis)], fitted.basis.images, axes=1)
    return np.maximum(convolved_at_pixels(fitted.variance_transform, kernels**2, fitted.side), 0.0)


def kernel_sum_errors(fitted: FittedStamps) -> NDArray[np.float64]:
    """Standard errors of the own kernel sums, (N,), for true weights: ``s^T A^-1 M A^-1 s`` with the basis sums s.

    A is M with the regularisation, and M itself without.
    """
    n = fitted.equations.matrix.shape[1]
    sums = np.zeros(n)
    sums[: len(fitted.basis)] = fitted.basis.images.sum(axis=(1, 2))
    # A singular system has no error; the candidate is rejected for that elsewhere.
    singular = ~np.isfinite(fitted.solutions).all(axis=1)
    matrices = np.where(singular[:, None, None], np.eye(n), fitted.penalised())
    response = np.linalg.solve(matrices, np.broadcast_to(sums, (len(matrices), n))[..., None])[..., 0]
    variance = np.einsum("ci,cij,cj->c", response, fitted.equations.matrix, response, optimize=True)
    return np.sqrt(np.maximum(np.where(singular, np.nan, variance), 0.0))


def noise_equations(fitted: FittedStamps) -> NormalEquations:
    """What the convolved image's own noise adds to the normal equations, on average.

    The design is made of a noisy image: its noise adds ``sum_p w_p V_p <B_i, B_j>`` to M and nothing to v, so
    that the kernel comes out too low and too smooth (the attenuation of regression on noisy variables; Fuller
    1987, Measurement Error Models, sec. 1.2). White noise is assumed.
    """
    n_basis = len(fitted.basis)
    images = fitted.basis.images.reshape(n_basis, -1)
    matrix = np.zeros_like(fitted.equations.matrix)
    matrix[:, :n_basis, :n_basis] = fitted.noise_bias[:, None, None] * (images @ images.T)
    return replace(fitted.equations, matrix=matrix, vector=np.zeros_like(fitted.equations.vector))
