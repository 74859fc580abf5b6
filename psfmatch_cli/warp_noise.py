"""How resampling correlates noise.

White noise of the template becomes, at science pixels p and p + d, the sums of its pixels q with the weights
w(s(p) - q) and w(s(p + d) - q), whose covariance is the sum of their products over q. The weights of the
Lanczos kernels factor into the two template axes, and so does that sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.resample import ResamplingKernel

#: Autocorrelation below this is cut off at the rim.
NEGLIGIBLE = 1e-6


def autocorrelation(
    kernel: ResamplingKernel, positions: NDArray[np.float64], jacobians: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean autocorrelation (2m+1, 2m+1) of resampled white noise, 1 at the middle.

    The mean of the covariances at the positions over the mean of their variances; element ``[m + dy, m + dx]``
    belongs to science pixels that lie (dx, dy) apart.

    Parameters
    ----------
    kernel : ResamplingKernel
    positions : ndarray, (P, 2)
        Template positions x, y of some science pixels.
    jacobians : ndarray, (P, 2, 2)
        Derivatives of the template position there by the science position.
    """
    # Two windows part, on one axis at least, when their centres are 2N template pixels apart on it.
    window = 2 * kernel.reach
    m = int(np.ceil(np.sqrt(2) * window / np.linalg.svd(jacobians, compute_uv=False).min()))
    lags = np.arange(-m, m + 1)
    # Over all positions a lag and its reverse see the same pairs: half of the lags tell all.
    lag = np.array(np.meshgrid(lags, lags)).reshape(2, -1)[:, m * (2 * m + 2) :]
    shift = jacobians @ lag
    near = (np.abs(shift).max(axis=1) < window).any(axis=0)
    covariance = np.ones((len(positions), near.sum()))
    for axis in (0, 1):
        covariance *= _axis_covariance(kernel, positions[:, axis], positions[:, axis, None] + shift[:, axis, near])
    mean = np.zeros(len(near))
    mean[near] = covariance.mean(axis=0)
    return _trim((np.concatenate([mean[:0:-1], mean]) / mean[0]).reshape(2 * m + 1, 2 * m + 1))


def _axis_covariance(
    kernel: ResamplingKernel, at: NDArray[np.float64], shifted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Covariance (P, L) along one axis of samples at positions (P,) and others (P, L)."""
    taps = 2 * kernel.reach
    own = kernel.weights(at - np.floor(at))
    # Zeros on both sides stand for the pixels that the other window does not reach.
    others = np.zeros((3 * taps, *shifted.shape))
    others[taps:-taps] = kernel.weights((shifted - np.floor(shifted)).ravel()).reshape(taps, *shifted.shape)
    step = np.clip(np.floor(at)[:, None] - np.floor(shifted), -taps, taps).astype(np.intp) + taps
    return sum(own[k, :, None] * np.take_along_axis(others, step[None] + k, axis=0)[0] for k in range(taps))


def _trim(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The autocorrelation without its outer rings of negligible values."""
    m = correlation.shape[0] // 2
    distance = np.abs(np.arange(-m, m + 1))
    ring = np.maximum.outer(distance, distance)
    last = int(ring[np.abs(correlation) > NEGLIGIBLE].max())
    return correlation[m - last : m + last + 1, m - last : m + last + 1]


def gaussian_autocorrelation(sigma: float) -> NDArray[np.float64]:
    """Autocorrelation (2m+1, 2m+1) of finely sampled white noise averaged with a Gaussian of this sigma, pixels."""
    m = int(np.ceil(6 * sigma))
    profile = np.exp(-0.25 * (np.arange(-m, m + 1) / sigma) ** 2)
    return np.outer(profile, profile)
