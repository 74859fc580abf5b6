"""Fits of single candidates: normal equations, their solutions, and what is needed to judge them.

At one candidate the target is modelled as ``convolved * K + b`` (Alard & Lupton 1998, eq. 1 to 4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.basis import KernelBasis
from psfmatch_cli.cutouts import Stamps
from psfmatch_cli.design import convolve_stamps
from psfmatch_cli.fitted import FittedStamps, ResidualPixels, residual_pixels, transform_side
from psfmatch_cli.parallel import in_threads, slices
from psfmatch_cli.solve import NormalEquations, normal_equations, solve_each

#: Values of the design that are made at a time (16 MB): it then stays near the processor.
CHUNK_VALUES = 1 << 21


class Regularizer(Protocol):
    """What makes single fits smooth."""

    def strengths(self, equations: NormalEquations) -> NDArray[np.float64]:
        """Strength lambda for every candidate, (N,)."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Penalty H, (n, n), for local parameters; ``lambda H`` is added to the normal matrix."""


@dataclass(frozen=True)
class FitOptions:
    """How candidates are fitted.

    Parameters
    ----------
    convolve_template : bool
        Whether the template or the science image is convolved.
    fit_background : bool
        Whether each candidate has a constant of its own.
    levels : (float, float)
        Sky levels of the convolved and the target image, taken off for the sake of the condition
        number; 0, 0 if no background is fitted.
    pixel_weights : bool
        Weight pixels by their own variance. Else all pixels of a stamp have one weight, the inverse of
        the median variance: weights that follow the photon noise give the cores of bright stars, where the match
        matters, the least say.
    iterate : bool
        With `pixel_weights`: fit once more with the variance of the first difference. (Without, there is nothing
        to iterate.)
    regularizer : Regularizer or None
    with_spread : bool
        Compute what the covariance of the parameters needs.
    """

    convolve_template: bool = True
    fit_background: bool = True
    levels: tuple[float, float] = (0.0, 0.0)
    pixel_weights: bool = False
    iterate: bool = False
    regularizer: Regularizer | None = None
    with_spread: bool = False


def fit_stamps(stamps: Stamps, basis: KernelBasis, options: FitOptions, threads: int = 1) -> FittedStamps:
    """Normal equations, own solution and its residuals of every candidate.

    Parameters
    ----------
    stamps : Stamps
    basis : KernelBasis
    options : FitOptions
    threads : int
        Threads that share the candidates.
    """
    inner = max(stamps.template.shape[1] - basis.size + 1, 1)
    parts = slices(len(stamps), max(1, CHUNK_VALUES // (len(basis) * inner**2)))
    return FittedStamps.concatenated(in_threads(lambda part: _fit_some(stamps[part], basis, options), parts, threads))


def _fit_some(stamps: Stamps, basis: KernelBasis, options: FitOptions) -> FittedStamps:
    roles = _Roles.of(stamps, options)
    n, half = len(stamps), basis.size // 2
    inner = np.s_[:, half : roles.target.shape[1] - half, half : roles.target.shape[2] - half]

    def pixels(values: NDArray) -> NDArray:
        return values[inner].reshape(n, -1)

    usable = pixels(fully_covered(roles.convolved_usable, half) & roles.target_usable)
    judged = pixels(fully_covered(roles.convolved_judged, half) & roles.target_judged)
    side = transform_side(roles.target.shape[1])
    unweighted = FittedStamps(
        rows=stamps.rows,
        x=stamps.x,
        y=stamps.y,
        target=pixels(roles.target),
        target_variance=pixels(roles.target_variance),
        convolved_variance=pixels(roles.convolved_variance),
        transform=_transform(roles.convolved, side),
        variance_transform=_transform(roles.convolved_variance, side),
        usable=usable,
        judged=usable & judged,
        equations=_NO_EQUATIONS,
        noise_bias=np.zeros(n),
        strengths=np.zeros(n),
        spread=np.zeros((n, 0, 0)),
        solutions=np.zeros((n, 0)),
        own=_NO_RESIDUALS,
        basis=basis,
        side=roles.target.shape[1],
        penalty=None if options.regularizer is None else options.regularizer.matrix,
    )
    design = convolve_stamps(roles.convolved, basis)
    if not options.pixel_weights:
        return _solved(unweighted, design, _stamp_weights(roles, usable), roles.mean_convolved_variance(), options)
    # The kernel is not known yet: the first weights take the variance before the convolution.
    first = unweighted.target_variance + unweighted.convolved_variance
    fitted = _solved(unweighted, design, _inverse(first, usable), unweighted.convolved_variance, options)
    if options.iterate:
        second = _inverse(fitted.own.variance, usable)
        fitted = _solved(unweighted, design, second, unweighted.convolved_variance, options)
    return fitted


_NO_EQUATIONS = NormalEquations(np.zeros((0, 0, 0)), np.zeros((0, 0)), np.zeros(0), np.zeros(0, np.int64))
_NO_RESIDUALS = ResidualPixels(*(np.zeros((0, 0)) for _ in range(3)))


@dataclass(frozen=True)
class _Roles:
    """Stamps by their role in the fit, (N, S, S); sky levels off, unusable pixels of the convolved image 0."""

    convolved: NDArray
    convolved_variance: NDArray
    convolved_usable: NDArray[np.bool_]
    convolved_judged: NDArray[np.bool_]
    target: NDArray
    target_variance: NDArray
    target_usable: NDArray[np.bool_]
    target_judged: NDArray[np.bool_]

    @classmethod
    def of(cls, stamps: Stamps, options: FitOptions) -> _Roles:
        template = stamps.template, stamps.template_variance, stamps.template_usable, stamps.template_judged
        science = stamps.science, stamps.science_variance, stamps.science_usable, stamps.science_judged
        first, second = (template, science) if options.convolve_template else (science, template)
        convolved = np.where(first[2], first[0] - options.levels[0], 0.0)
        return cls(convolved, *first[1:], second[0] - options.levels[1], *second[1:])

    def mean_convolved_variance(self) -> NDArray[np.float64]:
        """Mean variance of the usable pixels of each convolved stamp, (N, 1)."""
        count = self.convolved_usable.sum(axis=(1, 2))
        total = np.where(self.convolved_usable, self.convolved_variance, 0.0).sum(axis=(1, 2), dtype=np.float64)
        return (total / np.maximum(count, 1))[:, None]

    def median_variances(self) -> NDArray[np.float64]:
        """Median over the pixels usable in both stamps of the variance before the convolution, (N,); 0 without any."""
        n = len(self.target)
        usable = (self.convolved_usable & self.target_usable).reshape(n, -1)
        total = np.where(usable, (self.convolved_variance + self.target_variance).reshape(n, -1), np.inf)
        count = np.count_nonzero(usable, axis=1)
        medians = np.zeros(n)
        # Stamps with as many usable pixels have their median at one place of the sorted ones: nearly all are whole.
        for found in np.unique(count[count > 0]):
            rows = np.flatnonzero(count == found)
            places = [(found - 1) // 2, found // 2]
            medians[rows] = np.partition(total[rows], places, axis=1)[:, places].mean(axis=1, dtype=np.float64)
        return medians


def _stamp_weights(roles: _Roles, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One weight for all usable pixels of a stamp: the inverse of its median variance, before the convolution."""
    level = roles.median_variances()
    return usable / np.where(level > 0, level, 1.0)[:, None]


def _inverse(variance: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Inverse variances; 0 for unusable pixels, and for those without a variance (upstream gives the stamp up)."""
    known = usable & (variance > 0)
    return known / np.where(known, variance, 1.0)


def _solved(
    fitted: FittedStamps,
    design: NDArray[np.float64],
    weight: NDArray[np.float64],
    noise: NDArray[np.float64],
    options: FitOptions,
) -> FittedStamps:
    """The candidates with their equations and solutions for given weights, (N, P)."""
    equations = normal_equations(design, fitted.target, weight, options.fit_background)
    made = replace(fitted, equations=equations, noise_bias=(weight * noise).sum(axis=1))
    if options.regularizer is not None:
        made = replace(made, strengths=options.regularizer.strengths(equations))
    made = replace(made, solutions=solve_each(replace(equations, matrix=made.penalised())))
    made = replace(made, own=residual_pixels(made, made.solutions))
    if not options.with_spread:
        return made
    variance = np.where(np.isfinite(made.own.variance), made.own.variance, 0.0)
    spread = normal_equations(design, fitted.target, weight**2 * variance, options.fit_background).matrix
    return replace(made, spread=spread)


def fully_covered(usable: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """Pixels whose whole kernel square is usable, (N, S, S).

    The border of a stamp without a bad pixel, which is outside the fitted pixels, is spared.
    """
    from scipy.ndimage import minimum_filter1d

    spoilt = np.flatnonzero(~usable.all(axis=(1, 2)))
    if len(spoilt) == 0:
        return usable
    covered = usable[spoilt].astype(np.uint8)
    for axis in (1, 2):
        covered = minimum_filter1d(covered, 2 * half + 1, axis=axis, mode="constant", cval=0)
    out = usable.copy()
    out[spoilt] = covered
    return out


def _transform(stamps: NDArray, side: int) -> NDArray:
    from scipy import fft

    return fft.rfft2(stamps, (side, side))
