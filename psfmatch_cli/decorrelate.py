"""A difference with white noise: its image, its variance, its PSF."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.dilation import dilate
from psfmatch_cli.exposure import DETECTED_PLANES, MaskedImage
from psfmatch_cli.filling import FILLED_PLANES, bad_pixels, fill_bad
from psfmatch_cli.kernel import MatchingKernel
from psfmatch_cli.node_kernels import NodeGrid, convolve_between_nodes
from psfmatch_cli.whitening import NoiseTerms, Whitening, score_filters, whitening

#: Planes of pixels that do not tell the noise of the sky.
NOT_SKY = ("NO_DATA", "SAT", "BAD", "CR", "EDGE", *DETECTED_PLANES)
#: Part of the filter's squared weight on filled pixels above which a pixel's noise is not what its variance says.
BAD_WEIGHT = 0.02
#: The noise of the sky is that of every so manieth pixel along either axis.
SAMPLE = 4

Make = Callable[..., Whitening]


@dataclass(frozen=True)
class NoiseSources:
    """The two images of a difference before any convolution.

    Parameters
    ----------
    target, convolved : MaskedImage
        What was matched to, and what was convolved with the kernel.
    kernel : MatchingKernel
    target_correlation, convolved_correlation : ndarray, (2 m + 1, 2 m + 1), or None
        Autocorrelation of their noise, 1 at the centre; None for white noise.
    psf : MatchingKernel or None
        What the target was convolved with before it was matched to, at parent positions; None if it was not.
    """

    target: MaskedImage
    convolved: MaskedImage
    kernel: MatchingKernel
    target_correlation: NDArray[np.float64] | None = None
    convolved_correlation: NDArray[np.float64] | None = None
    psf: MatchingKernel | None = None


@dataclass(frozen=True)
class Filtered:
    """A difference after the filter.

    Parameters
    ----------
    image : MaskedImage
    grid : NodeGrid
        Where the filters are known.
    filters : ndarray, (ny, nx, m, m), float64
    """

    image: MaskedImage
    grid: NodeGrid
    filters: NDArray[np.float64]

    def filter_at(self, x: float, y: float) -> NDArray[np.float64]:
        """The filter at a parent position, (m, m): interpolated as in the convolution."""
        x0, y0 = self.image.xy0
        rows, columns = self.filters.shape[:2]
        u, v = np.clip((x - x0) / self.grid.step, 0, columns - 1), np.clip((y - y0) / self.grid.step, 0, rows - 1)
        i, j = min(int(u), columns - 2), min(int(v), rows - 2)
        (a, b), (c, d) = self.filters[j : j + 2, i : i + 2]
        u, v = u - i, v - j
        return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)


def decorrelate(difference: MaskedImage, sources: NoiseSources, *, scale: float = 1.0, threads: int = 1) -> Filtered:
    """The difference filtered so that its noise is white and the flux of every source is what it was.

    Parameters
    ----------
    difference : MaskedImage
        ``target - (convolved * kernel + background)``, times a factor.
    sources : NoiseSources
    scale : float
        That factor, squared, and whatever else the variance is to be multiplied by.
    threads : int

    Returns
    -------
    Filtered
        Its variance is that of the filtered noise of both images, with the light of their sources. Pixels on which
        bad ones have a part have the planes of these; NO_DATA pixels are NaN with infinite variance, as before.
    """
    return _filtered(difference, sources, whitening, scale, threads)


def score(difference: MaskedImage, sources: NoiseSources, *, scale: float = 1.0, threads: int = 1) -> Filtered:
    """The flux of a point source at every pixel, from a difference whose target was convolved with its PSF.

    Image over root variance is the significance of a detection there. Parameters as `decorrelate`.
    """
    return _filtered(difference, sources, score_filters, scale, threads)


def _filtered(difference: MaskedImage, sources: NoiseSources, make: Make, scale: float, threads: int) -> Filtered:
    noise = _LocalNoise(difference, sources)
    grid = NodeGrid(difference.shape, noise.filter_size(make))
    made = noise.filters(grid, make)
    bad = bad_pixels(difference)
    image = convolve_between_nodes(fill_bad(difference, bad).image, grid, made.filters, threads=threads)
    variance = np.zeros_like(image)
    for plane, squares in ((sources.target, made.target_squares), (sources.convolved, made.convolved_squares)):
        filled = fill_bad(plane, bad_pixels(plane)).variance
        variance += convolve_between_nodes(filled, grid, squares, threads=threads)
    variance = np.maximum(variance, np.finfo(np.float32).tiny) * np.float32(scale)
    mask = difference.mask | _spread(difference, bad, made.filters)
    empty = (mask & np.int32(difference.bits(["NO_DATA"]))) != 0
    image[empty], variance[empty] = np.nan, np.inf
    return Filtered(replace(difference, image=image, mask=mask, variance=variance), grid, made.filters)


def _spread(difference: MaskedImage, bad: NDArray[np.bool_], filters: NDArray[np.float64]) -> NDArray[np.int32]:
    """Planes of bad pixels, spread as far as the noise of the pixels that were put in their place matters.

    A filled pixel has next to no noise: what it lacks is missed where more than `BAD_WEIGHT` of the filter's squared
    weight may fall on it.
    """
    squares = (filters**2).reshape(-1, *filters.shape[-2:])
    squares = (squares / squares.sum(axis=(1, 2), keepdims=True)).max(axis=0)
    middle = len(squares) // 2
    reach = 0
    while reach < middle and squares.sum() - _core(squares, reach) > BAD_WEIGHT:
        reach += 1
    lost = np.where(bad, difference.mask & np.int32(difference.bits(FILLED_PLANES)), 0).astype(np.int32)
    return dilate(lost, reach) if lost.any() else lost


def _core(squares: NDArray[np.float64], reach: int) -> float:
    middle = len(squares) // 2
    part = slice(middle - reach, middle + reach + 1)
    return float(squares[part, part].sum())


class _LocalNoise:
    """The noise of the sky in both images, and the kernel, from place to place."""

    def __init__(self, difference: MaskedImage, sources: NoiseSources):
        self.sources = sources
        self.shape, self.xy0 = difference.shape, difference.xy0
        not_sky = difference.unusable([name for name in NOT_SKY if name in difference.planes])
        self._planes = [_sky_variance(image, not_sky) for image in (sources.target, sources.convolved)]

    def filter_size(self, make: Make) -> int:
        """Side of the largest filter at the corners and the middle of the image."""
        height, width = self.shape
        y, x = np.array([(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)]).T * np.array([[height - 1], [width - 1]])
        return make(self._terms(y, x, max(self.shape))).filters.shape[-1]

    def filters(self, grid: NodeGrid, make: Make) -> Whitening:
        """The filters at all nodes of a grid, (ny, nx, m, m)."""
        rows = []
        for y, x in zip(*grid.positions, strict=True):
            rows.append(make(self._terms(y, x, grid.step), grid.size // 2))
        return Whitening(*(np.stack([getattr(row, f.name) for row in rows]) for f in fields(Whitening)))

    def _terms(self, y: NDArray[np.float64], x: NDArray[np.float64], reach: int) -> NoiseTerms:
        sources = self.sources
        target, convolved = (_medians(plane, y, x, reach) for plane in self._planes)
        px, py = x + self.xy0[0], y + self.xy0[1]
        return NoiseTerms(
            target,
            convolved,
            sources.kernel.images(px, py),
            sources.target_correlation,
            sources.convolved_correlation,
            None if sources.psf is None else sources.psf.images(px, py),
        )


def _sky_variance(image: MaskedImage, not_sky: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Variance of a sample of pixels, NaN where there is no sky."""
    part = np.s_[::SAMPLE, ::SAMPLE]
    variance, bad = image.variance[part], bad_pixels(image)[part]
    sky = np.where(bad | not_sky[part], np.float32(np.nan), variance)
    # In a crowded field hardly a pixel is free of sources.
    return sky if np.isfinite(sky).any() else np.where(bad, np.float32(np.nan), variance)


def _medians(plane: NDArray[np.float32], y: NDArray[np.float64], x: NDArray[np.float64], reach: int) -> NDArray:
    """Median of a sampled plane around array positions, its overall median where there is nothing; (n,)."""
    half = max(reach // (2 * SAMPLE), 1)
    overall = np.nanmedian(plane)
    values = np.full(len(y), overall, np.float64)
    for i, (row, column) in enumerate(zip((y / SAMPLE).astype(int), (x / SAMPLE).astype(int), strict=True)):
        window = plane[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        known = window[np.isfinite(window)]
        if known.size:
            values[i] = np.median(known)
    return values
