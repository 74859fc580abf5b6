"""What a difference leaves of stars: the noise that it should, and more.

Of a star with difference D, its variance V and the light S of the science image, all within one FWHM of its centre:

===================  ========================================  =============================================
what                 formula                                   perfect subtraction
===================  ========================================  =============================================
chi2                 mean(D^2 / V)                             1
relative residual    sqrt((sum D^2 - sum V) / sum S^2)         0, within noise; does not depend on the flux
flux residual        sum D / sum S                             0
ratio                (mean abs(D) - q) / mean abs(S)           0; q is the mean of abs(D) on the sky
===================  ========================================  =============================================

The last one is upstream's number. A bright star may leave many sigmas and yet only a hundredth of its light, a faint
one much of its light and yet only noise: chi2 tells the one, the relative residual the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.psf_measure import MAD_TO_SIGMA
from psfmatch_cli.quality_sky import BAD_PLANES

#: Stars of a kind that are looked at, the brightest ones: they tell what noise hides on the others.
MOST_STARS = 150
#: Radius of the core, and of the ring of local sky, FWHMs.
CORE, RING = 1.0, (2.5, 3.5)
#: Part of a core's pixels that must be usable.
LEAST_USABLE = 0.8
#: Noise over light, both as root mean squares in the core, up to which a star is bright: noise leaves the residual of
#: one such star uncertain by 3 %.
BRIGHT = 0.1
#: Fewest stars of which a median is taken.
FEWEST = 5


@dataclass(frozen=True)
class StarResiduals:
    """Residuals of N stars that have enough usable pixels, each (N,) unless it is said otherwise.

    Parameters
    ----------
    x, y : ndarray
        Parent positions.
    chi2, excess, flux, ratio : ndarray
        See the module; `excess` is the square of the relative residual and may be negative by noise.
    noise : ndarray
        ``sqrt(sum V / sum S^2)``.
    z : ndarray, (N, P)
        difference / sqrt(variance) in the core, NaN where it is not usable.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    chi2: NDArray[np.float64]
    excess: NDArray[np.float64]
    flux: NDArray[np.float64]
    ratio: NDArray[np.float64]
    noise: NDArray[np.float64]
    z: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def bright(self) -> NDArray[np.bool_]:
        """Whether each is bright, (N,)."""
        return self.noise < BRIGHT

    @property
    def median_chi2(self) -> float:
        return median(self.chi2)

    @property
    def relative_residual(self) -> float:
        """Relative residual that the bright stars have at least; NaN where there are not five."""
        return float(np.sqrt(np.maximum(at_least(self.excess[self.bright]), 0.0)))

    @property
    def flux_residual(self) -> float:
        """Flux residual that the bright stars have at least; NaN where there are not five."""
        return at_least(self.flux[self.bright])


def median(values: NDArray) -> float:
    """Median; NaN for fewer than five values."""
    return float(np.median(values)) if len(values) >= FEWEST else float("nan")


def at_least(values: NDArray[np.float64]) -> float:
    """Median of values, brought nearer to 0 by two of its standard errors: a few noisy stars prove nothing.

    0 where it does not differ from 0; NaN for fewer than five values.
    """
    if len(values) < FEWEST:
        return float("nan")
    middle = np.median(values)
    # The median of Gaussian numbers has 1.2533 times the error of their mean.
    error = 1.2533 * MAD_TO_SIGMA * np.median(np.abs(values - middle)) / np.sqrt(len(values))
    return float(np.sign(middle) * max(abs(middle) - 2.0 * error, 0.0))


def star_residuals(
    difference: MaskedImage,
    science: MaskedImage,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    fwhm: float,
    scale: float,
    sky_level: float,
) -> StarResiduals:
    """Residuals at positions.

    Parameters
    ----------
    difference, science : MaskedImage
        On the same pixels.
    x, y : ndarray, (M,)
        Parent positions of stars; those too near to the border, without light or with too few usable pixels are left
        out.
    fwhm : float
        Of the stars, pixels.
    scale : float
        Counts of the difference per count of the science image.
    sky_level : float
        Mean absolute difference of the sky, counts.
    """
    half = int(np.ceil(RING[1] * fwhm))
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    distance = np.hypot(u, v)
    core, ring = distance <= CORE * fwhm, (distance >= RING[0] * fwhm) & (distance <= RING[1] * fwhm)
    columns, rows = (np.floor(np.asarray(p) - o + 0.5).astype(int) for p, o in zip((x, y), difference.xy0, strict=True))
    height, width = difference.shape
    inside = (rows >= half) & (rows < height - half) & (columns >= half) & (columns < width - half)
    rows, columns = rows[inside, None], columns[inside, None]

    def at(plane: NDArray, where: NDArray[np.bool_]) -> NDArray:
        return plane[rows + v[where], columns + u[where]]

    level = np.median(at(science.image, ring), axis=1, keepdims=True) if len(rows) else np.zeros((0, 1))
    light = (at(science.image, core) - level) * scale
    d, variance = at(difference.image, core), at(difference.variance, core)
    bits = difference.bits([p for p in BAD_PLANES if p in difference.planes])
    usable = ((at(difference.mask, core) & bits) == 0) & np.isfinite(d) & np.isfinite(light) & (variance > 0)
    sums = _Sums.of(d, variance, light, usable)
    kept = (sums.n >= LEAST_USABLE * core.sum()) & (sums.light > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(usable, d / np.sqrt(variance), np.nan)[kept]
    s = sums.take(kept)
    return StarResiduals(
        np.asarray(x)[inside][kept],
        np.asarray(y)[inside][kept],
        np.nanmean(z.astype(float) ** 2, axis=1) if len(z) else np.zeros(0),
        (s.square - s.variance) / s.light_square,
        s.total / s.light,
        np.abs((s.absolute - s.n * sky_level) / s.light_absolute),
        np.sqrt(s.variance / s.light_square),
        z,
    )


@dataclass(frozen=True)
class _Sums:
    """Sums over the usable pixels of each star's core, (M,) each."""

    n: NDArray
    total: NDArray
    square: NDArray
    absolute: NDArray
    variance: NDArray
    light: NDArray
    light_square: NDArray
    light_absolute: NDArray

    @classmethod
    def of(cls, d: NDArray, variance: NDArray, light: NDArray, usable: NDArray[np.bool_]) -> _Sums:
        d, variance, light = (np.where(usable, values, 0.0).astype(float) for values in (d, variance, light))
        arrays = (usable, d, d**2, np.abs(d), variance, light, light**2, np.abs(light))
        return cls(*(array.sum(axis=1) for array in arrays))

    def take(self, kept: NDArray[np.bool_]) -> _Sums:
        return _Sums(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))
