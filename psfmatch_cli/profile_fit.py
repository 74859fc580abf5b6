"""Fits of elliptical Moffat profiles to many stamps at once.

``I(x, y) = A (1 + u)^(-beta) + b`` with ``u = (k dx)^2 + (m (dy + s dx))^2`` (Moffat 1969, A&A 3, 455).
The profile is sampled at pixel centres, so that it describes the PSF as the pixels see it: convolved
with the pixel. Its FWHM, the geometric mean of the axes, is ``2 sqrt(2^(1/beta) - 1) / sqrt(k m)``.
All stamps take their Levenberg-Marquardt steps together, each with a damping of its own. All pixels of
the window have the same weight: what the fit must describe is the core, and with the noise of a
bright star as weight it would be ruled by the wings.

Pixels are handled as 32-bit numbers, in units of the height of the source, which is five times as fast as powers of
64-bit ones; sums over a stamp and what is solved for have 64 bits. Rounding moves a width by 1e-6 of itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.stamps import Stamps

MAX_ITERATIONS = 40
#: Change of the logarithmic widths at which a fit has converged.
TOLERANCE = 1e-4
#: Relative change of a sum of squares that may be rounding: no reason to refuse a step.
ROUNDING = 1e-6
#: Longest step of the position (in FWHM) and of the logarithmic widths, against leaps from a poor start.
MAX_STEP = 0.5
#: Range of a fitted beta: wings like 1/r^2.4, and a Gaussian for all that a stamp can tell.
BETA_LIMITS = (1.2, 30.0)

_A, _X, _Y, _K, _M, _S, _B, _BETA = range(8)


@dataclass(frozen=True)
class ProfileFits:
    """Fitted profiles, one element per stamp.

    Parameters
    ----------
    dx, dy : ndarray
        Centre minus the centre of the stamp, pixels.
    amplitude, background : ndarray
        Counts.
    fwhm : ndarray
        Geometric mean of the full widths along the axes, pixels.
    fwhm_minor : ndarray
        Full width along the minor axis, pixels.
    error : ndarray
        Standard error of ln(fwhm), from the scatter of the residuals.
    e1, e2 : ndarray
        Ellipticity ``(Cxx - Cyy, 2 Cxy) / (Cxx + Cyy)`` of the second-moment matrix C of the core.
    beta : ndarray
        Exponent.
    signal, misfit, noise : ndarray
        Roots of the sums over the window of the squared model (without background), of the squared
        residuals, and of the variance; counts.
    n_pixels : ndarray
        Usable pixels in the window.
    converged : ndarray of bool
        Whether the iteration ended and left the centre within the window.
    """

    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    background: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    fwhm_minor: NDArray[np.float64]
    error: NDArray[np.float64]
    e1: NDArray[np.float64]
    e2: NDArray[np.float64]
    beta: NDArray[np.float64]
    signal: NDArray[np.float64]
    misfit: NDArray[np.float64]
    noise: NDArray[np.float64]
    n_pixels: NDArray[np.float64]
    converged: NDArray[np.bool_]

    @classmethod
    def empty(cls, n: int) -> ProfileFits:
        """Room for n fits: NaN, not converged."""
        columns = {f.name: np.full(n, np.nan) for f in fields(cls)}
        return cls(**{**columns, "converged": np.zeros(n, bool)})

    def take(self, rows: NDArray) -> ProfileFits:
        """A copy of the fits at the given rows."""
        return ProfileFits(*(getattr(self, f.name)[rows] for f in fields(self)))

    def copy(self) -> ProfileFits:
        return self.take(np.arange(len(self.fwhm)))

    def put(self, rows: NDArray[np.intp], part: ProfileFits) -> None:
        """Store other fits at the given rows."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(part, f.name)


def fit_profiles(
    stamps: Stamps, fwhm: NDArray[np.float64], radius: float, beta: float, *, free_beta: bool = False
) -> ProfileFits:
    """Fit one profile to each stamp.

    Parameters
    ----------
    stamps : Stamps
        Sources near their centres.
    fwhm : ndarray, (n,)
        First guess, pixels.
    radius : float
        Pixels further than this from the centre of the stamp are left out.
    beta : float
        Exponent; the first guess if it is free.
    free_beta : bool
        Fit the exponent too.
    """
    window, height = _Window.of(stamps, radius).normalised()
    n_free = 8 if free_beta else 7
    parameters = _first_guess(window, fwhm, beta)
    damping = np.full(len(fwhm), 1e-3)
    residual = _residual(window, parameters)
    cost = _sum_of_squares(residual)
    active = np.arange(len(fwhm))
    done = np.zeros(len(fwhm), bool)
    for _ in range(MAX_ITERATIONS):
        part = window.take(active)
        step = _step(part, parameters[active], residual[active], damping[active], n_free)
        trial = _moved(parameters[active], step, fwhm[active])
        trial_residual = _residual(part, trial)
        trial_cost = _sum_of_squares(trial_residual)
        better = trial_cost <= (1.0 + ROUNDING) * cost[active]
        rows = active[better]
        parameters[rows], residual[rows], cost[rows] = trial[better], trial_residual[better], trial_cost[better]
        damping[active] = np.where(better, damping[active] * 0.2, damping[active] * 8.0)
        small = np.abs(step[:, [_K, _M, _S]]).max(axis=1) < TOLERANCE
        done[active[small]] = True
        active = active[~small & (damping[active] < 1e10)]
        if not active.size:
            break
    fits = _summary(window, parameters, residual, done, n_free)
    scaled = ("amplitude", "background", "signal", "misfit", "noise")
    return replace(fits, **{name: height * getattr(fits, name) for name in scaled})


@dataclass(frozen=True)
class _Window:
    """Pixels of a circular window around the centres of the stamps, each (n, pixels); weight 0 or 1."""

    dx: NDArray[np.float32]
    dy: NDArray[np.float32]
    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, stamps: Stamps, radius: float) -> _Window:
        half = stamps.dx.shape[1] // 2
        offset = np.arange(-half, half + 1)
        row, column = np.nonzero(offset[:, None] ** 2 + offset**2 <= radius**2)
        at = (slice(None), row, column)
        planes = (stamps.dx[:, column], stamps.dy[:, row], stamps.data[at], stamps.variance[at], stamps.good[at])
        return cls(*(plane.astype(np.float32) for plane in planes))

    def normalised(self) -> tuple[_Window, NDArray[np.float64]]:
        """The pixels in units of the largest absolute value of each window, and those values, (n,)."""
        height = np.abs(self.data).max(axis=1).astype(np.float64)
        height[height == 0] = 1.0
        scale = height[:, None]
        data, variance = (self.data / scale).astype(np.float32), (self.variance / scale / scale).astype(np.float32)
        return replace(self, data=data, variance=variance), height

    def take(self, rows: NDArray[np.intp]) -> _Window:
        return _Window(*(getattr(self, f.name)[rows] for f in fields(self)))


def _first_guess(window: _Window, fwhm: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """Round profiles at the centres of the stamps, (n, 8); widths and exponent as logarithms."""
    parameters = np.zeros((len(fwhm), 8))
    near = window.dx**2 + window.dy**2 <= 1.0
    parameters[:, _A] = np.where(near, window.data, 0.0).max(axis=1)
    parameters[:, _K] = parameters[:, _M] = np.log(_fwhm_factor(np.float64(beta)) / fwhm)
    parameters[:, _BETA] = np.log(beta)
    return parameters


def _fwhm_factor(beta: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2.0 * np.sqrt(np.exp2(1.0 / beta) - 1.0)


def _evaluate(window: _Window, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """Distances along the skewed axes, 1 + u, its logarithm and the profile of height 1, each (n, pixels)."""
    p = parameters.astype(np.float32)[:, :, None]
    t = window.dx - p[:, _X]
    v = window.dy - p[:, _Y] + p[:, _S] * t
    base = np.float32(1) + np.square(np.exp(p[:, _K]) * t) + np.square(np.exp(p[:, _M]) * v)
    logarithm = np.log(base)
    return t, v, base, logarithm, np.exp(-np.exp(p[:, _BETA]) * logarithm)


def _residual(window: _Window, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Data minus model, 0 outside the window, (n, pixels)."""
    *_, profile = _evaluate(window, parameters)
    p = parameters.astype(np.float32)
    return window.weight * (window.data - p[:, _A, None] * profile - p[:, _B, None])


def _sum_of_squares(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each stamp, (n,)."""
    return np.einsum("ij,ij->i", values, values).astype(np.float64)


def _jacobian(window: _Window, parameters: NDArray[np.float64], n_free: int) -> NDArray[np.float64]:
    """Derivatives of the model, (n, n_free, pixels)."""
    t, v, base, logarithm, profile = _evaluate(window, parameters)
    p = parameters.astype(np.float32)[:, :, None]
    beta, k2, m2 = np.exp(p[:, _BETA]), np.exp(2 * p[:, _K]), np.exp(2 * p[:, _M])
    by_u = -2.0 * p[:, _A] * beta * profile / base
    out = np.empty((len(parameters), n_free, window.dx.shape[1]), np.float32)
    out[:, _A] = profile
    out[:, _Y] = -by_u * m2 * v
    out[:, _X] = -by_u * k2 * t + p[:, _S] * out[:, _Y]
    out[:, _K] = by_u * k2 * t**2
    out[:, _M] = by_u * m2 * v**2
    out[:, _S] = by_u * m2 * v * t
    out[:, _B] = 1.0
    if n_free > _BETA:
        out[:, _BETA] = -p[:, _A] * beta * profile * logarithm
    out *= window.weight[:, None, :]
    return out


def _normal_matrix(jacobian: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J J^T of each stamp with a diagonal that is never zero, and that diagonal."""
    matrix = np.matmul(jacobian, jacobian.transpose(0, 2, 1)).astype(np.float64)
    q = np.arange(matrix.shape[1])
    diagonal = matrix[:, q, q]
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True)
    diagonal = np.maximum(diagonal, np.where(floor > 0, floor, 1.0))
    matrix[:, q, q] = diagonal
    return matrix, diagonal


def _step(
    window: _Window,
    parameters: NDArray[np.float64],
    residual: NDArray[np.float64],
    damping: NDArray[np.float64],
    n_free: int,
) -> NDArray[np.float64]:
    """Damped Gauss-Newton step of the free parameters, (n, 8); 0 for a fixed exponent."""
    jacobian = _jacobian(window, parameters, n_free)
    matrix, diagonal = _normal_matrix(jacobian)
    q = np.arange(n_free)
    matrix[:, q, q] += damping[:, None] * diagonal
    gradient = np.matmul(jacobian, residual[:, :, None]).astype(np.float64)
    step = np.zeros_like(parameters)
    step[:, :n_free] = np.linalg.solve(matrix, gradient)[:, :, 0]
    return step


def _moved(
    parameters: NDArray[np.float64], step: NDArray[np.float64], fwhm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Parameters after a step of bounded length."""
    limit = np.full(step.shape, MAX_STEP)
    limit[:, [_A, _B]] = np.inf
    limit[:, [_X, _Y]] *= fwhm[:, None]
    moved = parameters + np.clip(step, -limit, limit)
    moved[:, _BETA] = np.clip(moved[:, _BETA], *np.log(BETA_LIMITS))
    return moved


def _summary(
    window: _Window,
    parameters: NDArray[np.float64],
    residual: NDArray[np.float64],
    done: NDArray[np.bool_],
    n_free: int,
) -> ProfileFits:
    """Widths, shapes and quality from the parameters."""
    amplitude, x, y, log_k, log_m, s, background, log_beta = parameters.T
    beta, k2, m2 = np.exp(log_beta), np.exp(2 * log_k), np.exp(2 * log_m)
    # u = Q(dx, dy): its eigenvalues are the inverse squares of the axes.
    q_xx, q_yy, q_xy = k2 + m2 * s**2, m2, m2 * s
    largest = 0.5 * (q_xx + q_yy) + np.hypot(0.5 * (q_xx - q_yy), q_xy)
    factor = _fwhm_factor(beta)
    model = window.weight * amplitude[:, None].astype(np.float32) * _evaluate(window, parameters)[-1]
    cost = _sum_of_squares(residual)
    reach = np.sqrt(np.max(np.where(window.weight > 0, window.dx**2 + window.dy**2, 0.0), axis=1))
    return ProfileFits(
        dx=x,
        dy=y,
        amplitude=amplitude,
        background=background,
        fwhm=factor / np.exp(0.5 * (log_k + log_m)),
        fwhm_minor=factor / np.sqrt(largest),
        error=_log_fwhm_error(window, parameters, cost, n_free),
        e1=(q_yy - q_xx) / (q_xx + q_yy),
        e2=-2.0 * q_xy / (q_xx + q_yy),
        beta=beta,
        signal=np.sqrt(_sum_of_squares(model)),
        misfit=np.sqrt(cost),
        noise=np.sqrt((window.weight * window.variance).sum(axis=1, dtype=np.float64)),
        n_pixels=window.weight.sum(axis=1, dtype=np.float64),
        converged=done & (amplitude > 0) & (np.hypot(x, y) < reach),
    )


def _log_fwhm_error(
    window: _Window, parameters: NDArray[np.float64], cost: NDArray[np.float64], n_free: int
) -> NDArray[np.float64]:
    """Standard error of ln(fwhm) for residuals of equal variance."""
    matrix, _ = _normal_matrix(_jacobian(window, parameters, n_free))
    by_parameter = np.zeros((len(parameters), n_free))
    by_parameter[:, [_K, _M]] = -0.5
    if n_free > _BETA:
        power = np.exp2(np.exp(-parameters[:, _BETA]))
        by_parameter[:, _BETA] = -0.5 * np.log(power) * power / (power - 1.0)
    variance = np.einsum("ni,ni->n", by_parameter, np.linalg.solve(matrix, by_parameter[:, :, None])[:, :, 0])
    freedom = np.maximum(window.weight.sum(axis=1, dtype=np.float64) - n_free, 1.0)
    return np.sqrt(np.maximum(variance, 0.0) * cost / freedom)
