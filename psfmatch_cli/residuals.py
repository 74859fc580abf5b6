"""Residuals of candidates: how well a kernel takes one image to the other.

Residuals are judged in units of their noise ``sqrt(V_target + V_convolved * K^2)``. On real exposures no
kernel is perfect: bright stars leave residuals proportional to their flux. The median relative size of
these, the *model error*, is measured from the candidates and added to the noise in quadrature, so that
the limits reject what differs from the other candidates and not what is bright.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.fitted import FittedStamps, convolved_at_pixels, convolved_variances

#: A candidate that differs from its model by more than this is not imperfectly matched but another thing.
MAX_MODEL_ERROR = 0.1
#: Least residual power, in units of the noise: the noise of one source's power does not let it be smaller.
LEAST_POWER = 0.2


@dataclass(frozen=True)
class Residuals:
    """Residual statistics of N candidates for given local parameters.

    Parameters
    ----------
    mean, rms : ndarray, (N,)
        Of residual / noise over the judged pixels, the noise including the model error.
    chi2 : ndarray, (N,)
        Mean square of residual / noise without the model error, over all usable pixels.
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

    residual: NDArray[np.float64]
    variance: NDArray[np.float64]
    model: NDArray[np.float64]


def residual_pixels(fitted: FittedStamps, local: NDArray[np.float64]) -> ResidualPixels:
    """Residuals of candidates for local parameters (basis coefficients, then background), (N, n)."""
    n_basis = len(fitted.basis)
    kernels = np.tensordot(local[:, :n_basis], fitted.basis.images, axes=1)
    model = convolved_at_pixels(fitted.transform, kernels, fitted.side)
    background = local[:, n_basis, None] if local.shape[1] > n_basis else 0.0
    residual = np.where(fitted.usable, fitted.target - model - background, 0.0)
    return ResidualPixels(residual, fitted.target_variance + convolved_variances(fitted, local), model)


def residuals(fitted: FittedStamps, local: NDArray[np.float64], core_radius: int | None = None) -> Residuals:
    """Statistics of ``target - (convolved * K + background)`` in units of its noise.

    Parameters
    ----------
    fitted : FittedStamps
    local : ndarray, (N, n)
        Local parameters (basis coefficients, then background) of each candidate.
    core_radius : int, optional
        Half side of the core that `mean` and `rms` are taken from; default: the whole stamp.
    """
    use = fitted.usable
    pixels = residual_pixels(fitted, local)
    residual, variance = pixels.residual, pixels.variance
    n = np.maximum(use.sum(axis=1), 2)
    chi2 = np.where(use, residual**2 / variance, 0.0).sum(axis=1) / n
    signal = np.where(use, np.abs(pixels.model - np.median(pixels.model, axis=1)[:, None]), 0.0)
    error = _model_error(chi2, np.where(use, signal**2 / variance, 0.0).sum(axis=1) / n)
    judged = fitted.judged if core_radius is None else fitted.judged & core_pixels(fitted, core_radius)
    mean, rms = mean_and_rms(residual / np.sqrt(variance + (error * signal) ** 2), judged)
    score = _score(fitted, local, pixels, signal)
    bad = ~(np.isfinite(mean) & (judged.sum(axis=1) >= 2))
    mean[bad] = rms[bad] = chi2[bad] = score[bad] = np.nan
    return Residuals(mean, rms, chi2, score, error)


def mean_and_rms(z: NDArray[np.float64], use: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and unbiased rms around it of the chosen values of each row, (N,)."""
    n = np.maximum(use.sum(axis=1), 2)
    z = np.where(use, z, 0.0)
    mean = z.sum(axis=1) / n
    return mean, np.sqrt(np.maximum((z**2).sum(axis=1) / n - mean**2, 0) * n / (n - 1))


def core_pixels(fitted: FittedStamps, radius: int) -> NDArray[np.bool_]:
    """Fitted pixels within `radius` of a stamp's middle along both axes, (P,): (2 radius + 1)^2 of them."""
    inner = fitted.side - fitted.basis.size + 1
    near = np.abs(np.arange(inner) - inner // 2) <= radius
    return (near[:, None] & near).ravel()


def _score(
    fitted: FittedStamps, local: NDArray[np.float64], pixels: ResidualPixels, signal: NDArray[np.float64]
) -> NDArray[np.float64]:
    sums = local[:, : len(fitted.basis)] @ fitted.basis.images.sum(axis=(1, 2))
    known = sums[np.isfinite(sums)]
    ratio = np.median(known) if known.size else np.nan
    plain = fitted.target_variance + ratio**2 * fitted.convolved_variance
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = (signal * (pixels.residual**2 - pixels.variance)).sum(axis=1)
        return np.log(np.maximum(1.0 + excess / (signal * plain).sum(axis=1), LEAST_POWER))


def _model_error(chi2: NDArray, power: NDArray) -> float:
    """Relative model error: the median over candidates of the residual beyond the noise over the signal."""
    good = np.isfinite(chi2) & np.isfinite(power) & (power > 0)
    # Only stars whose signal is well above the noise everywhere tell a model error from noise.
    bright = good & (power > np.quantile(power[good], 0.75)) if good.sum() > 3 else good
    if not bright.any():
        return 0.0
    squared = np.median((chi2[bright] - 1.0) / power[bright])
    return float(np.sqrt(np.clip(squared, 0.0, MAX_MODEL_ERROR**2)))
