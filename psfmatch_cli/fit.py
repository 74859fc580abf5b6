"""Fits of single candidates and their residuals.

Residuals are judged in units of their noise ``sqrt(V_target + V_convolved * K^2)``. On real exposures no
kernel is perfect: bright stars leave residuals proportional to their flux. The median relative size of
these, the *model error*, is measured from the candidates and added to the noise in quadrature, so that
the limits reject what differs from the other candidates and not what is bright.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.cutouts import Stamps
from psfmatch_cli.solve import NormalEquations, convolve_stamps, normal_equations, solve_each


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
    design : ndarray, (N, n_basis, P)
        The convolved stamp with every basis image.
    target, target_variance, convolved_variance : ndarray, (N, P)
        The last before the convolution.
    variance_transform : ndarray, (N, F, F // 2 + 1), complex
        Fourier transform of the convolved image's variance stamps.
    usable : ndarray, (N, P), bool
    equations : NormalEquations
    noise_bias : ndarray, (N,)
        Weighted sum over the pixels of the convolved image's variance: see `noise_equations`.
    solutions : ndarray, (N, n)
        Own local parameters of each candidate.
    basis : KernelBasis
    side : int
        Side of the stamps, pixels.
    """

    rows: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    design: NDArray[np.float64]
    target: NDArray[np.float64]
    target_variance: NDArray[np.float64]
    convolved_variance: NDArray[np.float64]
    variance_transform: NDArray[np.complex128]
    usable: NDArray[np.bool_]
    equations: NormalEquations
    noise_bias: NDArray[np.float64]
    solutions: NDArray[np.float64]
    basis: KernelBasis
    side: int

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray) -> FittedStamps:
        """Some of the candidates, by index or by a boolean array."""
        return replace(self, **{name: getattr(self, name)[index] for name in _PER_CANDIDATE})

    def without_pixels(self) -> FittedStamps:
        """The same candidates with their equations alone: cheap to take apart."""
        return replace(self, **{name: getattr(self, name)[..., :0] for name in _PER_PIXEL})

    def joined(self, other: FittedStamps) -> FittedStamps:
        """These candidates and those of `other`."""
        mine, theirs = self.equations, other.equations
        equations = NormalEquations(
            *(np.concatenate([getattr(e, f.name) for e in (mine, theirs)]) for f in fields(NormalEquations))
        )
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in _PER_CANDIDATE
            if name != "equations"
        }
        return replace(self, equations=equations, **arrays)


#: A candidate that differs from its model by more than this is not imperfectly matched but another thing.
MAX_MODEL_ERROR = 0.1
#: Least residual power, in units of the noise: the noise of one source's power does not let it be smaller.
LEAST_POWER = 0.2

_PER_PIXEL = ("design", "target", "target_variance", "convolved_variance", "variance_transform", "usable")
_PER_CANDIDATE = tuple(f.name for f in fields(FittedStamps) if f.name not in ("basis", "side"))


def fit_stamps(
    stamps: Stamps, basis: KernelBasis, *, convolve_template: bool, fit_background: bool, levels: tuple[float, float]
) -> FittedStamps:
    """Normal equations and own solution of every candidate.

    All pixels of a stamp have one weight, the inverse of the median variance: weights that follow the
    photon noise would give the cores of bright stars, where the match matters, the least say.

    Parameters
    ----------
    stamps : Stamps
    basis : KernelBasis
    convolve_template : bool
        Whether the template or the science image is convolved.
    fit_background : bool
        Whether each candidate has a constant of its own.
    levels : (float, float)
        Sky levels of the convolved and the target image, taken off for the sake of the condition
        number; 0, 0 if no background is fitted.
    """
    from scipy import fft

    template = stamps.template, stamps.template_variance, stamps.template_usable
    science = stamps.science, stamps.science_variance, stamps.science_usable
    first, second = (template, science) if convolve_template else (science, template)
    (convolved, convolved_variance, convolved_usable), (target, target_variance, target_usable) = first, second
    half = basis.size // 2
    inner = np.s_[:, half : target.shape[1] - half, half : target.shape[2] - half]
    usable = (_fully_covered(convolved_usable, half) & target_usable)[inner].reshape(len(stamps), -1)
    design = convolve_stamps(np.where(convolved_usable, convolved - levels[0], 0.0), basis)
    data = (target - levels[1])[inner].reshape(len(stamps), -1)
    total = np.where(convolved_usable & target_usable, convolved_variance + target_variance, np.nan)
    level = np.nanmedian(total.reshape(len(stamps), -1), axis=1)
    weight = usable / np.where(level > 0, level, 1.0)[:, None]
    equations = normal_equations(design, data, weight, fit_background)
    side = fft.next_fast_len(target.shape[1], real=True)
    return FittedStamps(
        stamps.rows,
        stamps.x,
        stamps.y,
        design,
        data,
        target_variance[inner].reshape(len(stamps), -1),
        convolved_variance[inner].reshape(len(stamps), -1),
        fft.rfft2(convolved_variance, (side, side)),
        usable,
        equations,
        weight.sum(axis=1) * np.nanmean(np.where(convolved_usable, convolved_variance, np.nan), axis=(1, 2)),
        solve_each(equations),
        basis,
        target.shape[1],
    )


def _fully_covered(usable: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """Pixels whose whole kernel square is usable."""
    from scipy.ndimage import minimum_filter1d

    out = usable.astype(np.uint8)
    for axis in (1, 2):
        out = minimum_filter1d(out, 2 * half + 1, axis=axis, mode="constant", cval=0)
    return out.astype(bool)


@dataclass(frozen=True)
class Residuals:
    """Residual statistics of N candidates for given local parameters.

    Parameters
    ----------
    mean, rms : ndarray, (N,)
        Of residual / noise over the usable pixels, the noise including the model error.
    chi2 : ndarray, (N,)
        Mean square of residual / noise without the model error.
    score : ndarray, (N,)
        For comparing models: logarithm of the residual's power in the source, in units of the noise before the
        convolution. A model that amplifies noise, or smooths it, neither gains nor loses by that.
    model_error : float
        Median residual of bright candidates relative to their flux, beyond the noise.
    """

    mean: NDArray[np.float64]
    rms: NDArray[np.float64]
    chi2: NDArray[np.float64]
    score: NDArray[np.float64]
    model_error: float


def residuals(fitted: FittedStamps, local: NDArray[np.float64]) -> Residuals:
    """Statistics of ``target - (convolved * K + background)`` in units of its noise.

    Parameters
    ----------
    fitted : FittedStamps
    local : ndarray, (N, n)
        Local parameters (basis coefficients, then background) of each candidate.
    """
    n_basis, use = len(fitted.basis), fitted.usable
    model = np.einsum("ci,cip->cp", local[:, :n_basis], fitted.design, optimize=True)
    background = local[:, n_basis, None] if local.shape[1] > n_basis else 0.0
    residual = np.where(use, fitted.target - model - background, 0.0)
    variance = fitted.target_variance + _convolved_variance(fitted, local[:, :n_basis])
    n = np.maximum(use.sum(axis=1), 2)
    chi2 = np.where(use, residual**2 / variance, 0.0).sum(axis=1) / n
    signal = np.where(use, np.abs(model - np.median(model, axis=1)[:, None]), 0.0)
    error = _model_error(chi2, np.where(use, signal**2 / variance, 0.0).sum(axis=1) / n)
    z = residual / np.sqrt(variance + (error * signal) ** 2)
    mean = z.sum(axis=1) / n
    rms = np.sqrt(np.maximum((z**2).sum(axis=1) / n - mean**2, 0) * n / (n - 1))
    sums = local[:, :n_basis] @ fitted.basis.images.sum(axis=(1, 2))
    known = sums[np.isfinite(sums)]
    ratio = np.median(known) if known.size else np.nan
    plain = fitted.target_variance + ratio**2 * fitted.convolved_variance
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = (signal * (residual**2 - variance)).sum(axis=1) / (signal * plain).sum(axis=1)
    score = np.log(np.maximum(1.0 + beyond, LEAST_POWER))
    bad = ~(np.isfinite(mean) & (use.sum(axis=1) >= 2))
    mean[bad] = rms[bad] = chi2[bad] = score[bad] = np.nan
    return Residuals(mean, rms, chi2, score, error)


def _model_error(chi2: NDArray, power: NDArray) -> float:
    """Relative model error: the median over candidates of the residual beyond the noise over the signal."""
    good = np.isfinite(chi2) & np.isfinite(power) & (power > 0)
    # Only stars whose signal is well above the noise everywhere tell a model error from noise.
    bright = good & (power > np.quantile(power[good], 0.75)) if good.sum() > 3 else good
    if not bright.any():
        return 0.0
    squared = np.median((chi2[bright] - 1.0) / power[bright])
    return float(np.sqrt(np.clip(squared, 0.0, MAX_MODEL_ERROR**2)))


def _convolved_variance(fitted: FittedStamps, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """``V * K^2`` of every candidate at the fitted pixels, (N, P)."""
    from scipy import fft

    n, side = fitted.basis.size, fitted.side
    length = fft.next_fast_len(side, real=True)
    out = np.empty_like(fitted.target_variance)
    step = 64
    for start in range(0, len(out), step):
        part = slice(start, start + step)
        squares = np.tensordot(coefficients[part], fitted.basis.images, axes=1) ** 2
        product = fitted.variance_transform[part] * fft.rfft2(squares, (length, length))
        whole = fft.irfft2(product, (length, length))[:, n - 1 : side, n - 1 : side]
        out[part] = whole.reshape(len(squares), -1)
    return np.maximum(out, 0.0)


def kernel_sum_errors(fitted: FittedStamps) -> NDArray[np.float64]:
    """Standard errors of the own kernel sums, (N,): ``sqrt(s^T M^-1 s)`` with the basis sums s."""
    n = fitted.equations.matrix.shape[1]
    sums = np.zeros(n)
    sums[: len(fitted.basis)] = fitted.basis.images.sum(axis=(1, 2))
    # A singular system has no error; the candidate is rejected for that elsewhere.
    singular = ~np.isfinite(fitted.solutions).all(axis=1)
    matrices = np.where(singular[:, None, None], np.eye(n), fitted.equations.matrix)
    variance = np.linalg.solve(matrices, np.broadcast_to(sums, (len(matrices), n))[..., None])[..., 0] @ sums
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
