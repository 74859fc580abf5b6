"""What a detector makes of a noise-free image: saturation, noise, cosmic rays and defects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.exposure import DEFAULT_PLANES, MaskedImage

LONGEST_BLEED = 80


@dataclass(frozen=True)
class Detector:
    """Noise and defects of one image.

    Parameters
    ----------
    gain : float
        Electrons per count.
    read_noise : float
        Electrons.
    saturation : float
        Counts at which a pixel is full.
    cosmic_rays, dead_pixels : int
        Numbers in the image.
    bad_columns : int
        Number of columns of garbage.
    unflagged : int
        Further cosmic rays, which are not in the mask.
    variance_from : {'image', 'expected'}
        Variance plane from the noisy image, as pipelines make it, or from the noise-free one.
    """

    gain: float
    read_noise: float
    saturation: float
    cosmic_rays: int = 0
    dead_pixels: int = 0
    bad_columns: int = 0
    unflagged: int = 0
    variance_from: str = "image"

    def variance(self, image: NDArray) -> NDArray[np.float64]:
        """Variance of an image in counts that still contains its sky, counts squared."""
        return np.maximum(image, 0.0) / self.gain + (self.read_noise / self.gain) ** 2

    def expose(self, truth: NDArray, xy0: tuple[int, int], rng: np.random.Generator) -> MaskedImage:
        """Masked image of a noise-free image (H, W) in counts, sky included."""
        bit = {name: 1 << number for name, number in DEFAULT_PLANES.items()}
        mask = np.zeros(truth.shape, np.int32)
        full = saturated_pixels(truth, self.saturation)
        electrons = rng.poisson(np.minimum(truth, 10.0 * self.saturation) * self.gain)
        image = (electrons + rng.normal(0.0, self.read_noise, truth.shape)) / self.gain
        full |= image >= self.saturation
        image[full] = self.saturation
        mask[full] |= bit["SAT"]
        variance = self.variance(truth if self.variance_from == "expected" else image)
        hit = self._add_cosmic_rays(image, self.cosmic_rays, rng)
        mask[hit] |= bit["CR"]
        self._add_cosmic_rays(image, self.unflagged, rng)
        mask[self._add_defects(image, rng)] |= bit["BAD"]
        return MaskedImage.from_arrays(image, mask, variance, xy0=xy0)

    def _add_cosmic_rays(self, image: NDArray, number: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Add short straight tracks of charge, in place; the pixels that were hit."""
        hit = np.zeros(image.shape, bool)
        for _ in range(number):
            length, angle = rng.integers(1, 16), rng.uniform(0.0, np.pi)
            start = rng.uniform(0.0, [image.shape[1], image.shape[0]])
            steps = np.arange(length)
            x = (start[0] + steps * np.cos(angle)).astype(int)
            y = (start[1] + steps * np.sin(angle)).astype(int)
            inside = (x >= 0) & (x < image.shape[1]) & (y < image.shape[0])
            y, x = y[inside], x[inside]
            hit[y, x] = True
            image[y, x] += rng.lognormal(np.log(1500.0), 0.7, len(x)) / self.gain
        return hit

    def _add_defects(self, image: NDArray, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Overwrite bad columns with garbage and dead pixels with 0, in place; where they are."""
        bad = np.zeros(image.shape, bool)
        for column in rng.integers(0, image.shape[1], self.bad_columns):
            bad[:, column] = True
            image[:, column] = rng.uniform(0.0, self.saturation, image.shape[0])
        y = rng.integers(0, image.shape[0], self.dead_pixels)
        x = rng.integers(0, image.shape[1], self.dead_pixels)
        bad[y, x] = True
        image[y, x] = 0.0
        return bad


def saturated_pixels(truth: NDArray, level: float) -> NDArray[np.bool_]:
    """Pixels above the level and those along the column that their excess charge fills."""
    full = truth >= level
    if not full.any():
        return full
    from scipy.ndimage import find_objects, label

    labels, _ = label(full)
    for number, (rows, columns) in enumerate(find_objects(labels), start=1):
        for column in range(columns.start, columns.stop):
            own = np.flatnonzero(labels[rows, column] == number) + rows.start
            excess = float(np.sum(truth[own, column] - level))
            spill = min(LONGEST_BLEED, int(0.5 * excess / level))
            if len(own):
                full[max(own[0] - spill, 0) : own[-1] + spill + 1, column] = True
    return full
