"""Sum, centroid and widths of kernel images, and how they change over the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import MatchingKernel
from psfmatch_cli.psf import FWHM_PER_SIGMA


@dataclass(frozen=True)
class KernelShape:
    """Moments of a kernel image; those of a convolved image are the sums of its own and of the kernel's.

    Parameters
    ----------
    sum : float
        Flux ratio.
    x, y : float
        Centroid, pixels from the centre of the image: the shift of what is convolved. NaN for a sum of 0.
    xx, yy, xy : float
        Second central moments, pixels squared; a kernel with negative wings, a sharpening one above all, may have
        negative ones.
    """

    sum: float
    x: float
    y: float
    xx: float
    yy: float
    xy: float

    @property
    def fwhm(self) -> float:
        """FWHM, pixels, of the Gaussian of the same area of moments; NaN where they are not those of a Gaussian."""
        determinant = self.xx * self.yy - self.xy**2
        if not (determinant > 0 and self.xx > 0):
            return float("nan")
        return float(FWHM_PER_SIGMA * determinant**0.25)

    @property
    def shift(self) -> float:
        """Distance of the centroid from the centre, pixels."""
        return float(np.hypot(self.x, self.y))


def kernel_shape(image: NDArray[np.float64]) -> KernelShape:
    """Sum and moments of a kernel image, (size, size) with an odd side."""
    half = image.shape[0] // 2
    offsets = np.arange(-half, half + 1)
    total = float(image.sum())
    if total == 0:
        return KernelShape(total, *(float("nan"),) * 5)
    along_x, along_y = image.sum(axis=0) / total, image.sum(axis=1) / total
    x, y = float(along_x @ offsets), float(along_y @ offsets)
    dx, dy = offsets - x, offsets - y
    return KernelShape(total, x, y, float(along_x @ dx**2), float(along_y @ dy**2), float(dy @ (image / total) @ dx))


@dataclass(frozen=True)
class KernelGrid:
    """Kernels at the middles of equal cells of a region.

    Parameters
    ----------
    x, y : ndarray, (n_x,), (n_y,)
        Parent positions of the columns and rows.
    images : ndarray, (n_y, n_x, size, size)
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    images: NDArray[np.float64]

    @property
    def shapes(self) -> list[KernelShape]:
        """Shapes from the lower left on, along x first."""
        return [kernel_shape(image) for row in self.images for image in row]

    def mosaic(self) -> NDArray[np.float64]:
        """All images side by side as they lie on the field, (n_y * size, n_x * size)."""
        n_y, n_x, size, _ = self.images.shape
        return self.images.transpose(0, 2, 1, 3).reshape(n_y * size, n_x * size)


def kernel_grid(kernel: MatchingKernel, n_x: int, n_y: int, region: Box | None = None) -> KernelGrid:
    """Kernels on a grid over a region, by default the one that the kernel was fitted in.

    Raises
    ------
    UsageError
        If the grid has no cell.
    """
    if n_x < 1 or n_y < 1:
        raise UsageError(f"a grid of kernels has at least 1 x 1 cells, got {n_x} x {n_y}")
    box = region or kernel.spatial.region
    x = box.x_min - 0.5 + (np.arange(n_x) + 0.5) * box.width / n_x
    y = box.y_min - 0.5 + (np.arange(n_y) + 0.5) * box.height / n_y
    terms = kernel.spatial.terms(x[None, :], y[:, None])
    return KernelGrid(x, y, np.tensordot(terms, kernel.term_images, axes=(0, 0)))
