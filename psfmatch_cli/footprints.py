"""The old finder of kernel candidates: footprints above a threshold, without any source.

The image is searched as it is, neither smoothed nor above a background: a sky that is still in it counts as
signal. Pixels that touch, also at a corner, are one footprint. One of too many pixels is replaced by the central
pixel of its box, so that bright extended objects contribute, too. Each is grown by Manhattan distance, and its box
has to lie inside the image and be free of bad pixels in both images.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.background import variance_is_known
from psfmatch_cli.clipping import clipped_mean_std
from psfmatch_cli.config import CandidateConfig
from psfmatch_cli.errors import BoxMismatchError, InputError
from psfmatch_cli.exposure import Box, Exposure, MaskedImage
from psfmatch_cli.source_entries import FOOTPRINT_COLUMNS
from psfmatch_cli.stacks import unfit_pixels

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

#: A footprint that covers this share of the image is the sky.
SKY_SHARE = 0.5


def find_footprints(template: Exposure, science: Exposure, config: CandidateConfig) -> Table:
    """Footprints of an exposure pair, each with the reason for which it is refused, if it is.

    Parameters
    ----------
    template, science : Exposure
        On one pixel grid; the one that the settings name is searched, the masks of both are examined.
    config : CandidateConfig
        Threshold and its type, sizes, growth, bad mask planes.

    Returns
    -------
    Table
        One row per footprint of at least ``fp_npix_min`` pixels: ``id``; ``x, y``, the middle of its box, or the
        central pixel of one of more than ``fp_npix_max`` pixels; ``npix``; ``footprint_x0 .. footprint_y1``, the box
        before growing (both ends included, parent pixels); ``refused``: ``""``, ``"outside"`` (the grown box sticks
        out of the image), ``"template-mask"`` or ``"science-mask"`` (a bad pixel in the grown box). It can be given
        to `psfmatch_cli.candidates.select_candidates`, which cuts stamps of odd sides around a pixel: one that is
        even here is a pixel longer there.

    Raises
    ------
    BoxMismatchError
        If the exposures are not on one grid.
    InputError
        If the threshold needs a variance that is not known.
    """
    if template.box != science.box:
        raise BoxMismatchError(
            f"the template covers {template.box}, the science image {science.box}; they must be equal"
        )
    searched = template if config.det_on_template else science
    above = _above(searched.masked_image, config)
    boxes, n_pixels = _boxes(above, config)
    grown = boxes + config.fp_grow_pix * np.array([-1, -1, 1, 1])
    refused = _refusals(grown, template.masked_image, science.masked_image, config)
    table = _table(boxes + np.tile(science.xy0, 2), n_pixels, refused)
    table.meta["positions"] = f"footprints of the {'template' if config.det_on_template else 'science image'}"
    _log_result(searched.name, table)
    if above.mean() > SKY_SHARE:
        log.warning(
            "%s: %.0f %% of the pixels are above the threshold of the footprint finder, which knows no background; "
            "take it off (kernel.use_afw_background = true), or set candidates.finder = sources",
            searched.name,
            100 * above.mean(),
        )
    return table


def _above(masked_image: MaskedImage, config: CandidateConfig) -> NDArray[np.bool_]:
    """Pixels at or above the threshold, (H, W); what is not finite is not."""
    image, value = masked_image.image, config.det_threshold
    if config.det_threshold_type == "pixel_stdev":
        if not variance_is_known(masked_image):
            raise InputError("det_threshold_type pixel_stdev needs a variance plane, and none is known; use stdev")
        variance = masked_image.variance
        known = (variance > 0) & (variance < np.inf)
        return known & (image >= value * np.sqrt(np.where(known, variance, np.float32(1))))
    if config.det_threshold_type == "value":
        return image >= value
    std = clipped_mean_std(image).std
    return image >= value * (std if config.det_threshold_type == "stdev" else std**2)


def _boxes(above: NDArray[np.bool_], config: CandidateConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Boxes x0, y0, x1, y1 (array indices) of the footprints that are large enough, (n, 4); and their pixels, (n,)."""
    from scipy import ndimage

    labels, n = ndimage.label(above, structure=np.ones((3, 3), int))
    n_pixels = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    corners = [(c.start, r.start, c.stop - 1, r.stop - 1) for r, c in ndimage.find_objects(labels, n)]
    boxes = np.array(corners, np.int64).reshape(-1, 4)[n_pixels >= config.fp_npix_min]
    n_pixels = n_pixels[n_pixels >= config.fp_npix_min]
    middles = (boxes[:, :2] + boxes[:, 2:]) // 2
    return np.where((n_pixels > config.fp_npix_max)[:, None], np.tile(middles, 2), boxes), n_pixels


def _refusals(
    grown: NDArray[np.int64], template: MaskedImage, science: MaskedImage, config: CandidateConfig
) -> NDArray[np.str_]:
    """Reason for which each grown box is refused, or ``""``."""
    height, width = science.shape
    bad = {
        name: unfit_pixels(image, config.bad_mask_planes)
        for name, image in (("template-mask", template), ("science-mask", science))
    }
    reasons = np.full(len(grown), "", "U16")
    for row, (x0, y0, x1, y1) in enumerate(grown):
        if x0 < 0 or y0 < 0 or x1 >= width or y1 >= height:
            reasons[row] = "outside"
            continue
        at = Box(x0, y0, x1, y1).slices((0, 0))
        reasons[row] = next((name for name, pixels in bad.items() if pixels[at].any()), "")
    return reasons


def _table(boxes: NDArray[np.int64], n_pixels: NDArray[np.int64], refused: NDArray[np.str_]) -> Table:
    from astropy.table import Table

    middles = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    table = Table(
        {
            "id": np.arange(1, len(boxes) + 1),
            "x": middles[:, 0],
            "y": middles[:, 1],
            "npix": n_pixels,
            **dict(zip(FOOTPRINT_COLUMNS, boxes.T, strict=True)),
            "refused": refused,
        }
    )
    for name in ("x", "y", *FOOTPRINT_COLUMNS):
        table[name].unit = "pix"
    return table


def _log_result(name: str, table: Table) -> None:
    counts = Counter(str(reason) for reason in table["refused"] if reason)
    described = "".join(f", {n} {reason}" for reason, n in sorted(counts.items()))
    log.info("footprints on %s: %d%s", name, len(table), described)
