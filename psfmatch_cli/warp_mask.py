"""Mask planes and missing data of resampled pixels.

Few outputs lie near a masked or missing pixel. A map of the template, one byte a pixel, says for each window
whether it holds any; only for those outputs is the mask looked at tap by tap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.dilation import spread
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.repair import Readable
from psfmatch_cli.resample import ResamplingKernel, Taps, padding

#: Weights up to this count as zero: rounding of a position that is meant to be a whole pixel.
NEGLIGIBLE = 1e-6
#: What a window holds: any mask bit under the mask kernel, a bit that spreads over the image kernel, any
#: lost pixel, only lost pixels.
MASKED, SPREADING, PARTLY_LOST, ALL_LOST = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)


@dataclass(frozen=True)
class MaskBits:
    """Bit values that play a part in resampling: missing data, repaired or not, spread over the whole kernel."""

    no_data: np.int32
    interpolated: np.int32
    unrepaired: np.int32
    spread: np.int32

    @classmethod
    def of(cls, pixels: MaskedImage, spread: Iterable[str]) -> MaskBits:
        """The bits of a masked image; `spread` names the planes that spread."""
        names = (["NO_DATA"], ["INTRP"], ["BAD", "CR"], spread)
        return cls(*(np.int32(pixels.bits(group)) for group in names))


@dataclass(frozen=True)
class PaddedMask:
    """The template's mask in the padded frame of `psfmatch_cli.resample.pack`, planes (H', W').

    Parameters
    ----------
    mask : ndarray, int32
        Mask; NO_DATA where lost and in the padding.
    taint : ndarray, int32
        Bits that an output gets if it leans on the pixel.
    lost : ndarray, bool
        Pixels without a value, and the padding.
    content : ndarray, uint8
        What each window holds, `MASKED` and so on, at the window's first pixel as in `Taps`.
    taint_planes : tuple of int
        Bit value of each plane that occurs in `taint`.
    bits : MaskBits
        Bit values by their part.
    kernel : ResamplingKernel
        Of the image.
    mask_reach : int
        Order of the mask kernel.
    """

    mask: NDArray[np.int32]
    taint: NDArray[np.int32]
    lost: NDArray[np.bool_]
    content: NDArray[np.uint8]
    taint_planes: tuple[int, ...]
    bits: MaskBits
    kernel: ResamplingKernel
    mask_reach: int


def pad_mask(
    mask: NDArray[np.int32], readable: Readable, kernel: ResamplingKernel, mask_reach: int, bits: MaskBits
) -> PaddedMask:
    """Padded mask of a template, with what the windows of image and mask kernel hold.

    Parameters
    ----------
    mask : ndarray, (H, W), int32
    readable : Readable
        The same pixels, made ready.
    kernel : ResamplingKernel
        Of the image.
    mask_reach : int
        Order of the mask kernel, not above that of the image kernel.
    bits : MaskBits
        Of the mask.
    """
    pad, reach = padding(kernel), kernel.reach
    bits = replace(bits, spread=bits.spread & np.bitwise_or.reduce(mask, axis=None))
    padded = np.pad(np.where(readable.lost, mask | bits.no_data, mask), pad, constant_values=bits.no_data)
    taint = np.pad(readable.taint, pad)
    lost = np.pad(readable.lost, pad, constant_values=True)
    content = _any_in_window(padded != 0, mask_reach, reach) * MASKED
    content |= _any_in_window(((padded & bits.spread) | taint) != 0, reach, reach) * SPREADING
    content |= _any_in_window(lost, reach, reach) * PARTLY_LOST
    content |= (1 - _any_in_window(~lost, reach, reach)) * ALL_LOST
    return PaddedMask(padded, taint, lost, content, readable.taint_planes, bits, kernel, mask_reach)


def output_mask(padded: PaddedMask, taps: Taps, max_weight: float) -> NDArray[np.int32]:
    """Mask (n,) of resampled pixels, short of the missing data that only the lost weight shows.

    The OR of the mask under the nonzero weights of the mask kernel; the spreading planes under those of the
    image kernel; and tainted planes that more than `max_weight` of the absolute weight falls on. A pixel that so
    leans on unrepaired ones does not count as interpolated.
    """
    content = padded.content.ravel()[taps.first]
    mask = np.zeros(len(content), np.int32)
    masked = np.flatnonzero(content & MASKED)
    if len(masked):
        mask[masked] = _bits_under(padded, taps.subset(masked))
    spreading = np.flatnonzero(content & SPREADING)
    if len(spreading):
        spread, tainted = _far_bits(padded, taps.subset(spreading), max_weight)
        kept = np.where(tainted & padded.bits.unrepaired, ~padded.bits.interpolated, np.int32(-1))
        mask[spreading] = (mask[spreading] & kept) | spread | tainted
    return mask


def _any_in_window(flags: NDArray[np.bool_], reach: int, image_reach: int) -> NDArray[np.uint8]:
    """Whether any tap -reach+1..reach is flagged, 0 or 1, at the first pixel of the image kernel's window."""
    out = np.zeros(flags.shape, np.uint8)
    if flags.any():
        offset = image_reach - reach
        found = spread(flags, 2 * reach)[offset:, offset:]
        out[: found.shape[0], : found.shape[1]] = found
    return out


def lost_weight(padded: PaddedMask, taps: Taps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sum of the weights on pixels with a value, and of the absolute weights on pixels without, (n,)."""
    found, missing = np.zeros((2, len(taps.first)), np.float32)
    for weight, index in _windows(padded, taps, padded.kernel.reach):
        lost = padded.lost.ravel()[index]
        found += np.where(lost, 0, weight)
        missing += np.where(lost, np.abs(weight), 0)
    return found, missing


def _bits_under(padded: PaddedMask, taps: Taps) -> NDArray[np.int32]:
    """OR (n,) of the mask under the nonzero weights of the mask kernel."""
    bits = np.zeros(len(taps.first), np.int32)
    for weight, index in _windows(padded, taps, padded.mask_reach):
        bits |= np.where(np.abs(weight) > NEGLIGIBLE, padded.mask.ravel()[index], np.int32(0))
    return bits


def _far_bits(padded: PaddedMask, taps: Taps, max_weight: float) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Spreading and tainted bits (n,) that the whole image kernel brings."""
    spread, tainted = np.zeros((2, len(taps.first)), np.int32)
    leaned = np.zeros((len(padded.taint_planes), len(taps.first)), np.float32)
    for weight, index in _windows(padded, taps, padded.kernel.reach):
        size = np.abs(weight)
        if padded.bits.spread:
            spread |= np.where(size > NEGLIGIBLE, padded.mask.ravel()[index] & padded.bits.spread, np.int32(0))
        taint = padded.taint.ravel()[index]
        for bit, total in zip(padded.taint_planes, leaned, strict=True):
            total += np.where(taint & np.int32(bit), size, np.float32(0))
    for bit, total in zip(padded.taint_planes, leaned, strict=True):
        tainted |= np.where(total > max_weight, np.int32(bit), np.int32(0))
    return spread, tainted


def _windows(padded: PaddedMask, taps: Taps, reach: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    """Weight under the image kernel and flat index (n,) of each tap within `reach`."""
    along, across = (padded.kernel.weights(f) for f in (taps.fraction_x, taps.fraction_y))
    skip, stride = padded.kernel.reach - reach, padded.mask.shape[1]
    for j in range(skip, len(across) - skip):
        for i in range(skip, len(along) - skip):
            yield across[j] * along[i], taps.first + (j * stride + i)
