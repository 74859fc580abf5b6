"""From counts to brightness: sky and noise, the asinh stretch, and averages of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Pixels that sky and noise of an image are taken from.
N_SAMPLE = 60_000
#: Quantile of the pixels that is white, and the least counts that are, in units of the noise.
WHITE_QUANTILE, LEAST_WHITE = 0.998, 12.0
#: Noises below the sky that are black, and noises up to which the stretch is linear (Lupton et al. 1999, AJ 118, 1406).
BLACK, SOFTENING = -2.5, 2.0
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Sky:
    """Level and robust width of an image's sky, counts."""

    level: float
    noise: float


def sample(image: NDArray, n: int = N_SAMPLE) -> NDArray[np.float64]:
    """About `n` finite pixels on a regular grid."""
    step = max(1, int(np.sqrt(image.size / n)))
    values = image[step // 2 :: step, step // 2 :: step].ravel().astype(float)
    return values[np.isfinite(values)]


def sky_of(image: NDArray) -> Sky:
    """Median and width of the pixels within 3 widths of the median, in three passes."""
    values = sample(image)
    if values.size == 0:
        return Sky(0.0, 1.0)
    for _ in range(3):
        level = float(np.median(values))
        noise = MAD_TO_SIGMA * float(np.median(np.abs(values - level)))
        inside = values[np.abs(values - level) <= 3 * noise]
        values = inside if inside.size else values
    return Sky(level, noise if noise > 0 else float(np.std(values)) or 1.0)


@dataclass(frozen=True)
class Stretch:
    """Brightness of counts above the sky: an asinh from black to white.

    Parameters
    ----------
    noise : float
        Of the sky, counts.
    white : float
        Counts above the sky that are white.
    """

    noise: float
    white: float

    @classmethod
    def of(cls, image: NDArray, sky: Sky) -> Stretch:
        """Stretch from an image, that is used for others too."""
        values = sample(image)
        bright = float(np.quantile(values, WHITE_QUANTILE)) - sky.level if values.size else 0.0
        return cls(sky.noise, max(bright, LEAST_WHITE * sky.noise))

    def __call__(self, counts: NDArray) -> NDArray[np.float64]:
        """Brightness, 0 to 1 between black and white, of counts above the sky."""
        soft = SOFTENING * self.noise
        low, high = np.arcsinh(BLACK * self.noise / soft), np.arcsinh(self.white / soft)
        return (np.arcsinh(counts / soft) - low) / (high - low)


def block_factor(shape: tuple[int, int], largest: int) -> int:
    """Side of the blocks that make the longer side of an image at most `largest`."""
    return -(-max(shape) // largest)


def block_sums(values: NDArray, factor: int) -> NDArray[np.float64]:
    """Sums of blocks of factor x factor pixels, those at the upper ends smaller; NaN counts as 0."""
    height, width = (-(-side // factor) * factor for side in values.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    padded[~np.isfinite(padded)] = 0
    # Sums of slices: several times faster than numpy's sums over axes of a few pixels.
    rows = sum(padded[n::factor] for n in range(factor))
    return sum(rows[:, n::factor] for n in range(factor)).astype(float)


def block_means(values: NDArray, factor: int) -> NDArray[np.float64]:
    """Means of the finite pixels of blocks; NaN where there is none."""
    if factor == 1:
        return values.astype(float)
    n = block_sums(np.isfinite(values), factor)
    with np.errstate(invalid="ignore"):
        return np.where(n > 0, block_sums(values, factor) / n, np.nan)


def block_significance(significance: NDArray, factor: int) -> NDArray[np.float64]:
    """Sums of blocks over their noise if that of the pixels is independent; NaN where less than half is known."""
    if factor == 1:
        return significance.astype(float)
    n = block_sums(np.isfinite(significance), factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * n >= factor**2, block_sums(significance, factor) / np.sqrt(n), np.nan)
