"""Celestial WCS from headers, with the non-standard ways in which they are written, and what it says about pixels."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.wcs import WCS

log = logging.getLogger(__name__)

#: Pixel sides of any camera, from interferometers to whole skies, arcsec.
PIXEL_SCALES = (1e-4, 7200.0)
#: Largest values of cards that say how many others there are; damaged ones would ask for any amount of memory.
_LARGEST = {"WCSAXES": 9, **{f"{name}_ORDER": 9 for name in ("A", "B", "AP", "BP")}}


def read_wcs(hdus: fits.HDUList, headers: Sequence[fits.Header], where: str) -> WCS | None:
    """WCS of the first of these headers that has one; None (and a warning) where it cannot be used.

    Parameters
    ----------
    hdus : HDUList
        The file, for distortions kept in further HDUs.
    headers : sequence of Header
    where : str
        Name of the exposure, for messages.
    """
    for header in headers:
        if isinstance(header.get("CTYPE1"), str):
            return _celestial_wcs(_standard(header), hdus, where)
    return None


def projection_name(headers: Sequence[fits.Header]) -> str:
    """Projection of the first of these headers that has one, such as TAN-SIP; a WCS keeps TPV under another name."""
    header = next((header for header in headers if isinstance(header.get("CTYPE1"), str)), None)
    return "" if header is None else str(_standard(header)["CTYPE1"]).partition("-")[2].strip("- ")


def _standard(header: fits.Header) -> fits.Header:
    """A SCAMP header with its projection named as the standard has it.

    SCAMP wrote its polynomial of the position as PV cards of a TAN projection, which has no use for any on the
    latitude axis; by the standard those of the other axis would turn the sky. The name is TPV. Its linear terms are
    close to 1.
    """
    types = [str(header.get(f"CTYPE{axis}", "")).strip() for axis in (1, 2)]
    linear = [header.get(f"PV{axis}_1") for axis in (1, 2)]
    if not all(name.endswith("-TAN") for name in types) or not all(
        isinstance(value, (int, float)) and 0.5 < value < 2.0 for value in linear
    ):
        return header
    made = header.copy()
    for axis, name in zip((1, 2), types, strict=True):
        made[f"CTYPE{axis}"] = name.removesuffix("TAN") + "TPV"
    return made


def _celestial_wcs(header: fits.Header, hdus: fits.HDUList, where: str) -> WCS | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _checked_wcs(header, hdus)
    except Exception as error:  # damaged cards make the parsers below it raise every kind there is
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
    log.warning("%s: the WCS in the header cannot be used (%s)", where, said)
    return None


def _checked_wcs(header: fits.Header, hdus: fits.HDUList) -> WCS | None:
    """The WCS; None where it is not one of the sky.

    Raises
    ------
    ValueError
        If its cards contradict each other, or it makes no sense.
    """
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    if any(re.fullmatch(r"CTYPE\d+[A-Z]?", name) and "-TAB" in str(header[name]) for name in header):
        # The parser hands such tables on unchecked: one that is not as declared ends the process.
        raise ValueError("coordinates in tables, -TAB, are not read")
    for name, most in _LARGEST.items():
        value = header.get(name, 0)
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"{name} is {value!r}, expected 0 to {most}")
    wcs = WCS(header, fobj=hdus, naxis=2)
    if not wcs.has_celestial:
        return None
    _check_reference(header)
    found = geometry(wcs, (header["NAXIS2"], header["NAXIS1"]))
    if found is None:
        raise ValueError("it is singular")
    smallest, largest = PIXEL_SCALES
    # The second is without distortions, at the reference pixel; far from it even absurd pixels have a size.
    for scale in (found.pixel_scale, *(3600.0 * proj_plane_pixel_scales(wcs))):
        if not smallest <= scale <= largest:
            raise ValueError(f"pixels of {scale:.3g} arcsec, expected {smallest:g} to {largest:g}")
    return wcs


def _check_reference(header: fits.Header) -> None:
    """Refuse a reference position for which the parser would take 0 instead.

    Raises
    ------
    ValueError
        If a card is missing, or no finite number.
    """
    for name in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        value = header.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f"{name} is {'missing' if value is None else 'no finite number'}")


def solved_beside(path: Path) -> Path | None:
    """The file with the WCS that astrometry.net writes beside an image, if it exists."""
    stem = path.name.removesuffix(".gz").removesuffix(".fz")
    beside = path.with_name(stem.removesuffix(Path(stem).suffix) + ".wcs")
    return beside if beside.is_file() and beside != path else None


@dataclass(frozen=True)
class Geometry:
    """What a WCS says about an image.

    Parameters
    ----------
    projection : str
        See `projection_name`.
    pixel_scale : float
        Arcsec: root of the area of the middle pixel.
    rotation : float
        Position angle of the y axis, degrees east of north.
    flipped : bool
        Whether east lies to the right when north is up.
    ra, dec : float
        ICRS position of the middle, degrees.
    """

    projection: str
    pixel_scale: float
    rotation: float
    flipped: bool
    ra: float
    dec: float

    @property
    def pixel_area(self) -> float:
        """Steradians."""
        return float(np.deg2rad(self.pixel_scale / 3600.0) ** 2)


def geometry(wcs: WCS, shape: tuple[int, int], projection: str = "") -> Geometry | None:
    """Scale, orientation and centre, measured on the middle pixel, distortions included; None where it has no size."""
    height, width = shape
    x, y = (width - 1) / 2, (height - 1) / 2
    positions = np.column_stack([[x, x + 0.5, x - 0.5, x, x], [y, y, y, y + 0.5, y - 0.5]])
    with np.errstate(all="ignore"):
        sky = wcs.all_pix2world(positions, 0)
        if not np.isfinite(sky).all():
            return None
        lon, lat = _icrs(wcs, sky[:, wcs.wcs.lng], sky[:, wcs.wcs.lat])
        east, north = _offsets(lon, lat)
    along_x, along_y = (np.array([east[i] - east[j], north[i] - north[j]]) for i, j in ((1, 2), (3, 4)))
    determinant = float(along_x[0] * along_y[1] - along_x[1] * along_y[0])
    if determinant == 0:
        return None
    return Geometry(
        projection=projection,
        pixel_scale=abs(determinant) ** 0.5,
        rotation=float(np.rad2deg(np.arctan2(along_y[0], along_y[1]))),
        flipped=determinant > 0,
        ra=float(lon[0]) % 360.0,
        dec=float(lat[0]),
    )


def _icrs(wcs: WCS, lon: NDArray, lat: NDArray) -> tuple[NDArray, NDArray]:
    """ICRS positions, degrees. FK5 of 2000 is within 0.03 arcsec of it and taken as it is; so is an unknown frame."""
    celestial = wcs.wcs
    equinox = 2000.0 if np.isnan(celestial.equinox) else celestial.equinox
    if celestial.lngtyp == "RA" and celestial.radesys in ("", "ICRS", "FK5") and equinox == 2000.0:
        return lon, lat
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    try:
        frame = wcs_to_celestial_frame(wcs)
    except ValueError:
        return lon, lat
    sky = SkyCoord(lon, lat, unit="deg", frame=frame).icrs
    return sky.ra.deg, sky.dec.deg


def _offsets(lon: NDArray, lat: NDArray) -> tuple[NDArray, NDArray]:
    """Offsets from the first position to the east and to the north on its tangent plane, arcsec."""
    a, d = np.deg2rad(lon), np.deg2rad(lat)
    directions = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a[0]), np.cos(a[0]), 0.0])
    north = np.cross(directions[:, 0], east)
    return tuple(np.rad2deg(axis @ directions) * 3600.0 for axis in (east, north))
