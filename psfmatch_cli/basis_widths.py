"""Gaussian widths of an Alard-Lupton basis and the kernel's side from two FWHMs.

With ``s = FWHM / 2.3548`` the kernel that takes one Gaussian to another has the width
``s_K = sqrt(|s_reference^2 - s_target^2|)``, taken as not less than a minimum m. Two rules of upstream say how the
widths of the basis follow from it: that of today ("head") and that of spring 2023 ("v23"), in which Gaussians of
their own serve a deconvolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from psfmatch_cli.config import KernelConfig
from psfmatch_cli.errors import UsageError
from psfmatch_cli.psf import FWHM_PER_SIGMA

BasisMode = Literal["config", "convolution", "deconvolution", "explicit"]

#: Gaussians that the v23 rule makes for a deconvolution.
N_GAUSS_DECONV = 3


@dataclass(frozen=True)
class GaussianWidths:
    """What a rule makes of two FWHMs.

    Parameters
    ----------
    sigmas : tuple of float
        Widths in pixels.
    degrees : tuple of int
        Polynomial degree of each Gaussian.
    size_sigma : float
        Width that the side of the kernel follows, pixels.
    mode : str
        How the widths came about.
    """

    sigmas: tuple[float, ...]
    degrees: tuple[int, ...]
    size_sigma: float
    mode: BasisMode


def configured_widths(config: KernelConfig, degrees: tuple[int, ...] | None = None) -> GaussianWidths:
    """Widths of the configuration, with its degrees or those given."""
    sigmas = tuple(config.alard_sig_gauss)
    return GaussianWidths(sigmas, _degrees(config, degrees), sigmas[-1], "config")


def scaled_widths(
    target_fwhm: float, reference_fwhm: float, config: KernelConfig, degrees: tuple[int, ...] | None = None
) -> GaussianWidths:
    """Widths by the configured rule for two positive FWHMs that differ, with the configured or the given degrees.

    Raises
    ------
    UsageError
        If the v23 rule cannot deconvolve with `alard_n_gauss_deconv` or `alard_gauss_beta`.
    """
    convolving = reference_fwhm > target_fwhm
    minimum = config.alard_min_sig if convolving else config.alard_min_sig_deconv
    width = max(np.sqrt(abs(reference_fwhm**2 - target_fwhm**2)) / FWHM_PER_SIGMA, minimum)
    if config.alard_sigma_rule == "v23" and not convolving:
        return _deconvolution_widths(width, minimum, config, degrees)
    degrees = _degrees(config, degrees)
    ladder = gaussian_ladder if config.alard_sigma_rule == "head" else width_first_ladder
    sigmas = ladder(width, minimum, config.alard_gauss_beta, len(degrees))
    return GaussianWidths(sigmas, degrees, sigmas[-1], "convolution" if convolving else "deconvolution")


def _degrees(config: KernelConfig, degrees: tuple[int, ...] | None) -> tuple[int, ...]:
    if degrees is not None and not degrees:
        raise UsageError("the basis needs at least one Gaussian, got an empty list of degrees")
    return tuple(config.alard_deg_gauss) if degrees is None else degrees


def _deconvolution_widths(
    width: float, minimum: float, config: KernelConfig, degrees: tuple[int, ...] | None
) -> GaussianWidths:
    """Widths of the v23 rule when deconvolving: those of the Gaussians that widths s0, s1, s2 add to one another."""
    n, beta = config.alard_n_gauss_deconv, config.alard_gauss_beta
    if n != N_GAUSS_DECONV:
        raise UsageError(
            f"the v23 sigma rule deconvolves with {N_GAUSS_DECONV} Gaussians, kernel.alard_n_gauss_deconv is {n}; "
            f"set it to {N_GAUSS_DECONV}, or kernel.alard_sigma_rule to head"
        )
    if beta <= np.sqrt(2):
        raise UsageError(
            f"the v23 sigma rule deconvolves with kernel.alard_gauss_beta above sqrt(2) = 1.414, got {beta:g}"
        )
    s0, s1, s2 = width_first_ladder(width, minimum, beta, N_GAUSS_DECONV)
    squares = [(q - j) * s1**2 + j * s2**2 - (q + 1) * s0**2 for q, j in ((1, 0), (2, 0), (2, 1))]
    sigmas = tuple(float(s) for s in np.sqrt(np.sort(squares)))
    degrees = (config.alard_deg_gauss_deconv,) * n if degrees is None else degrees
    return GaussianWidths(sigmas, degrees, s2, "deconvolution")


def gaussian_ladder(width: float, minimum: float, beta: float, n: int) -> tuple[float, ...]:
    """Widths of n Gaussians, each beta times the one before, the second being `width` if it can (rule "head")."""
    if n == 1:
        return (width,)
    first = max(minimum, width / beta)
    return tuple(float(first * beta**k) for k in range(n))


def width_first_ladder(width: float, minimum: float, beta: float, n: int) -> tuple[float, ...]:
    """Widths of n Gaussians, each beta times the one before, `width` the second, or the first (rule "v23").

    Where ``width / beta`` is not above the minimum, `gaussian_ladder` starts at the minimum, this one at `width`.
    """
    first = width / beta if n > 1 and width / beta > minimum else width
    return tuple(float(first * beta**k) for k in range(n))


def kernel_size_for(sigma: float, config: KernelConfig, larger_fwhm: float = 0.0) -> int:
    """Odd side of the kernel for its widest Gaussian and the larger FWHM, within the configured limits."""
    size = int(max(config.kernel_size_fwhm_scaling * sigma, config.kernel_size_per_fwhm * larger_fwhm))
    size += size % 2 == 0
    return int(np.clip(size, config.kernel_size_min, config.kernel_size_max))
