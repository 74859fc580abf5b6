"""Which sources of a field are stars, from their sizes and shapes alone.

Stars have one size and one shape, up to noise and a smooth change over the field; galaxies are larger,
by all amounts, and point anywhere; what is smaller than the stars is an artefact (cosmic ray, hot
pixel). With z = ln(fwhm) and the ellipticity e the density of a source is the mixture ::

    star      N(z - m; s) N2(e - e0; t)
    galaxy    half [uniform in z from m to m + 1.6], half [exponential above m], times g(e)
    artefact  [uniform in z from ln 0.8 to m] [uniform in e]
    other     [uniform in z] [uniform in e]

with g(e) a mean of round and elongated distributions. Clusters of constant m that stand out of the
smoothed distribution of all sources are the starting points. From each, expectation maximisation finds
the shares of the mixture, m and e0 as polynomials of the position, and the scatters s and t. The cluster
that stands out most in the end is that of the stars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.exposure import Box
from psfmatch_cli.kernel import SpatialModel

#: Steps of m, in ln(fwhm).
GRID_STEP = 0.01
#: Scatters s of ln(fwhm) that are tried: from a constant PSF to one that changes by 30 % over the field.
GRID_SCATTERS = (0.012, 0.03, 0.08)
#: Starting points for each of them.
STARTS = 2
#: Scatter t of the ellipticity of stars in the search, per component.
SHAPE_SCATTER = 0.05
#: Galaxies: range of ln(fwhm) above the stars, scale of the pile of barely resolved ones.
GALAXY_RANGE, GALAXY_SCALE = 1.6, 0.2
#: Scatters per component of the ellipticity of galaxies; the smaller are those of galaxies rounded by the PSF.
GALAXY_SHAPES = (0.25, 0.125, 0.0625)
#: Smoothing of ln(fwhm) that leaves no trace of a cluster of stars.
SMOOTHING = 0.12
#: A source this many sigma below the cluster, and this near to its ellipticity or to 0, costs so much ln(likelihood).
ARTEFACT_GAP, ROUND, ARTEFACT_COST = 4.0, 0.2, 1.0
#: Range of ln(fwhm) of anything, from ln 0.8 to ln 50.
Z_MIN, Z_MAX = -0.223, 3.912
#: Noise of an ellipticity component in units of that of ln(fwhm), for a round profile.
SHAPE_NOISE = 1.5
#: No kind of source is ever quite excluded.
MIN_SHARE = 0.01
SHARE_ITERATIONS = 8
#: At most so many refinements of a cluster; they end when none of its widths changes by more than this share.
REFINEMENTS, SETTLED = 20, 1e-4
#: A star counts if its density is this share of the total, and its residuals are below so many sigma.
MIN_PROBABILITY = 0.5
MAX_SIGMA = 3.5
#: Smallest scatter of ln(fwhm) and of the ellipticity about the polynomials: no real field is more uniform.
MIN_SCATTER, MIN_SHAPE_SCATTER = 0.004, 0.01
#: Largest, reached by this factor per iteration: beyond, it is galaxies that are being described.
MAX_SCATTER, MAX_SHAPE_SCATTER, COOLING = 0.02, 0.05, 0.85
#: Stars that a plane and a parabola of the position need.
STARS_FOR_ORDER = {1: 12, 2: 30}


@dataclass(frozen=True)
class Sizes:
    """Sizes and shapes of sources: position (array indices), ln(fwhm), its error, ellipticity; each (n,)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    error: NDArray[np.float64]
    e1: NDArray[np.float64]
    e2: NDArray[np.float64]


@dataclass(frozen=True)
class Locus:
    """The stars among the sources.

    Parameters
    ----------
    is_star : ndarray, (n,), bool
        Members.
    log_fwhm, e1, e2 : ndarray, (n_terms,)
        Coefficients of the polynomials of the position.
    spatial : SpatialModel
        Their terms.
    scatter : float
        Scatter of ln(fwhm) about the polynomial beyond the errors.
    gain : float
        How far they stand out of the other sources, as a gain of logarithmic likelihood.
    """

    is_star: NDArray[np.bool_]
    log_fwhm: NDArray[np.float64]
    e1: NDArray[np.float64]
    e2: NDArray[np.float64]
    spatial: SpatialModel
    scatter: float
    gain: float

    def fwhm(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """FWHM of the stars at positions in array indices, pixels."""
        return np.exp(np.tensordot(self.log_fwhm, self.spatial.terms(x, y), axes=1))


def find_locus(sizes: Sizes, box: Box, start: Locus | None = None) -> Locus:
    """The stars of a field.

    Parameters
    ----------
    sizes : Sizes
        At least one source.
    box : Box
        Pixels of the image, in the indices of the positions.
    start : Locus, optional
        Result for the same stars from earlier measurements: it is only refined.
    """
    null = _smooth_densities(sizes)
    if start is not None:
        terms = start.spatial.terms(sizes.x, sizes.y)
        model = np.stack([start.log_fwhm, start.e1, start.e2]) @ terms
        return _refined(sizes, box, model, start.scatter, null)
    starts = [
        (np.array([[m], [e1], [e2]]) * np.ones(len(sizes.z)), s)
        for s in GRID_SCATTERS
        for m, e1, e2 in _clusters(sizes, s, null)
    ]
    return max((_refined(sizes, box, model, s, null) for model, s in starts), key=lambda locus: locus.gain)


def _normal(deviation: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of the normal distribution."""
    return np.exp(-0.5 * (deviation / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)


def _normal_2d(d1: NDArray, d2: NDArray, sigma: NDArray) -> NDArray[np.float64]:
    return np.exp(-0.5 * (d1**2 + d2**2) / sigma**2) / (2 * np.pi * sigma**2)


def _smooth_densities(sizes: Sizes) -> NDArray[np.float64]:
    """Densities of galaxies of every kind of shape and of artefacts, of the sizes that there are, (4, n)."""
    ones = np.ones(len(sizes.z))
    by_size = _normal(sizes.z[:, None] - sizes.z, SMOOTHING * ones).mean(axis=1)
    noise = SHAPE_NOISE * sizes.error
    shapes = [_normal_2d(sizes.e1, sizes.e2, np.hypot(shape, noise)) for shape in GALAXY_SHAPES]
    return by_size * np.stack([*shapes, ones / np.pi])


def _star_density(sizes: Sizes, model: NDArray | tuple, s: float, t: float) -> NDArray[np.float64]:
    """Density of stars whose ln(fwhm) and ellipticity are `model`, with the scatters s and t."""
    m, e1, e2 = model
    sigma_e = np.hypot(t, SHAPE_NOISE * sizes.error)
    return _normal(sizes.z - m, np.hypot(s, sizes.error)) * _normal_2d(sizes.e1 - e1, sizes.e2 - e2, sigma_e)


def _galaxy_shapes(sizes: Sizes) -> NDArray[np.float64]:
    """Density of the ellipticity of galaxies at that of every source, (n,)."""
    noise = SHAPE_NOISE * sizes.error
    return sum(_normal_2d(sizes.e1, sizes.e2, np.hypot(width, noise)) for width in GALAXY_SHAPES) / len(GALAXY_SHAPES)


def _densities(
    sizes: Sizes, model: NDArray[np.float64], s: float, t: float, shape: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Densities of star, galaxy, artefact and other at every source, (4, n); `shape` is that of `_galaxy_shapes`."""
    from scipy.special import ndtr

    m = model[0]
    gap = sizes.z - m
    above = ndtr(gap / np.hypot(s, sizes.error))
    size = 0.5 * (gap < GALAXY_RANGE) / GALAXY_RANGE + 0.5 * np.exp(-np.maximum(gap, 0.0) / GALAXY_SCALE) / GALAXY_SCALE
    artefact = (1.0 - above) / (np.maximum(m - Z_MIN, 0.1) * np.pi)
    other = np.full_like(gap, 1.0 / ((Z_MAX - Z_MIN) * np.pi))
    return np.stack([_star_density(sizes, model, s, t), above * size * shape, artefact, other])


def _shares(densities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares (k,) of the densities (k, n) by expectation maximisation, and the density of each source."""
    shares = np.full(len(densities), 1.0 / len(densities))
    for _ in range(SHARE_ITERATIONS):
        shares = np.maximum(shares * (densities @ (1.0 / (shares @ densities))) / densities.shape[1], MIN_SHARE)
        shares /= shares.sum()
    return shares, shares @ densities


def _total_with_stars(star: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of each source for the best shares of a star density, (..., n), and the others, (k, n).

    As `_shares` for every row of `star` alone; but the others are the same for all rows, so that products of matrices
    do nearly all of it.
    """
    star_share = np.full((*star.shape[:-1], 1), 1.0 / (len(null) + 1))
    shares = np.repeat(star_share, len(null), axis=-1)
    for _ in range(SHARE_ITERATIONS):
        inverse = 1.0 / (star_share * star + shares @ null)
        mean = np.einsum("...n,...n->...", star, inverse)[..., None] / star.shape[-1]
        star_share = np.maximum(star_share * mean, MIN_SHARE)
        shares = np.maximum(shares * (inverse @ null.T) / star.shape[-1], MIN_SHARE)
        norm = star_share + shares.sum(axis=-1, keepdims=True)
        star_share, shares = star_share / norm, shares / norm
    return star_share * star + shares @ null


def _gain(sizes: Sizes, model: NDArray | tuple, s: float, t: float, null: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a cluster stands out: the gain of likelihood over the smoothed distribution of all sources.

    Every source that is smaller and yet round or shaped like the cluster costs something: below stars
    there are only artefacts, which have any shape. So does every coefficient of a polynomial, in `_refined`.
    """
    total = _total_with_stars(_star_density(sizes, model, s, t), null)
    m, e1, e2 = model
    smaller = m - sizes.z > ARTEFACT_GAP * np.hypot(s, sizes.error)
    smaller &= (np.hypot(sizes.e1 - e1, sizes.e2 - e2) < ROUND) | (np.hypot(sizes.e1, sizes.e2) < ROUND)
    without = np.log(_shares(null)[1]).sum()
    return np.log(total).sum(axis=-1) - without - ARTEFACT_COST * smaller.sum(axis=-1)


def _clusters(sizes: Sizes, s: float, null: NDArray[np.float64]) -> list[tuple[float, float, float]]:
    """The best few clusters of constant size and the scatter s: ln(fwhm), and the mean shape there."""
    low, high = min(0.0, float(sizes.z.min())), float(sizes.z.max()) + GRID_STEP
    grid = np.arange(low, high, GRID_STEP)[:, None]
    near = _normal(sizes.z - grid, np.hypot(s, sizes.error))
    norm = np.maximum(near.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    e1, e2 = ((near * e).sum(axis=1, keepdims=True) / norm for e in (sizes.e1, sizes.e2))
    gain = _gain(sizes, (grid, e1, e2), s, SHAPE_SCATTER, null)
    found = []
    while len(found) < STARTS and np.isfinite(gain).any():
        at = int(gain.argmax())
        found.append((float(grid[at, 0]), float(e1[at, 0]), float(e2[at, 0])))
        gain[np.abs(grid[:, 0] - grid[at, 0]) < 2.5 * s + GRID_STEP] = -np.inf
    return found


def _refined(sizes: Sizes, box: Box, model: NDArray[np.float64], s: float, null: NDArray[np.float64]) -> Locus:
    """Polynomials through the stars, starting from a model, with the scatter that they leave."""
    t, limit = SHAPE_SCATTER, max(s, MAX_SCATTER)
    values, shape = np.stack([sizes.z, sizes.e1, sizes.e2]), _galaxy_shapes(sizes)
    models: dict[int, tuple[SpatialModel, NDArray[np.float64]]] = {}
    for _ in range(REFINEMENTS):
        densities = _densities(sizes, model, s, t, shape)
        shares, total = _shares(densities)
        probability = shares[0] * densities[0] / total
        order = _order(probability.sum())
        if order not in models:
            made = SpatialModel("chebyshev1", order, box)
            models[order] = made, made.terms(sizes.x, sizes.y)
        spatial, terms = models[order]
        coefficients = _weighted_fit(terms, values, probability / (s**2 + sizes.error**2))
        before, model = model, coefficients @ terms
        residual = values - model
        limit = max(limit * COOLING, MAX_SCATTER)
        s = np.clip(_scatter(residual[:1], probability, sizes.error, s), MIN_SCATTER, limit)
        t = _scatter(residual[1:], probability, SHAPE_NOISE * sizes.error, t)
        t = np.clip(t, MIN_SHAPE_SCATTER, MAX_SHAPE_SCATTER)
        if limit <= MAX_SCATTER and np.abs(model[0] - before[0]).max() < SETTLED:
            break
    is_star = (probability > MIN_PROBABILITY) & (np.abs(residual[0]) < MAX_SIGMA * np.hypot(s, sizes.error))
    # Akaike's criterion for the three polynomials.
    gain = _gain(sizes, model, s, t, null) - 3.0 * spatial.size
    return Locus(is_star, *coefficients, spatial, float(s), float(gain))


def _order(n_stars: float) -> int:
    """Order of the polynomial that so many stars allow."""
    return max((order for order, n in STARS_FOR_ORDER.items() if n_stars >= n), default=0)


def _weighted_fit(terms: NDArray, values: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Coefficients (k, n_terms) of weighted least squares for k sets of values."""
    root = np.sqrt(weight / max(weight.max(), np.finfo(float).tiny))
    return np.linalg.lstsq((terms * root).T, (values * root).T, rcond=1e-8)[0].T


def _scatter(residual: NDArray, probability: NDArray, error: NDArray, before: float) -> float:
    """Scatter beyond the errors: maximum likelihood step for normal deviations of unequal errors.

    Weights with the inverse square of the total variance keep noisy sources from ruling it.
    """
    weight = probability / (before**2 + error**2) ** 2
    excess = (weight * ((residual**2).mean(axis=0) - error**2)).sum() / max(weight.sum(), np.finfo(float).tiny)
    return float(np.sqrt(max(excess, 0.0)))
