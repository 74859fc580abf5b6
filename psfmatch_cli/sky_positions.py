"""Positions on the sky and on the pixels of an exposure.

``ra, dec`` are degrees in the frame of the exposure's WCS where that is ICRS or FK5 of J2000, which differ by
less than 0.03 arcsec; with any other WCS (galactic, B1950) they are ICRS and are converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.grid import has_sky, pixel_to_world, world_to_pixel

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

Positions = tuple[NDArray[np.float64], NDArray[np.float64]]


def sky_of(exposure: Exposure, x: ArrayLike, y: ArrayLike) -> Positions:
    """Right ascension and declination, degrees, of parent positions; NaN where there is none.

    The exposure must have a celestial WCS, see `psfmatch_cli.grid.has_sky`.
    """
    (x0, y0), wcs = exposure.xy0, exposure.wcs
    x, y = np.asarray(x, np.float64) - x0, np.asarray(y, np.float64) - y0
    lon, lat = pixel_to_world(wcs, x, y)
    frame = _other_frame(wcs)
    if frame is None:
        return lon, lat
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(lon, lat, unit="deg", frame=frame).icrs
    return sky.ra.deg, sky.dec.deg


def pixels_of(exposure: Exposure, ra: ArrayLike, dec: ArrayLike) -> Positions:
    """Parent positions x, y of right ascensions and declinations in degrees; NaN where there is none.

    Raises
    ------
    UsageError
        If the exposure has no celestial WCS.
    """
    _check_wcs(exposure)
    ra, dec = (np.asarray(angle, np.float64) for angle in (ra, dec))
    x, y = np.full((2, *ra.shape), np.nan)
    # Catalogues mark what they do not know by numbers that are no angle.
    known = np.isfinite(ra) & (np.abs(dec) <= 90)
    if _other_frame(exposure.wcs) is None:
        x[known], y[known] = _to_parent(exposure, ra[known], dec[known])
    else:
        from astropy.coordinates import SkyCoord

        x[known], y[known] = pixels_of_sky(exposure, SkyCoord(ra[known], dec[known], unit="deg", frame="icrs"))
    return x, y


def pixels_of_sky(exposure: Exposure, sky: SkyCoord) -> Positions:
    """Parent positions x, y of directions in any frame; NaN where there is none.

    Raises
    ------
    UsageError
        If the exposure has no celestial WCS, or the frame cannot be related to its.
    """
    from astropy.coordinates import ConvertError
    from astropy.wcs.utils import wcs_to_celestial_frame

    _check_wcs(exposure)
    try:
        there = sky.transform_to(wcs_to_celestial_frame(exposure.wcs)).spherical
    except (ConvertError, ValueError) as error:
        raise UsageError(f"positions of frame {sky.frame.name} cannot be put on {exposure.name} ({error})") from error
    return _to_parent(exposure, there.lon.deg, there.lat.deg)


def _to_parent(exposure: Exposure, lon: NDArray, lat: NDArray) -> Positions:
    x, y = world_to_pixel(exposure.wcs, lon, lat)
    return x + exposure.xy0[0], y + exposure.xy0[1]


def _check_wcs(exposure: Exposure) -> None:
    if not has_sky(exposure):
        raise UsageError(f"the sources have sky positions only, and {exposure.name} has no celestial WCS; give pixels")


def _other_frame(wcs: Any) -> Any:
    """The sky frame of a WCS; None for ICRS, FK5 of J2000, and what names no frame that is known."""
    from astropy.coordinates import FK5, ICRS
    from astropy.wcs.utils import wcs_to_celestial_frame

    try:
        frame = wcs_to_celestial_frame(wcs)
    except ValueError:
        return None
    common = isinstance(frame, ICRS) or frame.is_equivalent_frame(FK5(equinox="J2000"))
    return None if common else frame
