"""Image, variance and mask of the template resampled at mapped positions, in blocks of rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.config import WarpConfig
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.mapping import PixelMapping
from psfmatch_cli.repair import Readable
from psfmatch_cli.resample import REACH, ResamplingKernel, gather, locate, pack, padding, resampling_kernel
from psfmatch_cli.warp_mask import ALL_LOST, PARTLY_LOST, MaskBits, PaddedMask, lost_weight, output_mask, pad_mask

#: Output pixels resampled at a time: their weights then stay in the processor's cache.
BLOCK_PIXELS = 32768


@dataclass(frozen=True)
class _Job:
    """What every block of rows reads, and the planes that it writes its rows of."""

    mapping: PixelMapping
    kernel: ResamplingKernel
    packed: NDArray[np.complex64]
    padded: PaddedMask
    shape: tuple[int, int]
    max_lost: float
    per_object: bool
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]


def resample_pixels(
    pixels: MaskedImage,
    readable: Readable,
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
    readable : Readable
        The same, made ready.
    mapping : PixelMapping
        Of the science pixels.
    config : WarpConfig
        Kernels and their limits.
    per_object : bool
        Whether to multiply by the relative area, which conserves the counts of an object.
    threads : int
        Blocks of rows worked on at a time.
    """
    kernel = resampling_kernel(config.warping_kernel_name)
    mask_reach = REACH[config.mask_warping_kernel_name or config.warping_kernel_name]
    bits = MaskBits.of(pixels, config.grow_full_mask)
    job = _Job(
        mapping=mapping,
        kernel=kernel,
        packed=pack(readable.image, readable.variance, padding(kernel)),
        padded=pad_mask(pixels.mask, readable, kernel, mask_reach, bits),
        shape=pixels.shape,
        max_lost=config.max_lost_weight,
        per_object=per_object,
        image=np.full(mapping.shape, np.nan, np.float32),
        variance=np.full(mapping.shape, np.inf, np.float32),
        mask=np.full(mapping.shape, bits.no_data, np.int32),
    )
    height, width = mapping.shape
    step = max(1, BLOCK_PIXELS // width)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        # A list, so that the error of a block comes out here.
        list(pool.map(lambda first: _fill_rows(job, first, min(first + step, height)), range(0, height, step)))
    return MaskedImage(job.image, job.mask, job.variance, pixels.planes)


def _fill_rows(job: _Job, first: int, last: int) -> None:
    """Resample the science rows [first, last)."""
    x, y, area = job.mapping.rows(first, last).reshape(3, -1)
    taps = locate(job.kernel, job.shape, x, y)
    content = job.padded.content.ravel()[taps.first]
    if (content & ALL_LOST).all():
        return
    image, variance = gather(job.packed, job.kernel, taps)
    if job.per_object:
        scale = area.astype(np.float32)
        image *= scale
        variance *= scale * scale
    mask = output_mask(job.padded, taps, job.max_lost)
    partly = np.flatnonzero(content & PARTLY_LOST)
    if len(partly):
        found, missing = lost_weight(job.padded, taps.subset(partly))
        gone = missing > job.max_lost
        found[gone] = 1
        image[partly] = np.where(gone, np.nan, image[partly] / found)
        variance[partly] = np.where(gone, np.inf, variance[partly] / found**2)
        mask[partly[gone]] |= job.padded.bits.no_data
    for plane, values in ((job.image, image), (job.variance, variance), (job.mask, mask)):
        plane[first:last] = values.reshape(last - first, -1)
