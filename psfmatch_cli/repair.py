"""What a resampling may read: pixels without a value set aside, bad pixels replaced by their surroundings.

The wings of a resampling kernel carry a cosmic ray or a dead pixel into all outputs within reach. Pixels that
are BAD or CR, and not INTRP, are therefore replaced by the Gaussian-weighted mean of the sound pixels
around them, and the outputs that lean on them are flagged, which leaves no holes in the image. Pixels
without a value stay lost.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import Exposure

logger = logging.getLogger(__name__)

#: Planes whose pixels must not be trusted; outputs that lean on them inherit the plane.
TAINTED_PLANES = ("SAT", "BAD", "CR")
#: Sound pixels up to this distance on each axis, and with this Gaussian sigma, replace a bad one. A seven pixels
#: wide bad area still has neighbours at its middle; beyond that a value would be invented.
REPAIR_REACH = 3
REPAIR_SIGMA = 1.0


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


def make_readable(exposure: Exposure) -> Readable:
    """The exposure's pixels with bad ones replaced and missing ones set to zero.

    Raises
    ------
    InputError
        If no pixel is usable.
    """
    pixels = exposure.masked_image
    lost = ~(np.isfinite(pixels.image) & np.isfinite(pixels.variance)) | pixels.flagged(["NO_DATA"])
    bad = pixels.unusable(["BAD", "CR"]) & ~lost
    if (lost | bad).all():
        raise InputError(
            f"{exposure.name} has no usable pixel to resample: {lost.sum()} have no value or no variance (NO_DATA), "
            f"{bad.sum()} are BAD or CR; check its mask and variance"
        )
    taint = pixels.mask & np.int32(pixels.bits(TAINTED_PLANES))
    taint[pixels.flagged(["INTRP"])] &= np.int32(pixels.bits(["SAT"]))
    image, variance = (np.where(lost, np.float32(0), plane) for plane in (pixels.image, pixels.variance))
    if bad.any():
        beyond = _fill(image, variance, bad, ~(lost | bad))
        lost |= beyond
        logger.info("%s: %d BAD or CR pixels replaced, %d beyond repair", exposure.name, (bad & ~beyond).sum(),
                    beyond.sum())  # fmt: skip
    planes = (pixels.bits([name]) for name in TAINTED_PLANES)
    return Readable(image, variance, lost, taint, tuple(bit for bit in planes if (taint & np.int32(bit)).any()))


def _fill(image: NDArray, variance: NDArray, bad: NDArray[np.bool_], sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Replace the bad pixels of image and variance in place; return those with no sound pixel within reach."""
    from scipy.ndimage import maximum_filter

    reachable = bad & maximum_filter(sound, 2 * REPAIR_REACH + 1, mode="constant", cval=0)
    beyond = bad & ~reachable
    image[beyond] = variance[beyond] = 0
    y, x = np.nonzero(reachable)
    norm, value, noise = np.zeros((3, len(y)))
    offsets = range(-REPAIR_REACH, REPAIR_REACH + 1)
    for dy, dx in ((dy, dx) for dy in offsets for dx in offsets):
        there = np.clip(y + dy, 0, bad.shape[0] - 1), np.clip(x + dx, 0, bad.shape[1] - 1)
        # A clipped neighbour repeats a border pixel, at most with the weight of one farther away.
        weight = np.exp(-0.5 * (dx**2 + dy**2) / REPAIR_SIGMA**2) * sound[there]
        norm += weight
        value += weight * image[there]
        noise += weight * variance[there]
    image[reachable], variance[reachable] = value / norm, noise / norm
    return beyond
