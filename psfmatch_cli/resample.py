"""Resampling of image and variance at given positions.

A kernel of order N uses 2N taps an axis: with the position split into i = floor(s) and f = s - i, these are the
pixels i + k, k = -N+1..N, and the weight of a pixel is the product of those of its two axes. `kernel_weights` tells
how each kernel comes to its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

#: Order of each kernel by its name.
REACH = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos4": 4, "lanczos5": 5, "kriging4": 4}
#: FWHM, pixels, of the Gaussian stars that kriging is best for. A narrower one serves narrow stars better, but leaves
#: larger errors in broad ones: with 2.8 no star of 2.5 pixels or more moves by 0.004 px or loses 0.1 % of its flux.
KRIGING_FWHM = 2.8
#: Degree, in (f - 1/2)^2, of the polynomials that stand for the weights: leaves errors of at most 1.4e-8 in any of
#: the kernels, where float32 has 1e-7.
DEGREE = 4


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
        t = fraction - fraction.dtype.type(0.5)
        square = t * t
        bump = fraction.dtype.type(0.25) - square
        even, odd = _horner(self.even, square), _horner(self.odd, square)
        even *= bump
        odd *= bump
        odd[0] += 1
        odd *= t
        even[0] += fraction.dtype.type(0.5)
        out = np.empty((2 * self.reach, len(t)), t.dtype)
        np.add(even, odd, out=out[self.reach :])
        np.subtract(even[::-1], odd[::-1], out=out[: self.reach])
        return out


def _horner(coefficients: NDArray[np.float64], u: NDArray) -> NDArray:
    """Polynomials (N, n) at u (n,), coefficients (degree + 1, N), constant first."""
    columns = coefficients.astype(u.dtype)[..., None]
    value = np.empty((coefficients.shape[1], len(u)), u.dtype)
    value[:] = columns[-1]
    for column in columns[-2::-1]:
        value *= u
        value += column
    return value


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

    def subset(self, index: NDArray[np.intp]) -> Taps:
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
    """Weighted sum of image and squared-weight sum of variance (n,) at the taps.

    Neighbouring outputs mostly read windows one pixel apart. The pixels under such a run are looked up once
    for each row of the windows, which is two to three times faster than looking up each tap of each output.
    """
    size, n = 2 * kernel.reach, len(taps.first)
    step = np.diff(taps.first)
    if 2 * np.count_nonzero(step == -1) > n:
        # A mirrored template is read backwards.
        image, variance = gather(packed, kernel, taps.subset(np.arange(n)[::-1]))
        return image[::-1], variance[::-1]
    runs = np.append(0, np.flatnonzero(step != 1) + 1)
    if len(runs) * (size - 1) > n:
        total = _sum_windows(packed, kernel, taps, run=False)
        return total.real, total.imag
    # Room for the last window of each run; the sums of the slots in between mean nothing.
    ends = np.append(runs[1:], n) - 1
    slots = np.arange(n) + (size - 1) * np.arange(len(runs)).repeat(ends + 1 - runs)
    room = slots[-1] + size
    stretched = Taps(np.zeros(room, np.intp), np.zeros(room, np.float32), np.zeros(room, np.float32))
    for old, new in zip(_arrays(taps), _arrays(stretched), strict=True):
        new[slots] = old
    after = np.arange(1, size)
    stretched.first[slots[ends, None] + after] = taps.first[ends, None] + after
    total = _sum_windows(packed, kernel, stretched, run=True)[slots]
    return total.real, total.imag


def _arrays(taps: Taps) -> tuple[NDArray, ...]:
    return taps.first, taps.fraction_x, taps.fraction_y


def _sum_windows(packed: NDArray, kernel: ResamplingKernel, taps: Taps, *, run: bool) -> NDArray[np.complex64]:
    """Image sum and variance sum (n,) of the windows; with `run`, each window begins one pixel after the last."""
    size, n, source = 2 * kernel.reach, len(taps.first), packed.ravel()
    along, across = (_with_squares(kernel.weights(f)) for f in (taps.fraction_x, taps.fraction_y))
    line, total = np.empty(2 * n, np.float32), np.zeros(2 * n, np.float32)
    fetched = np.zeros(n + size - 1 if run else (size, n), np.complex64)
    pairs = fetched.view(np.float32)
    windows = as_strided(pairs, (size, 2 * n), (8, 4)) if run else pairs
    for j in range(size):
        row = source[j * packed.shape[1] :]
        # Indices are valid by construction; any mode but "raise" writes to `out` without a buffer.
        if run:
            row.take(taps.first, out=fetched[:n], mode="clip")
        else:
            for i in range(size):
                row[i:].take(taps.first, out=fetched[i], mode="clip")
        np.einsum("kn,kn->n", windows, along, out=line)
        np.multiply(line, across[j], out=line)
        np.add(total, line, out=total)
    return total.view(np.complex64)


def _with_squares(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (2N, n) and their squares, alternating: (2N, 2n)."""
    both = np.empty((*weights.shape, 2), np.float32)
    both[..., 0] = weights
    np.multiply(weights, weights, out=both[..., 1])
    return both.reshape(len(weights), -1)
