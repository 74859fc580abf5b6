"""What a resampling may read: pixels without a value set aside, bad pixels replaced by their surroundings.

The wings of a resampling kernel carry a cosmic ray or a dead pixel into all outputs within reach. Pixels that
are BAD or CR, and not INTRP, are therefore replaced by the Gaussian-weighted mean of the sound pixels
around them, and the outputs that lean on them are flagged, which leaves no holes in the image. Pixels
without a value stay lost.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each, row_bands
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.neighbours import Replacements, replacements

logger = logging.getLogger(__name__)

#: Planes whose pixels must not be trusted; outputs that lean on them inherit the plane.
TAINTED_PLANES = ("SAT", "BAD", "CR")


@dataclass(frozen=True)
class Readable:
    """Pixels ready to be resampled.

    Parameters
    ----------
    image, variance : ndarray, (H, W), float32
        Finite everywhere; zero where lost.
    lost : ndarray, (H, W), bool
        Pixels without a value.
    taint : ndarray, (H, W), int32
        Bits of `TAINTED_PLANES`; BAD and CR only where no interpolation had repaired the pixel before.
    taint_planes : tuple of int
        Bit value of each plane that occurs in `taint`.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    lost: NDArray[np.bool_]
    taint: NDArray[np.int32]
    taint_planes: tuple[int, ...]


@dataclass(frozen=True)
class Repaired:
    """An exposure's pixels with the values of those that are bad, ready to be read in parts.

    Parameters
    ----------
    pixels : MaskedImage
        As they were.
    lost : ndarray, (H, W), bool
        Pixels without a value.
    fill : Replacements
        Of the bad pixels that have sound ones around them.
    """

    pixels: MaskedImage
    lost: NDArray[np.bool_]
    fill: Replacements

    def part(self, rows: slice, columns: slice) -> Readable:
        """The pixels of some rows and columns."""
        at, whole = (rows, columns), self.pixels
        lost = self.lost[at]
        image, variance = (np.where(lost, np.float32(0), plane[at]) for plane in (whole.image, whole.variance))
        self.fill.put(rows, columns, image, variance)
        saturated, interpolated, *planes = (np.int32(whole.bits([n])) for n in ("SAT", "INTRP", *TAINTED_PLANES))
        taint = whole.mask[at] & np.int32(whole.bits(TAINTED_PLANES))
        if taint.any():
            taint[(whole.mask[at] & interpolated) != 0] &= saturated
        return Readable(image, variance, lost, taint, tuple(int(bit) for bit in planes if (taint & bit).any()))


def make_readable(exposure: Exposure) -> Readable:
    """All of the exposure's pixels with bad ones replaced and missing ones set to zero; errors as of `repair`."""
    height, width = exposure.shape
    return repair(exposure).part(slice(0, height), slice(0, width))


def repair(exposure: Exposure, threads: int = 1) -> Repaired:
    """Values for the exposure's bad pixels.

    Parameters
    ----------
    exposure : Exposure
    threads : int
        Bands of rows worked on at a time.

    Raises
    ------
    InputError
        If no pixel is usable.
    """
    pixels = exposure.masked_image
    lost, bad = np.empty(pixels.shape, bool), np.empty(pixels.shape, bool)

    def find(rows: slice) -> None:
        part = replace(pixels, image=pixels.image[rows], mask=pixels.mask[rows], variance=pixels.variance[rows])
        lost[rows] = ~(np.isfinite(part.image) & np.isfinite(part.variance)) | part.flagged(["NO_DATA"])
        bad[rows] = part.unusable(["BAD", "CR"]) & ~lost[rows]

    each(find, row_bands(pixels.shape), threads)
    sound = ~(lost | bad)
    if not sound.any():
        raise InputError(
            f"{exposure.name} has no usable pixel to resample: {lost.sum()} have no value or no variance (NO_DATA), "
            f"{bad.sum()} are BAD or CR; check its mask and variance"
        )
    fill, n_bad = replacements(pixels.image, pixels.variance, bad, sound, threads), np.count_nonzero(bad)
    lost |= bad
    lost.ravel()[fill.index] = False
    if n_bad:
        n = len(fill.index)
        logger.info("%s: %d BAD or CR pixels replaced, %d beyond repair", exposure.name, n, n_bad - n)
    return Repaired(pixels, lost, fill)
