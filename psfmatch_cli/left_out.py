"""How well a spatial model predicts candidates that were left out of its fit.

Whole cells are left out in turn, in groups. The equations of every group are summed once, for the highest order
that is tried: those of the lower orders are parts of them, and those of all groups but one are the sum of all
without that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import FitError
from psfmatch_cli.fitted import AT_A_TIME, FittedStamps, convolved_at_pixels, kernel_images
from psfmatch_cli.parallel import in_threads, slices
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.ready import Ready
from psfmatch_cli.residuals import signal_pixels
from psfmatch_cli.spatial import SpatialLayout, SpatialSystem

#: Number of groups of cells that are left out in turn.
N_FOLDS = 8
#: Least residual power, in units of the noise: the noise of one source's power does not let it be smaller.
LEAST_POWER = 0.2


def left_out_scores(pool: CandidatePool, ready: Ready, layouts: list[SpatialLayout]) -> list[NDArray[np.float64]]:
    """Score of every candidate for the models fitted to the other groups of cells, (N,) for each layout.

    Parameters
    ----------
    pool : CandidatePool
    ready : Ready
    layouts : list of SpatialLayout
        Of one basis and background, in ascending order of the kernel.
    """
    fitted = ready.fitted
    power = SourcePower.of(fitted, pool.threads)
    light = fitted.without_pixels()
    folds = folds_of(pool.cells[ready.places])
    parts = [folds == fold for fold in range(folds.max() + 1)]
    systems = [pool.system(light.take(inside), layouts[-1]) for inside in parts]

    def scores(layout: SpatialLayout) -> NDArray[np.float64]:
        own = [system.at(layouts[-1].places_of(layout)) for system in systems]
        local = np.zeros((len(fitted), fitted.solutions.shape[1]))
        for inside, parameters in zip(parts, _without_each(own, pool.threads), strict=True):
            local[inside] = pool.local(light.take(inside), layout, parameters)
        return power.scores(local, pool.threads)

    return [scores(layout) for layout in layouts]


def folds_of(cells: NDArray) -> NDArray[np.intp]:
    """Group of each candidate, from 0: whole cells, or candidate by candidate where all are in one cell."""
    folds = np.unique(cells, return_inverse=True)[1] % N_FOLDS
    return folds if folds.max() > 0 else np.arange(len(cells)) % N_FOLDS


def _without_each(systems: list[SpatialSystem], threads: int) -> list[NDArray[np.float64]]:
    """Parameters from all systems but one, for each of them; NaN where there is no solution."""
    whole = SpatialSystem(*(sum(getattr(one, k) for one in systems) for k in ("matrix", "vector", "noise")))

    def solved(own: SpatialSystem) -> NDArray[np.float64]:
        try:
            return (whole - own).solve()[0]
        except FitError:
            return np.full(len(own.vector), np.nan)

    return in_threads(solved, systems, threads)


@dataclass(frozen=True)
class SourcePower:
    """Power of residuals in the sources of N candidates, in units of the noise.

    Pixels count by the light m of the source in its own fit, the same for all models that are compared. The noise
    of a model, ``sum m (V_target + V_convolved * K^2)``, is ``sum m V_target + sum_u K(u)^2 G(u)`` with
    ``G(u) = sum_p m(p) V_convolved(p - u)``, so that no variance has to be convolved again.

    Parameters
    ----------
    fitted : FittedStamps
    weights : ndarray, (N, P)
        m, 0 at unusable pixels.
    target_noise, convolved_noise : ndarray, (N,)
        ``sum m V`` of the two images, the second before the convolution.
    correlations : ndarray, (N, size, size)
        G at the pixels of the kernel.
    """

    fitted: FittedStamps
    weights: NDArray
    target_noise: NDArray[np.float64]
    convolved_noise: NDArray[np.float64]
    correlations: NDArray

    @classmethod
    def of(cls, fitted: FittedStamps, threads: int = 1) -> SourcePower:
        """What the power of any model's residuals takes of the candidates."""
        weights = signal_pixels(fitted, fitted.own)
        correlations = np.empty((len(fitted), fitted.basis.size, fitted.basis.size), weights.dtype)

        def fill(part: slice) -> None:
            correlations[part] = _correlated(weights[part], fitted.variance_transform[part], fitted)

        in_threads(fill, slices(len(fitted), AT_A_TIME), threads)
        noises = (
            np.einsum("np,np->n", weights, variance, dtype=np.float64)
            for variance in (fitted.target_variance, fitted.convolved_variance)
        )
        return cls(fitted, weights, *noises, correlations)

    def scores(self, local: NDArray[np.float64], threads: int = 1) -> NDArray[np.float64]:
        """Logarithm of the power that local parameters, (N, n), leave, (N,); infinite where they are not finite.

        The noise that a residual has is taken off, and that before the convolution is the unit. A model that
        amplifies noise, or smooths it, neither gains nor loses by that.
        """
        fitted = self.fitted
        kernels = kernel_images(fitted.basis, local).astype(self.weights.dtype)
        expected = self.target_noise + np.einsum("nvu,nvu,nvu->n", kernels, kernels, self.correlations)
        power = self._powers(kernels, local[:, len(fitted.basis) :].sum(axis=1), threads)
        sums = kernels.sum(axis=(1, 2))
        known = sums[np.isfinite(sums)]
        ratio = float(np.median(known)) if known.size else np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            excess = (power - expected) / (self.target_noise + ratio**2 * self.convolved_noise)
            score = np.log(np.maximum(1.0 + excess, LEAST_POWER))
        return np.where(np.isfinite(score), score, np.inf)

    def _powers(self, kernels: NDArray, backgrounds: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
        """Weighted sums of the squared residuals, (N,)."""
        fitted, out = self.fitted, np.empty(len(kernels))
        levels = backgrounds.astype(kernels.dtype)[:, None]

        def fill(part: slice) -> None:
            model = convolved_at_pixels(fitted.transform[part], kernels[part], fitted.side)
            residual = fitted.target[part] - model - levels[part]
            out[part] = (self.weights[part] * residual**2).sum(axis=1, dtype=np.float64)

        in_threads(fill, slices(len(kernels), AT_A_TIME), threads)
        return out


def _correlated(weights: NDArray, variance_transform: NDArray, fitted: FittedStamps) -> NDArray:
    """``sum_p m(p) V(p - u)`` at the pixels u of the kernel for weights at the fitted pixels, (N, size, size)."""
    from scipy import fft

    length, half = variance_transform.shape[1], fitted.basis.size // 2
    inner = fitted.side - 2 * half
    placed = np.zeros((len(weights), length, length), weights.dtype)
    placed[:, half : half + inner, half : half + inner] = weights.reshape(-1, inner, inner)
    whole = fft.irfft2(fft.rfft2(placed) * variance_transform.conj(), (length, length))
    lags = np.arange(-half, half + 1)
    return whole[:, lags[:, None], lags]
