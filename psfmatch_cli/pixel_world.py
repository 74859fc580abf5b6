"""A pixel map in the shape of a WCS, for programs that want one on both sides of a resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from astropy.wcs.wcsapi import BaseLowLevelWCS

from psfmatch_cli.pixel_map import PixelMap


@dataclass(frozen=True)
class TemplatePosition:
    """Position in the template, pixels."""

    x: Any
    y: Any


def _position(first: Any, second: Any = None) -> TemplatePosition:
    """A position from its coordinates, or from itself: astropy asks for both."""
    return first if second is None else TemplatePosition(first, second)


class PixelWorld(BaseLowLevelWCS):
    """WCS whose "world" are the pixels of the template.

    Parameters
    ----------
    pixel_map : PixelMap
        To the template's pixels: of the science image, or the identity for the template itself.
    """

    def __init__(self, pixel_map: PixelMap):
        self.pixel_map = pixel_map

    pixel_n_dim = 2
    world_n_dim = 2
    world_axis_physical_types = (None, None)
    world_axis_units = ("pix", "pix")
    world_axis_object_components = (("position", 0, "x"), ("position", 1, "y"))
    world_axis_object_classes = {"position": (TemplatePosition, (), {}, _position)}  # noqa: RUF012  # fixed by the base class

    def pixel_to_world_values(self, x, y):
        return self.pixel_map(x, y)

    def world_to_pixel_values(self, x, y):
        return self.pixel_map.reverse()(x, y)
