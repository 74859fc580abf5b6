"""Resampling a template of much finer pixels than the science image.

The Lanczos kernel is as wide as a few template pixels. Where these are much smaller than the science pixels it
skips some of them, which loses signal and aliases noise. `reproject.reproject_adaptive` (DeForest 2004, Solar
Physics 219, 3) averages over the whole science pixel instead, with a Gaussian of `SIGMA` science pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.mapping import PixelMapping
from psfmatch_cli.pixel_map import AffineMap, PixelMap
from psfmatch_cli.repair import Readable
from psfmatch_cli.warp_mask import MaskBits

#: Template pixel side, in science pixels, below which this takes the place of the Lanczos kernel.
SCALE_LIMIT = 0.75
#: Gaussian sigma of the average, science pixels (reproject's default).
SIGMA = 0.65
#: Side of the square, science pixels, over which it is taken. Errors of the flux of stars of FWHM 2.5 px are at most
#: 7e-5 of it; reproject's default of 4 leaves 9e-4, 6 takes half as long again for 2e-6.
SAMPLED_WIDTH = 5.0


def average_pixels(
    template: MaskedImage,
    readable: Readable,
    pixel_map: PixelMap,
    mapping: PixelMapping,
    config: WarpConfig,
    *,
    per_object: bool,
    threads: int = 1,
) -> MaskedImage:
    """The template averaged around each science pixel, with the template's planes.

    The variance of the average falls as the sum of the squared weights, ``1 / (4 pi sigma^2 A)`` for a Gaussian
    over A template pixels to a science pixel. It multiplies the average, with the same weights, of the
    template's variance: right where the variance is smooth, somewhat too smooth in the core of a star.

    Parameters
    ----------
    template : MaskedImage
        With a plane NO_DATA.
    readable : Readable
        The same, made ready.
    pixel_map : PixelMap
        From science to template pixels.
    mapping : PixelMapping
        The same, of the science pixels.
    config : WarpConfig
        Limit of the lost weight.
    per_object : bool
        Whether to multiply by the relative area, which conserves the counts of an object.
    threads : int
        Blocks worked on at a time.
    """
    bits = MaskBits.of(template, ())
    taints = [(readable.taint & np.int32(bit)) != 0 for bit in readable.taint_planes]
    planes = np.array([readable.image, readable.variance, ~readable.lost, *taints], dtype=np.float64)
    image, variance, found, *leaned = _average(planes, pixel_map, mapping.shape, threads)
    x, y, area = mapping.part(*(slice(0, n) for n in mapping.shape))
    gone = ~(found >= 1.0 - config.max_lost_weight) | ~np.isfinite(area)
    found[gone], area[gone] = 1.0, 1.0
    scale = area if per_object else 1.0
    image *= scale / found
    variance *= scale**2 / (found * 4 * np.pi * SIGMA**2 * area)
    mask = _mask(template.mask, x, y, 0.5 * np.sqrt(area[~gone].max(initial=1.0)), bits)
    for bit, weight in zip(readable.taint_planes, leaned, strict=True):
        mask |= np.where(weight > config.max_lost_weight, np.int32(bit), np.int32(0))
    image[gone], variance[gone] = np.nan, np.inf
    mask[gone] |= bits.no_data
    return MaskedImage(image.astype(np.float32), mask, variance.astype(np.float32), template.planes)


def _average(
    planes: NDArray[np.float64], pixel_map: PixelMap, shape: tuple[int, int], threads: int
) -> NDArray[np.float64]:
    """Gaussian mean of each plane (k, H', W') on the science grid (k, H, W), pixels outside counting zero."""
    from reproject import reproject_adaptive

    from psfmatch_cli.pixel_world import PixelWorld

    return reproject_adaptive(
        (planes, PixelWorld(AffineMap.identity())),
        PixelWorld(pixel_map),
        shape_out=shape,
        kernel="gaussian",
        kernel_width=2 * SIGMA,
        sample_region_width=SAMPLED_WIDTH,
        boundary_mode="constant",
        boundary_fill_value=0.0,
        roundtrip_coords=False,
        return_footprint=False,
        parallel=threads if threads > 1 else False,
    )


def _mask(
    mask: NDArray[np.int32], x: NDArray[np.float64], y: NDArray[np.float64], half: float, bits: MaskBits
) -> NDArray[np.int32]:
    """OR of the mask over template pixels up to `half` a science pixel, in template pixels, from x and y."""
    reach = int(np.ceil(half))
    grown = np.pad(mask, reach + 1, constant_values=bits.no_data)
    for axis in (0, 1):
        grown = np.bitwise_or.reduce(sliding_window_view(grown, 2 * reach + 1, axis=axis), axis=-1)
    # One pixel of padding is left on each side; it takes what lies outside, and NaN.
    column, row = (
        np.fmin(np.fmax(np.floor(position + 1.5), 0), size + 1).astype(np.intp)
        for position, size in ((x, mask.shape[1]), (y, mask.shape[0]))
    )
    return grown[row, column]
