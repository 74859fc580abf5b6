"""Fits of single candidates: normal equations, their solutions, and what is needed to judge them.

At one candidate the target is modelled as ``convolved * K + b`` (Alard & Lupton 1998, eq. 1 to 4). The stamps are
kept, not the design: stamps convolved with every basis image are many times larger, and any model is one
convolution away.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.cutouts import Stamps
from psfmatch_cli.solve import NormalEquations, convolve_stamps, normal_equations, solve_each

#: Values of the design that are made at a time (16 MB): it then stays near the processor.
CHUNK_VALUES = 1 << 21


class Regularizer(Protocol):
    """What makes single fits smooth."""

    def strengths(self, equations: NormalEquations) -> NDArray[np.float64]:
        """Strength lambda for every candidate, (N,)."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Penalty H, (n, n), for local parameters; ``lambda H`` is added to the normal matrix."""


@dataclass(frozen=True)
class FitOptions:
    """How candidates are fitted.

    Parameters
    ----------
    convolve_template : bool
        Whether the template or the science image is convolved.
    fit_background : bool
        Whether each candidate has a constant of its own.
    levels : (float, float)
        Sky levels of the convolved and the target image, taken off for the sake of the condition
        number; 0, 0 if no background is fitted.
    pixel_weights : bool
        Weight pixels by their own variance. Else all pixels of a stamp have one weight, the inverse of
        the median variance: weights that follow the photon noise give the cores of bright stars, where the match
        matters, the least say.
    iterate : bool
        With `pixel_weights`: fit once more with the variance of the first difference. (Without, there is nothing
        to iterate.)
    regularizer : Regularizer or None
    with_spread : bool
        Compute what the covariance of the parameters needs.
    """

    convolve_template: bool = True
    fit_background: bool = True
    levels: tuple[float, float] = (0.0, 0.0)
    pixel_weights: bool = False
    iterate: bool = False
    regularizer: Regularizer | None = None
    with_spread: bool = False


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


def fit_stamps(stamps: Stamps, basis: KernelBasis, options: FitOptions) -> FittedStamps:
    """Normal equations and own solution of every candidate.

    Parameters
    ----------
    stamps : Stamps
    basis : KernelBasis
    options : FitOptions
    """
    inner = max(stamps.template.shape[1] - basis.size + 1, 1)
    step = max(1, CHUNK_VALUES // (len(basis) * inner**2))
    return FittedStamps.concatenated(
        [_fit_some(stamps[start : start + step], basis, options) for start in range(0, len(stamps), step)]
    )


def _fit_some(stamps: Stamps, basis: KernelBasis, options: FitOptions) -> FittedStamps:
    roles = _Roles.of(stamps, options)
    n, half = len(stamps), basis.size // 2
    inner = np.s_[:, half : roles.target.shape[1] - half, half : roles.target.shape[2] - half]

    def pixels(values: NDArray) -> NDArray:
        return values[inner].reshape(n, -1)

    usable = pixels(fully_covered(roles.convolved_usable, half) & roles.target_usable)
    judged = pixels(fully_covered(roles.convolved_judged, half) & roles.target_judged)
    side = transform_side(roles.target.shape[1])
    unweighted = FittedStamps(
        rows=stamps.rows,
        x=stamps.x,
        y=stamps.y,
        target=pixels(roles.target),
        target_variance=pixels(roles.target_variance),
        convolved_variance=pixels(roles.convolved_variance),
        transform=_transform(roles.convolved, side),
        variance_transform=_transform(roles.convolved_variance, side),
        usable=usable,
        judged=usable & judged,
        equations=_NO_EQUATIONS,
        noise_bias=np.zeros(n),
        strengths=np.zeros(n),
        spread=np.zeros((n, 0, 0)),
        solutions=np.zeros((n, 0)),
        basis=basis,
        side=roles.target.shape[1],
        penalty=None if options.regularizer is None else options.regularizer.matrix,
    )
    design = convolve_stamps(roles.convolved, basis)
    if not options.pixel_weights:
        return _solved(unweighted, design, _stamp_weights(roles, usable), roles.mean_convolved_variance(), options)
    # The kernel is not known yet: the first weights take the variance before the convolution.
    first = unweighted.target_variance + unweighted.convolved_variance
    fitted = _solved(unweighted, design, _inverse(first, usable), unweighted.convolved_variance, options)
    if options.iterate:
        second = unweighted.target_variance + convolved_variances(fitted, fitted.solutions)
        fitted = _solved(unweighted, design, _inverse(second, usable), unweighted.convolved_variance, options)
    return fitted


_NO_EQUATIONS = NormalEquations(np.zeros((0, 0, 0)), np.zeros((0, 0)), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True)
class _Roles:
    """Stamps by their role in the fit, (N, S, S); sky levels off, unusable pixels of the convolved image 0."""

    convolved: NDArray[np.float64]
    convolved_variance: NDArray[np.float64]
    convolved_usable: NDArray[np.bool_]
    convolved_judged: NDArray[np.bool_]
    target: NDArray[np.float64]
    target_variance: NDArray[np.float64]
    target_usable: NDArray[np.bool_]
    target_judged: NDArray[np.bool_]

    @classmethod
    def of(cls, stamps: Stamps, options: FitOptions) -> _Roles:
        template = stamps.template, stamps.template_variance, stamps.template_usable, stamps.template_judged
        science = stamps.science, stamps.science_variance, stamps.science_usable, stamps.science_judged
        first, second = (template, science) if options.convolve_template else (science, template)
        convolved = np.where(first[2], first[0] - options.levels[0], 0.0)
        return cls(convolved, *first[1:], second[0] - options.levels[1], *second[1:])

    def mean_convolved_variance(self) -> NDArray[np.float64]:
        """Mean variance of the usable pixels of each convolved stamp, (N, 1)."""
        count = self.convolved_usable.sum(axis=(1, 2))
        total = np.where(self.convolved_usable, self.convolved_variance, 0.0).sum(axis=(1, 2))
        return (total / np.maximum(count, 1))[:, None]


def _stamp_weights(roles: _Roles, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One weight for all usable pixels of a stamp: the inverse of its median variance, before the convolution."""
    both = roles.convolved_usable & roles.target_usable
    total = np.where(both, roles.convolved_variance + roles.target_variance, np.inf).reshape(len(usable), -1)
    level = np.array([np.median(values[np.isfinite(values)]) if np.isfinite(values).any() else 0.0 for values in total])
    return usable / np.where(level > 0, level, 1.0)[:, None]


def _inverse(variance: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Inverse variances; 0 for unusable pixels, and for those without a variance (upstream gives the stamp up)."""
    known = usable & (variance > 0)
    return known / np.where(known, variance, 1.0)


def _solved(
    fitted: FittedStamps,
    design: NDArray[np.float64],
    weight: NDArray[np.float64],
    noise: NDArray[np.float64],
    options: FitOptions,
) -> FittedStamps:
    """The candidates with their equations and solutions for given weights, (N, P)."""
    equations = normal_equations(design, fitted.target, weight, options.fit_background)
    made = replace(fitted, equations=equations, noise_bias=(weight * noise).sum(axis=1))
    if options.regularizer is not None:
        made = replace(made, strengths=options.regularizer.strengths(equations))
    made = replace(made, solutions=solve_each(replace(equations, matrix=made.penalised())))
    if not options.with_spread:
        return made
    variance = made.target_variance + convolved_variances(made, made.solutions)
    variance = np.where(np.isfinite(variance), variance, 0.0)
    spread = normal_equations(design, fitted.target, weight**2 * variance, options.fit_background).matrix
    return replace(made, spread=spread)


def fully_covered(usable: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """Pixels whose whole kernel square is usable, (N, S, S)."""
    from scipy.ndimage import minimum_filter1d

    if usable.all():
        # The border, which this spares, is outside the fitted pixels.
        return usable
    out = usable.astype(np.uint8)
    for axis in (1, 2):
        out = minimum_filter1d(out, 2 * half + 1, axis=axis, mode="constant", cval=0)
    return out.astype(bool)


def transform_side(side: int) -> int:
    """Side of the Fourier transforms of stamps of this side: pixels where the kernel fits do not wrap around."""
    from scipy import fft

    return fft.next_fast_len(side, real=True)


def _transform(stamps: NDArray[np.float64], side: int) -> NDArray[np.complex128]:
    from scipy import fft

    return fft.rfft2(stamps, (side, side))


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
