"""The spatially varying matching kernel and the differential background.

The kernel at the parent position (x, y) is ``K(u, v; x, y) = sum_i a_i(x, y) B_i(u, v)`` with basis
images B_i and coefficients ``a_i(x, y) = sum_s c_is p_s(x, y)``; the background is
``sum_s g_s r_s(x, y)``. p and r are Chebyshev polynomials of the first kind (on the region scaled
to [-1, 1]) or plain powers of the parent position (Alard 2000, A&AS 144, 363). Kernels are applied by
true convolution: ``(T * K)(x, y) = sum_uv K(u, v) T(x - u, y - v)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Box

SpatialModelType = Literal["chebyshev1", "polynomial"]


def exponent_pairs(order: int) -> list[tuple[int, int]]:
    """Exponents (a, b) of x and y up to total degree `order`: 1 | x, y | x^2, xy, y^2 | ..."""
    return [(degree - b, b) for degree in range(order + 1) for b in range(degree + 1)]


def n_terms(order: int) -> int:
    """Number of polynomial terms in two variables up to total degree `order`."""
    return (order + 1) * (order + 2) // 2


@dataclass(frozen=True)
class SpatialModel:
    """Polynomial terms over a region.

    Parameters
    ----------
    kind : {'chebyshev1', 'polynomial'}
        Products of Chebyshev polynomials on the region scaled to [-1, 1], or powers of the raw
        parent position.
    order : int
        Largest total degree, at least 0.
    region : Box
        Parent pixels of the image that is convolved. The box of real positions reaches half a
        pixel beyond, so the centre of its first pixel is at -1 + 1/width.
    """

    kind: SpatialModelType
    order: int
    region: Box

    def __post_init__(self):
        if self.kind not in ("chebyshev1", "polynomial"):
            raise UsageError(f"spatial model must be chebyshev1 or polynomial, got {self.kind!r}")
        if self.order < 0:
            raise UsageError(f"spatial order must be at least 0, got {self.order}")

    @property
    def size(self) -> int:
        return n_terms(self.order)

    def powers(self, x: ArrayLike, axis: Literal["x", "y"]) -> NDArray[np.float64]:
        """The one-dimensional factors of degree 0..order, shape (order + 1, ...)."""
        z = np.asarray(x, np.float64)
        if self.kind == "chebyshev1":
            middle = self.region.center[0 if axis == "x" else 1]
            width = self.region.width if axis == "x" else self.region.height
            z = (z - middle) * (2.0 / width)
        out = np.empty((self.order + 1, *z.shape))
        out[0] = 1.0
        for n in range(1, self.order + 1):
            if self.kind == "polynomial" or n == 1:
                out[n] = out[n - 1] * z
            else:
                out[n] = 2.0 * z * out[n - 1] - out[n - 2]
        return out

    def terms(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """All terms at parent positions; shape (size, ...) with the broadcast shape of x and y."""
        px, py = self.powers(x, "x"), self.powers(y, "y")
        return np.stack([px[a] * py[b] for a, b in exponent_pairs(self.order)])

    def separable_terms(self, xs: NDArray, ys: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factors (size, len(xs)) and (size, len(ys)) whose outer products are the terms on a grid."""
        px, py = self.powers(xs, "x"), self.powers(ys, "y")
        pairs = exponent_pairs(self.order)
        return np.stack([px[a] for a, _ in pairs]), np.stack([py[b] for _, b in pairs])


@dataclass(frozen=True)
class MatchingKernel:
    """A spatially varying convolution kernel.

    Parameters
    ----------
    basis : ndarray, (n_basis, size, size), float64
        Basis images; the side is odd and the centre is the middle pixel.
    coefficients : ndarray, (n_basis, n_terms), float64
        Spatial coefficients of each basis image.
    spatial : SpatialModel
        The spatial terms.
    covariance : ndarray, (n_basis * n_terms, n_basis * n_terms), float64, or None
        Of the coefficients in their order; None if it was not computed.
    """

    basis: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    spatial: SpatialModel
    covariance: NDArray[np.float64] | None = None

    def __post_init__(self):
        if self.basis.ndim != 3 or self.basis.shape[1] != self.basis.shape[2] or self.basis.shape[1] % 2 == 0:
            raise UsageError(f"basis images must be square with an odd side, got shape {self.basis.shape}")
        expected = (len(self.basis), self.spatial.size)
        if self.coefficients.shape != expected:
            raise UsageError(f"kernel coefficients have shape {self.coefficients.shape}, expected {expected}")
        _check_covariance(self.covariance, self.coefficients.size, "kernel")

    @property
    def size(self) -> int:
        """Side of the kernel image, pixels."""
        return self.basis.shape[1]

    @property
    def half_size(self) -> int:
        return self.size // 2

    @cached_property
    def term_images(self) -> NDArray[np.float64]:
        """One image per spatial term, (n_terms, size, size): K(x, y) = sum_s p_s(x, y) term_images[s]."""
        return np.tensordot(self.coefficients.T, self.basis, axes=1)

    def image(self, x: float, y: float) -> NDArray[np.float64]:
        """Kernel image at a parent position, (size, size)."""
        return np.tensordot(self.spatial.terms(x, y), self.term_images, axes=1)

    def images(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kernel images at parent positions x, y (n,); (n, size, size)."""
        return np.tensordot(self.spatial.terms(x, y).T, self.term_images, axes=1)

    def sum(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Kernel sum at parent positions: the flux ratio, and the shape of x and y broadcast."""
        return np.tensordot(self.term_images.sum(axis=(1, 2)), self.spatial.terms(x, y), axes=1)

    @property
    def center_sum(self) -> float:
        """Kernel sum at the centre of the region."""
        return float(self.sum(*self.spatial.region.center))

    def error_image(self, x: float, y: float) -> NDArray[np.float64] | None:
        """Standard errors of the kernel image's pixels at a parent position, (size, size); None if not known."""
        if self.covariance is None:
            return None
        images = self.basis.reshape(len(self.basis), -1)
        variance = np.einsum("ip,ij,jp->p", images, self._local_covariance(x, y), images, optimize=True)
        return np.sqrt(np.maximum(variance, 0.0)).reshape(self.size, self.size)

    def sum_error(self, x: float, y: float) -> float:
        """Standard error of the kernel sum at a parent position; NaN if not known."""
        if self.covariance is None:
            return float("nan")
        sums = self.basis.sum(axis=(1, 2))
        return float(np.sqrt(max(sums @ self._local_covariance(x, y) @ sums, 0.0)))

    def _local_covariance(self, x: float, y: float) -> NDArray[np.float64]:
        """Covariance of the basis coefficients at a parent position, (n_basis, n_basis)."""
        n, terms = len(self.basis), self.spatial.terms(x, y)
        blocks = self.covariance.reshape(n, len(terms), n, len(terms))
        return np.einsum("s,isjt,t->ij", terms, blocks, terms, optimize=True)


def _check_covariance(covariance: NDArray | None, n: int, what: str) -> None:
    if covariance is not None and covariance.shape != (n, n):
        raise UsageError(f"the covariance of the {what} has shape {covariance.shape}, expected {(n, n)}")


@dataclass(frozen=True)
class BackgroundModel:
    """Differential background: what is added to the convolved image to match the other.

    Parameters
    ----------
    coefficients : ndarray, (n_terms,), float64
        Counts.
    spatial : SpatialModel
        The spatial terms.
    covariance : ndarray, (n_terms, n_terms), float64, or None
        Of the coefficients, the kernel held fixed: of what convolved sky and background give together; None if it was
        not computed.
    """

    coefficients: NDArray[np.float64]
    spatial: SpatialModel
    covariance: NDArray[np.float64] | None = None

    def __post_init__(self):
        if self.coefficients.shape != (self.spatial.size,):
            raise UsageError(f"background has {self.coefficients.shape} coefficients, expected {self.spatial.size}")
        _check_covariance(self.covariance, len(self.coefficients), "background")

    @classmethod
    def zero(cls, region: Box) -> BackgroundModel:
        """The constant 0, when no background was fitted."""
        return cls(np.zeros(1), SpatialModel("chebyshev1", 0, region))

    def __call__(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Counts at parent positions."""
        return np.tensordot(self.coefficients, self.spatial.terms(x, y), axes=1)

    def error(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64] | None:
        """Standard errors at parent positions, counts; None if not known."""
        if self.covariance is None:
            return None
        terms = self.spatial.terms(x, y)
        return np.sqrt(np.maximum(np.einsum("s...,st,t...->...", terms, self.covariance, terms), 0.0))

    def image(self, box: Box) -> NDArray[np.float32]:
        """Counts at all pixel centres of a box, (height, width)."""
        px = self.spatial.powers(np.arange(box.x_min, box.x_max + 1), "x")
        py = self.spatial.powers(np.arange(box.y_min, box.y_max + 1), "y")
        # One product per power of y instead of one per term.
        rows = np.zeros_like(px)
        for coefficient, (a, b) in zip(self.coefficients, exponent_pairs(self.spatial.order), strict=True):
            rows[b] += coefficient * px[a]
        return (py.T @ rows).astype(np.float32)
