"""Principal components of the candidates' kernels: a small basis of what kernels of a field look like.

A delta-function basis has too many functions for a spatial model. The kernels fitted with it at single candidates,
each divided by its sum, vary in few ways: the first eigen-images of their scatter, and their mean, serve as basis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis, renormalisation
from psfmatch_cli.errors import FitError, UsageError

#: Share of the kernels' mean square below which an eigenvalue is rounding: its eigen-image is no component.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class PcaBasis:
    """A basis of principal components.

    Parameters
    ----------
    basis : KernelBasis
        At most as many images as asked for, the first constant over the field.
    eigenvalues : ndarray, (N,)
        Mean square of the N kernels along each eigen-image, largest first.
    mean : ndarray, (n, n)
        Mean of the kernels; the first basis image if it was subtracted.
    """

    basis: KernelBasis
    eigenvalues: NDArray[np.float64]
    mean: NDArray[np.float64]


def principal_components(
    kernels: NDArray[np.float64], subtract_mean: bool, n_components: int, first: NDArray[np.float64] | None = None
) -> PcaBasis:
    """Basis of the first principal components of kernel images.

    The basis list is the mean, if it is subtracted, then the eigen-images, each scaled so that its pixel of
    largest absolute value is +1; of it the first `n_components`, not more than there are kernels, are
    renormalised as an Alard-Lupton basis is. Eigen-images that are rounding are left out: kernels that are all the
    same give a basis of one function, their mean.

    Parameters
    ----------
    kernels : ndarray, (N, n, n)
        Images of unit sum, equally weighted; those that are not finite are left out.
    subtract_mean : bool
        Components of what differs from the mean, or of the kernels themselves.
    n_components : int
        Basis images wanted, the mean included.
    first : ndarray, (n, n), optional
        Stands in the basis for the subtracted mean, where a better one is known.

    Raises
    ------
    UsageError
        If `n_components` is below 1.
    FitError
        If no kernel is finite, or the first basis image has no sum to speak of.
    """
    if n_components < 1:
        raise UsageError(f"kernel.num_principal_components must be at least 1, got {n_components}")
    kernels = kernels[np.isfinite(kernels).all(axis=(1, 2))].astype(np.float64)
    if len(kernels) == 0:
        raise FitError("there is no finite kernel to take principal components of")
    mean = kernels.mean(axis=0)
    eigenvalues, images = _eigen_images(kernels - mean if subtract_mean else kernels)
    significant = eigenvalues > _ROUNDING * np.mean((kernels**2).sum(axis=(1, 2)))
    components = [_scaled_to_peak(image) for image in images[significant]]
    raw = np.array(([mean if first is None else first] if subtract_mean else []) + components)[
        : min(n_components, len(kernels))
    ]
    if len(raw) == 0 or abs(raw[0].sum()) <= np.finfo(np.float32).eps * np.abs(raw[0]).sum():
        raise FitError("the kernels' first principal component sums to zero; kernel.subtract_mean_for_pca may help")
    basis = KernelBasis(np.tensordot(renormalisation(raw), raw, axes=1), constant_first=True)
    return PcaBasis(basis, eigenvalues, mean)


def _eigen_images(kernels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, (N,), largest first, and eigen-images, (N, n, n), from the N x N matrix of scalar products."""
    rows = kernels.reshape(len(kernels), -1)
    eigenvalues, vectors = np.linalg.eigh(rows @ rows.T / len(rows))
    images = (vectors.T @ rows).reshape(kernels.shape)
    return np.maximum(eigenvalues, 0.0)[::-1], images[::-1]


def _scaled_to_peak(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The image over its value of largest size; of two of one size the positive one."""
    high, low = image.max(), image.min()
    return image / (high if high >= -low else low)
