"""A masked image convolved with a spatially varying kernel: image, variance and mask.

With ``K(x, y) = sum_s p_s(x, y) k_s`` the image is ``sum_s p_s (T * k_s)``, exact at every pixel: one
convolution per spatial term, by overlap-save in small Fourier tiles. The variance is the convolution with
``K(x, y)^2``, whose dependence on position is again polynomial (of twice the order); its images are
reduced to the few singular vectors that matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import ImageTooSmallError
from psfmatch_cli.exposure import Box, MaskedImage
from psfmatch_cli.kernel import MatchingKernel, SpatialModel

#: Planes whose pixels are filled: they hold nothing that could be convolved. Saturated ones at least hold much.
FILLED_PLANES = ("NO_DATA", "BAD", "CR")
#: Fraction of the kernel's weight on filled pixels, and their error in sigmas, above which they matter.
BAD_WEIGHT, BAD_ERROR = 0.01, 0.5
#: Largest pixel, in units of the median, whose rounding in float32 stays below a hundredth of that in its tile.
LARGEST_RANGE = 1e5
#: Side of a Fourier tile. Measured on 4096 x 4096: 256 is the fastest of 128, 256, 512 and 1024.
_TILE = 256
#: Largest sum of absolute errors of the squared kernel, relative to its sum: 0.1 % in sigma.
_SQUARE_TOLERANCE = 2e-3


def convolve(
    masked_image: MaskedImage,
    kernel: MatchingKernel,
    *,
    autocorrelation: NDArray[np.float64] | None = None,
    threads: int = 1,
) -> MaskedImage:
    """The masked image convolved with the kernel.

    Bad pixels are filled from their neighbours before the convolution. SAT spreads over the kernel's square; so do
    all planes where the bad pixels under the kernel matter (see `bad_pixels_matter`). Planes of pixels that are not
    bad stay where they are. The outer half kernel becomes NO_DATA; pixels with NO_DATA are NaN with infinite variance.

    Parameters
    ----------
    masked_image : MaskedImage
        Input; unchanged.
    kernel : MatchingKernel
        Evaluated at parent positions.
    autocorrelation : ndarray, (2 m + 1, 2 m + 1), optional
        Autocorrelation of the input's noise, 1 at the centre: resampled or drizzled images have
        correlated noise, and their convolved variance is larger (or smaller) by a known factor.
        Default: white noise.
    threads : int
        Threads of the Fourier transforms.

    Raises
    ------
    ImageTooSmallError
        If the image is smaller than the kernel in one direction.
    """
    height, width = masked_image.shape
    n, half = kernel.size, kernel.half_size
    if min(height, width) < n:
        raise ImageTooSmallError(f"the image, {width} x {height} pixels, is smaller than the kernel, {n} x {n}")
    masked_image = masked_image.with_planes(["NO_DATA"])
    box = masked_image.box
    bad = masked_image.unusable(FILLED_PLANES) | ~np.isfinite(masked_image.image) | ~np.isfinite(masked_image.variance)
    filled = fill_bad(masked_image, bad)
    # Fourier rounding scales with the largest value: convolve the deviations from the sky level.
    terms = _Terms(kernel.term_images, kernel.spatial, np.eye(kernel.spatial.size))
    image = _sum_of_terms(filled.image - filled.level, terms, box, threads)
    image += filled.level * _plane(kernel.spatial, kernel.term_images.sum(axis=(1, 2)), box)
    variance = _sum_of_terms(filled.variance, _Terms(*square_terms(kernel, autocorrelation)), box, threads)
    # Rounding must not make a variance zero or negative where a bright neighbour dominates a tile.
    np.maximum(variance, np.finfo(np.float32).tiny, out=variance)
    no_data = masked_image.bits(["NO_DATA"])
    spread = dilate_mask(
        np.where(np.isfinite(masked_image.image), masked_image.mask, masked_image.mask | no_data), half
    )
    matter = bad_pixels_matter(filled, bad, variance, kernel, threads)
    stay = masked_image.mask & ~np.int32(masked_image.bits(FILLED_PLANES))
    mask = np.where(matter, spread, (spread & np.int32(masked_image.bits(["SAT"]))) | stay)
    border = np.ones(mask.shape, bool)
    border[half : height - half, half : width - half] = False
    mask[border] = spread[border] | no_data
    empty = (mask & no_data) != 0
    image[empty] = np.nan
    variance[empty] = np.inf
    return replace(masked_image, image=image, mask=mask, variance=variance)


@dataclass(frozen=True)
class FilledImage:
    """An image whose bad pixels hold the weighted mean of their neighbours.

    Parameters
    ----------
    image, variance : ndarray, (H, W), float32
    level : float32
        Sky level: median of the good pixels.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    level: np.float32


def fill_bad(masked_image: MaskedImage, bad: NDArray[np.bool_]) -> FilledImage:
    """Bad pixels replaced by the Gaussian-weighted mean of the good ones within three pixels, else the sky level."""
    good = ~bad
    sample = masked_image.image[good]
    if sample.size == 0:
        return FilledImage(np.zeros_like(masked_image.image), np.ones_like(masked_image.variance), np.float32(0))
    level, typical = np.float32(np.median(sample[::7])), np.float32(np.median(masked_image.variance[good][::7]))
    image, variance = masked_image.image.copy(), masked_image.variance.copy()
    image[bad] = variance[bad] = 0
    rows, columns = np.nonzero(bad)
    total, weights, variances = (np.zeros(len(rows)) for _ in range(3))
    height, width = bad.shape
    for dy, dx in np.ndindex(7, 7):
        y, x = rows + dy - 3, columns + dx - 3
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        weight = np.where(inside & good[y, x], np.exp(-0.5 * ((dy - 3) ** 2 + (dx - 3) ** 2)), 0.0)
        weights += weight
        total += weight * image[y, x]
        variances += weight * variance[y, x]
    with np.errstate(invalid="ignore"):
        image[bad] = np.where(weights > 0, total / weights, level)
        variance[bad] = np.where(weights > 0, variances / weights, typical)
    return FilledImage(image, variance, level)


def bad_pixels_matter(
    filled: FilledImage, bad: NDArray[np.bool_], variance: NDArray[np.float32], kernel: MatchingKernel, threads: int
) -> NDArray[np.bool_]:
    """Pixels of the convolved image that filled pixels may have spoiled, (H, W).

    That is where more than 1 % of the kernel's absolute weight fell on them, or where their uncertainty (a third of
    their height above the sky), so weighted, exceeds half the noise.
    """
    if not bad.any():
        return np.zeros(bad.shape, bool)
    box = kernel.spatial.region
    xs, ys = np.linspace(box.x_min, box.x_max, 3), np.linspace(box.y_min, box.y_max, 3)
    images = np.abs([kernel.image(x, y) for x in xs for y in ys])
    largest = _Terms(images.max(axis=0)[None], SpatialModel("chebyshev1", 0, box), np.eye(1))
    weight = _sum_of_terms(bad.astype(np.float32), largest, box, threads)
    uncertainty = np.where(bad, np.abs(filled.image - filled.level) / 3, 0)
    error = _sum_of_terms(uncertainty, largest, box, threads)
    return (weight > BAD_WEIGHT * images.sum(axis=(1, 2)).min()) | (error > BAD_ERROR * np.sqrt(variance))


def square_terms(
    kernel: MatchingKernel, autocorrelation: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], SpatialModel, NDArray[np.float64]]:
    """Images and spatial weights that give the squared kernel at any position.

    Returns
    -------
    images : ndarray, (r, n, n)
    model : SpatialModel
        Terms p_s, of twice the kernel's order.
    weights : ndarray, (r, n_terms)
        ``K(x, y)^2 = sum_r (sum_s weights[r, s] p_s(x, y)) images[r]``.
    """
    region = kernel.spatial.region
    model = SpatialModel("chebyshev1", 2 * kernel.spatial.order, region)
    nodes = np.linspace(0, 1, 2 * kernel.spatial.order + 3)
    gx, gy = np.meshgrid(region.x_min + nodes * (region.width - 1), region.y_min + nodes * (region.height - 1))
    gx, gy = gx.ravel(), gy.ravel()
    at_nodes = np.tensordot(kernel.spatial.terms(gx, gy).T, kernel.term_images, axes=1)
    squares = (at_nodes**2).reshape(len(gx), -1)
    if autocorrelation is not None:
        squares *= np.array([correlated_variance_factor(k, autocorrelation) for k in at_nodes])[:, None]
    terms = model.terms(gx, gy).T
    spatial_images = np.linalg.lstsq(terms, squares, rcond=None)[0]
    u, s, vt = np.linalg.svd(spatial_images, full_matrices=False)
    scale = squares.sum(axis=1).min()
    for rank in range(1, len(s) + 1):
        kept = (u[:, :rank] * s[:rank]) @ vt[:rank]
        if np.abs(terms @ (kept - spatial_images)).sum(axis=1).max() <= _SQUARE_TOLERANCE * scale:
            break
    return vt[:rank].reshape(rank, kernel.size, kernel.size), model, (u[:, :rank] * s[:rank]).T


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


def dilate_mask(mask: NDArray[np.int32], radius: int) -> NDArray[np.int32]:
    """Every bit spread over a square of side 2 radius + 1, all planes at once."""
    out = mask.copy()
    for axis in (0, 1):
        out = _dilate_axis(np.moveaxis(out, axis, 0), radius)
        out = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(out)


def _dilate_axis(mask: NDArray[np.int32], radius: int) -> NDArray[np.int32]:
    """OR over -radius..radius along the first axis, by doubling the reach."""
    padded = np.zeros((mask.shape[0] + 2 * radius, *mask.shape[1:]), np.int32)
    padded[radius : radius + mask.shape[0]] = mask
    covered, wanted = 1, 2 * radius + 1
    while covered < wanted:
        step = min(covered, wanted - covered)
        padded[: len(padded) - step] |= padded[step:].copy()
        covered += step
    return padded[: mask.shape[0]]


def _plane(model: SpatialModel, coefficients: NDArray, box: Box) -> NDArray[np.float32]:
    fx, fy = model.separable_terms(np.arange(box.x_min, box.x_max + 1), np.arange(box.y_min, box.y_max + 1))
    return np.einsum("s,sy,sx->yx", coefficients, fy, fx, optimize=True).astype(np.float32)


@dataclass(frozen=True)
class _Terms:
    """``sum_r w_r(x, y) kernels[r]`` with ``w_r = sum_s weights[r, s] p_s`` and the terms p_s of `model`."""

    kernels: NDArray[np.float64]
    model: SpatialModel
    weights: NDArray[np.float64]


def _sum_of_terms(image: NDArray, terms: _Terms, box: Box, threads: int) -> NDArray[np.float32]:
    """The image convolved with a spatially varying kernel; zeros beyond the image.

    Each row of tiles is transformed once and multiplied with every kernel.
    """
    from scipy import fft

    height, width = image.shape
    n = terms.kernels.shape[1]
    half = n // 2
    tile = fft.next_fast_len(min(_TILE, max(height, width) + n - 1), real=True)
    step = tile - n + 1
    n_y, n_x = -(-height // step), -(-width // step)
    precision = _precision(image)
    padded = np.zeros((n_y * step + n - 1, n_x * step + n - 1), precision)
    padded[half : half + height, half : half + width] = image
    spectra = fft.rfft2(terms.kernels.astype(precision), (tile, tile), workers=threads)
    xs, ys = np.arange(n_x * step) + box.x_min, np.arange(n_y * step) + box.y_min
    fx, fy = (f.astype(np.float32) for f in terms.model.separable_terms(xs, ys))
    weights = terms.weights.astype(np.float32)
    out = np.empty((n_y * step, n_x * step), np.float32)
    valid = np.s_[:, n - 1 : n - 1 + step, n - 1 : n - 1 + step]
    for row in range(n_y):
        band = padded[row * step : row * step + tile]
        tiles = np.lib.stride_tricks.sliding_window_view(band, tile, axis=1)[:, ::step].transpose(1, 0, 2)
        transformed = fft.rfft2(np.ascontiguousarray(tiles), workers=threads)
        band_ys = slice(row * step, (row + 1) * step)
        total = out[band_ys]
        for r, spectrum in enumerate(spectra):
            one = fft.irfft2(transformed * spectrum, (tile, tile), workers=threads)[valid]
            one = one.transpose(1, 0, 2).reshape(step, -1)
            weight = (weights[r, :, None] * fy[:, band_ys]).T @ fx
            if r == 0:
                np.multiply(one, weight, out=total)
            else:
                one *= weight
                total += one
    return np.ascontiguousarray(out[:height, :width])


def _precision(image: NDArray) -> type:
    """float32, or float64 where a pixel is so much larger than the others that its rounding would drown them."""
    sample = np.abs(image[::7, ::7])
    typical = np.median(sample[sample > 0]) if (sample > 0).any() else 0.0
    return np.float64 if max(image.max(), -image.min()) > LARGEST_RANGE * typical else np.float32
