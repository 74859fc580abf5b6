"""Bright, compact, isolated peaks of an image whose PSF is not known.

The image is looked at in several binnings. In each, the pixels that are higher than their neighbours
are peaks, and the width of a peak is the mean of its full widths at half of its height along rows,
columns and both diagonals. A peak counts in the binnings in which it is a few pixels wide, so that both
undersampled and very broad sources stand out of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.clipping import clipped_mean_std

BINNINGS = (1, 2, 4, 8)
#: Height of a peak over the noise of a (binned) pixel; a source 2 binned pixels wide then has S/N 20.
MIN_HEIGHT = 6.0
#: Largest width, binned pixels; broader peaks are found again in the next binning.
MAX_WIDTH = 5.0
#: Half range of the profiles, binned pixels: beyond the half width of the broadest peak.
PROFILE_REACH = 8
#: Width, along its narrowest direction, that no star has: that of a single pixel is 1.
MIN_WIDTH = 1.1
#: Ratio of the largest to the smallest of the four widths: beyond are blends, trails and edges of galaxies.
MAX_WIDTH_RATIO = 2.0
#: Another peak of this share of the height between one and `ISOLATION` widths away disturbs the profile.
DISTURBING_SHARE = 0.2
ISOLATION = 2.5
#: The fall from the peak to its neighbours, as a share of a Gaussian's of the same width: below, the core is flat.
MIN_CURVATURE = 0.3
#: Peaks looked at in one binning, the highest first.
MAX_PEAKS = 6000
#: Binned pixels that the noise is taken from.
NOISE_PIXELS = 1 << 18
#: Cells of the field per axis, from each of which as many candidates are taken as from the others.
CELLS = 8


@dataclass(frozen=True)
class StarCandidates:
    """Peaks in array indices of the full image, each an array of the same length.

    Parameters
    ----------
    x, y : ndarray
        Position, pixels.
    height : ndarray
        Counts above the background.
    width : ndarray
        Rough FWHM, pixels.
    snr : ndarray
        Rough signal-to-noise ratio of the whole source.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]
    width: NDArray[np.float64]
    snr: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray) -> StarCandidates:
        """The candidates at the given rows (indices or a boolean choice)."""
        return StarCandidates(*(getattr(self, f.name)[rows] for f in fields(self)))

    def joined(self, other: StarCandidates) -> StarCandidates:
        """These candidates and then the others."""
        return StarCandidates(*(np.concatenate([getattr(c, f.name) for c in (self, other)]) for f in fields(self)))


def find_star_candidates(
    pixels: SkyPixels, mask: NDArray[np.int32], bad_bits: int, max_candidates: int
) -> StarCandidates:
    """Isolated compact peaks, highest signal-to-noise ratio first.

    Where there are too many, those that stand out most in their part of the field.

    Parameters
    ----------
    pixels : SkyPixels
        Pixels above the background.
    mask : ndarray, (H, W)
        Bit field of the image.
    bad_bits : int
        Bits, of saturation for one, that no star has in its core.
    max_candidates : int
        How many to return at most.
    """
    found = _no_candidates()
    for binning in BINNINGS:
        if min(pixels.image.shape) // binning < 2 * PROFILE_REACH:
            break
        new = _candidates_in(_binned(pixels.image, binning), binning)
        new = new.take(~_hits_bad(pixels.bad, mask, bad_bits, new))
        found = found.joined(new.take(_far_from(new, found)))
    return found.take(_most_significant(found, pixels.image.shape, max_candidates))


def _most_significant(found: StarCandidates, shape: tuple[int, int], most: int) -> NDArray[np.intp]:
    """Rows of the highest S/N, first of each cell of the field, then the second of each, until there are `most`."""
    order = np.argsort(-found.snr, kind="stable")
    if len(order) <= most:
        return order
    row, column = (
        np.clip(CELLS * position[order] // side, 0, CELLS - 1).astype(int)
        for position, side in zip((found.y, found.x), shape, strict=True)
    )
    cell = CELLS * row + column
    by_cell = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[by_cell], cell[by_cell])
    rank = np.empty(len(order), int)
    rank[by_cell] = np.arange(len(order)) - starts
    return order[np.sort(np.argsort(rank, kind="stable")[:most])]


def _no_candidates() -> StarCandidates:
    return StarCandidates(*(np.zeros(0) for _ in fields(StarCandidates)))


def _binned(image: NDArray[np.float32], binning: int) -> NDArray[np.float32]:
    """Means of blocks; incomplete blocks at the upper edges are left out."""
    if binning == 1:
        return image
    height, width = (binning * (n // binning) for n in image.shape)
    rows = sum(image[k:height:binning, :width] for k in range(binning))
    return sum(rows[:, k::binning] for k in range(binning)) / np.float32(binning**2)


def _candidates_in(image: NDArray[np.float32], binning: int) -> StarCandidates:
    """Candidates of one binning."""
    sample = image.ravel()[:: max(1, image.size // NOISE_PIXELS)]
    noise = clipped_mean_std(sample[sample != 0] if sample.any() else sample).std
    if not noise > 0:
        # Noiseless: any value above a millionth of the highest is as good as certain.
        noise = max(1e-7 * float(image.max()), np.finfo(np.float32).tiny)
    x, y = _local_maxima(image, MIN_HEIGHT * noise)
    height = image[y, x].astype(np.float64)
    widths = _half_widths(image, x, y)
    width = widths.mean(axis=1)
    compact = (width <= MAX_WIDTH) & (widths.min(axis=1) >= MIN_WIDTH)
    compact &= widths.max(axis=1) <= MAX_WIDTH_RATIO * widths.min(axis=1)
    compact &= _is_peaked(image, x, y, width) & _is_isolated(x, y, height, width)
    x, y, height, width = (values[compact] for values in (x, y, height, width))
    # A Gaussian of FWHM w has the noise-equivalent area 2.27 w^2.
    snr = height / noise * 1.507 * width
    middle = 0.5 * (binning - 1)
    return StarCandidates(x * binning + middle, y * binning + middle, height, width * binning, snr)


def _local_maxima(image: NDArray[np.float32], level: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels above a level and not lower than their neighbours, the highest `MAX_PEAKS`; of equals, one."""
    inner = image[1:-1, 1:-1]
    y, x = np.nonzero(inner > level)
    y, x = y + 1, x + 1
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        here, there = image[y, x], image[y + dy, x + dx]
        keep = here >= there if (dy, dx) > (0, 0) else here > there
        y, x = y[keep], x[keep]
    highest = np.argsort(-image[y, x], kind="stable")[:MAX_PEAKS]
    return x[highest], y[highest]


def _half_widths(image: NDArray[np.float32], x: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """Full widths at half of the peak along x, y and the diagonals, (n, 4); infinite where it is not reached."""
    steps = np.arange(PROFILE_REACH + 1)
    rows, columns = image.shape
    widths = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        length = np.zeros(len(x))
        for sign in (1, -1):
            iy, ix = y[:, None] + sign * dy * steps, x[:, None] + sign * dx * steps
            inside = (iy >= 0) & (iy < rows) & (ix >= 0) & (ix < columns)
            profile = image[np.clip(iy, 0, rows - 1), np.clip(ix, 0, columns - 1)].astype(np.float64)
            length += _first_half(np.where(inside, profile, np.inf))
        widths.append(length * np.hypot(dx, dy))
    return np.stack(widths, axis=1)


def _first_half(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps until profiles (n, k) fall to half of their first value, linear between samples; or infinity."""
    half = 0.5 * profile[:, :1]
    below = profile < half
    at = np.maximum(below.argmax(axis=1), 1)
    row = np.arange(len(profile))
    before, after = profile[row, at - 1], profile[row, at]
    reached = below.any(axis=1) & np.isfinite(before)
    fall = np.where(reached, before - after, 1.0)
    return np.where(reached, at - 1 + (np.where(reached, before, 0.0) - half[:, 0]) / fall, np.inf)


def _is_peaked(image: NDArray[np.float32], x: NDArray, y: NDArray, width: NDArray) -> NDArray[np.bool_]:
    """Whether the four neighbours are as much lower as the width lets expect: saturated cores are flat."""
    height = image[y, x].astype(np.float64)
    ring = (image[y, x - 1] + image[y, x + 1] + image[y - 1, x] + image[y + 1, x]).astype(np.float64)
    with np.errstate(divide="ignore"):
        expected = 1.0 - np.exp2(-4.0 / width**2)
    return height - 0.25 * ring >= MIN_CURVATURE * expected * height


def _is_isolated(x: NDArray, y: NDArray, height: NDArray, width: NDArray) -> NDArray[np.bool_]:
    """Whether no comparable peak lies within `ISOLATION` widths.

    Peaks closer than one width are the noise on top of a broad source, unless they are higher.
    """
    from scipy.spatial import cKDTree

    alone = np.isfinite(width)
    if len(x) < 2:
        return alone
    positions = np.column_stack([x, y]).astype(np.float64)
    pairs = cKDTree(positions).query_pairs(ISOLATION * MAX_WIDTH, output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]])
    mine, other = both.T
    distance = np.hypot(*(positions[mine] - positions[other]).T)
    disturbs = (distance < ISOLATION * width[mine]) & (height[other] > DISTURBING_SHARE * height[mine])
    disturbs &= (distance > width[mine]) | (height[other] > height[mine])
    # Of two equal peaks within a width the first stays.
    disturbs &= ~((height[other] == height[mine]) & (distance <= width[mine]) & (other > mine))
    alone[mine[disturbs]] = False
    return alone


def _hits_bad(
    bad: NDArray[np.bool_], mask: NDArray[np.int32], bad_bits: int, candidates: StarCandidates
) -> NDArray[np.bool_]:
    """Whether a candidate has a bad pixel within half of its width (at least in its 3 x 3)."""
    height, width = bad.shape
    out = np.zeros(len(candidates), bool)
    reach = np.maximum(1.0, 0.5 * candidates.width)
    for step_y in np.linspace(-1, 1, 5):
        for step_x in np.linspace(-1, 1, 5):
            iy = np.clip(np.rint(candidates.y + step_y * reach).astype(np.intp), 0, height - 1)
            ix = np.clip(np.rint(candidates.x + step_x * reach).astype(np.intp), 0, width - 1)
            out |= bad[iy, ix] | ((mask[iy, ix] & bad_bits) != 0)
    return out


def _far_from(new: StarCandidates, found: StarCandidates) -> NDArray[np.bool_]:
    """Which of the new candidates are not the same sources as those found before."""
    from scipy.spatial import cKDTree

    if not len(new) or not len(found):
        return np.ones(len(new), bool)
    distance, _ = cKDTree(np.column_stack([found.x, found.y])).query(np.column_stack([new.x, new.y]))
    return distance > new.width
