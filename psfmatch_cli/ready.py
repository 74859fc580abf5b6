"""Candidates made ready for a spatial fit: cleaned by their own fits, with the basis that the model will use.

That is the basis of the single fits or, with principal components, one made of what the single fits found
(Becker et al. 2012, MNRAS 425, 1341, sec. 3): the candidates are then fitted once more with it and judged
again, and whoever fails is replaced and the components made anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.fitted import FittedStamps
from psfmatch_cli.kernel import SpatialModel
from psfmatch_cli.pool import CandidatePool
from psfmatch_cli.spatial import SpatialLayout, solve_spatial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """Candidates that take part in a spatial fit.

    Parameters
    ----------
    places : ndarray, (N,)
        Their places in the pool.
    fitted : FittedStamps
        Their fits; its basis is that of the spatial model.
    n_restarts : int
        How often a rejection by kernel sums or by the components made everything start again.
    """

    places: NDArray[np.intp]
    fitted: FittedStamps
    n_restarts: int


def make_ready(pool: CandidatePool) -> Ready:
    """Reject by single fits and kernel sums, and change to principal components if the settings want them.

    Raises
    ------
    NoCandidatesError
        If nobody is left.
    """
    n_restarts = clean_singles(pool)
    while True:
        places = _someone(pool)
        if not pool.config.uses_pca:
            return Ready(places, pool.at(places), n_restarts)
        fitted = pool.refitted(places, component_basis(pool.at(places), pool))
        stats = pool.statistics(fitted, fitted.own)
        out = ~np.isfinite(stats.rms)
        if pool.config.single_kernel_clipping:
            out |= pool.exceeds(stats)
        if not out.any():
            return Ready(places, fitted, n_restarts)
        pool.reject(places[out], "components")
        n_restarts += 1 + clean_singles(pool)


def clean_singles(pool: CandidatePool) -> int:
    """Single fits and kernel sums until neither rejects a candidate; returns how often the sums did."""
    n_restarts = 0
    pool.reject_singles()
    while pool.reject_kernel_sums():
        n_restarts += 1
        pool.reject_singles()
    return n_restarts


def _someone(pool: CandidatePool) -> NDArray[np.intp]:
    places = pool.visit()
    if len(places) == 0:
        raise pool.nobody_left()
    return places


def component_basis(fitted: FittedStamps, pool: CandidatePool) -> KernelBasis:
    """Principal components of the candidates' own kernels, each divided by its sum.

    Where the noise of the convolved image is corrected for, the mean kernel, which the own fits find too smooth, is
    that of one fit to all candidates (upstream takes the plain mean).
    """
    from psfmatch_cli.pca import principal_components

    images = fitted.kernels() / fitted.kernel_sums()[:, None, None]
    config = pool.config
    first = common_kernel(fitted, pool) if config.correct_noise_bias and config.subtract_mean_for_pca else None
    made = principal_components(images, config.subtract_mean_for_pca, config.num_principal_components, first)
    log.debug("principal components of %d kernels: %d functions", len(images), len(made.basis))
    return made.basis


def common_kernel(fitted: FittedStamps, pool: CandidatePool) -> NDArray[np.float64]:
    """Kernel of unit sum, (size, size), of the fit of a constant kernel to some candidates.

    Raises
    ------
    FitError
        If there is no finite solution.
    """
    layout = spatial_layout(pool, fitted.basis, 0, None)
    kernel, _ = solve_spatial(pool.system(fitted, layout), layout).models(fitted.basis)
    image = kernel.image(*layout.kernel.region.center)
    return image / image.sum()


def spatial_layout(
    pool: CandidatePool, basis: KernelBasis, kernel_order: int, background_order: int | None
) -> SpatialLayout:
    """Global parameters of a basis for two spatial orders over the image that is convolved."""
    region = (pool.template if pool.convolve_template else pool.science).box
    kind = pool.config.spatial_model_type
    background = None if background_order is None else SpatialModel(kind, background_order, region)
    return SpatialLayout(len(basis), basis.constant_first, SpatialModel(kind, kernel_order, region), background)
