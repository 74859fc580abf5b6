"""Image, variance and mask of the template resampled at mapped positions, in tiles.

Of the template a tile needs little more than its own size, which stays in the processor's cache and is all that is
made ready at a time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each
from psfmatch_cli.config import WarpConfig
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.mapping import PixelMapping
from psfmatch_cli.repair import Readable, Repaired
from psfmatch_cli.resample import REACH, ResamplingKernel, Taps, gather, locate, pack, padding, resampling_kernel
from psfmatch_cli.warp_mask import ALL_LOST, PARTLY_LOST, MaskBits, PaddedMask, lost_weight, output_mask, pad_mask

#: Side of a tile, pixels: what it reads of the template then takes some 200 kB.
TILE = 128


@dataclass(frozen=True)
class _Job:
    """What every tile reads, and the planes that it writes its pixels of."""

    mapping: PixelMapping
    kernel: ResamplingKernel
    mask_reach: int
    pixels: MaskedImage
    repaired: Repaired
    bits: MaskBits
    max_lost: float
    per_object: bool
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]


def resample_pixels(
    pixels: MaskedImage,
    repaired: Repaired,
    mapping: PixelMapping,
    config: WarpConfig,
    *,
    per_object: bool,
    threads: int = 1,
) -> MaskedImage:
    """The template's pixels at the mapped positions, with its planes.

    Parameters
    ----------
    pixels : MaskedImage
        Of the template, with a plane NO_DATA.
    repaired : Repaired
        The same, with values for the bad ones.
    mapping : PixelMapping
        Of the science pixels.
    config : WarpConfig
        Kernels and their limits.
    per_object : bool
        Whether to multiply by the relative area, which conserves the counts of an object.
    threads : int
        Tiles worked on at a time.
    """
    bits = MaskBits.of(pixels, config.grow_full_mask)
    job = _Job(
        mapping=mapping,
        kernel=resampling_kernel(config.warping_kernel_name),
        mask_reach=REACH[config.mask_warping_kernel_name or config.warping_kernel_name],
        pixels=pixels,
        repaired=repaired,
        bits=bits,
        max_lost=config.max_lost_weight,
        per_object=per_object,
        image=np.full(mapping.shape, np.nan, np.float32),
        variance=np.full(mapping.shape, np.inf, np.float32),
        mask=np.full(mapping.shape, bits.no_data, np.int32),
    )
    rows, columns = ([slice(k, min(k + TILE, n)) for k in range(0, n, TILE)] for n in mapping.shape)
    each(lambda at: _fill_tile(job, *at), itertools.product(rows, columns), threads)
    return MaskedImage(job.image, job.mask, job.variance, pixels.planes)


def _fill_tile(job: _Job, rows: slice, columns: slice) -> None:
    """Resample the science pixels of a tile; what lies off the template stays as it is."""
    x, y, area = job.mapping.part(rows, columns).reshape(3, -1)
    source = _source(x, y, job.pixels.shape, job.kernel.reach)
    if source is None:
        return
    part, mask = job.repaired.part(*source), job.pixels.mask[source]
    taps = locate(job.kernel, part.image.shape, x - source[1].start, y - source[0].start)
    padded = None
    if mask.any() or part.lost.any() or not _is_inside(x, y, job.pixels.shape, job.kernel.reach):
        padded = pad_mask(mask, part, job.kernel, job.mask_reach, job.bits)
        if (padded.content.ravel()[taps.first] & ALL_LOST).all():
            return
    made = _resampled(job, part, taps, area)
    shape = rows.stop - rows.start, columns.stop - columns.start
    made_mask = 0 if padded is None else _masked(job, padded, taps, *made).reshape(shape)
    at = rows, columns
    job.image[at], job.variance[at], job.mask[at] = made[0].reshape(shape), made[1].reshape(shape), made_mask


def _source(x: NDArray, y: NDArray, shape: tuple[int, int], reach: int) -> tuple[slice, slice] | None:
    """Rows and columns of the template under the windows at these positions; None if there are none."""
    height, width = shape
    used = (x >= -reach) & (x < width + reach - 1) & (y >= -reach) & (y < height + reach - 1)
    if not used.any():
        return None
    x, y = x[used], y[used]
    return tuple(
        slice(max(int(np.floor(v.min())) - reach + 1, 0), min(int(np.floor(v.max())) + reach + 1, n))
        for v, n in ((y, height), (x, width))
    )


def _is_inside(x: NDArray, y: NDArray, shape: tuple[int, int], reach: int) -> bool:
    """Whether all windows lie on the template; not where a position is NaN."""
    least, (height, width) = reach - 1, shape
    return x.min() >= least and y.min() >= least and x.max() < width - reach and y.max() < height - reach


def _resampled(
    job: _Job, part: Readable, taps: Taps, area: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Image and variance (n,) at the taps."""
    image, variance = gather(pack(part.image, part.variance, padding(job.kernel)), job.kernel, taps)
    if job.per_object:
        scale = area.astype(np.float32)
        image *= scale
        variance *= scale * scale
    return image, variance


def _masked(
    job: _Job, padded: PaddedMask, taps: Taps, image: NDArray[np.float32], variance: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Mask (n,) of a tile; image and variance are made up for the weight on lost pixels, or lost themselves."""
    content = padded.content.ravel()[taps.first]
    mask = output_mask(padded, taps, job.max_lost)
    partly = np.flatnonzero((content & (PARTLY_LOST | ALL_LOST)) == PARTLY_LOST)
    gone = (content & ALL_LOST) != 0
    if len(partly):
        found, missing = lost_weight(padded, taps.subset(partly))
        gone[partly] = missing > job.max_lost
        found[missing > job.max_lost] = 1
        image[partly] /= found
        variance[partly] /= found**2
    image[gone], variance[gone] = np.nan, np.inf
    mask[gone] |= padded.bits.no_data
    return mask
