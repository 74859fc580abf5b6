"""How well a spatial model predicts candidates that were left out of its fit.

Whole cells are left out in turn, in groups. The equations of every group are summed once, for the highest order
that is tried: those of the lower orders are parts of them, and those of all groups but one are the sum of all
without that one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import FitError
from psfmatch_cli.fitted import FittedStamps, residual_pixels
from psfmatch_cli.parallel import in_threads
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
    light = fitted.without_pixels()
    folds = folds_of(pool.cells[ready.places])
    parts = [folds == fold for fold in range(folds.max() + 1)]
    systems = [pool.system(light.take(inside), layouts[-1]) for inside in parts]

    def predicted(layout: SpatialLayout) -> NDArray[np.float64]:
        own = [system.at(layouts[-1].places_of(layout)) for system in systems]
        local = np.zeros((len(fitted), fitted.solutions.shape[1]))
        for inside, parameters in zip(parts, _without_each(own, pool.threads), strict=True):
            local[inside] = pool.local(light.take(inside), layout, parameters)
        return local

    return [source_power(fitted, predicted(layout), pool.threads) for layout in layouts]


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


def source_power(fitted: FittedStamps, local: NDArray[np.float64], threads: int = 1) -> NDArray[np.float64]:
    """Logarithm of the power that local parameters, (N, n), leave in the sources, (N,); infinite where not finite.

    Pixels count by the light of the source in the model. The noise that the residual has is taken off, and that
    before the convolution is the unit: a model that amplifies noise, or smooths it, neither gains nor loses by that.
    """
    pixels = residual_pixels(fitted, local, threads)
    weights = signal_pixels(pixels.model, fitted.usable)
    sums = local[:, : len(fitted.basis)] @ fitted.basis.images.sum(axis=(1, 2))
    known = sums[np.isfinite(sums)]
    ratio = float(np.median(known)) if known.size else np.nan
    plain = fitted.target_variance + ratio**2 * fitted.convolved_variance
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = (weights * (pixels.residual**2 - pixels.variance)).sum(axis=1, dtype=np.float64)
        score = np.log(np.maximum(1.0 + excess / (weights * plain).sum(axis=1, dtype=np.float64), LEAST_POWER))
    return np.where(np.isfinite(score), score, np.inf)
