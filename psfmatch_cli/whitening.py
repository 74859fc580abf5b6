"""Filters that make the noise of a difference white, from the kernel and the noise of both images.

Where D = S - T*K, the noise of D has the power ``N(k) = v_S A_S(k) + v_T A_T(k) |K(k)|^2`` with the variances v and,
where an image was resampled, the power spectra A of its noise (1 for white noise). The filter
``w(k) = sqrt(N(0) / N(k))`` makes it white and keeps the flux of every source (Kaiser 2001, Pan-STARRS internal note;
Reiss & Lupton 2016, LSST DMTN-021). The same holds with S and T exchanged.

For a score the target was convolved with its own PSF first, ``D = P'*S - T*K`` with P' the PSF P turned by 180
degrees. Its noise is ``N(k) = v_S A_S |P|^2 + v_T A_T |K|^2``, and the filter of largest signal over noise for a point
source is ``|P|^2 / N`` (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27, in the form of the LSST pipelines).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The power of the noise is not taken for less than this part of its largest: resampled images have none at the
#: highest frequencies, and amplifying nothing makes noise.
MIN_POWER = 1e-3
#: Absolute sum of the filter that may lie beyond its image, relative to the whole.
TRUNCATION = 1e-3
#: Against division by the variance of an image without noise.
TINY = 1e-300
#: Fourier transforms are so many kernels wide.
PADDING = 4


@dataclass(frozen=True)
class NoiseTerms:
    """What the noise of a difference is made of, at n places.

    Parameters
    ----------
    target, convolved : ndarray, (n,), float64
        Variance of a pixel of the image that was matched to, and of the one that was convolved, before that; counts
        squared, each in its own counts.
    kernels : ndarray, (n, m, m), float64
        Matching kernels.
    target_correlation, convolved_correlation : ndarray, (2 k + 1, 2 k + 1), or None
        Autocorrelation of their noise, 1 at the centre; None for white noise.
    psfs : ndarray, (n, p, p), or None
        PSFs with which the target was convolved before it was matched to; None if it was not.
    """

    target: NDArray[np.float64]
    convolved: NDArray[np.float64]
    kernels: NDArray[np.float64]
    target_correlation: NDArray[np.float64] | None = None
    convolved_correlation: NDArray[np.float64] | None = None
    psfs: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Whitening:
    """Filters at n places, and what they do to noise and sources.

    Parameters
    ----------
    filters : ndarray, (n, m, m), float64
        To convolve the difference with.
    target_squares, convolved_squares : ndarray, (n, m, m), float64
        To convolve the variance planes of the two images with, before any convolution; their sum is the
        variance of the filtered difference.
    """

    filters: NDArray[np.float64]
    target_squares: NDArray[np.float64]
    convolved_squares: NDArray[np.float64]


def whitening(noise: NoiseTerms, half: int | None = None) -> Whitening:
    """Filters that make a difference white: of sum 1, centred.

    Parameters
    ----------
    noise : NoiseTerms
    half : int, optional
        Half side of the images; default: the smallest that holds them all.
    """
    length = _length(noise)
    spectra = _Spectra.of(noise, length)
    power = spectra.power()
    weight = np.sqrt(power[:, :1, :1] / power)
    return _in_pixels(weight, spectra, length, half)


def score_filters(noise: NoiseTerms, half: int | None = None) -> Whitening:
    """Filters that make of a difference with a preconvolved target the flux of a point source at every pixel.

    Parameters
    ----------
    noise : NoiseTerms
        With PSFs.
    half : int, optional
        Half side of the images; default: the smallest that holds them all.
    """
    length = _length(noise)
    spectra = _Spectra.of(noise, length)
    own = np.abs(spectra.target_transfer) ** 2
    weight = own / spectra.power()
    # A source of unit flux has the transform |P|^2; the filtered image shall be 1 at its centre.
    signal = np.fft.irfft2(own * weight, (length, length))[:, 0, 0]
    return _in_pixels(weight / signal[:, None, None], spectra, length, half)


def _length(noise: NoiseTerms) -> int:
    from scipy import fft

    size = noise.kernels.shape[-1] if noise.psfs is None else max(noise.kernels.shape[-1], noise.psfs.shape[-1])
    return fft.next_fast_len(PADDING * size, real=True)


@dataclass(frozen=True)
class _Spectra:
    """Transfer functions and noise powers, (n, length, length // 2 + 1) or broadcastable to it."""

    target: NDArray[np.float64]
    convolved: NDArray[np.float64]
    target_transfer: NDArray
    kernel: NDArray[np.complex128]

    @classmethod
    def of(cls, noise: NoiseTerms, length: int) -> _Spectra:
        own = np.ones((1, 1, 1)) if noise.psfs is None else _transform(noise.psfs, length).conj()
        return cls(
            noise.target[:, None, None] * _correlation_power(noise.target_correlation, length),
            noise.convolved[:, None, None] * _correlation_power(noise.convolved_correlation, length),
            own,
            _transform(noise.kernels, length),
        )

    def power(self) -> NDArray[np.float64]:
        """Noise power of the difference, bounded from below."""
        power = self.target * np.abs(self.target_transfer) ** 2 + self.convolved * np.abs(self.kernel) ** 2
        return np.maximum(power, MIN_POWER * power.max(axis=(1, 2), keepdims=True))


def _transform(images: NDArray[np.float64], length: int) -> NDArray[np.complex128]:
    """Transforms of centred images, the centre at the origin."""
    from scipy import fft

    half = images.shape[-1] // 2
    padded = np.zeros((len(images), length, length))
    padded[:, : images.shape[-1], : images.shape[-1]] = images
    return fft.rfft2(np.roll(padded, (-half, -half), axis=(1, 2)))


def _correlation_power(autocorrelation: NDArray[np.float64] | None, length: int) -> NDArray[np.float64]:
    """Power spectrum of noise of unit variance, (1, ...)."""
    if autocorrelation is None:
        return np.ones((1, 1, 1))
    return np.maximum(_transform(autocorrelation[None], length).real, 0.0)


def _in_pixels(weight: NDArray[np.float64], spectra: _Spectra, length: int, half: int | None) -> Whitening:
    """The filters, and the squares of the two noise chains, as images of that half side."""
    from scipy import fft

    chains = weight, weight * spectra.target_transfer, weight * spectra.kernel
    images = [np.fft.fftshift(fft.irfft2(chain, (length, length)), axes=(1, 2)) for chain in chains]
    half = max(_half_size(image) for image in images) if half is None else min(half, length // 2 - 1)
    middle = slice(length // 2 - half, length // 2 + half + 1)
    filters, target, convolved = (image[:, middle, middle] for image in images)
    if spectra.target_transfer.size == 1:
        filters = filters / filters.sum(axis=(1, 2), keepdims=True)
    powers = (
        _mean(weight**2 * np.abs(spectra.target_transfer) ** 2 * spectra.target, length),
        _mean(weight**2 * np.abs(spectra.kernel) ** 2 * spectra.convolved, length),
    )
    variances = _mean_power(spectra.target, length), _mean_power(spectra.convolved, length)
    squares = [
        image**2 * (power / np.maximum(variance * (image**2).sum(axis=(1, 2)), TINY))[:, None, None]
        for image, power, variance in zip((target, convolved), powers, variances, strict=True)
    ]
    return Whitening(filters, *squares)


def _mean(half_plane: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Mean over all frequencies of a real, symmetric function given on the half plane of `rfft2`, (n,)."""
    weights = np.full(length // 2 + 1, 2.0)
    weights[0] = 1.0
    if length % 2 == 0:
        weights[-1] = 1.0
    return (half_plane * weights).sum(axis=(1, 2)) / length**2


def _mean_power(power: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Variance of a pixel whose noise has this power spectrum, constant or not, (n,)."""
    return _mean(np.broadcast_to(power, (len(power), length, length // 2 + 1)), length)


def _half_size(images: NDArray[np.float64]) -> int:
    """Smallest half side that holds all but `TRUNCATION` of the absolute sum of each of the centred images."""
    absolute = np.abs(images)
    totals = absolute.sum(axis=(1, 2))
    center = images.shape[-1] // 2
    for half in range(1, center):
        part = slice(center - half, center + half + 1)
        if ((totals - absolute[:, part, part].sum(axis=(1, 2))) <= TRUNCATION * totals).all():
            return half
    return center - 1
