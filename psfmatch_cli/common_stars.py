"""The stars of two images in one frame: the pixels of the science image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from psfmatch_cli.blocks import each
from psfmatch_cli.exposure import Box, Exposure
from psfmatch_cli.pixel_map import PixelMap
from psfmatch_cli.star_list import StarList, find_stars

#: Offsets that are searched, pixels, at most this share of the smaller side of the science image.
SEARCH_RADIUS, SEARCH_SHARE = 60.0, 0.25


def search_radius(shape: tuple[int, int]) -> float:
    """Largest offset that is searched in a science image of this shape, pixels."""
    return min(SEARCH_RADIUS, SEARCH_SHARE * min(shape))


@dataclass(frozen=True)
class CommonStars:
    """Stars of both images in science pixels, and of the template those that can lie on the science image."""

    science: StarList
    template: StarList


def common_stars(template: Exposure, science: Exposure, base: PixelMap, threads: int = 1) -> CommonStars:
    """Stars of the science image, and of the part of the template that can lie on it."""
    part = _part_of(template, science, base)
    own, science_stars = each(find_stars, (template.masked_image.cutout(part), science.masked_image), threads)
    x0, y0 = part.x_min - template.xy0[0], part.y_min - template.xy0[1]
    x, y = base.reverse()(own.x + x0, own.y + y0)
    scale = np.sqrt(base.reverse().area(own.x + x0, own.y + y0))
    found = StarList(x, y, own.error * scale, own.flux).take(np.isfinite(x) & np.isfinite(y) & np.isfinite(scale))
    return CommonStars(science_stars, found)


def _part_of(template: Exposure, science: Exposure, base: PixelMap) -> Box:
    """Box of the template, parent pixels, that the science image and the search radius around it cover."""
    margin = SEARCH_RADIUS
    grid = (np.linspace(-margin, size - 1 + margin, 33) for size in science.shape[::-1])
    x, y = (values.ravel() for values in base(*np.meshgrid(*grid)))
    known = np.isfinite(x) & np.isfinite(y)
    height, width = template.shape
    if not known.any():
        return template.box
    low, high = (np.array([f(x[known]), f(y[known])]) for f in (np.min, np.max))
    # At least a few pixels, so that there is something to look at.
    low = np.clip(np.floor(low), 0, np.maximum(np.array([width, height]) - 8, 0)).astype(int)
    high = np.clip(np.ceil(high), low + 7, np.array([width, height]) - 1).astype(int)
    high = np.minimum(high, np.array([width, height]) - 1)
    (x0, y0), (x1, y1) = low + template.xy0, high + template.xy0
    return Box(int(x0), int(y0), int(x1), int(y1))
