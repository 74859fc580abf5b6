"""Maps from the pixels of one image to those of another: what all have in common, and those that are polynomials.

Positions are 0-based array indices. A `psfmatch_cli.grid.SkyMap` goes by the sky; an `AffineMap` needs no sky; a
`CorrectedMap` is any of them with a displacement fitted to stars in front, so that both together are followed in
one resampling.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: A displacement is inverted to this accuracy, pixels, in at most this number of steps.
INVERSION_TOLERANCE, MAX_INVERSION_STEPS = 1e-6, 50


class PixelMap(ABC):
    """Pixel positions of one image, the origin, to those of another, the target."""

    @abstractmethod
    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Target positions of the origin positions x, y; NaN where there is none."""

    @abstractmethod
    def reverse(self) -> PixelMap:
        """From the target's pixels to the origin's."""

    def jacobian(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Derivatives (..., 2, 2) of the target position, ``[[dx'/dx, dx'/dy], [dy'/dx, dy'/dy]]``."""
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        ends = np.array(
            self(
                x + np.multiply.outer([0.5, -0.5, 0, 0], np.ones_like(x)),
                y + np.multiply.outer([0, 0, 0.5, -0.5], np.ones_like(y)),
            )
        )
        steps = ends[:, 0::2] - ends[:, 1::2]
        return np.moveaxis(steps, (0, 1), (-2, -1))

    def area(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Target pixels to a pixel of the origin there."""
        return np.abs(determinant(self.jacobian(x, y)))


def determinant(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Determinant of matrices (..., 2, 2), which may hold NaN."""
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


@dataclass(frozen=True)
class AffineMap(PixelMap):
    """``matrix (x, y) + offset``.

    Parameters
    ----------
    matrix : ndarray, (2, 2)
    offset : ndarray, (2,)
        Pixels of the target.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def identity(cls) -> AffineMap:
        """Every position to itself."""
        return cls(np.eye(2), np.zeros(2))

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        (xx, xy), (yx, yy) = self.matrix
        return xx * x + xy * y + self.offset[0], yx * x + yy * y + self.offset[1]

    def reverse(self) -> AffineMap:
        inverse = np.linalg.inv(self.matrix)
        return AffineMap(inverse, -inverse @ self.offset)


@dataclass(frozen=True)
class Displacement:
    """Polynomials of the position that say how far it is moved.

    Parameters
    ----------
    coefficients : ndarray, (2, n)
        Of both axes, pixels, in the order of `terms`.
    center : (float, float)
        Position x, y at which the terms beyond the constant vanish.
    scale : float
        Distance from it, pixels, at which they are 1.
    """

    coefficients: NDArray[np.float64]
    center: tuple[float, float]
    scale: float

    @property
    def order(self) -> int:
        """0 for a shift, 1 for an affine transform, 2 and 3 for polynomials."""
        return round((np.sqrt(8 * self.coefficients.shape[1] + 1) - 3) / 2)

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacement (2, ...) of positions x, y, pixels."""
        return np.tensordot(self.coefficients, terms(x, y, self.center, self.scale, self.order), axes=1)

    def invert(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The positions (2, ...) that are moved to x, y; NaN where the iteration finds none."""
        aim = np.array([x, y], np.float64)
        found = aim
        for _ in range(MAX_INVERSION_STEPS):
            last, found = found, aim - self(*found)
            if not (np.abs(found - last) > INVERSION_TOLERANCE).any():
                return found
        return np.where((np.abs(found - last) > INVERSION_TOLERANCE).any(axis=0), np.nan, found)


def terms(
    x: NDArray[np.float64], y: NDArray[np.float64], center: tuple[float, float], scale: float, order: int
) -> NDArray[np.float64]:
    """The products of powers of x and y (n, ...) up to the order, degree by degree, constant first."""
    u, v = (np.asarray(x) - center[0]) / scale, (np.asarray(y) - center[1]) / scale
    return np.array([u ** (degree - k) * v**k for degree in range(order + 1) for k in range(degree + 1)])


@dataclass(frozen=True)
class CorrectedMap(PixelMap):
    """A map whose origin positions are first moved to where the stars say they belong.

    Parameters
    ----------
    displacement : Displacement
        Of the origin positions.
    base : PixelMap
        What follows.
    """

    displacement: Displacement
    base: PixelMap

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        dx, dy = self.displacement(x, y)
        return self.base(x + dx, y + dy)

    def reverse(self) -> PixelMap:
        return _ReversedMap(self)


@dataclass(frozen=True)
class _ReversedMap(PixelMap):
    """A corrected map the other way."""

    forward: CorrectedMap

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = self.forward.displacement.invert(*self.forward.base.reverse()(x, y))
        return found[0], found[1]

    def reverse(self) -> PixelMap:
        return self.forward
