"""Kernel bases: Alard-Lupton (Gaussians times polynomials) and delta functions (one per kernel pixel).

Alard-Lupton: basis image of Gaussian g and powers (a, b): ``exp(-(u^2 + v^2) / 2 s_g^2) (u/h)^a (v/h)^b`` on the
stamp -h..h (Alard & Lupton 1998, ApJ 503, 325, eq. 3). The list is renormalised so that the first
image sums to 1 and every other sums to 0 with unit sum of squares; the kernel sum is then the
coefficient of the first image alone (Alard 2000, A&AS 144, 363, sec. 2.3).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis_widths import (
    BasisMode,
    GaussianWidths,
    configured_widths,
    kernel_size_for,
    scaled_widths,
)
from psfmatch_cli.config import KernelConfig
from psfmatch_cli.errors import UsageError
from psfmatch_cli.kernel import exponent_pairs
from psfmatch_cli.widths import check_fwhms

log = logging.getLogger(__name__)

#: Sums below this count as zero in the renormalisation, as upstream (float32 epsilon: odd terms sum to rounding).
_ZERO_SUM = float(np.finfo(np.float32).eps)

#: FWHMs that differ by less than this fraction count as equal: neither the direction of the convolution nor
#: the widths of the Gaussians follow from them. Thirty stars give a FWHM to about 0.5 %.
NEARLY_EQUAL = 0.015


@dataclass(frozen=True)
class BasisSpec:
    """What an Alard-Lupton basis is made of.

    Parameters
    ----------
    size : int
        Side of the kernel in pixels, odd.
    sigmas : tuple of float
        Gaussian widths in pixels.
    degrees : tuple of int
        Polynomial degree of each Gaussian.
    mode : str
        How the widths came about: ``config``, ``convolution``, ``deconvolution`` or ``explicit``.
    has_wing : bool
        Whether the last Gaussian is the wing.

    Raises
    ------
    UsageError
        On an even or too small size, a width that is not positive, or lists of unequal length.
    """

    size: int
    sigmas: tuple[float, ...]
    degrees: tuple[int, ...]
    mode: BasisMode = "explicit"
    has_wing: bool = False

    def __post_init__(self):
        _check_size(self.size)
        if len(self.sigmas) != len(self.degrees) or not self.sigmas:
            raise UsageError(f"the basis needs one degree per sigma, got {len(self.degrees)} for {len(self.sigmas)}")
        if min(self.sigmas) <= 0:
            raise UsageError(f"basis sigmas must be positive, got {self.sigmas}")
        if min(self.degrees) < 0:
            raise UsageError(f"basis degrees must be at least 0, got {self.degrees}")

    @property
    def n_functions(self) -> int:
        return sum((d + 1) * (d + 2) // 2 for d in self.degrees)

    def __str__(self) -> str:
        widths = ", ".join(f"{s:.2f}" for s in self.sigmas)
        return f"{self.size} px, sigmas {widths} px, degrees {', '.join(map(str, self.degrees))}"


def _check_size(size: int) -> None:
    if size % 2 == 0 or size < 3:
        raise UsageError(f"kernel_size must be odd and at least 3, got {size}")


@dataclass(frozen=True)
class KernelBasis:
    """Basis images and what makes convolving stamps with them fast.

    Parameters
    ----------
    images : ndarray, (n_basis, size, size), float64
        The basis images.
    constant_first : bool
        Whether the first coefficient is constant over the field (its image alone carries the sum).
    filters : ndarray, (n_filters, size), float64, or None
        One-dimensional factors of the raw images.
    pairs : tuple of (int, int)
        Index of the x and the y factor of each raw image.
    mixing : ndarray, (n_basis, n_basis), float64, or None
        ``images = mixing @ raw images``.
    spec : BasisSpec or None
        Where an Alard-Lupton basis came from.
    is_delta : bool
        Whether image k is 1 in kernel pixel k, row by row, and 0 elsewhere.
    """

    images: NDArray[np.float64]
    constant_first: bool
    filters: NDArray[np.float64] | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    mixing: NDArray[np.float64] | None = None
    spec: BasisSpec | None = None
    is_delta: bool = False

    @property
    def size(self) -> int:
        return self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)


def alard_lupton_basis(spec: BasisSpec) -> KernelBasis:
    """The renormalised Alard-Lupton basis.

    Terms of Gaussian 1 first, degree by degree, within a degree the x power falling. The stamp
    coordinates run from -1 to 1.
    """
    half = spec.size // 2
    u = np.arange(-half, half + 1, dtype=np.float64)
    filters: list[NDArray] = []
    pairs: list[tuple[int, int]] = []
    for sigma, degree in zip(spec.sigmas, spec.degrees, strict=True):
        gauss = np.exp(-0.5 * (u / sigma) ** 2)
        gauss /= gauss.sum()
        start = len(filters)
        filters += [gauss * (u / half) ** power for power in range(degree + 1)]
        pairs += [(start + a, start + b) for a, b in exponent_pairs(degree)]
    stack = np.array(filters)
    raw = np.array([np.outer(stack[iy], stack[ix]) for ix, iy in pairs])
    mixing = renormalisation(raw)
    images = np.tensordot(mixing, raw, axes=1)
    return KernelBasis(images, True, stack, tuple(pairs), mixing, spec)


def delta_function_basis(size: int) -> KernelBasis:
    """One basis image per pixel of the kernel, row by row, x fastest: size^2 functions.

    Raises
    ------
    UsageError
        If the size is even or below 3.
    """
    _check_size(size)
    return KernelBasis(np.eye(size * size).reshape(-1, size, size), constant_first=False, is_delta=True)


def renormalisation(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix R, (n, n), for which the images ``R @ raw`` sum to 1, 0, 0, ... with unit squares from the second on.

    Upstream divides an image by its sum S, subtracts the first image F and scales to unit squares; where S counts
    as zero it only scales. Here S F is subtracted from the image, whatever S is, and the sign of S taken where
    upstream divides: the same image to rounding, without a division by a small S, and with no sum left where
    upstream leaves one.
    """
    n = len(raw)
    sums = raw.sum(axis=(1, 2))
    mixing = np.zeros((n, n))
    mixing[0, 0] = 1.0 / sums[0]
    first = raw[0] * mixing[0, 0]
    for i in range(1, n):
        sign = -1.0 if sums[i] < -_ZERO_SUM else 1.0
        scale = sign / np.sqrt(np.sum((raw[i] - sums[i] * first) ** 2))
        mixing[i, i] = scale
        mixing[i, 0] = -scale * sums[i] * mixing[0, 0]
    return mixing


def basis_spec(
    target_fwhm: float | None,
    reference_fwhm: float | None,
    config: KernelConfig,
    degrees: tuple[int, ...] | None = None,
) -> BasisSpec:
    """Widths, degrees and size of the basis that takes one FWHM to another.

    Widths follow `scaled_widths`. Missing or equal FWHMs give the configured widths: equal means nearly equal with
    the rule "head", exactly equal with "v23", as upstream.

    Parameters
    ----------
    target_fwhm, reference_fwhm : float or None
        FWHM in pixels of the image to convolve and of the one to match.
    config : KernelConfig
        Settings.
    degrees : tuple of int, optional
        Polynomial degrees instead of the configured ones.

    Raises
    ------
    FwhmError
        If a FWHM is not positive.
    UsageError
        If the v23 rule cannot deconvolve, or the number of degrees is not that of the
        widths.
    """
    check_fwhms({"image to convolve": target_fwhm, "image to match": reference_fwhm})
    if not config.scale_by_fwhm:
        return _with_wings(configured_widths(config, degrees), config, 0.0)
    known = [fwhm for fwhm in (target_fwhm, reference_fwhm) if fwhm is not None]
    if len(known) == 1:
        missing = "convolve" if target_fwhm is None else "match"
        log.info("the FWHM of the image to %s is not known: the basis has the configured widths", missing)
    if len(known) < 2 or _equal(target_fwhm, reference_fwhm, config):
        widths = configured_widths(config, degrees)
    else:
        widths = scaled_widths(target_fwhm, reference_fwhm, config, degrees)
    return _with_wings(widths, config, max(known, default=0.0))


def _equal(target_fwhm: float, reference_fwhm: float, config: KernelConfig) -> bool:
    if config.alard_sigma_rule == "v23":
        return target_fwhm == reference_fwhm
    return abs(reference_fwhm / target_fwhm - 1) < NEARLY_EQUAL


def explicit_spec(sigmas: tuple[float, ...], degrees: tuple[int, ...], config: KernelConfig) -> BasisSpec:
    """Spec of widths in pixels and degrees by hand, without a wing; the configured size, or that of the widest.

    Raises
    ------
    UsageError
        If there is not one degree per width, a width is not positive or a degree negative.
    """
    size = config.kernel_size or kernel_size_for(max(sigmas, default=0.0), config)
    return BasisSpec(size, sigmas, degrees, "explicit")


def basis_specs(target_fwhm: float | None, reference_fwhm: float | None, config: KernelConfig) -> list[BasisSpec]:
    """The basis of `basis_spec`, and the richer one that is tried beside it.

    None is tried if it is the same, or has another number of Gaussians than were asked for. PSFs with spikes and
    resampled stars need more than degrees 4, 2, 2; a faint field cannot afford more. The v23 rule has one basis for
    a deconvolution.
    """
    first = basis_spec(target_fwhm, reference_fwhm, config)
    if config.richer_deg_gauss == config.alard_deg_gauss or len(config.richer_deg_gauss) != len(config.alard_deg_gauss):
        return [first]
    richer = basis_spec(
        target_fwhm, reference_fwhm, config.model_copy(update={"alard_deg_gauss": config.richer_deg_gauss})
    )
    return [first] if richer == first else [first, richer]


def _with_wings(widths: GaussianWidths, config: KernelConfig, larger_fwhm: float) -> BasisSpec:
    """Spec of the widths, with the wing Gaussian if it is on; the size follows the widths without it.

    Real and Moffat wings are wider than any of the Gaussians: without the wing the kernel sum of two
    Moffat PSFs of 3.4 and 4.6 px comes out 0.5 % low.
    """
    sigmas, degrees = widths.sigmas, widths.degrees
    size = config.kernel_size or kernel_size_for(widths.size_sigma, config, larger_fwhm)
    if config.wing_gaussian:
        sigmas, degrees = (*sigmas, config.alard_gauss_beta * sigmas[-1]), (*degrees, 0)
    return BasisSpec(size, sigmas, degrees, widths.mode, config.wing_gaussian)


def for_faint_field(spec: BasisSpec) -> BasisSpec:
    """The same basis without its wing, its widest Gaussian round: faint stars cannot tell these from the background.

    Measured on 40 stars of S/N 20 to 100: the flux scale of a convolved science image is 2 to 5 % off with the
    broad terms, 0.5 % without.
    """
    if not spec.has_wing:
        return spec
    return BasisSpec(spec.size, spec.sigmas[:-1], (*spec.degrees[:-2], 0), spec.mode)
