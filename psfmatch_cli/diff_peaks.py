"""Peaks of either sign in the significance of a difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.psf import Psf

#: A peak beside a brighter one must stand this part of it above what that one's ringing explains: PSFs are that good.
RING_TOLERANCE = 0.05


@dataclass(frozen=True)
class SignedPeaks:
    """Peaks, the most significant first.

    Parameters
    ----------
    x, y : ndarray of int, (n,)
        Array indices.
    significance : ndarray, (n,)
        Signed.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    significance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, chosen: NDArray) -> SignedPeaks:
        return SignedPeaks(self.x[chosen], self.y[chosen], self.significance[chosen])


def find_peaks(significance: NDArray[np.float32], threshold: float, polarity: str, psf: Psf, half: int) -> SignedPeaks:
    """Extrema that reach a threshold and are not the ringing of brighter ones.

    Parameters
    ----------
    significance : ndarray, (H, W)
        Signed.
    threshold : float
    polarity : {'both', 'positive', 'negative'}
    psf : Psf
    half : int
        To which the filter used it, pixels.
    """
    every = _extrema(significance, threshold)
    # What the other sign's sources explain is no source of this sign, so both are looked at before one is chosen.
    found = every.take(_unexplained(every, _response(psf, half), threshold))
    if polarity == "both":
        return found
    return found.take(found.significance > 0 if polarity == "positive" else found.significance < 0)


def _extrema(significance: NDArray[np.float32], threshold: float) -> SignedPeaks:
    """Maxima above the threshold and minima below its negative, each of 3 x 3 pixels."""
    from scipy import ndimage

    high = (significance >= threshold) & (significance == ndimage.maximum_filter(significance, size=3))
    low = (significance <= -threshold) & (significance == ndimage.minimum_filter(significance, size=3))
    y, x = np.nonzero(high | low)
    values = significance[y, x].astype(np.float64)
    order = np.argsort(-np.abs(values), kind="stable")
    return SignedPeaks(x[order], y[order], values[order])


def _response(psf: Psf, half: int) -> NDArray[np.float64]:
    """What the filter makes of a point source, 1 at its centre, (4 half + 1, 4 half + 1)."""
    from scipy.signal import fftconvolve

    from psfmatch_cli.matched_filter import middle_of

    image = middle_of(psf.image, half)
    made = fftconvolve(image, image[::-1, ::-1])
    return made / made.max()


def _unexplained(peaks: SignedPeaks, response: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Peaks that stand above what the brighter ones that are kept make at their place."""
    from scipy.spatial import cKDTree

    keep = np.zeros(len(peaks), bool)
    if not len(peaks):
        return keep
    middle = response.shape[0] // 2
    tree = cKDTree(np.column_stack([peaks.x, peaks.y]))
    for n, neighbours in enumerate(tree.query_ball_point(tree.data, middle, p=np.inf)):
        brighter = np.array([other for other in neighbours if other < n and keep[other]], int)
        at = peaks.y[n] - peaks.y[brighter] + middle, peaks.x[n] - peaks.x[brighter] + middle
        others = peaks.significance[brighter]
        rest = (peaks.significance[n] - (others * response[at]).sum()) * np.sign(peaks.significance[n])
        keep[n] = rest >= threshold + RING_TOLERANCE * np.abs(others).max(initial=0.0)
    return keep
