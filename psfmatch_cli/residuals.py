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

from psfmatch_cli.fitted import FittedStamps, ResidualPixels

#: A candidate that differs from its model by more than this is not imperfectly matched but another thing.
MAX_MODEL_ERROR = 0.1


@dataclass(frozen=True)
class Residuals:
    """Residual statistics of N candidates for given local parameters.

    Parameters
    ----------
    mean, rms : ndarray, (N,)
        Of residual / noise over the judged pixels, the noise including the model error.
    chi2 : ndarray, (N,)
        Mean square of residual / noise without the model error, over all usable pixels.
    model_error : float
        Median residual of bright candidates relative to their flux, beyond the noise.
    """

    mean: NDArray[np.float64]
    rms: NDArray[np.float64]
    chi2: NDArray[np.float64]
    model_error: float


def residuals(fitted: FittedStamps, pixels: ResidualPixels, core_radius: int | None = None) -> Residuals:
    """Statistics of ``target - (convolved * K + background)`` in units of its noise.

    Parameters
    ----------
    fitted : FittedStamps
    pixels : ResidualPixels
        What some parameters leave of these candidates: `FittedStamps.own`, or from `residual_pixels`.
    core_radius : int, optional
        Half side of the core that `mean` and `rms` are taken from; default: the whole stamp.
    """
    n = np.maximum(fitted.usable.sum(axis=1), 2)
    signal = signal_pixels(pixels.model, fitted.usable)
    chi2 = (pixels.residual**2 / pixels.variance).sum(axis=1, dtype=np.float64) / n
    error = _model_error(chi2, (signal**2 / pixels.variance).sum(axis=1, dtype=np.float64) / n)
    judged = fitted.judged if core_radius is None else fitted.judged & core_pixels(fitted, core_radius)
    mean, rms = mean_and_rms(pixels.residual / np.sqrt(pixels.variance + (error * signal) ** 2), judged)
    bad = ~(np.isfinite(mean) & (judged.sum(axis=1) >= 2))
    mean[bad] = rms[bad] = chi2[bad] = np.nan
    return Residuals(mean, rms, chi2, error)


def signal_pixels(model: NDArray, usable: NDArray[np.bool_]) -> NDArray:
    """Size of the model above its level at the usable pixels, 0 elsewhere, (N, P)."""
    middle = model.shape[1] // 2
    level = np.partition(model, middle, axis=1)[:, middle, None]
    return np.where(usable, np.abs(model - level), 0.0)


def mean_and_rms(z: NDArray, use: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and unbiased rms around it of the chosen values of each row, (N,)."""
    n = np.maximum(use.sum(axis=1), 2)
    z = np.where(use, z, 0.0)
    mean = z.sum(axis=1, dtype=np.float64) / n
    square = np.einsum("cp,cp->c", z, z, dtype=np.float64)
    return mean, np.sqrt(np.maximum(square / n - mean**2, 0) * n / (n - 1))


def core_pixels(fitted: FittedStamps, radius: int) -> NDArray[np.bool_]:
    """Fitted pixels within `radius` of a stamp's middle along both axes, (P,): (2 radius + 1)^2 of them."""
    inner = fitted.side - fitted.basis.size + 1
    near = np.abs(np.arange(inner) - inner // 2) <= radius
    return (near[:, None] & near).ravel()


def _model_error(chi2: NDArray, power: NDArray) -> float:
    """Relative model error: the median over candidates of the residual beyond the noise over the signal."""
    good = np.isfinite(chi2) & np.isfinite(power) & (power > 0)
    # Only stars whose signal is well above the noise everywhere tell a model error from noise.
    bright = good & (power > np.quantile(power[good], 0.75)) if good.sum() > 3 else good
    if not bright.any():
        return 0.0
    squared = np.median((chi2[bright] - 1.0) / power[bright])
    return float(np.sqrt(np.clip(squared, 0.0, MAX_MODEL_ERROR**2)))
