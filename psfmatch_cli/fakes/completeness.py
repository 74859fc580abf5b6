"""The curve of efficiency against signal-to-noise ratio.

``p(s) = plateau * Phi((s - s0) / w)`` with the normal distribution function Phi: what a threshold makes of Gaussian
noise of width w. It is fitted to found or not found by maximum likelihood; the errors are those of the Fisher matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Probabilities this close to 0 or 1 are held: one surprise must not decide the fit.
FLOOR = 1e-6
#: Sources that a fit needs, found and not found.
MIN_EACH = 3


@dataclass(frozen=True)
class Completeness:
    """Efficiency as a function of the signal-to-noise ratio.

    Parameters
    ----------
    center, width, plateau : float
        s0, w and the efficiency of the bright; NaN where nothing could be fitted.
    half, half_err : float
        Ratio at which half of all are found, and its error; NaN where the plateau is lower than that.
    """

    center: float
    width: float
    plateau: float
    half: float
    half_err: float

    def at(self, snr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Efficiency at signal-to-noise ratios."""
        return _curve(np.array([self.center, np.log(self.width), _logit(self.plateau)]), snr)


def fit_completeness(snr: NDArray[np.float64], found: NDArray[np.bool_]) -> Completeness:
    """The curve through sources that were found or not.

    Parameters
    ----------
    snr : ndarray, (n,)
    found : ndarray of bool, (n,)
    """
    from scipy.optimize import minimize

    if min(np.count_nonzero(found), np.count_nonzero(~found)) < MIN_EACH:
        return Completeness(*[np.nan] * 5)

    def loss(parameters: NDArray[np.float64]) -> float:
        p = _curve(parameters, snr)
        # A weak prior keeps width and plateau finite where the data do not bound them.
        prior = 0.5 * (parameters[1] / 1.0) ** 2 + 0.5 * ((parameters[2] - 4.0) / 2.0) ** 2
        return float(prior - np.log(np.where(found, p, 1 - p)).sum())

    middle = float(np.median(np.r_[snr[found].min(), snr[~found].max()]))
    starts = [np.array([start, 0.0, 4.0]) for start in (middle, float(np.percentile(snr[found], 5)))]
    best = min((minimize(loss, start, method="Nelder-Mead") for start in starts), key=lambda made: made.fun).x
    return _described(best, snr)


def _described(parameters: NDArray[np.float64], snr: NDArray[np.float64]) -> Completeness:
    center, width, plateau = parameters[0], float(np.exp(parameters[1])), float(1 / (1 + np.exp(-parameters[2])))
    half = _half(parameters)
    gradient = _derivative(lambda p: np.array([_half(p)]), parameters)[:, 0]
    error = np.sqrt(gradient @ np.linalg.pinv(_fisher(parameters, snr)) @ gradient) if np.isfinite(half) else np.nan
    return Completeness(float(center), width, plateau, half, float(error))


def _half(parameters: NDArray[np.float64]) -> float:
    from scipy.special import ndtri

    plateau = 1 / (1 + np.exp(-parameters[2]))
    return float(parameters[0] + np.exp(parameters[1]) * ndtri(0.5 / plateau)) if plateau > 0.5 else np.nan


def _fisher(parameters: NDArray[np.float64], snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Information of the sources and the prior on the parameters, (3, 3)."""
    p = _curve(parameters, snr)
    slopes = _derivative(lambda q: _curve(q, snr), parameters)
    return (slopes / (p * (1 - p))) @ slopes.T + np.diag([0.0, 1.0, 0.25])


def _derivative(function, parameters: NDArray[np.float64], step: float = 1e-4) -> NDArray[np.float64]:
    """Central differences of a function's values by each parameter, (3, m)."""
    rows = []
    for shift in step * np.eye(len(parameters)):
        rows.append((function(parameters + shift) - function(parameters - shift)) / (2 * step))
    return np.array(rows)


def _curve(parameters: NDArray[np.float64], snr: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtr

    center, log_width, logit = parameters
    value = ndtr((snr - center) / np.exp(np.clip(log_width, -10, 10))) / (1 + np.exp(-np.clip(logit, -30, 30)))
    return np.clip(value, FLOOR, 1 - FLOOR)


def _logit(p: float) -> float:
    return float(np.log(p / max(1 - p, 1e-12)))
