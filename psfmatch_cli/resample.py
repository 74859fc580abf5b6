"""Resampling of image and variance at given positions.

A kernel of order N uses 2N taps an axis: with the position split into i = floor(s) and f = s - i, these are the
pixels i + k, k = -N+1..N, and the weight of a pixel is the product of those of its two axes. `kernel_weights` tells
how each kernel comes to its weights.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

#: Order of each kernel by its name.
REACH = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos4": 4, "lanczos5": 5, "kriging4": 4}
#: FWHM, pixels, of the Gaussian stars that kriging is best for. A narrower one serves narrow stars better, but leaves
#: larger errors in broad ones: with 2.8 no star of 2.5 pixels or more moves by 0.004 px or loses 0.1 % of its flux.
KRIGING_FWHM = 2.8
#: Degree, in (f - 1/2)^2, of the polynomials that stand for the weights: leaves errors of at most 1.4e-8 in any of
#: the kernels, where float32 has 1e-7.
DEGREE = 4
#: Output pixels worked on at a time: weights and sums then stay in the processor's cache.
BLOCK_PIXELS = 4096


@dataclass(frozen=True)
class ResamplingKernel:
    """Weights of one kernel as polynomials of the fraction.

    With t = f - 1/2 the weight of tap k is ``linear + (1/4 - t^2) (E_k(t^2) + t O_k(t^2))`` and that of its mirror
    tap 1 - k has the odd parts reversed, where linear is 1/2 + t for k = 1 and 0 beyond. This is
    exact at f = 0 and f = 1, so that shifts by whole pixels copy, and several times faster than sines.

    Parameters
    ----------
    name : str
        As in `REACH`.
    reach : int
        N.
    even, odd : ndarray, (degree + 1, N)
        Coefficients of E and O, constant first; column k - 1 for k = 1..N.
    """

    name: str
    reach: int
    even: NDArray[np.float64]
    odd: NDArray[np.float64]

    def weights(self, fraction: NDArray) -> NDArray:
        """Normalised weights (2N, n) of the taps -N+1..N at fractions (n,), in the fractions' own precision."""
        half, n = fraction.dtype.type(0.5), len(self.even)
        t = fraction - half
        # The polynomials' terms: bump, bump u, bump u^2, ..., then these times t. One matrix product does the rest.
        terms = np.empty((2 * n, len(t)), t.dtype)
        square = t * t
        np.subtract(fraction.dtype.type(0.25), square, out=terms[0])
        for last, term in itertools.pairwise(terms[:n]):
            np.multiply(last, square, out=term)
        np.multiply(terms[:n], t, out=terms[n:])
        out = self._matrix.astype(t.dtype) @ terms
        out[self.reach] += half + t
        out[self.reach - 1] += half - t
        return out

    @cached_property
    def _matrix(self) -> NDArray[np.float64]:
        """Coefficients (2N, 2 (degree + 1)) of even and odd terms for each tap."""
        upper, lower = np.concatenate([self.even, self.odd]).T, np.concatenate([self.even, -self.odd]).T
        return np.concatenate([lower[::-1], upper])


def kernel_weights(name: str, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised weights (2N, n) of the taps -N+1..N at fractions (n,), by their definitions.

    With the distance d = k - f of tap k from the position:

    ``bilinear``
        ``1 - |d|``.
    ``bicubic``
        The cubic convolution of Keys (1981, IEEE Trans. ASSP 29, 1153) with a = -1/2.
    ``lanczos3`` to ``lanczos5``
        ``sinc(d) sinc(d / N)``, divided by the sum over the taps (Duchon 1979, J. Appl. Meteor. 18, 1016).
    ``kriging4``
        The best linear estimate of a field of Gaussian stars of `KRIGING_FWHM` on an unknown linear background
        (universal kriging; Matheron 1969).
    """
    reach = REACH[name]
    taps = np.arange(-reach + 1, reach + 1)[:, None]
    if name.startswith("kriging"):
        return _kriging_weights(taps[:, 0], fraction)
    distance = np.abs(taps - fraction)
    if name == "bilinear":
        return np.clip(1.0 - distance, 0.0, None)
    if name == "bicubic":
        near = 1.0 + distance**2 * (1.5 * distance - 2.5)
        return np.where(distance < 1, near, 2.0 + distance * (-4.0 + distance * (2.5 - 0.5 * distance)))
    weights = np.sinc(distance) * np.sinc(distance / reach)
    return weights / weights.sum(axis=0)


def _kriging_weights(taps: NDArray[np.int64], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (2N, n) that estimate a Gaussian process between its samples and keep a constant and a slope.

    They minimise the expected squared error for the autocorrelation ``C(d) = exp(-d^2 / 4 sigma^2)`` of a Gaussian
    star, with the moments ``sum w = 1`` and ``sum w k = f`` as constraints.
    """
    sigma = KRIGING_FWHM / np.sqrt(8 * np.log(2))
    n = len(taps)
    system, target = np.zeros((n + 2, n + 2)), np.ones((n + 2, len(fraction)))
    system[:n, :n] = np.exp(-(((taps[:, None] - taps) / (2 * sigma)) ** 2))
    system[n:, :n] = np.ones(n), taps
    system[:n, n:] = system[n:, :n].T
    target[:n] = np.exp(-(((taps[:, None] - fraction) / (2 * sigma)) ** 2))
    target[n + 1] = fraction
    return np.linalg.solve(system, target)[:n]


@cache
def resampling_kernel(name: str) -> ResamplingKernel:
    """The kernel of this name, its polynomials fitted to the normalised weights at Chebyshev points."""
    reach = REACH[name]
    if reach == 1:
        return ResamplingKernel(name, 1, np.zeros((1, 1)), np.zeros((1, 1)))
    t = 0.5 * np.cos(np.pi * (np.arange(24) + 0.5) / 48)
    weights = kernel_weights(name, 0.5 + t)
    upper, lower = weights[reach:], weights[reach - 1 :: -1]
    bump = 0.25 - t**2
    even, odd = 0.5 * (upper + lower), 0.5 * (upper - lower) / t
    even[0] -= 0.5
    odd[0] -= 1.0
    fit = np.polynomial.polynomial.polyfit
    return ResamplingKernel(name, reach, fit(t**2, (even / bump).T, DEGREE), fit(t**2, (odd / bump).T, DEGREE))


@dataclass(frozen=True)
class Taps:
    """Where output pixels lie in a padded template.

    Parameters
    ----------
    first : ndarray, (n,), intp
        Flat index, in the padded template, of the first (lower left) tap of each window.
    fraction_x, fraction_y : ndarray, (n,), float32
        Fractions of the positions.
    """

    first: NDArray[np.intp]
    fraction_x: NDArray[np.float32]
    fraction_y: NDArray[np.float32]

    def subset(self, index: NDArray[np.intp] | slice) -> Taps:
        """The taps of some output pixels only."""
        return Taps(self.first[index], self.fraction_x[index], self.fraction_y[index])


def padding(kernel: ResamplingKernel) -> int:
    """Pixels to add to each side of a template, so that the window of any position can be addressed."""
    return 2 * kernel.reach


def locate(kernel: ResamplingKernel, shape: tuple[int, int], x: NDArray[np.float64], y: NDArray[np.float64]) -> Taps:
    """Taps for positions (n,) in a template of this shape, before padding; NaN lies beyond all its pixels."""
    reach, pad = kernel.reach, padding(kernel)
    first, fractions = np.zeros(len(x), np.intp), []
    for position, size, stride in ((x, shape[1], 1), (y, shape[0], shape[1] + 2 * pad)):
        # Beyond these bounds the whole window lies in the padding; fmax and fmin also bring in NaN.
        position = np.fmin(np.fmax(position, -reach - 1.0), size + reach - 1.0)
        floor = np.floor(position)
        fractions.append((position - floor).astype(np.float32))
        first += (floor.astype(np.intp) + (pad - reach + 1)) * stride
    return Taps(first, *fractions)


def pack(image: NDArray[np.float32], variance: NDArray[np.float32], pad: int) -> NDArray[np.complex64]:
    """Image and variance (H + 2 pad, W + 2 pad) as the two halves of a complex number, zero in the padding.

    One look-up then fetches both.
    """
    height, width = image.shape
    packed = np.zeros((height + 2 * pad, width + 2 * pad), np.complex64)
    packed.real[pad:-pad, pad:-pad] = image
    packed.imag[pad:-pad, pad:-pad] = variance
    return packed


def gather(
    packed: NDArray[np.complex64], kernel: ResamplingKernel, taps: Taps
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted sum of image and squared-weight sum of variance (n,) at the taps."""
    total = np.empty(len(taps.first), np.complex64)
    for first in range(0, len(total), BLOCK_PIXELS):
        block = slice(first, first + BLOCK_PIXELS)
        total[block] = _sum_windows(packed, kernel, taps.subset(block))
    return total.real, total.imag


def _sum_windows(packed: NDArray[np.complex64], kernel: ResamplingKernel, taps: Taps) -> NDArray[np.complex64]:
    """Image sum and variance sum (n,) of the windows."""
    size, n, source = 2 * kernel.reach, len(taps.first), packed.ravel()
    along, across = _with_squares(kernel.weights(taps.fraction_x)), kernel.weights(taps.fraction_y)
    fetched, line, total = np.empty(n, np.complex64), np.empty(2 * n, np.float32), np.zeros(2 * n, np.float32)
    pairs = fetched.view(np.float32)
    # Plain products and sums are faster than `numpy.einsum`, and look-ups of single taps than bookkeeping that
    # would share those of neighbouring windows.
    for j in range(size):
        row = source[j * packed.shape[1] :]
        for i in range(size):
            # Indices are valid by construction; any mode but "raise" writes to `out` without a buffer.
            row[i:].take(taps.first, out=fetched, mode="clip")
            np.multiply(pairs, along[i], out=pairs if i else line)
            if i:
                np.add(line, pairs, out=line)
        np.multiply(line, _with_squares(across[j : j + 1])[0], out=line)
        np.add(total, line, out=total)
    return total.view(np.complex64)


def _with_squares(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (2N, n) and their squares, alternating: (2N, 2n)."""
    both = np.empty((*weights.shape, 2), np.float32)
    both[..., 0] = weights
    np.multiply(weights, weights, out=both[..., 1])
    return both.reshape(len(weights), -1)
