"""Stamps convolved with every image of a basis: the rows of the normal equations.

All stamps are treated at once, in the precision that they have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis


def convolve_stamps(stamps: NDArray, basis: KernelBasis) -> NDArray:
    """Stamps convolved with every basis image where the kernel fits.

    Parameters
    ----------
    stamps : ndarray, (N, H, W), float32 or float64
    basis : KernelBasis
        Of side n.

    Returns
    -------
    ndarray, (N, n_basis, (H - n + 1) * (W - n + 1))
        Of the type of the stamps.
    """
    if basis.is_delta:
        return np.array([_patches(stamp, basis.size) for stamp in stamps])
    if basis.filters is None:
        rows = basis.images.reshape(len(basis), -1).astype(stamps.dtype)
        return np.array([rows @ _patches(stamp, basis.size) for stamp in stamps])
    return _convolve_separably(stamps, basis)


def _convolve_separably(stamps: NDArray, basis: KernelBasis) -> NDArray:
    """Lines convolved with each factor by one matrix product, then columns with those of the functions that use it."""
    n, height, width = stamps.shape
    filters = basis.filters.astype(stamps.dtype)
    along_x, along_y = _toeplitz(filters, width), _toeplitz(filters, height).transpose(0, 2, 1)
    out_height, out_width = along_y.shape[1], along_x.shape[2]
    lines = (stamps.reshape(-1, width) @ along_x.transpose(1, 0, 2).reshape(width, -1)).reshape(n, height, -1)
    raw = np.empty((n, len(basis.pairs), out_height * out_width), stamps.dtype)
    order: list[int] = []
    for ix in sorted({pair[0] for pair in basis.pairs}):
        terms = [k for k, pair in enumerate(basis.pairs) if pair[0] == ix]
        columns = along_y[[basis.pairs[k][1] for k in terms]].reshape(-1, height)
        made = raw[:, len(order) : len(order) + len(terms)].reshape(n, len(columns), out_width)
        np.matmul(columns, lines[:, :, ix * out_width : (ix + 1) * out_width], out=made)
        order += terms
    # The raw functions stand in the order of their x factors.
    return basis.mixing[:, order].astype(stamps.dtype) @ raw


def _toeplitz(filters: NDArray, length: int) -> NDArray:
    """Matrices, (n_filters, length, length - n + 1), that convolve a line with each filter."""
    n_filters, n = filters.shape
    n_out = length - n + 1
    out = np.zeros((n_filters, length, n_out), filters.dtype)
    at = np.arange(n_out)
    for k in range(n):
        out[:, at + n - 1 - k, at] = filters[:, k, None]
    return out


def _patches(stamp: NDArray, n: int) -> NDArray:
    """What each pixel of a kernel of side n is multiplied by at each output pixel, (n^2, P).

    Reversed in both axes: the kernel pixel at +u meets the stamp's pixel at -u.
    """
    windows = np.lib.stride_tricks.sliding_window_view(stamp, (n, n))[..., ::-1, ::-1]
    return windows.transpose(2, 3, 0, 1).reshape(n * n, -1)
