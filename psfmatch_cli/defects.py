"""Pixels that a file without a complete mask leaves for us to find: saturated, blank, dead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.keywords import Cards, card_number
from psfmatch_cli.noise import Sky

#: A header's level nearer to the sky than this many sigma is in other units than the image.
LOWEST_LEVEL_SIGMAS = 20.0
#: Pixels at one value that make a ceiling, if none or few are just below or above it.
PILE_UP_PIXELS = 8
#: How far below the sky a pixel must be to be dead: no Gaussian noise gets there.
DEAD_SIGMAS = 8.0
#: Length of the pieces of rows and columns that are tested as a whole, and how far below sky and
#: neighbours their mean must be: 2 sigma of a pixel are 11 sigma of the mean of 32.
LINE_LENGTH = 32
HOT_SIGMAS = 5.0
LINE_SIGMAS = 2.0


@dataclass(frozen=True)
class Saturation:
    """The level at which pixels saturate, and where it came from."""

    level: float
    source: str


def find_saturation(image: NDArray[np.float32], usable: NDArray[np.bool_], cards: Cards, sky: Sky) -> Saturation | None:
    """Saturation level from the header, else from a pile-up of pixels at one value.

    A header's level that no pixel reaches does not end the search: subtracting bias or dark lowers the
    ceiling. None if neither is there.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Counts.
    usable : ndarray, (H, W), bool
        Finite pixels that are not masked.
    cards : Cards
        Of the image.
    sky : Sky
        Level and noise of the sky.
    """
    stated = _stated_level(image, usable, cards, sky)
    if stated is not None and (image[usable] >= stated.level).any():
        return stated
    ceiling = _pile_up(image, usable, sky)
    return stated if ceiling is None else Saturation(ceiling, "pile-up of pixels at one value")


def _stated_level(image, usable, cards: Cards, sky: Sky) -> Saturation | None:
    for name in cards.names("saturation"):
        level = card_number(cards.header, name)
        if level is None or level <= sky.level + LOWEST_LEVEL_SIGMAS * sky.sigma:
            continue
        if name == "DATAMAX" and np.isclose(level, image[usable].max(), rtol=1e-3):
            continue
        return Saturation(level, f"header {name}")
    return None


def _pile_up(image: NDArray[np.float32], usable: NDArray[np.bool_], sky: Sky) -> float | None:
    """Lowest value that many pixels share, that few exceed, and that stands out among the values below.

    At least half of its pixels must touch another one: saturated pixels come in clumps, equal peaks of
    unrelated stars do not.
    """
    if sky.sigma == 0:
        return None
    floor = sky.level + LOWEST_LEVEL_SIGMAS * sky.sigma
    bright = usable & (image > floor)
    values, counts = np.unique(image[bright], return_counts=True)
    above = counts.sum() - np.cumsum(counts)
    for k in np.flatnonzero((counts >= PILE_UP_PIXELS) & (above <= counts)):
        # Values within 1 % of the height above the sky; integers are one unit apart.
        reach = max(0.01 * (values[k] - sky.level), 5.0)
        near = counts[(values >= values[k] - reach) & (values < values[k])].sum()
        if counts[k] > 10.0 * near / reach and _clumped(bright & (image == values[k])):
            return float(values[k])
    return None


def _clumped(pixels: NDArray[np.bool_]) -> bool:
    from scipy import ndimage

    neighbours = ndimage.convolve(pixels.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant")
    return bool(np.mean(neighbours[pixels] > 1) >= 0.5)


def saturated_pixels(image: NDArray[np.float32], level: float) -> NDArray[np.bool_]:
    """Pixels at or above the level and their eight neighbours, into which charge spills."""
    from scipy import ndimage

    with np.errstate(invalid="ignore"):
        return ndimage.binary_dilation(image >= level, np.ones((3, 3), bool))


def blank_pixels(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels of exactly 0 where the sky is elsewhere: filled by a resampling program, or never read.

    They count as blank if 0 is more than 8 sigma below the middle of the other pixels, or if the other
    pixels are not whole numbers, of which hardly any would be 0 by chance, and there are 16 of 0 or more.
    """
    zero = image == 0
    others = image[np.isfinite(image) & ~zero]
    if not zero.any() or others.size < zero.sum():
        return np.zeros(image.shape, bool)
    low, middle = np.percentile(others, [15.865, 50.0])
    far_below = middle - DEAD_SIGMAS * (middle - low) > 0
    fractional = zero.sum() >= 16 and np.mean(others != np.rint(others)) > 0.5
    return zero if far_below or fractional else np.zeros(image.shape, bool)


def dead_pixels(image: NDArray[np.float32], sky: Sky) -> NDArray[np.bool_]:
    """Pixels more than 8 sigma below the sky; nothing in the sky is negative.

    The sky is the lower of its level in the image and the local background: the background near a
    bright galaxy may be too high, that in a vignetted corner is lower than the level.
    """
    if sky.sigma == 0:
        return np.zeros(image.shape, bool)
    with np.errstate(invalid="ignore"):
        return image < np.minimum(sky.background, np.float32(sky.level)) - DEAD_SIGMAS * sky.sigma


def dead_lines(image: NDArray[np.float32], bad: NDArray[np.bool_], sky: Sky) -> NDArray[np.bool_]:
    """Pieces of one or two rows or columns that are low as a whole, though no pixel need be.

    A piece of 32 pixels counts if its mean is 2 sigma below the sky and below the pieces two and three
    lines to either side.
    """
    if sky.sigma == 0:
        return np.zeros(image.shape, bool)
    residual = image - sky.background
    residual[bad] = 0
    # Stars must not hide a low piece, nor one very low pixel make one.
    np.clip(residual, -DEAD_SIGMAS * sky.sigma, 3.0 * sky.sigma, out=residual)
    low = -LINE_SIGMAS * sky.sigma
    return _low_pieces(residual, low) | _low_pieces(residual.T, low).T


def hot_lines(image: NDArray[np.float32], bad: NDArray[np.bool_], sky: Sky) -> NDArray[np.bool_]:
    """Pieces of one or two rows or columns that are high as a whole: hot columns, bleeding, lines of garbage.

    A piece of 32 pixels counts if three quarters of it are 5 sigma above the sky, and not more than half of
    the pieces two and three lines to either side: no star is so long and so narrow.
    """
    if sky.sigma == 0:
        return np.zeros(image.shape, bool)
    with np.errstate(invalid="ignore"):
        high = (image - sky.background > HOT_SIGMAS * sky.sigma) & ~bad
    return _high_pieces(high) | _high_pieces(high.T).T


def _high_pieces(high: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pieces of columns most of which is high, unlike the columns beside."""
    height, width = high.shape
    if height < LINE_LENGTH or width < 8:
        return np.zeros(high.shape, bool)
    fractions, lengths = _piece_means(high.astype(np.float32))
    return np.repeat((fractions >= 0.75) & (_beside(fractions) <= 0.5), lengths, axis=0)


def _piece_means(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Mean of each piece of each column, and the lengths of the pieces."""
    height = len(values)
    starts = np.arange(0, height - LINE_LENGTH + 1, LINE_LENGTH)
    lengths = np.diff([*starts, height])
    return np.add.reduceat(values, starts, axis=0) / lengths[:, None], lengths


def _beside(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of the columns two and three to either side."""
    width = means.shape[1]
    padded = np.pad(means, ((0, 0), (3, 3)), mode="reflect")
    return np.median([padded[:, 3 + k : 3 + k + width] for k in (-3, -2, 2, 3)], axis=0)


def _low_pieces(residual: NDArray[np.float32], low: float) -> NDArray[np.bool_]:
    """Pieces of columns whose mean is below `low`, counts, as it is and relative to the columns beside."""
    height, width = residual.shape
    if height < LINE_LENGTH or width < 8:
        return np.zeros(residual.shape, bool)
    means, lengths = _piece_means(residual)
    found = (means < low) & (means - _beside(means) < low)
    return np.repeat(found, lengths, axis=0)
