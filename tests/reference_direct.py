"""Slow, plain forms of what the package does fast: one pixel, one candidate at a time, as the formulas say."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import chebval

from psfmatch_cli.exposure import Box, MaskedImage
from psfmatch_cli.kernel import MatchingKernel, SpatialModel
from psfmatch_cli.solve import NormalEquations
from psfmatch_cli.spatial import SpatialLayout


def spatial_terms(kind: str, order: int, region: Box, x: float, y: float) -> np.ndarray:
    """Terms at one position: degree by degree, within a degree the x power falls."""
    terms = []
    for degree in range(order + 1):
        for b in range(degree + 1):
            a = degree - b
            if kind == "polynomial":
                terms.append(float(x) ** a * float(y) ** b)
            else:
                u = (x - (region.x_min + region.x_max) / 2) * 2 / (region.x_max - region.x_min + 1)
                v = (y - (region.y_min + region.y_max) / 2) * 2 / (region.y_max - region.y_min + 1)
                terms.append(chebval(u, [0] * a + [1]) * chebval(v, [0] * b + [1]))
    return np.array(terms)


def kernel_at(kernel: MatchingKernel, x: float, y: float) -> np.ndarray:
    """Kernel image at one position, coefficient by coefficient."""
    model = kernel.spatial
    terms = spatial_terms(model.kind, model.order, model.region, x, y)
    out = np.zeros(kernel.basis.shape[1:])
    for image, coefficients in zip(kernel.basis, kernel.coefficients, strict=True):
        out += image * sum(c * t for c, t in zip(coefficients, terms, strict=True))
    return out


def convolve_point(image: np.ndarray, kernel: np.ndarray, x: int, y: int) -> float:
    """``sum_uv K(u, v) T(x - u, y - v)`` at one pixel, array indices."""
    half = kernel.shape[0] // 2
    total = 0.0
    for v in range(-half, half + 1):
        for u in range(-half, half + 1):
            total += kernel[v + half, u + half] * float(image[y - v, x - u])
    return total


def convolve(pixels: MaskedImage, kernel: MatchingKernel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, variance, and all mask bits under the kernel, with the kernel evaluated anew at every pixel.

    NaN, infinity and 0 on the border, where the kernel does not fit.
    """
    height, width = pixels.shape
    half = kernel.half_size
    image, variance, mask = np.full(pixels.shape, np.nan), np.full(pixels.shape, np.inf), np.zeros(pixels.shape, int)
    for y in range(half, height - half):
        for x in range(half, width - half):
            at = slice(y - half, y + half + 1), slice(x - half, x + half + 1)
            here = kernel_at(kernel, x + pixels.xy0[0], y + pixels.xy0[1])[::-1, ::-1]
            image[y, x] = (here * pixels.image[at].astype(float)).sum()
            variance[y, x] = (here**2 * pixels.variance[at].astype(float)).sum()
            mask[y, x] = np.bitwise_or.reduce(pixels.mask[at], axis=None)
    return image, variance, mask


def design(stamp: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Design matrix of a stamp, (n_basis, fitted pixels), one pixel at a time."""
    half = basis.shape[1] // 2
    height, width = stamp.shape
    return np.array(
        [
            [convolve_point(stamp, image, x, y) for y in range(half, height - half) for x in range(half, width - half)]
            for image in basis
        ]
    )


def normal_equations(
    rows: np.ndarray, data: np.ndarray, weight: np.ndarray, fit_background: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and vector of one candidate, summed over its pixels."""
    n = len(rows) + fit_background
    matrix, vector = np.zeros((n, n)), np.zeros(n)
    for p in range(rows.shape[1]):
        column = np.append(rows[:, p], 1.0) if fit_background else rows[:, p]
        matrix += weight[p] * np.outer(column, column)
        vector += weight[p] * column * data[p]
    return matrix, vector


def lifting_matrix(layout: SpatialLayout, x: float, y: float) -> np.ndarray:
    """L of ``local parameters = L @ global parameters`` at one position."""
    kernel, background = layout.kernel, layout.background
    p = spatial_terms(kernel.kind, kernel.order, kernel.region, x, y)
    rows = []
    for i in range(layout.n_basis):
        terms = np.ones(1) if i == 0 and layout.constant_first else p
        rows.append((i, terms))
    if background is not None:
        r = spatial_terms(background.kind, background.order, background.region, x, y)
        rows.append((layout.n_basis, r))
    out = np.zeros((len(rows), sum(len(terms) for _, terms in rows)))
    start = 0
    for i, terms in rows:
        out[i, start : start + len(terms)] = terms
        start += len(terms)
    return out


def assemble(
    equations: NormalEquations, x: np.ndarray, y: np.ndarray, layout: SpatialLayout
) -> tuple[np.ndarray, np.ndarray]:
    """``A = sum L^T M L`` and ``w = sum L^T v``."""
    matrix, vector = 0.0, 0.0
    for one, data, xc, yc in zip(equations.matrix, equations.vector, x, y, strict=True):
        lifting = lifting_matrix(layout, xc, yc)
        matrix = matrix + lifting.T @ one @ lifting
        vector = vector + lifting.T @ data
    return matrix, vector


def polynomial_field(model: SpatialModel, coefficients: np.ndarray, box: Box) -> np.ndarray:
    """Values of a spatial polynomial at all pixel centres of a box, one at a time."""
    out = np.empty((box.height, box.width))
    for y in range(box.height):
        for x in range(box.width):
            terms = spatial_terms(model.kind, model.order, model.region, x + box.x_min, y + box.y_min)
            out[y, x] = terms @ coefficients
    return out


def central_difference(size: int, stencil: int, penalty: float) -> np.ndarray:
    """Rows of the Laplacian of a kernel image, pixel by pixel; the penalty on its ring."""
    rows = {5: [[0, 1, 0], [1, -4, 1], [0, 1, 0]], 9: np.array([[1, 4, 1], [4, -20, 4], [1, 4, 1]]) / 6}[stencil]
    out = np.zeros((size**2, size**2))
    for y in range(size):
        for x in range(size):
            row = out[x + size * y].reshape(size, size)
            if x in (0, size - 1) or y in (0, size - 1):
                row[y, x] = penalty
            else:
                row[y - 1 : y + 2, x - 1 : x + 2] = rows
    return out


def forward_difference(size: int, orders: tuple[int, ...], penalty: float) -> np.ndarray:
    """Rows of the summed forward differences of a kernel image, pixel by pixel."""
    weights = [[penalty], [-1, 1], [-1, 2, -1], [-1, 3, -3, 1]]
    out = np.zeros((size**2, size**2))
    for order in orders:
        for y in range(size):
            for x in range(size):
                row = out[x + size * y].reshape(size, size)
                for j, weight in enumerate(weights[min(size - 1 - x, order)]):
                    row[y, x + j] += weight
                for j, weight in enumerate(weights[min(size - 1 - y, order)]):
                    row[y + j, x] += weight
    return out


def risk(
    design: np.ndarray, matrix: np.ndarray, vector: np.ndarray, penalty: np.ndarray, strength: float, limit: float
) -> float:
    """Risk of a regularised solution from the singular vectors of the design, (pixels, parameters), as in words."""
    _, singular, rows = np.linalg.svd(design)
    rank = np.count_nonzero(singular > 1e-12 * singular[0])
    projection = rows[:rank].T @ rows[:rank]
    values, vectors = np.linalg.eigh(matrix)
    inverse = np.zeros_like(matrix)
    for value, axis in zip(values, vectors.T, strict=True):
        if value > 1e-12 * values[-1] and values[-1] / value <= limit:
            inverse += np.outer(axis, axis) / value
    regularised = np.linalg.inv(matrix + strength * penalty)
    solution = regularised @ vector
    return float(
        solution @ projection @ solution + 2 * (np.trace(projection @ regularised) - solution @ inverse @ vector)
    )


def kernel_of_components(kernels: np.ndarray, subtract_mean: bool, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and basis images from the covariance of the kernels' pixels, and upstream's renormalisation."""
    n_kernels, side = kernels.shape[:2]
    mean = kernels.mean(axis=0)
    rows = (kernels - mean * subtract_mean).reshape(n_kernels, -1)
    values, vectors = np.linalg.eigh(rows.T @ rows / n_kernels)
    raw = [mean] if subtract_mean else []
    for vector in vectors.T[::-1]:
        image = vector.reshape(side, side)
        raw.append(image / image.flat[np.abs(image).argmax()])
    out = [raw[0] / raw[0].sum()]
    for image in raw[1:count]:
        total = image.sum()
        image = image / total - out[0] if abs(total) > np.finfo(np.float32).eps else image
        out.append(image / np.sqrt((image**2).sum()))
    return values[::-1], np.array(out)


def core_significance(stamp: MaskedImage, usable: np.ndarray, radius: int) -> float:
    """Mean of (image - median of the stamp) / noise over the usable pixels of the core; NaN without any."""
    cy, cx = stamp.shape[0] // 2, stamp.shape[1] // 2
    level = np.median(stamp.image[np.isfinite(stamp.image)])
    ratios = []
    for y in range(max(cy - radius, 0), min(cy + radius + 1, stamp.shape[0])):
        for x in range(max(cx - radius, 0), min(cx + radius + 1, stamp.shape[1])):
            value, variance = float(stamp.image[y, x]), float(stamp.variance[y, x])
            if usable[y, x] and np.isfinite(value) and 0 < variance < np.inf:
                ratios.append((value - level) / np.sqrt(variance))
    return float(np.mean(ratios)) if ratios else float("nan")
