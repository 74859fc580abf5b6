"""Which pixels cannot be convolved, and what most others are like, so that they can be filled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.blocks import each, row_bands, sample_step
from psfmatch_cli.exposure import MaskedImage
from psfmatch_cli.neighbours import replacements

#: Planes whose pixels are filled: they hold nothing that could be convolved. Saturated ones at least hold much.
FILLED_PLANES = ("NO_DATA", "BAD", "CR")
#: Pixels that tell the level of the sky.
_SAMPLE = 1 << 18


@dataclass(frozen=True)
class Sky:
    """What most pixels are like: image, deviation from it, and variance."""

    level: np.float32
    deviation: np.float32
    variance: np.float32


def bad_pixels(pixels: MaskedImage, threads: int = 1) -> NDArray[np.bool_]:
    """Pixels to fill: of `FILLED_PLANES`, unless repaired, and those without a number in image or variance."""
    bad = np.empty(pixels.shape, bool)

    def find(rows: slice) -> None:
        part = replace(pixels, image=pixels.image[rows], mask=pixels.mask[rows], variance=pixels.variance[rows])
        bad[rows] = part.unusable(FILLED_PLANES) | ~np.isfinite(part.image) | ~np.isfinite(part.variance)

    each(find, row_bands(pixels.shape), threads)
    return bad


def sky_of(pixels: MaskedImage, bad: NDArray[np.bool_]) -> Sky:
    """Medians of the good pixels, or of a sample of them; 0 and a variance of 1 if there are none."""
    step = sample_step(pixels.shape, _SAMPLE)
    at = np.s_[::step, ::step] if not bad[::step, ::step].all() else np.s_[:]
    good = ~bad[at]
    if not good.any():
        return Sky(np.float32(0), np.float32(0), np.float32(1))
    image = pixels.image[at][good]
    level = np.float32(np.median(image))
    deviation = np.abs(image - level)
    deviation = deviation[deviation > 0]
    typical = np.float32(np.median(deviation)) if deviation.size else np.float32(0)
    return Sky(level, typical, np.float32(np.median(pixels.variance[at][good])))


def fill_bad(pixels: MaskedImage, bad: NDArray[np.bool_]) -> MaskedImage:
    """The image with bad pixels replaced by the weighted mean of the good ones around them, else by the sky."""
    sky, made = sky_of(pixels, bad), pixels.copy()
    made.image[bad], made.variance[bad] = sky.level, sky.variance
    height, width = pixels.shape
    values = replacements(pixels.image, pixels.variance, bad, ~bad)
    values.put(slice(0, height), slice(0, width), made.image, made.variance)
    return made
