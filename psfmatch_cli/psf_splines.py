"""PSF images of many sources at once, moved by parts of pixels.

A cubic spline through equally spaced values is ``sum of c_k B(t - k)`` with the cubic B-spline B (Unser 1999, IEEE
Signal Process. Mag. 16, 22). Moved by one distance along an axis, all of its values are the same five-tap sum of the
coefficients, so that a stack of images is moved by two short convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.matched_filter import middle_of
from psfmatch_cli.psf import Psf, VaryingPsf

#: Coefficients beyond the image that a shift of up to half a pixel needs.
MARGIN = 2
#: Offsets of the coefficients that have a part in a value.
TAPS = np.arange(-MARGIN, MARGIN + 1)


@dataclass(frozen=True)
class PsfSplines:
    """Splines through the PSFs of n sources.

    Parameters
    ----------
    coefficients : ndarray, (n, m, m), float64
        Of images that reach `half` pixels from the centre, and `MARGIN` beyond; n may be 1 for one PSF everywhere.
    half : int
    """

    coefficients: NDArray[np.float64]
    half: int

    @classmethod
    def at(cls, psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], half: int) -> PsfSplines:
        """Splines through a PSF at parent positions, each of sum 1 over the whole image of the PSF."""
        from scipy import ndimage

        places = zip(x, y, strict=True) if isinstance(psf, VaryingPsf) else [(0.0, 0.0)]
        images = np.stack([psf.at(px, py) for px, py in places])
        side = half + MARGIN + 1
        if images.shape[-1] // 2 < side:
            short = side - images.shape[-1] // 2
            images = np.pad(images, ((0, 0), (short, short), (short, short)))
        for axis in (1, 2):
            images = ndimage.spline_filter1d(images, 3, axis)
        return cls(middle_of(images, half + MARGIN), half)

    def take(self, rows: NDArray[np.intp]) -> PsfSplines:
        """Those of some of the sources."""
        return self if len(self.coefficients) == 1 else PsfSplines(self.coefficients[rows], self.half)

    def images(self, fx: NDArray[np.float64], fy: NDArray[np.float64]) -> NDArray[np.float64]:
        """PSFs with their centres that far from the middle pixel, (n, side, side)."""
        return _moved(self.coefficients, _values(-fx), _values(-fy))

    def gradients(
        self, fx: NDArray[np.float64], fy: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Their derivatives with respect to the x and the y of the centre, (n, side, side) each."""
        wx, wy = _values(-fx), _values(-fy)
        along_x = _moved(self.coefficients, _slopes(-fx), wy)
        return -along_x, -_moved(self.coefficients, wx, _slopes(-fy))

    def placed(
        self, ox: NDArray[np.float64], oy: NDArray[np.float64], half: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """PSFs and their gradients with the centres anywhere, on stamps of another half side.

        Parameters
        ----------
        ox, oy : ndarray, (n,)
            Centre minus middle pixel of the stamp; beyond the image of the PSF it is 0.
        half : int
            Of the stamps.

        Returns
        -------
        images, along_x, along_y : ndarray, (n, 2 half + 1, 2 half + 1)
        """
        whole_x, whole_y = (np.floor(o + 0.5).astype(np.intp) for o in (ox, oy))
        reach = half + MARGIN
        pad = max(0, reach + int(max(np.abs(whole_x).max(initial=0), np.abs(whole_y).max(initial=0)))) + 1
        n, side = len(ox), self.coefficients.shape[-1]
        padded = np.pad(self.coefficients, ((0, 0), (pad, pad), (pad, pad)))
        first = pad + side // 2 - reach
        span = np.arange(2 * reach + 1)
        row = np.arange(n) if len(padded) == n else np.zeros(n, np.intp)
        at_y, at_x = first - whole_y[:, None] + span, first - whole_x[:, None] + span
        near = PsfSplines(padded[row[:, None, None], at_y[:, :, None], at_x[:, None, :]], half)
        fx, fy = ox - whole_x, oy - whole_y
        return near.images(fx, fy), *near.gradients(fx, fy)


def _values(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the taps for the value at t, (n, 5)."""
    u = np.abs(t[:, None] - TAPS)
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.clip(2 - u, 0, None) ** 3 / 6)


def _slopes(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the taps for the derivative at t, (n, 5)."""
    d = t[:, None] - TAPS
    u = np.abs(d)
    return np.sign(d) * np.where(u < 1, -2 * u + 1.5 * u**2, -0.5 * np.clip(2 - u, 0, None) ** 2)


def _moved(coefficients: NDArray[np.float64], wx: NDArray[np.float64], wy: NDArray[np.float64]) -> NDArray[np.float64]:
    side = coefficients.shape[-1] - 2 * MARGIN
    rows = sum(wy[:, k, None, None] * coefficients[:, k : k + side, :] for k in range(len(TAPS)))
    return sum(wx[:, k, None, None] * rows[:, :, k : k + side] for k in range(len(TAPS)))
