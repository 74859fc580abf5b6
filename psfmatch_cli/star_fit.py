"""The displacement that brings the stars of two images together: a shift, an affine transform or a polynomial.

The order is the lowest that stars left out of the fit do not clearly speak against. They are left out by parts of the
image, so that a polynomial is judged by where it has to extrapolate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.pixel_map import Displacement, terms
from psfmatch_cli.star_list import StarList
from psfmatch_cli.star_match import CLIP_SIGMA, Offset, StarPairs, pair_stars, robust_sigma

#: Stars that a shift, an affine transform, and polynomials of second and third order need.
MIN_STARS = (3, 8, 20, 40)
ORDER_NAMES = ("shift", "affine transform", "polynomial of order 2", "polynomial of order 3")
#: Parts per axis that are left out in turn.
PARTS = 3
#: A higher order must lower the score of left-out stars by so many standard errors.
CLEARLY = 3.0
#: Errors of centroids that their noise does not explain, pixels: undersampling, neighbours, colours.
SYSTEMATIC = 0.01
#: Smallest radius, pixels, for stars to be the same once the displacement is known.
LAST_TOLERANCE = 1.0


@dataclass(frozen=True)
class StarFit:
    """A displacement fitted to stars.

    Parameters
    ----------
    displacement : Displacement
        From where a star is in the science image to where the template has it, in science pixels.
    pairs : StarPairs
        Stars that it was fitted to.
    size : float
        Root mean square of the displacement at these stars, pixels.
    error : float
        Root mean square error of it there, pixels.
    """

    displacement: Displacement
    pairs: StarPairs
    size: float
    error: float

    @property
    def order(self) -> int:
        return self.displacement.order

    def residuals(self) -> StarPairs:
        """The pairs with what the displacement leaves of their differences."""
        dx, dy = self.displacement(self.pairs.x, self.pairs.y)
        p = self.pairs
        return StarPairs(p.x, p.y, p.dx - dx, p.dy - dy, p.error)


def fit_stars(first: StarList, second: StarList, offset: Offset, shape: tuple[int, int]) -> StarFit:
    """The displacement of the second list from the first.

    Parameters
    ----------
    first, second : StarList
        Stars of the science image, and of the template in the same frame.
    offset : Offset
        At which they coincide.
    shape : (int, int)
        Of the science image.
    """
    frame = (0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1)), 0.5 * max(shape)
    displacement = Displacement(np.array([[offset.dx], [offset.dy]]), *frame)
    tolerance, pairs = 1.5 * offset.tolerance, None
    # The stars near which the offset holds give a transform, and that leads to the others.
    for least in (2.5, LAST_TOLERANCE, LAST_TOLERANCE):
        found = _paired(first, second, displacement, tolerance)
        if len(found) < MIN_STARS[0]:
            break
        pairs = found
        displacement, kept = _robust_fit(pairs, int(len(pairs) >= MIN_STARS[1]), frame)
        tolerance = max(least, 6 * _scatter(pairs.take(kept), displacement))
    if pairs is None:
        near = _paired(first, second, displacement, offset.tolerance)
        return StarFit(displacement, near, float(np.hypot(offset.dx, offset.dy)), np.inf)
    for _ in range(2):
        displacement, kept = _robust_fit(pairs, choose_order(pairs, frame), frame)
        again = _paired(first, second, displacement, tolerance)
        pairs = again if len(again) >= len(pairs) else pairs
    displacement, kept = _robust_fit(pairs, displacement.order, frame)
    pairs = pairs.take(kept)
    moved = displacement(pairs.x, pairs.y)
    n_terms = displacement.coefficients.shape[1]
    error = max(_scatter(pairs, displacement), SYSTEMATIC) * np.sqrt(2 * n_terms / len(pairs))
    return StarFit(displacement, pairs, float(np.sqrt((moved**2).sum(axis=0).mean())), float(error))


def _paired(first: StarList, second: StarList, displacement: Displacement, tolerance: float) -> StarPairs:
    return pair_stars(first, second, displacement(first.x, first.y), tolerance)


def _scatter(pairs: StarPairs, displacement: Displacement) -> float:
    """Robust standard deviation of the residuals along an axis, pixels."""
    return robust_sigma(np.concatenate(_left(pairs, displacement)))


def _left(pairs: StarPairs, displacement: Displacement) -> NDArray[np.float64]:
    """Residuals (2, n)."""
    return np.array([pairs.dx, pairs.dy]) - displacement(pairs.x, pairs.y)


def _robust_fit(
    pairs: StarPairs, order: int, frame: tuple[tuple[float, float], float]
) -> tuple[Displacement, NDArray[np.bool_]]:
    """Weighted least squares without outliers, and which pairs took part."""
    design, moved = terms(pairs.x, pairs.y, *frame, order).T, np.column_stack([pairs.dx, pairs.dy])
    root = 1 / np.hypot(pairs.error, SYSTEMATIC)
    kept = np.ones(len(pairs), bool)
    for _ in range(8):
        weight = root[kept, None]
        solution = np.linalg.lstsq(design[kept] * weight, moved[kept] * weight, rcond=None)[0]
        displacement = Displacement(solution.T, *frame)
        left = np.hypot(*(moved - design @ solution).T) * root
        # Two axes: the median of the length is 1.18 standard deviations of one.
        limit = CLIP_SIGMA * np.sqrt(2) * max(float(np.median(left[kept])) / 1.18, 1.0)
        last, kept = kept, left <= limit
        if (kept == last).all() or np.count_nonzero(kept) < max(MIN_STARS[order], design.shape[1] + 1):
            return displacement, last
    return displacement, kept


def choose_order(pairs: StarPairs, frame: tuple[tuple[float, float], float]) -> int:
    """Order of the displacement: of those that there are stars enough for, by left-out stars."""
    allowed = [order for order, least in enumerate(MIN_STARS) if len(pairs) >= least]
    best = allowed[0] if allowed else 0
    scores = {order: _left_out(pairs, order, frame) for order in allowed}
    for order in allowed[1:]:
        gain = scores[best] - scores[order]
        if gain.mean() > CLEARLY * gain.std() / np.sqrt(len(gain)):
            best = order
    return best


def _left_out(pairs: StarPairs, order: int, frame: tuple[tuple[float, float], float]) -> NDArray[np.float64]:
    """Squared residual of each star, in units of its error and bounded, by fits without its part of the image."""
    part = sum(
        _rank(values) * PARTS // len(pairs) * PARTS**axis for axis, values in enumerate((pairs.x, pairs.y))
    )  # fmt: skip
    scores = np.zeros(len(pairs))
    for number in np.unique(part):
        out = part == number
        displacement, _ = _robust_fit(pairs.take(~out), order, frame)
        some = pairs.take(out)
        scores[out] = (_left(some, displacement) ** 2).sum(axis=0) / (some.error**2 + SYSTEMATIC**2)
    # An outlier counts the same for every order.
    return np.minimum(scores, CLIP_SIGMA**2 * max(np.median(scores), 1.0))


def _rank(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each value in the sorted order."""
    return np.argsort(np.argsort(values))
