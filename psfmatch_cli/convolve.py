"""A masked image convolved with a spatially varying kernel: image, variance and mask.

With ``K(x, y) = sum_s p_s(x, y) k_s`` the image is ``sum_s p_s (T * k_s)``, exact at every pixel: one
convolution per spatial term. The variance is the convolution with ``K(x, y)^2``, whose dependence on position is
again polynomial; within a tile it is cut to the order that matters. All planes of a tile are made in one go, while
its pixels are in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each
from psfmatch_cli.dilation import spread, with_margin
from psfmatch_cli.errors import ImageTooSmallError
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.filling import FILLED_PLANES, Sky, bad_pixels, sky_of
from psfmatch_cli.kernel import MatchingKernel, SpatialModel, exponent_pairs
from psfmatch_cli.kernel_square import SquaredKernel
from psfmatch_cli.neighbours import Replacements, replacements
from psfmatch_cli.tiles import Tile, convolve_tile, spectra, tiles

#: Fraction of the kernel's weight on filled pixels, and their error in sigmas, above which they matter.
BAD_WEIGHT, BAD_ERROR = 0.01, 0.5
#: Largest pixel, in units of the median, whose rounding in float32 stays below a hundredth of that in its tile.
LARGEST_RANGE = 1e5


def convolve(
    masked_image: MaskedImage,
    kernel: MatchingKernel,
    *,
    autocorrelation: NDArray[np.float64] | None = None,
    without: Iterable[str] = (),
    threads: int = 1,
) -> MaskedImage:
    """The masked image convolved with the kernel.

    Bad pixels are filled from their neighbours before the convolution. SAT spreads over the kernel's square; so do
    all planes where the bad pixels under the kernel matter (`BAD_WEIGHT`, `BAD_ERROR`). Planes of pixels that are not
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
    without : iterable of str, optional
        Planes of the input to leave out.
    threads : int
        Tiles worked on at a time.

    Raises
    ------
    ImageTooSmallError
        If the image is smaller than the kernel in one direction.
    """
    height, width = masked_image.shape
    n, half = kernel.size, kernel.half_size
    if min(height, width) < n:
        raise ImageTooSmallError(f"the image, {width} x {height} pixels, is smaller than the kernel, {n} x {n}")
    work = _prepare(masked_image.with_planes(["NO_DATA"]), kernel, autocorrelation, without, threads)
    planes = (np.empty(masked_image.shape, dtype) for dtype in (np.float32, np.int32, np.float32))
    out = MaskedImage(*planes, work.pixels.planes, masked_image.xy0)
    each(lambda tile: _fill_tile(work, tile, out), tiles(masked_image.shape, n), threads)
    whole, inner = slice(0, width), slice(half, height - half)
    for rows in (slice(0, half), slice(height - half, height)):
        _fill_border(work, rows, whole, out)
    for columns in (slice(0, half), slice(width - half, width)):
        _fill_border(work, inner, columns, out)
    return out


@dataclass(frozen=True)
class _Work:
    """What every tile reads.

    Parameters
    ----------
    pixels : MaskedImage
        The input.
    kernel : MatchingKernel
        With Chebyshev terms.
    square : SquaredKernel
    left_out : int32
        Bits of planes to leave out.
    bad : ndarray, (H, W), bool
        Pixels to fill.
    fill : Replacements
        What to fill them with, if not with the sky.
    sky : Sky
    term_spectra, largest_spectra : ndarray
        Transforms of the kernel's terms, and of its largest absolute values.
    smallest_weight : float
        Smallest sum of absolute values of the kernel over the image.
    """

    pixels: MaskedImage
    kernel: MatchingKernel
    square: SquaredKernel
    left_out: np.int32
    bad: NDArray[np.bool_]
    fill: Replacements
    sky: Sky
    term_spectra: NDArray[np.complex64]
    largest_spectra: NDArray[np.complex64]
    smallest_weight: float

    def mask(self, rows: slice, columns: slice) -> NDArray[np.int32]:
        """Mask of a part, NO_DATA where the image has no number."""
        mask = self.pixels.mask[rows, columns] & ~self.left_out
        mask[~np.isfinite(self.pixels.image[rows, columns])] |= self.no_data
        return mask

    @cached_property
    def no_data(self) -> np.int32:
        return np.int32(self.pixels.bits(["NO_DATA"]))

    @cached_property
    def saturated(self) -> np.int32:
        return np.int32(self.pixels.bits(["SAT"]))

    @cached_property
    def filled(self) -> np.int32:
        return np.int32(self.pixels.bits(FILLED_PLANES))

    def positions(self, tile: Tile) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Parent positions x of the columns and y of the rows of a tile."""
        x0, y0 = self.pixels.xy0
        return np.arange(tile.columns.start, tile.columns.stop) + x0, np.arange(tile.rows.start, tile.rows.stop) + y0


def _prepare(
    pixels: MaskedImage,
    kernel: MatchingKernel,
    autocorrelation: NDArray[np.float64] | None,
    without: Iterable[str],
    threads: int,
) -> _Work:
    """Find the bad pixels and their values, and transform the kernel."""
    bad = bad_pixels(pixels, threads)
    kernel = in_chebyshev(kernel)
    box = kernel.spatial.region
    xs, ys = np.linspace(box.x_min, box.x_max, 3), np.linspace(box.y_min, box.y_max, 3)
    sizes = np.abs([kernel.image(x, y) for x in xs for y in ys])
    transform = next(iter(tiles(pixels.shape, kernel.size))).transform
    return _Work(
        pixels=pixels,
        kernel=kernel,
        square=SquaredKernel.of(kernel, autocorrelation),
        left_out=np.int32(pixels.bits(without)),
        bad=bad,
        fill=replacements(pixels.image, pixels.variance, bad, ~bad, threads),
        sky=sky_of(pixels, bad),
        term_spectra=spectra(kernel.term_images, transform, np.float32),
        largest_spectra=spectra(sizes.max(axis=0)[None], transform, np.float32),
        smallest_weight=float(sizes.sum(axis=(1, 2)).min()),
    )


def in_chebyshev(kernel: MatchingKernel) -> MatchingKernel:
    """The same kernel with Chebyshev terms, which do not cancel each other in single precision as powers do."""
    old = kernel.spatial
    if old.kind == "chebyshev1":
        return kernel
    new = SpatialModel("chebyshev1", old.order, old.region)
    box, nodes = old.region, np.linspace(0, 1, old.order + 1)
    x, y = np.meshgrid(box.x_min + nodes * box.width, box.y_min + nodes * box.height)
    change = np.linalg.lstsq(new.terms(x.ravel(), y.ravel()).T, old.terms(x.ravel(), y.ravel()).T, rcond=None)[0]
    return MatchingKernel(kernel.basis, kernel.coefficients @ change.T, new)


def _fill_border(work: _Work, rows: slice, columns: slice, out: MaskedImage) -> None:
    """Make the pixels of some rows and columns on which the kernel does not fit."""
    half = work.kernel.half_size
    (y, missing_y), (x, missing_x) = (
        with_margin(part, n, half) for part, n in zip((rows, columns), work.pixels.shape, strict=True)
    )
    out.image[rows, columns], out.variance[rows, columns] = np.nan, np.inf
    mask = np.pad(work.mask(y, x), (missing_y, missing_x))
    out.mask[rows, columns] = spread(mask, work.kernel.size) | work.no_data


def _fill_tile(work: _Work, tile: Tile, out: MaskedImage) -> None:
    """Make the pixels of a tile."""
    at, mask = (tile.rows, tile.columns), work.mask(*tile.source)
    if (mask & work.no_data).all():
        out.image[at], out.variance[at], out.mask[at] = np.nan, np.inf, spread(mask, work.kernel.size)
        return
    image, variance = _filled(work, tile)
    spoilt = work.bad[tile.source]
    convolved_variance = _variance(work, tile, variance)
    out.mask[at] = _mask(work, tile, mask, _spoilt(work, tile, spoilt, image, convolved_variance))
    out.image[at], out.variance[at] = _image(work, tile, image), convolved_variance
    empty = (out.mask[at] & work.no_data) != 0
    if empty.any():
        out.image[at][empty], out.variance[at][empty] = np.nan, np.inf


def _filled(work: _Work, tile: Tile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Input of a tile without bad pixels: image above the level of the sky, and variance."""
    image, variance = work.pixels.image[tile.source].copy(), work.pixels.variance[tile.source].copy()
    bad = work.bad[tile.source]
    if bad.any():
        image[bad], variance[bad] = work.sky.level, work.sky.variance
        work.fill.put(*tile.source, image, variance)
    # Fourier rounding scales with the largest value: convolve the deviations from the sky level.
    image -= work.sky.level
    return image, variance


def _image(work: _Work, tile: Tile, pixels: NDArray[np.float32]) -> NDArray:
    """Convolved image of a tile."""
    kernel, (xs, ys) = work.kernel, work.positions(tile)
    powers = kernel.spatial.powers(xs, "x"), kernel.spatial.powers(ys, "y")
    precise = np.abs(pixels).max() > LARGEST_RANGE * work.sky.deviation
    kernels = work.term_spectra
    if precise:
        pixels, kernels = pixels.astype(np.float64), spectra(kernel.term_images, tile.transform, np.float64)
    made = convolve_tile(pixels, kernels, *powers, tile)
    made += work.sky.level * _sums(kernel, *powers)
    return made


def _sums(kernel: MatchingKernel, powers_x: NDArray, powers_y: NDArray) -> NDArray[np.float32]:
    """Kernel sum at all pixels of a tile."""
    sums = np.zeros((len(powers_y), len(powers_x)))
    for (a, b), image in zip(exponent_pairs(kernel.spatial.order), kernel.term_images, strict=True):
        sums[b, a] = image.sum()
    return (powers_y.T @ sums @ powers_x).astype(np.float32)


def _variance(work: _Work, tile: Tile, pixels: NDArray[np.float32]) -> NDArray:
    """Convolved variance of a tile."""
    images, order = work.square.within(*work.positions(tile))
    exponents = np.arange(order + 1)[:, None]
    powers_y, powers_x = (np.linspace(-1, 1, n) ** exponents for n in tile.shape)
    precise = pixels.max() > LARGEST_RANGE * work.sky.variance
    pixels = pixels.astype(np.float64) if precise else pixels
    made = convolve_tile(pixels, spectra(images, tile.transform, pixels.dtype), powers_x, powers_y, tile)
    # Rounding must not make a variance zero or negative where a bright neighbour dominates a tile.
    return np.maximum(made, np.finfo(np.float32).tiny, out=made)


def _spoilt(
    work: _Work, tile: Tile, bad: NDArray[np.bool_], image: NDArray[np.float32], variance: NDArray
) -> NDArray[np.bool_] | None:
    """Pixels of a tile that filled pixels may have spoiled; None if there are none to do so.

    That is where more than 1 % of the kernel's absolute weight fell on them, or where their uncertainty (a third of
    their height above the sky), so weighted, exceeds half the noise.
    """
    if not bad.any():
        return None
    once = np.ones((1, 1))
    weight = convolve_tile(bad.astype(np.float32), work.largest_spectra, once, once, tile)
    uncertainty = np.where(bad, np.abs(image) / np.float32(3), np.float32(0))
    error = convolve_tile(uncertainty, work.largest_spectra, once, once, tile)
    return (weight > BAD_WEIGHT * work.smallest_weight) | (error > BAD_ERROR * np.sqrt(variance))


def _mask(work: _Work, tile: Tile, mask: NDArray[np.int32], spoilt: NDArray[np.bool_] | None) -> NDArray[np.int32]:
    """Mask of a tile, from that of its input."""
    half, (height, width) = tile.half, tile.shape
    stay = mask[half : half + height, half : half + width] & ~work.filled
    if spoilt is None:
        saturated = mask & work.saturated
        return stay | spread(saturated, work.kernel.size) if saturated.any() else stay
    grown = spread(mask, work.kernel.size)
    return np.where(spoilt, grown, (grown & work.saturated) | stay)
