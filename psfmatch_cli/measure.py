"""Measurement of the peaks that detection found: the columns of the source table.

========================  ============================================================================
id, parent                1..n; 0
x, y, x_err, y_err        centroid with a Gaussian window as wide as the PSF, 0-based parent pixels
ra, dec                   of the centroid, degrees; only with a WCS
peak_x, peak_y            pixel of the peak in the smoothed image
peak_value, significance  smoothed counts there, and over their noise
npix                      pixels above the threshold that belong to the peak, before growing
footprint                 number of the footprint, as a rule grown and merged; blended peaks share it
bbox_x0 .. bbox_y1        its box, both ends included
psf_flux, psf_flux_err    sum(P d) / sum(P^2) with the PSF image P at the centroid: the exposure's, a Moffat
                          profile as it was measured, or a Gaussian if only the width is known
gauss_flux                of the Gaussian with the adaptive moments
Ixx, Iyy, Ixy             adaptive moments: of the Gaussian that equals its own best weight, pixels^2
fwhm                      2.3548 (Ixx Iyy - Ixy^2)^(1/4): Gaussian, so 3 to 6 % above a Moffat's
elongation                ratio of the axes of the moments
size_extendedness         1 - (Ixx + Iyy of the PSF) / (Ixx + Iyy), at least 0: 0 for a star, near 1 for a large galaxy
half_light_radius         radius of half the flux within 6 sigma of the source, pixels
isolation                 distance to the nearest other peak, pixels
flag_*, flag_*_center     see `psfmatch_cli.flags`; of any pixel of the source, or of the 3 x 3 at its peak
flag_centroid             the windowed centroid ran away: x, y are those of the smoothed peak
flag_shape                no adaptive moments: those, gauss_flux and what follows from them are NaN
flag_negative             darker than the sky: peak_value, significance and the fluxes are negative
========================  ============================================================================

Bad pixels (NO_DATA, BAD and CR without an interpolated value) count in no sum. Blends are not fitted
simultaneously: a neighbour within the PSF adds to a flux and widens the moments.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import SkyPixels
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.flags import flags
from psfmatch_cli.grid import has_sky
from psfmatch_cli.peaks import Peaks
from psfmatch_cli.psf import FWHM_PER_SIGMA
from psfmatch_cli.search import Found, Search
from psfmatch_cli.sky_positions import sky_of
from psfmatch_cli.stamps import measure_stamps, psf_trace

if TYPE_CHECKING:
    from astropy.table import Table

#: A centroid that ends further than this from its peak, in sigma (at least 2 pixels), is another source's.
MAX_SHIFT_SIGMA = 2.0
#: Columns that are negative for sources darker than the sky.
SIGNED = ("peak_value", "significance", "psf_flux", "gauss_flux")
#: The half-light radius looks at the flux within this many sigma of the source, and at most this radius.
LIGHT_SIGMA = 6.0
MAX_LIGHT_RADIUS = 64.0


def measure_sources(exposure: Exposure, found: Search, *, shapes: bool = True) -> Table:
    """Source table of what a search found, those brighter than the sky first.

    Parameters
    ----------
    exposure : Exposure
        For its mask, WCS and origin.
    found : Search
        Peaks of either sign, and the pixels above the background.
    shapes : bool
        False: only positions, fluxes and what detection knows, which is all that the matching takes; in a fraction of
        the time.
    """
    from astropy.table import vstack

    tables = [_measured(exposure, found, one, shapes) for one in found.found]
    numbered = 0
    for table in tables:
        table["footprint"] += numbered
        numbered = int(table["footprint"].max()) if len(table) else numbered
    table = vstack(tables) if len(tables) > 1 else tables[0]
    table["id"] = np.arange(1, len(table) + 1)
    if shapes:
        table["isolation"] = _isolation(np.asarray(table["peak_x"]), np.asarray(table["peak_y"]))
    _set_units(table)
    table.meta.update(found.metadata)
    return table


def _measured(exposure: Exposure, search: Search, found: Found, shapes: bool) -> Table:
    """Source table of the peaks of one sign."""
    from astropy.table import Table

    pixels, peaks, sigma = search.pixels, found.peaks, search.sigma
    if found.sign < 0:
        pixels = replace(pixels, image=-pixels.image)
    x, y, flag_centroid = _centroids(pixels, peaks, sigma)
    measured = measure_stamps(pixels, x, y, sigma, extent=peaks.size, psf=search.psf, shapes=shapes)
    further = {}
    if shapes:
        further = {
            **{name: measured[name] for name in ("gauss_flux", "Ixx", "Iyy", "Ixy")},
            **_shape_columns(measured, psf_trace(search.psf, sigma)),
            "half_light_radius": _half_light_radius(pixels, peaks, x, y, sigma),
            "isolation": np.full(len(peaks), np.inf),
            **flags(exposure.masked_image, peaks, found.segments, search.n_grow),
            "flag_centroid": flag_centroid,
            "flag_shape": measured["flag_shape"],
        }
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
            **{name: measured[name] for name in ("psf_flux", "psf_flux_err")},
            **further,
            "flag_negative": np.full(len(peaks), found.sign < 0),
        }
    )
    table = without_repeats(table)
    for name in SIGNED:
        if name in table.colnames:
            table[name] *= found.sign
    return table


def without_repeats(sources: Table) -> Table:
    """The sources without those whose centroid fell on a more significant one's, within half a pixel.

    A bad column through a star can split it in two peaks, whose centroids then both go to the star.
    """
    from scipy.spatial import cKDTree

    if len(sources) < 2:
        return sources
    positions = np.column_stack([np.asarray(sources["x"]), np.asarray(sources["y"])])
    # A source without a centroid is near no other.
    lost = ~np.isfinite(positions).all(axis=1)
    positions[lost] = -1e9 - 10.0 * np.arange(np.count_nonzero(lost))[:, None]
    tree = cKDTree(positions)
    significance = np.asarray(sources["significance"])
    keep = np.ones(len(sources), bool)
    for one, other in tree.query_pairs(0.5):
        keep[one if significance[one] < significance[other] else other] = False
    return sources if keep.all() else sources[keep]


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


def _shape_columns(measured: dict[str, NDArray], trace_of_psf: float) -> dict[str, NDArray]:
    """Width, ratio of the axes and size over that of the PSF, of the adaptive moments."""
    ixx, iyy, ixy = measured["Ixx"], measured["Iyy"], measured["Ixy"]
    half_trace = 0.5 * (ixx + iyy)
    half_gap = np.hypot(0.5 * (ixx - iyy), ixy)
    minor, major = half_trace - half_gap, half_trace + half_gap
    return {
        "fwhm": FWHM_PER_SIGMA * (minor * major) ** 0.25,
        "elongation": np.sqrt(major / minor),
        "size_extendedness": np.maximum(1.0 - trace_of_psf / (ixx + iyy), 0.0),
    }


def _half_light_radius(pixels: SkyPixels, peaks: Peaks, x: NDArray, y: NDArray, sigma: float) -> NDArray:
    import sep

    reach = np.minimum(LIGHT_SIGMA * np.maximum(peaks.size, sigma), MAX_LIGHT_RADIUS)
    radius, _ = sep.flux_radius(pixels.image, x, y, reach, 0.5, mask=pixels.bad, subpix=3)
    return np.asarray(radius, np.float64)


def _isolation(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance to the nearest other peak; infinite for a single one."""
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return np.full(len(x), np.inf)
    positions = np.column_stack([x, y]).astype(np.float64)
    return cKDTree(positions).query(positions, k=2)[0][:, 1]


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
