"""Pixel grids on the sky: from the pixels of one image to those of another, and whether two are the same.

Positions here are 0-based array indices, which is what the celestial WCS of an exposure refers to.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.errors import BoxMismatchError, NoOverlapError, RegistrationError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.pixel_map import PixelMap, determinant

logger = logging.getLogger(__name__)

#: Iterative inversion of a distortion stops here, pixels; astropy's own default of 1e-4 would be most of
#: what the registration tolerance allows.
INVERSION_TOLERANCE = 1e-6
#: Of the sides of pixels. A star that is sampled in one image is far less than a pixel, or than the noise, in the
#: other beyond it.
LARGEST_SCALE_RATIO = 30.0
#: Positions per axis with which the overlap is found.
OVERLAP_SAMPLES = 65


@dataclass(frozen=True)
class GridComparison:
    """How the template's pixel grid lies on the science image's.

    Parameters
    ----------
    same : bool
        Equal boxes, and offsets within the tolerance.
    max_offset : float
        Largest distance, over the corners and the centre of the science image, between a science position
        and the template position of the same sky; template pixels. NaN without two celestial WCSs, infinite
        where the template's WCS has no position.
    overlap_fraction : float
        Fraction of the science pixels that the template covers.
    scale_ratio : float
        Side of a template pixel over the side of a science pixel, in the overlap. NaN without two WCSs.
    rotation : float
        Angle, degrees, by which the science x axis is turned in the template's pixel frame. NaN likewise.
    flipped : bool
        Whether one image is a mirror image of the other.
    """

    same: bool
    max_offset: float
    overlap_fraction: float
    scale_ratio: float
    rotation: float
    flipped: bool


@dataclass(frozen=True)
class Overlap:
    """What two images share.

    Parameters
    ----------
    fraction : float
        Of the science pixels that the template covers.
    x, y : float
        A science position in its middle.
    """

    fraction: float
    x: float
    y: float


@dataclass(frozen=True)
class SkyMap(PixelMap):
    """Pixel positions of one image to those of another that show the same sky.

    Parameters
    ----------
    origin, target : astropy.wcs.WCS
        Celestial WCS of the image that positions are given in, and of the one they are wanted in.
    """

    origin: Any
    target: Any

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Target positions of the origin positions x, y; NaN where there is none."""
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        lon, lat = pixel_to_world(self.origin, x.ravel(), y.ravel())
        if self._frames is not None:
            lon, lat = _change_frame(lon, lat, *self._frames)
        found = world_to_pixel(self.target, lon, lat)
        return found[0].reshape(x.shape), found[1].reshape(x.shape)

    def reverse(self) -> SkyMap:
        """From the target's pixels to the origin's."""
        return SkyMap(self.target, self.origin)

    @cached_property
    def _frames(self) -> tuple[Any, Any] | None:
        """Sky frames of the two images where they differ."""
        if _frame_cards(self.origin) == _frame_cards(self.target):
            return None
        from astropy.wcs.utils import wcs_to_celestial_frame

        try:
            frames = wcs_to_celestial_frame(self.origin), wcs_to_celestial_frame(self.target)
        except ValueError as error:
            raise RegistrationError(
                f"the sky frames {_frame_cards(self.origin)} and {_frame_cards(self.target)} cannot be related "
                f"({error}); set RADESYS and CTYPE of both images to the same frame"
            ) from error
        return None if frames[0].is_equivalent_frame(frames[1]) else frames


def _frame_cards(wcs: Any) -> tuple[str, str, float]:
    """What of a WCS decides its sky frame: longitude's name, RADESYS and EQUINOX."""
    equinox = wcs.wcs.equinox
    return wcs.wcs.lngtyp, wcs.wcs.radesys, -1.0 if np.isnan(equinox) else float(equinox)


def _change_frame(lon, lat, old: Any, new: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude, degrees, of the same directions in another frame."""
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(lon, lat, unit="deg", frame=old).transform_to(new).spherical
    return sky.lon.deg, sky.lat.deg


def pixel_to_world(wcs: Any, x, y) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude, degrees, of array indices, whichever axis of the WCS is which."""
    world = wcs.all_pix2world(x, y, 0)
    return world[wcs.wcs.lng], world[wcs.wcs.lat]


def world_to_pixel(wcs: Any, lon, lat) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel positions, NaN where the projection or the inversion of the distortion has no answer."""
    from astropy.wcs import NoConvergence

    found = np.full((2, len(lon)), np.nan)
    valid = np.isfinite(lon) & np.isfinite(lat)
    if not valid.any():
        return found[0], found[1]
    try:
        axes = (lon[valid], lat[valid]) if wcs.wcs.lng == 0 else (lat[valid], lon[valid])
        found[:, valid] = wcs.all_world2pix(*axes, 0, tolerance=INVERSION_TOLERANCE)
    except NoConvergence as stop:
        best = stop.best_solution.T.copy()
        for failed in (stop.divergent, stop.slow_conv):
            if failed is not None:
                best[:, failed] = np.nan
        found[:, valid] = best
    return found[0], found[1]


def has_sky(exposure: Exposure) -> bool:
    """Whether the exposure has a celestial WCS."""
    return exposure.wcs is not None and bool(exposure.wcs.has_celestial)


def inside(x: NDArray, y: NDArray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Positions that fall on a pixel of an image of this shape; NaN does not."""
    return (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)


def compare_grids(template: Exposure, science: Exposure, tolerance: float = 1e-3) -> GridComparison:
    """Whether two exposures have one pixel grid, and how far they overlap.

    The grids are the same if the boxes are equal and no corner, nor the centre, is off by more than the
    tolerance. Without a celestial WCS in both images, equal boxes are taken as aligned; if neither has one, so are
    images of one size whose headers only number their pixels from different origins, with a warning.

    Parameters
    ----------
    template, science : Exposure
        The two images.
    tolerance : float
        Pixels.

    Raises
    ------
    NoOverlapError
        If the images share no sky. (Upstream compares two opposite corners as plain numbers, which is wrong across
        RA = 0 and misses overlaps of rotated images; positions are projected here.)
    BoxMismatchError
        If one has no WCS and their sizes, or without a WCS in just one their boxes, differ.
    RegistrationError
        If the sides of their pixels differ by more than `LARGEST_SCALE_RATIO`.
    """
    if not (has_sky(template) and has_sky(science)):
        return _compare_boxes(template, science)
    sky_map = SkyMap(science.wcs, template.wcs)
    overlap = find_overlap(sky_map, template, science)
    offset = _largest_offset(sky_map, science.shape)
    jacobian = sky_map.jacobian(overlap.x, overlap.y)
    area = determinant(jacobian)
    comparison = GridComparison(
        same=bool(template.box == science.box and offset <= tolerance),
        max_offset=offset,
        overlap_fraction=overlap.fraction,
        scale_ratio=_checked_ratio(area, template, science),
        rotation=float(np.degrees(np.arctan2(jacobian[1, 0], jacobian[0, 0]))),
        flipped=bool(area < 0),
    )
    logger.info(
        "registration: largest offset %.3g px, overlap %.1f %%, pixel scale ratio %.4f, rotation %.3f deg%s",
        offset,
        100 * overlap.fraction,
        comparison.scale_ratio,
        comparison.rotation,
        ", mirrored" if comparison.flipped else "",
    )
    return comparison


def _checked_ratio(area: float, template: Exposure, science: Exposure) -> float:
    """Side of a template pixel over the side of a science pixel, from the template pixels to a science pixel.

    Raises
    ------
    RegistrationError
        If the pixels differ so much that the images cannot show the same stars.
    """
    area = abs(area)
    if not LARGEST_SCALE_RATIO**-2 <= area <= LARGEST_SCALE_RATIO**2:
        raise RegistrationError(
            f"one pixel of {science.name} covers {area:.3g} pixels of {template.name}: their WCSs cannot both be right"
        )
    return float(area**-0.5)


def _compare_boxes(template: Exposure, science: Exposure) -> GridComparison:
    """The comparison when the sky cannot say: sizes must be equal, and origins where only one image has a WCS."""
    without = [exposure.name for exposure in (template, science) if not has_sky(exposure)]
    nan = float("nan")
    if len(without) == 2 and template.shape == science.shape and template.xy0 != science.xy0:
        logger.warning(
            "registration: no celestial WCS, and the headers number the pixels from %s (%s) and %s (%s); the images "
            "have one size and are taken as aligned pixel by pixel",
            template.xy0,
            template.name,
            science.xy0,
            science.name,
        )
        return GridComparison(True, nan, 1.0, nan, nan, False)
    if template.box != science.box:
        raise BoxMismatchError(
            f"no celestial WCS in {' and '.join(without)}, and the pixel grids differ: {template.name} has shape "
            f"{template.shape} from {template.xy0}, {science.name} {science.shape} from {science.xy0}; without a WCS "
            "in both images they must be equal: solve both astrometrically, or align them by their stars (--register "
            "asterisms)"
        )
    level = logging.WARNING if len(without) == 1 else logging.INFO
    logger.log(level, "registration: no celestial WCS in %s; equal boxes taken as aligned", " and ".join(without))
    return GridComparison(True, nan, 1.0, nan, nan, False)


def _largest_offset(sky_map: SkyMap, shape: tuple[int, int]) -> float:
    """Largest shift over the centres of the corner pixels and the centre, pixels."""
    right, top = shape[1] - 1, shape[0] - 1
    x = np.array([0, right, 0, right, 0.5 * right])
    y = np.array([0, 0, top, top, 0.5 * top])
    found_x, found_y = sky_map(x, y)
    offsets = np.hypot(found_x - x, found_y - y)
    return float(np.where(np.isnan(offsets), np.inf, offsets).max())


def find_overlap(sky_map: PixelMap, template: Exposure, science: Exposure) -> Overlap:
    """How much of the science image the template covers.

    Science positions are looked up in the template, which holds across RA = 0, at the poles and for any
    rotation. A template that falls between these positions is found by projecting its own.

    Raises
    ------
    NoOverlapError
        If it covers none.
    """
    x, y = _samples(science.shape)
    covered = _coverage(*sky_map(x, y), template.shape)
    if covered.any():
        return Overlap(float(covered.mean()), *_most_central(x[covered > 0], y[covered > 0]))
    x, y = sky_map.reverse()(*_samples(template.shape))
    landed = inside(x, y, science.shape)
    if not landed.any():
        raise NoOverlapError(
            f"{template.name} ({_where(template)}) and {science.name} ({_where(science)}) do not overlap on the sky; "
            "check that they show the same field and that their WCSs are right, or leave these out of it (--register "
            "asterisms)"
        )
    at = _most_central(x[landed], y[landed])
    area = template.shape[0] * template.shape[1] / sky_map.area(*at)
    return Overlap(float(landed.mean() * area / (science.shape[0] * science.shape[1])), *at)


def _samples(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions x, y, flat, at the centres of equal fields that fill the image."""
    middle = (np.arange(OVERLAP_SAMPLES) + 0.5) / OVERLAP_SAMPLES
    y, x = np.meshgrid(middle * shape[0] - 0.5, middle * shape[1] - 0.5, indexing="ij")
    return x.ravel(), y.ravel()


def _coverage(x: NDArray, y: NDArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Fraction of the field around each of the `_samples` that an image of this shape covers.

    The field is taken as a box along the image's axes, of the extents that its neighbours leave it, which is
    exact without rotation; beside a gap of the positions, as a point.
    """
    square = (OVERLAP_SAMPLES, OVERLAP_SAMPLES)
    covered = np.ones(square)
    for position, size in ((x.reshape(square), shape[1]), (y.reshape(square), shape[0])):
        half = 0.5 * sum(np.abs(np.gradient(position, axis=axis)) for axis in (0, 1))
        shared = np.minimum(position + half, size - 0.5) - np.maximum(position - half, -0.5)
        covered *= np.clip(shared / (2 * half), 0.0, 1.0)
    return np.where(np.isnan(covered.ravel()), inside(x, y, shape), covered.ravel())


def _most_central(x: NDArray, y: NDArray) -> tuple[float, float]:
    """The given position nearest to their mean; the mean itself may lie outside a hollow overlap."""
    nearest = np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    return float(x[nearest]), float(y[nearest])


def _where(exposure: Exposure) -> str:
    """Sky position of an exposure's centre, for messages."""
    if not has_sky(exposure):
        return "no celestial WCS"
    height, width = exposure.shape
    lon, lat = pixel_to_world(exposure.wcs, 0.5 * (width - 1), 0.5 * (height - 1))
    return f"centre {float(lon):.5f}, {float(lat):+.5f} deg"
