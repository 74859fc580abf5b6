"""Measurement of the peaks that detection found: the columns of the source table.

========================  ============================================================================
id, parent                1..n; 0
x, y, x_err, y_err        centroid with a Gaussian window as wide as the PSF, 0-based parent pixels
ra, dec                   of the centroid, degrees; only with a WCS
peak_x, peak_y            pixel of the peak in the smoothed image
peak_value, significance  smoothed counts there, and over their noise
npix                      pixels above the threshold that belong to the peak, before growing
footprint                 number of the grown, merged footprint; blended peaks share it
bbox_x0 .. bbox_y1        its box, both ends included
psf_flux, psf_flux_err    sum(P d) / sum(P^2) with the PSF image P at the centroid
gauss_flux                of the Gaussian with the adaptive moments
Ixx, Iyy, Ixy             adaptive moments: of the Gaussian that equals its own best weight, pixels^2
fwhm                      2.3548 (Ixx Iyy - Ixy^2)^(1/4): Gaussian, so 3 to 6 % above a Moffat's
elongation                ratio of the axes of the moments
half_light_radius         radius of half the flux within 6 sigma of the source, pixels
isolation                 distance to the nearest other peak, pixels
flag_*                    see `FLAG_PLANES`; of any pixel of the source, or (center) of the 3 x 3 at its peak
flag_centroid             the windowed centroid ran away: x, y are those of the smoothed peak
flag_shape                no adaptive moments: those, fwhm, elongation and gauss_flux are NaN
========================  ============================================================================

Bad pixels (NO_DATA, BAD and CR without an interpolated value) count in no sum. Blends are not fitted
simultaneously: a neighbour within the PSF adds to a flux and widens the moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels, variance_is_known
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.grid import has_sky
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.sky_positions import sky_of
from psfmatch_cli.stamps import measure_stamps

if TYPE_CHECKING:
    from astropy.table import Table

#: Flag columns and the mask planes that raise them.
FLAG_PLANES: dict[str, tuple[str, ...]] = {
    "flag_edge": ("EDGE", "NO_DATA"),
    "flag_saturated": ("SAT",),
    "flag_cr": ("CR",),
    "flag_interpolated": ("INTRP",),
    "flag_bad": ("BAD",),
    "flag_suspect": ("SUSPECT",),
    "flag_nodata": ("NO_DATA",),
}
#: A centroid that ends further than this from its peak, in sigma (at least 2 pixels), is another source's.
MAX_SHIFT_SIGMA = 2.0
#: The half-light radius looks at the flux within this many sigma of the source, and at most this radius.
LIGHT_SIGMA = 6.0
MAX_LIGHT_RADIUS = 64.0


@dataclass(frozen=True)
class Peaks:
    """Peaks in array indices, one element (or row) each, and the image in which they were found.

    Parameters
    ----------
    x, y : ndarray of int
        Pixel of the peak.
    value, significance : ndarray
        Smoothed counts, and over their noise.
    n_pixels, segment : ndarray of int
        Pixels above the threshold; number in the segment map.
    size : ndarray
        Root mean square extent above the threshold along the major axis, pixels.
    footprint : ndarray of int
        Number of the grown footprint.
    box : ndarray, (n, 4)
        x0, y0, x1, y1 of the grown footprint.
    smoothed : ndarray, (H, W)
        The image that was searched.
    border : int
        Width of the border that was not searched.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    value: NDArray[np.float64]
    significance: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    segment: NDArray[np.int64]
    size: NDArray[np.float64]
    footprint: NDArray[np.int64]
    box: NDArray[np.int64]
    smoothed: NDArray[np.float32]
    border: int

    def __len__(self) -> int:
        return len(self.x)


def measure_sources(
    exposure: Exposure,
    pixels: SkyPixels,
    peaks: Peaks,
    segments: NDArray[np.int32],
    *,
    sigma: float,
    n_grow: int,
) -> Table:
    """Source table of the peaks.

    Parameters
    ----------
    exposure : Exposure
        For its mask, PSF, WCS and origin.
    pixels : SkyPixels
        Its pixels above the background.
    peaks : Peaks
        What was found.
    segments : ndarray, (H, W)
        Number of the peak that a pixel above the threshold belongs to; 0 for none.
    sigma : float
        Gaussian sigma of the PSF, pixels.
    n_grow : int
        Growth of the footprints, pixels: flags look as far.
    """
    from astropy.table import Table

    x, y, flag_centroid = _centroids(pixels, peaks, sigma)
    measured = measure_stamps(pixels, x, y, sigma, extent=peaks.size, psf=exposure.psf)
    table = Table(
        {
            "id": np.arange(1, len(peaks) + 1),
            "parent": np.zeros(len(peaks), np.int64),
            "x": x + exposure.xy0[0],
            "y": y + exposure.xy0[1],
            "x_err": measured["x_err"],
            "y_err": measured["y_err"],
            **_sky_positions(exposure, x, y),
            **_peak_columns(peaks, exposure.xy0),
            **{name: measured[name] for name in ("psf_flux", "psf_flux_err", "gauss_flux", "Ixx", "Iyy", "Ixy")},
            **_shape_columns(measured),
            "half_light_radius": _half_light_radius(pixels, peaks, x, y, sigma),
            "isolation": _isolation(peaks),
            **_flags(exposure, peaks, segments, n_grow),
            "flag_centroid": flag_centroid,
            "flag_shape": measured["flag_shape"],
        }
    )
    _set_units(table)
    return table


def _peak_columns(peaks: Peaks, xy0: tuple[int, int]) -> dict[str, NDArray]:
    """What detection knows of the peaks, in parent pixels."""
    x0, y0 = xy0
    left, bottom, right, top = peaks.box.T
    return {
        "peak_x": peaks.x + x0,
        "peak_y": peaks.y + y0,
        "peak_value": peaks.value,
        "significance": peaks.significance,
        "npix": peaks.n_pixels,
        "footprint": peaks.footprint.astype(np.int64),
        "bbox_x0": left + x0,
        "bbox_y0": bottom + y0,
        "bbox_x1": right + x0,
        "bbox_y1": top + y0,
    }


def _centroids(pixels: SkyPixels, peaks: Peaks, sigma: float) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """Windowed centroids in array indices; where they run away, those of the smoothed peak, flagged."""
    import sep

    px, py = _parabola_peaks(peaks)
    # Sub-pixels matter only at the rim of the window, where its weight is 1e-4; the default 11 is five times as slow.
    x, y, _ = sep.winpos(pixels.image, px, py, sigma, mask=pixels.bad, subpix=3)
    lost = ~(np.hypot(x - peaks.x, y - peaks.y) <= max(2.0, MAX_SHIFT_SIGMA * sigma))
    return np.where(lost, px, x), np.where(lost, py, y), lost


def _parabola_peaks(peaks: Peaks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertices of the parabolas through the peak and its neighbours along x and along y."""
    image = peaks.smoothed
    height, width = image.shape
    middle = image[peaks.y, peaks.x].astype(np.float64)
    left = image[peaks.y, np.maximum(peaks.x - 1, 0)]
    right = image[peaks.y, np.minimum(peaks.x + 1, width - 1)]
    below = image[np.maximum(peaks.y - 1, 0), peaks.x]
    above = image[np.minimum(peaks.y + 1, height - 1), peaks.x]
    return peaks.x + _vertex(left, middle, right), peaks.y + _vertex(below, middle, above)


def _vertex(before: NDArray, middle: NDArray, after: NDArray) -> NDArray[np.float64]:
    """Offset of the extremum of the parabola through three points; 0 unless it is a maximum within a pixel."""
    curvature = before - 2.0 * middle + after
    offset = 0.5 * np.divide(before - after, curvature, out=np.zeros_like(middle), where=curvature < 0)
    return np.where(np.abs(offset) < 1, offset, 0.0)


def _sky_positions(exposure: Exposure, x: NDArray, y: NDArray) -> dict[str, NDArray[np.float64]]:
    """Columns ra, dec of array indices, in degrees; none without a WCS."""
    if not has_sky(exposure):
        return {}
    ra, dec = sky_of(exposure, x + exposure.xy0[0], y + exposure.xy0[1])
    return {"ra": ra, "dec": dec}


def _shape_columns(measured: dict[str, NDArray]) -> dict[str, NDArray]:
    """Width and ratio of the axes of the adaptive moments."""
    ixx, iyy, ixy = measured["Ixx"], measured["Iyy"], measured["Ixy"]
    half_trace = 0.5 * (ixx + iyy)
    half_gap = np.hypot(0.5 * (ixx - iyy), ixy)
    minor, major = half_trace - half_gap, half_trace + half_gap
    return {"fwhm": FWHM_PER_SIGMA * (minor * major) ** 0.25, "elongation": np.sqrt(major / minor)}


def _half_light_radius(pixels: SkyPixels, peaks: Peaks, x: NDArray, y: NDArray, sigma: float) -> NDArray:
    import sep

    reach = np.minimum(LIGHT_SIGMA * np.maximum(peaks.size, sigma), MAX_LIGHT_RADIUS)
    radius, _ = sep.flux_radius(pixels.image, x, y, reach, 0.5, mask=pixels.bad, subpix=3)
    return np.asarray(radius, np.float64)


def _isolation(peaks: Peaks) -> NDArray[np.float64]:
    """Distance to the nearest other peak; infinite for a single one."""
    from scipy.spatial import cKDTree

    if len(peaks) < 2:
        return np.full(len(peaks), np.inf)
    positions = np.column_stack([peaks.x, peaks.y]).astype(np.float64)
    return cKDTree(positions).query(positions, k=2)[0][:, 1]


def _flags(exposure: Exposure, peaks: Peaks, segments: NDArray[np.int32], n_grow: int) -> dict[str, NDArray[np.bool_]]:
    """Flag columns from the mask planes of each source's pixels and those within `n_grow` of its peak."""
    masked_image = exposure.masked_image
    bits = {name: masked_image.bits(planes) for name, planes in FLAG_PLANES.items()}
    if not variance_is_known(masked_image):
        # Every pixel is BAD then, which says nothing about it.
        bits["flag_bad"] = 0
    wanted = int(np.bitwise_or.reduce(list(bits.values())))
    near = _segment_bits(masked_image.mask, wanted, peaks, segments) | _bits_near(masked_image.mask, peaks, n_grow)
    flags = {}
    for name, value in bits.items():
        flags[name] = (near & value) != 0
        if name == "flag_saturated":
            flags["flag_saturated_center"] = (_bits_near(masked_image.mask, peaks, 1) & value) != 0
    height, width = exposure.shape
    reach = peaks.border + n_grow
    flags["flag_edge"] |= (peaks.x < reach) | (peaks.x >= width - reach)
    flags["flag_edge"] |= (peaks.y < reach) | (peaks.y >= height - reach)
    return flags


def _segment_bits(mask: NDArray[np.int32], wanted: int, peaks: Peaks, segments: NDArray[np.int32]) -> NDArray[np.int32]:
    """OR of the mask over the pixels above the threshold that belong to each peak."""
    flagged = np.flatnonzero(mask & wanted)
    flagged = flagged[segments.ravel()[flagged] > 0]
    out = np.zeros(int(peaks.segment.max(initial=0)) + 1, mask.dtype)
    np.bitwise_or.at(out, segments.ravel()[flagged], mask.ravel()[flagged])
    return out[peaks.segment]


def _bits_near(mask: NDArray[np.int32], peaks: Peaks, reach: int) -> NDArray[np.int32]:
    """OR of the mask over the square of side ``2 reach + 1`` around each peak."""
    height, width = mask.shape
    out = np.zeros(len(peaks), mask.dtype)
    for dy in range(-reach, reach + 1):
        rows = np.clip(peaks.y + dy, 0, height - 1)
        for dx in range(-reach, reach + 1):
            out |= mask[rows, np.clip(peaks.x + dx, 0, width - 1)]
    return out


def _set_units(table: Table) -> None:
    """Units by what a column is; pure numbers and flags have none."""
    pixels = ("x", "y", "x_err", "y_err", "peak_x", "peak_y", "fwhm", "half_light_radius", "isolation")
    units = dict.fromkeys((*pixels, *(f"bbox_{corner}" for corner in ("x0", "y0", "x1", "y1"))), "pix")
    units |= dict.fromkeys(("Ixx", "Iyy", "Ixy"), "pix2")
    units |= dict.fromkeys(("peak_value", "psf_flux", "psf_flux_err", "gauss_flux"), "ct")
    units |= dict.fromkeys(("ra", "dec"), "deg")
    for name, unit in units.items():
        if name in table.colnames:
            table[name].unit = unit
