"""How the template's pixels lie on the science image's, by their WCSs, by their stars, or by both.

The stars of both images are matched whatever the method, and what they say is always told. They refine the alignment
if that is wanted, or if nothing is said and they clearly contradict it; the correction goes in front of the map through
the sky, so that the template is resampled once.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from psfmatch_cli.alignment import ENOUGH_STARS, Alignment, tell
from psfmatch_cli.asterisms import is_available, match_asterisms
from psfmatch_cli.common_stars import CommonStars, common_stars, search_radius
from psfmatch_cli.config import WarpConfig
from psfmatch_cli.errors import BoxMismatchError, DifferentGridsError, RegistrationError, UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.grid import GridComparison, SkyMap, compare_grids, find_overlap, has_sky
from psfmatch_cli.pixel_map import AffineMap, CorrectedMap, PixelMap, determinant
from psfmatch_cli.star_fit import MIN_STARS, ORDER_NAMES, StarFit, fit_stars
from psfmatch_cli.star_list import find_stars
from psfmatch_cli.star_match import StarOffsets, find_offset, measure_offsets

log = logging.getLogger(__name__)

#: Stars must move by so many pixels before they overrule a WCS, or equal pixels that need no resampling at all, and by
#: so many times the error of the fit. Less the matching kernel takes up: with FWHMs of 3 and 3.6 px the residuals of
#: stars are those of the noise at any offset up to 1 px, and several times that at 5 px.
MIN_DISPLACEMENT, MIN_DISPLACEMENT_OF_EQUALS, SIGNIFICANCE = 0.3, 0.5, 5.0
#: Stars that it takes to overrule a WCS unasked.
MIN_STARS_UNASKED = 6


def align(
    template: Exposure, science: Exposure, config: WarpConfig, do_warping: bool = True, *, threads: int = 1
) -> Alignment:
    """How the template lies on the science image.

    Parameters
    ----------
    template, science : Exposure
        Unchanged.
    config : WarpConfig
        The method and its tolerance.
    do_warping : bool
        Whether the template may be resampled; if not, stars only tell.
    threads : int
        Images searched for stars at a time.

    Raises
    ------
    RegistrationError
        If the images do not overlap, or nothing says how they lie; if stars are to refine and too few match.
    UsageError
        If stars are to change the alignment and the template may not be resampled.
    """
    if config.registration in ("stars", "asterisms") and not do_warping:
        raise UsageError(
            f"registration by {config.registration} resamples the template, and warping is off; leave out --no-warp, "
            "or choose --register wcs"
        )
    if config.registration == "asterisms":
        first = _by_asterisms(template, science)
    else:
        first = _by_grids(template, science, config, do_warping)
    stars = common_stars(template, science, _base(first), threads)
    made = _refined(first, stars, science, config, do_warping)
    if made.offsets is None and config.registration == "auto" and do_warping and first.method == "pixels":
        made = _asterisms_instead(made, template, science, config, stars)
    tell(made, (template.name, science.name), (len(stars.template), len(stars.science)))
    return made


def _base(alignment: Alignment) -> PixelMap:
    """From science to template pixels, also where that is to leave them as they are."""
    return alignment.pixel_map or AffineMap.identity()


def _by_grids(template: Exposure, science: Exposure, config: WarpConfig, do_warping: bool) -> Alignment:
    """By the WCSs, or as the pixels are."""
    if config.registration == "none":
        if template.box != science.box:
            raise BoxMismatchError(
                f"the pixels of {template.name} (shape {template.shape} from {template.xy0}) are not those of "
                f"{science.name} ({science.shape} from {science.xy0}), so they cannot be taken as aligned; choose "
                "another --register"
            )
        nan = float("nan")
        grids = GridComparison(True, nan, 1.0, nan, nan, False)
        return Alignment(None, grids, "pixels", None, None, "")
    grids = compare_grids(template, science, config.registration_tolerance)
    if not (grids.same or do_warping):
        raise DifferentGridsError(
            f"template and science are on different pixel grids (offset up to {grids.max_offset:.3g} px, "
            f"shapes {template.shape} and {science.shape}) and warping is off; allow it (--warp)"
        )
    both = has_sky(template) and has_sky(science)
    pixel_map = None if grids.same else SkyMap(science.wcs, template.wcs)
    return Alignment(pixel_map, grids, "wcs" if both else "pixels", None, None, "")


def _by_asterisms(template: Exposure, science: Exposure) -> Alignment:
    """By the triangles of all stars of both images."""
    stars = find_stars(science.masked_image), find_stars(template.masked_image)
    pixel_map = match_asterisms(*stars, (template.name, science.name))
    overlap = find_overlap(pixel_map, template, science)
    (xx, _), (yx, _) = pixel_map.matrix
    area = determinant(pixel_map.matrix)
    grids = GridComparison(
        same=False,
        max_offset=float("nan"),
        overlap_fraction=overlap.fraction,
        scale_ratio=float(abs(area) ** -0.5),
        rotation=float(np.degrees(np.arctan2(yx, xx))),
        flipped=bool(area < 0),
    )
    log.info(
        "registration by asterisms: pixel scale ratio %.4f, rotation %.3f deg%s, overlap %.1f %%",
        grids.scale_ratio,
        grids.rotation,
        ", mirrored" if grids.flipped else "",
        100 * overlap.fraction,
    )
    return Alignment(pixel_map, grids, "asterisms", None, None, "")


def _refined(
    first: Alignment, stars: CommonStars, science: Exposure, config: WarpConfig, do_warping: bool
) -> Alignment:
    """The alignment with what the stars say of it and, where that is due, with their correction.

    Raises
    ------
    RegistrationError
        If their correction is wanted and too few match.
    """
    wanted = config.registration in ("stars", "asterisms") or first.method == "asterisms"
    radius = search_radius(science.shape)
    offset = find_offset(stars.science, stars.template, radius)
    if offset is None:
        found = f"{len(stars.template)} stars of the template and {len(stars.science)} of the science image"
        if wanted:
            raise RegistrationError(
                f"registration by {'stars' if config.registration == 'stars' else 'asterisms'}: {found} do not "
                f"coincide at any offset up to {radius:.0f} px, or too few do to be sure; check that the images show "
                "the same field, or choose --register wcs"
            )
        return replace(first, note=f"kept: {found} do not match, or too few do")
    fit = fit_stars(stars.science, stars.template, offset, science.shape)
    before, after = measure_offsets(fit.pairs), measure_offsets(fit.residuals())
    least = MIN_DISPLACEMENT_OF_EQUALS if first.pixel_map is None else MIN_DISPLACEMENT
    reason = _few_stars(fit, wanted)
    if not (reason or wanted):
        reason = _why_not(fit, after, before, least, config, do_warping)
    if reason:
        return replace(first, offsets=before, first_offsets=before, note=f"kept: {reason}")
    return Alignment(
        CorrectedMap(fit.displacement, _base(first)),
        first.grids,
        f"{first.method}+stars",
        after,
        before,
        f"{ORDER_NAMES[fit.order]} from {len(fit.pairs)} stars, which moves them by {fit.size:.3f} px",
    )


def _few_stars(fit: StarFit, wanted: bool) -> str:
    """Why the stars are too few to change anything; empty if they are enough."""
    enough = len(fit.pairs) >= (MIN_STARS[0] if wanted else MIN_STARS_UNASKED)
    return "" if enough else f"only {len(fit.pairs)} stars match"


def _why_not(
    fit: StarFit, after: StarOffsets, before: StarOffsets, least: float, config: WarpConfig, do_warping: bool
) -> str:
    """Why stars that nobody asked do not change the alignment; empty if they do."""
    change = f"{len(fit.pairs)} stars would move it by {fit.size:.3f} px"
    limit = max(least, SIGNIFICANCE * fit.error)
    if fit.size <= limit:
        return f"{change}, less than {limit:.3f} px"
    if np.hypot(after.distance, after.rms) > 0.9 * np.hypot(before.distance, before.rms):
        return f"{change}, but not bring the stars closer"
    if config.registration != "auto":
        return f"{change}, but registration is {config.registration}"
    return "" if do_warping else f"{change}, but warping is off"


def _asterisms_instead(
    first: Alignment, template: Exposure, science: Exposure, config: WarpConfig, stars: CommonStars
) -> Alignment:
    """By asterisms where pixels that were taken as aligned show different stars; else as it was."""
    if min(len(stars.science), len(stars.template)) < ENOUGH_STARS or not is_available():
        return first
    log.info("registration: the stars of %s and %s do not coincide: by asterisms", template.name, science.name)
    try:
        made = _by_asterisms(template, science)
        return _refined(made, common_stars(template, science, _base(made)), science, config, True)
    except RegistrationError as error:
        return replace(first, note=f"kept: {error}")
