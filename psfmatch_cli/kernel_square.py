"""The square of a spatially varying kernel, as a polynomial of the position within a small area.

The square of a kernel of spatial order p is a polynomial of order 2 p, of 15 terms for p = 2. Over a tile of some
hundred pixels a plane or a quadratic surface through it is as good; the order is the lowest that leaves errors
below `TOLERANCE` everywhere in the tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.kernel import MatchingKernel, SpatialModel, exponent_pairs

#: Largest sum of absolute errors of the squared kernel, relative to its sum: 0.15 % in sigma on an even sky.
TOLERANCE = 3e-3


@dataclass(frozen=True)
class SquaredKernel:
    """What variances are convolved with.

    Parameters
    ----------
    kernel : MatchingKernel
    correlation : ndarray, (n_terms,), or None
        Coefficients of the factor, of twice the kernel's order, by which correlated noise changes the variance; None
        for white noise.
    """

    kernel: MatchingKernel
    correlation: NDArray[np.float64] | None

    @classmethod
    def of(cls, kernel: MatchingKernel, autocorrelation: NDArray[np.float64] | None = None) -> SquaredKernel:
        """Square of a kernel, for noise of this autocorrelation (white by default)."""
        if autocorrelation is None:
            return cls(kernel, None)
        region, model = kernel.spatial.region, _model(kernel)
        nodes = np.linspace(0, 1, model.order + 3)
        x, y = (v.ravel() for v in np.meshgrid(nodes * (region.width - 1), nodes * (region.height - 1)))
        x, y = x + region.x_min, y + region.y_min
        factors = [correlated_variance_factor(kernel.image(*at), autocorrelation) for at in zip(x, y, strict=True)]
        return cls(kernel, np.linalg.lstsq(model.terms(x, y).T, np.array(factors), rcond=None)[0])

    def within(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
        """Images (n_terms, n, n) of the terms that give the square between the first and the last of xs and ys.

        ``K(x, y)^2 = sum_s u^a v^b images[s]`` with the exponents of `psfmatch_cli.kernel.exponent_pairs` up to the
        order that is returned, and u and v running from -1 to 1 along xs and ys.
        """
        order = 2 * self.kernel.spatial.order
        at_nodes = self._at_nodes(xs, ys, order + 1)
        limit = TOLERANCE * at_nodes.sum(axis=1).min()
        for fitted in range(order + 1):
            terms, solve = _surface(order + 1, fitted)
            images = solve @ at_nodes
            if fitted == order or np.abs(terms @ images - at_nodes).sum(axis=1).max() <= limit:
                break
        size = self.kernel.size
        return images.reshape(-1, size, size), fitted

    def _at_nodes(self, xs: NDArray, ys: NDArray, n: int) -> NDArray[np.float64]:
        """The square at n x n positions from end to end, (n^2, pixels)."""
        x, y = (v.ravel() for v in np.meshgrid(np.linspace(xs[0], xs[-1], n), np.linspace(ys[0], ys[-1], n)))
        images = self.kernel.term_images.reshape(self.kernel.spatial.size, -1)
        squares = (self.kernel.spatial.terms(x, y).T @ images) ** 2
        if self.correlation is not None:
            squares *= (self.correlation @ _model(self.kernel).terms(x, y))[:, None]
        return squares


def _model(kernel: MatchingKernel) -> SpatialModel:
    return SpatialModel("chebyshev1", 2 * kernel.spatial.order, kernel.spatial.region)


@cache
def _surface(n: int, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Terms (n^2, n_terms) of a polynomial at n x n nodes from -1 to 1, and the matrix that fits it to values there."""
    u, v = (values.ravel() for values in np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n)))
    terms = np.stack([u**a * v**b for a, b in exponent_pairs(order)], axis=1)
    return terms, np.linalg.pinv(terms)


def correlated_variance_factor(kernel: NDArray[np.float64], autocorrelation: NDArray[np.float64]) -> float:
    """Variance of correlated noise after convolution, relative to white noise of the same variance.

    ``sum_d rho(d) R(d) / R(0)`` with the noise autocorrelation rho and that of the kernel, R.
    """
    from scipy.signal import fftconvolve

    reach = autocorrelation.shape[0] // 2
    own = fftconvolve(kernel, kernel[::-1, ::-1])
    middle = kernel.shape[0] - 1
    reach = min(reach, middle)
    center = autocorrelation.shape[0] // 2
    part = slice(middle - reach, middle + reach + 1)
    rho = autocorrelation[center - reach : center + reach + 1, center - reach : center + reach + 1]
    return float((own[part, part] * rho).sum() / own[middle, middle])
