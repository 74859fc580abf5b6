"""Which stars of two images are the same, and how far apart they lie.

Two lists of positions in one frame are matched without knowing their offset: the differences of all pairs pile up at
it. How many pairs would pile up by chance is known from their density, so a crowded field fools nobody, and where the
pile is not significant there is no match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.star_list import StarList

#: Radii, pixels, of the pile: a rotation or a change of scale spreads it.
TOLERANCES = (1.0, 2.5, 6.0, 15.0)
#: Largest probability that chance makes the pile.
MAX_CHANCE = 1e-5
#: Stars that a match needs.
MIN_MATCHES = 3
#: Residuals beyond this many sigma are not the same star, or a disturbed one.
CLIP_SIGMA = 4.0
MAD_TO_SIGMA = 1.482602218505602


@dataclass(frozen=True)
class Offset:
    """An offset at which stars coincide.

    Parameters
    ----------
    dx, dy : float
        Of the second list from the first, pixels.
    tolerance : float
        Radius within which they do, pixels.
    n : int
        Stars that do.
    """

    dx: float
    dy: float
    tolerance: float
    n: int


@dataclass(frozen=True)
class StarPairs:
    """Stars of two lists that are the same, arrays of one length.

    Parameters
    ----------
    x, y : ndarray
        Positions in the first list (of the science image), pixels.
    dx, dy : ndarray
        Second (the template's, in the same frame) minus first, pixels.
    error : ndarray
        Standard error of the difference along an axis, pixels.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray) -> StarPairs:
        """The pairs at some rows (indices or a boolean choice)."""
        return StarPairs(self.x[rows], self.y[rows], self.dx[rows], self.dy[rows], self.error[rows])


@dataclass(frozen=True)
class StarOffsets:
    """How stars of the template lie on those of the science image.

    Parameters
    ----------
    dx, dy : float
        Mean offset, template minus science, science pixels.
    rms : float
        Root mean square distance of the offsets from their mean, pixels: distortions, and errors of the centroids.
    noise : float
        What the errors of the centroids alone would make of it, pixels.
    n : int
        Stars.
    """

    dx: float
    dy: float
    rms: float
    noise: float
    n: int

    @property
    def distance(self) -> float:
        """Length of the mean offset, pixels."""
        return float(np.hypot(self.dx, self.dy))


def find_offset(first: StarList, second: StarList, radius: float) -> Offset | None:
    """Offset of the second list from the first at which most stars coincide; None if chance would do as well.

    Parameters
    ----------
    first, second : StarList
        In one frame.
    radius : float
        Largest offset, pixels.
    """
    if min(len(first), len(second)) < MIN_MATCHES:
        return None
    dx = second.x[None, :] - first.x[:, None]
    dy = second.y[None, :] - first.y[:, None]
    row, column = np.nonzero(dx**2 + dy**2 <= radius**2)
    dx, dy = dx[row, column], dy[row, column]
    best, least = None, np.log(MAX_CHANCE)
    for tolerance in TOLERANCES:
        if tolerance > radius / 2:
            break
        # No offset at all is the first guess; any other is one of many.
        for trials, start in ((1.0, (0.0, 0.0)), ((2 * radius / tolerance) ** 2, _pile(dx, dy, tolerance, radius))):
            at, near = _settle(dx, dy, start, tolerance)
            n = min(len(np.unique(row[near])), len(np.unique(column[near])))
            chance = _log_chance(n, len(dx) * (tolerance / radius) ** 2) + np.log(trials)
            if n >= MIN_MATCHES and chance < least:
                best, least = Offset(*at, tolerance, n), chance
    return best


def _pile(dx: NDArray, dy: NDArray, tolerance: float, radius: float) -> tuple[float, float]:
    """Middle of the square of side twice the tolerance with the most differences."""
    if not len(dx):
        return 0.0, 0.0
    edges = np.arange(-radius - tolerance, radius + 2 * tolerance, tolerance)
    counts, _, _ = np.histogram2d(dx, dy, bins=[edges, edges])
    four = counts[:-1, :-1] + counts[1:, :-1] + counts[:-1, 1:] + counts[1:, 1:]
    i, j = np.unravel_index(np.argmax(four), four.shape)
    return float(edges[i + 1]), float(edges[j + 1])


def _settle(
    dx: NDArray, dy: NDArray, start: tuple[float, float], tolerance: float
) -> tuple[tuple[float, float], NDArray[np.bool_]]:
    """Mean of the differences within the tolerance of it, and which these are."""
    at = start
    for _ in range(5):
        near = (dx - at[0]) ** 2 + (dy - at[1]) ** 2 <= tolerance**2
        if not near.any():
            break
        at = float(dx[near].mean()), float(dy[near].mean())
    return at, (dx - at[0]) ** 2 + (dy - at[1]) ** 2 <= tolerance**2


def _log_chance(n: int, expected: float) -> float:
    """Logarithm of the Poisson probability of n or more."""
    from scipy.stats import poisson

    return float(poisson.logsf(n - 1, expected)) if n else 0.0


def pair_stars(first: StarList, second: StarList, expected: NDArray[np.float64], tolerance: float) -> StarPairs:
    """Stars that are each other's nearest within the tolerance.

    Parameters
    ----------
    first, second : StarList
        In one frame.
    expected : ndarray, (2, n)
        Expected difference, second minus first, at each star of the first list.
    tolerance : float
        Pixels.
    """
    from scipy.spatial import cKDTree

    there = first.positions + expected.T
    distance, nearest = cKDTree(second.positions).query(there, distance_upper_bound=tolerance)
    found = np.flatnonzero(np.isfinite(distance))
    _, back = cKDTree(there).query(second.positions[nearest[found]])
    found = found[back == found]
    other = nearest[found]
    return StarPairs(
        first.x[found],
        first.y[found],
        second.x[other] - first.x[found],
        second.y[other] - first.y[found],
        np.hypot(first.error[found], second.error[other]),
    )


def robust_sigma(values: NDArray[np.float64]) -> float:
    """Standard deviation from the median absolute deviation."""
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def measure_offsets(pairs: StarPairs) -> StarOffsets:
    """Mean offset of pairs of stars, and their scatter about it; outliers beyond 4 sigma are left out."""
    kept = np.ones(len(pairs), bool)
    for _ in range(5):
        some = pairs.take(kept)
        weight = 1 / (some.error**2 + _common_error(some) ** 2)
        dx, dy = (float(np.average(values, weights=weight)) for values in (some.dx, some.dy))
        scatter = max(robust_sigma(np.concatenate([some.dx - dx, some.dy - dy])), 1e-6)
        last, kept = kept, np.hypot(pairs.dx - dx, pairs.dy - dy) <= CLIP_SIGMA * scatter * np.sqrt(2)
        if (kept == last).all() or np.count_nonzero(kept) < MIN_MATCHES:
            break
    some = pairs.take(last)
    rms = float(np.sqrt(np.mean((some.dx - dx) ** 2 + (some.dy - dy) ** 2)))
    return StarOffsets(dx, dy, rms, float(np.sqrt(np.mean(2 * some.error**2))), len(some))


def _common_error(pairs: StarPairs) -> float:
    """Scatter that all stars share, beyond the errors of the centroids: keeps the brightest from deciding alone."""
    scatter = robust_sigma(np.concatenate([pairs.dx - np.median(pairs.dx), pairs.dy - np.median(pairs.dy)]))
    return float(np.sqrt(max(scatter**2 - np.median(pairs.error) ** 2, 1e-3**2)))
