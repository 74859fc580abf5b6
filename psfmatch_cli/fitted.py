"""Fitted candidates, and what follows from their equations and their pixels.

The stamps are kept, not the design: stamps convolved with every basis image are many times larger, and any model is
one convolution away.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.parallel import in_threads, slices
from psfmatch_cli.solve import NormalEquations

#: Candidates whose pixels are computed at a time: their arrays stay near the processor.
AT_A_TIME = 32


@dataclass(frozen=True)
class ResidualPixels:
    """What is left at the fitted pixels of N candidates, each (N, P).

    Parameters
    ----------
    residual : ndarray
        ``target - (convolved * K + background)``, 0 where a pixel is not usable.
    variance : ndarray
        Its variance.
    model : ndarray
        ``convolved * K``.
    """

    residual: NDArray
    variance: NDArray
    model: NDArray

    def __getitem__(self, index) -> ResidualPixels:
        return ResidualPixels(self.residual[index], self.variance[index], self.model[index])

    def none(self) -> ResidualPixels:
        """The same candidates without a pixel."""
        return self[:, :0]


@dataclass(frozen=True)
class FittedStamps:
    """Candidates with their normal equations and their own solutions.

    P pixels of a stamp are fitted: those where the kernel fits. Values of pixels have the precision of the stamps.

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
        Weighted sum over the pixels of the convolved image's variance: the factor of `noise_products`.
    strengths : ndarray, (N,)
        Strength of the regularisation of each, 0 without.
    spread : ndarray, (N, n, n) or (N, 0, 0)
        ``C W V W C^T``: covariance of the normal vector for true pixel variances V.
    solutions : ndarray, (N, n)
        Own local parameters of each candidate.
    own : ResidualPixels
        What these leave.
    basis : KernelBasis
    side : int
        Side of the stamps, pixels.
    penalty : ndarray, (n, n), or None
        Matrix H of the regularisation: the own solutions solve ``(M + lambda H) a = v``.
    """

    rows: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    target: NDArray
    target_variance: NDArray
    convolved_variance: NDArray
    transform: NDArray
    variance_transform: NDArray
    usable: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    equations: NormalEquations
    noise_bias: NDArray[np.float64]
    strengths: NDArray[np.float64]
    spread: NDArray[np.float64]
    solutions: NDArray[np.float64]
    own: ResidualPixels
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
        return replace(self, own=self.own.none(), **{name: getattr(self, name)[..., :0] for name in _PER_PIXEL})

    @staticmethod
    def concatenated(parts: list[FittedStamps]) -> FittedStamps:
        """The candidates of several sets that have one basis and one side."""
        if len(parts) == 1:
            return parts[0]
        arrays = {name: joined([getattr(part, name) for part in parts]) for name in _PER_CANDIDATE}
        return replace(parts[0], **arrays)

    def kernel_sums(self) -> NDArray[np.float64]:
        """Sums of the own kernels, (N,)."""
        return self.solutions[:, : len(self.basis)] @ self.basis.images.sum(axis=(1, 2))

    def kernels(self) -> NDArray[np.float64]:
        """Images of the own kernels, (N, size, size)."""
        return kernel_images(self.basis, self.solutions)

    def penalised(self) -> NDArray[np.float64]:
        """Normal matrices of the own fits, with the regularisation, (N, n, n)."""
        if self.penalty is None:
            return self.equations.matrix
        return self.equations.matrix + self.strengths[:, None, None] * self.penalty


def joined(parts: list):
    """Arrays, or the arrays of dataclasses, one after the other."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(kind)))


_PER_PIXEL = ("target", "target_variance", "convolved_variance", "transform", "variance_transform", "usable", "judged")
_PER_CANDIDATE = tuple(f.name for f in fields(FittedStamps) if f.name not in ("basis", "side", "penalty"))


def transform_side(side: int) -> int:
    """Side of the Fourier transforms of stamps of this side: pixels where the kernel fits do not wrap around."""
    from scipy import fft

    return fft.next_fast_len(side, real=True)


def convolved_at_pixels(transform: NDArray, kernels: NDArray, side: int) -> NDArray:
    """Stamps of a side, given by their transforms, convolved with one kernel each, at the fitted pixels: (N, P).

    Axis by axis: of the empty rows around a kernel, and of those that are not wanted, none is transformed.
    """
    from scipy import fft

    n, length = kernels.shape[1], transform.shape[1]
    product = fft.fft(fft.rfft(kernels, length, axis=2), length, axis=1)
    product *= transform
    rows = fft.ifft(product, axis=1, overwrite_x=True)[:, n - 1 : side]
    return fft.irfft(rows, length, axis=2)[:, :, n - 1 : side].reshape(len(kernels), -1)


def kernel_images(basis: KernelBasis, local: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernels of local parameters, (N, n) -> (N, size, size)."""
    images = local[:, : len(basis)] @ basis.images.reshape(len(basis), -1)
    return images.reshape(len(local), basis.size, basis.size)


def residual_pixels(fitted: FittedStamps, local: NDArray[np.float64], threads: int = 1) -> ResidualPixels:
    """Residuals of candidates for local parameters (basis coefficients, then background), (N, n)."""
    kernels = kernel_images(fitted.basis, local).astype(fitted.target.dtype)
    made = ResidualPixels(*(np.empty_like(fitted.target) for _ in range(3)))
    backgrounds = local[:, len(fitted.basis) :].sum(axis=1, keepdims=True).astype(fitted.target.dtype)

    def fill(part: slice) -> None:
        model = convolved_at_pixels(fitted.transform[part], kernels[part], fitted.side)
        smoothed = convolved_at_pixels(fitted.variance_transform[part], kernels[part] ** 2, fitted.side)
        made.model[part] = model
        made.variance[part] = fitted.target_variance[part] + np.maximum(smoothed, 0.0)
        made.residual[part] = np.where(fitted.usable[part], fitted.target[part] - model - backgrounds[part], 0.0)

    in_threads(fill, slices(len(local), AT_A_TIME), threads)
    return made


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


def noise_products(basis: KernelBasis) -> NDArray[np.float64]:
    """What noise of variance 1 in one pixel of the convolved image adds to the normal matrix on average, (n, n).

    The design is made of a noisy image: its noise adds ``sum_p w_p V_p <B_i, B_j>`` to M and nothing to v, so
    that the kernel comes out too low and too smooth (the attenuation of regression on noisy variables; Fuller
    1987, Measurement Error Models, sec. 1.2). White noise is assumed.
    """
    images = basis.images.reshape(len(basis), -1)
    return images @ images.T
