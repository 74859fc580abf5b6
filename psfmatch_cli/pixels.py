"""The planes of an exposure while it is read: image, mask and variance as far as files hold them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.detector import Claims
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, NoiseModel, free_bit
from psfmatch_cli.keywords import Cards
from psfmatch_cli.layouts import VarianceKind, as_variance
from psfmatch_cli.masks import lsst_mask, mask_planes_from_header, nonzero_mask
from psfmatch_cli.quality_flags import FlagTable, flagged_mask
from psfmatch_cli.read_options import ReadOptions

log = logging.getLogger(__name__)


@dataclass
class Pixels:
    """Planes of an exposure while it is read; the functions here fill them in.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Counts.
    cards : Cards
        Of the exposure.
    where : str
        Name of the exposure, for messages.
    mask : ndarray, (H, W), int32
        Bit field.
    planes : dict of str to int
        Bit of each mask plane.
    variance : ndarray, (H, W), float32, or None
        None until known.
    complete_mask : bool
        Whether the mask was made by a pipeline that names its planes: then nothing is added to it unasked.
    knows_saturation : bool
        Whether the mask says which pixels are saturated.
    knows_coverage : bool
        Whether weights or a coverage say where there are no data.
    relative_weight : bool
        Whether the variance comes from weights that may have any scale and leave out the light of the sources.
    noise : NoiseModel
        Where the variance came from.
    claims : mapping of str to (float, str)
        What the survey says about the noise.
    """

    image: NDArray[np.float32]
    cards: Cards
    where: str
    mask: NDArray[np.int32]
    planes: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_PLANES))
    variance: NDArray[np.float32] | None = None
    complete_mask: bool = False
    knows_saturation: bool = False
    knows_coverage: bool = False
    relative_weight: bool = False
    noise: NoiseModel = field(default_factory=NoiseModel)
    claims: Claims = field(default_factory=dict)

    def flag(self, pixels: NDArray[np.bool_], plane: str) -> int:
        """Set a plane and return how many pixels got it."""
        if plane not in self.planes:
            self.planes[plane] = free_bit(self.planes)
        count = int(np.count_nonzero(pixels))
        if count:
            self.mask.view(np.uint32)[pixels] |= np.uint32(1 << self.planes[plane])
        return count

    def note(self, **sources: str) -> None:
        """Note where quantities came from."""
        self.noise = replace(self.noise, sources={**self.noise.sources, **sources})

    def usable(self) -> NDArray[np.bool_]:
        """Finite pixels without BAD, SAT, CR or NO_DATA, (H, W)."""
        bits = sum(1 << self.planes[name] for name in ("BAD", "SAT", "CR", "NO_DATA") if name in self.planes)
        return np.isfinite(self.image) & ((self.mask.view(np.uint32) & np.uint32(bits)) == 0)


def take_mask(
    pixels: Pixels,
    values: NDArray,
    header: Mapping[str, Any],
    options: ReadOptions,
    lsst: bool,
    name: str,
    table: FlagTable | None = None,
) -> None:
    """Use a plane of flags as the mask.

    ``MP_`` cards name its planes; so does the LSST layout, even without any. Else the user's mask map counts, else
    the table of the instrument, and without one every value but 0 is BAD.

    Raises
    ------
    InputError
        If the plane has another shape, or values that are no flags.
    """
    check_shape(values, pixels, name)
    named = mask_planes_from_header(header, name)
    if options.mask_map is not None and not named and not lsst:
        table = FlagTable("the mask map", options.mask_map)
    elif table is not None or named or lsst:
        pixels.complete_mask = True
    if named or lsst:
        pixels.mask, pixels.planes = lsst_mask(values, named, name)
    elif table is not None:
        pixels.mask, pixels.planes = flagged_mask(values, table, name)
    else:
        pixels.mask, pixels.planes = nonzero_mask(values, name)
    pixels.knows_saturation = bool(named) or lsst or (table is not None and table.knows_saturation)
    if pixels.knows_saturation:
        pixels.note(saturation=f"mask, {name}")


def take_coverage(pixels: Pixels, values: NDArray, name: str) -> None:
    """Pixels without a positive coverage are NO_DATA.

    Raises
    ------
    InputError
        If the plane has another shape.
    """
    check_shape(values, pixels, name)
    pixels.knows_coverage = True
    with np.errstate(invalid="ignore"):
        count = pixels.flag(~(values > 0), "NO_DATA")
    if count:
        log.info("%s: %d pixels that %s does not cover are NO_DATA", pixels.where, count, name)


def take_variance(
    pixels: Pixels, values: NDArray, kind: VarianceKind, origin: str, name: str, *, relative: bool = False
) -> None:
    """Use a plane of variance, noise or weight as the variance.

    Parameters
    ----------
    pixels : Pixels
    values : ndarray, (H, W)
    kind : {"variance", "noise", "weight"}
    origin, name : str
        For the record: kind of the source, and its name.
    relative : bool
        Whether weights may have any scale and leave out the light of the sources.

    Raises
    ------
    InputError
        If the plane has another shape.
    """
    check_shape(values, pixels, name)
    pixels.variance, no_data = as_variance(values, kind)
    pixels.relative_weight = relative and kind == "weight"
    pixels.knows_coverage = pixels.knows_coverage or kind == "weight"
    count = pixels.flag(no_data, "NO_DATA")
    if count:
        log.info("%s: %d pixels without weight are NO_DATA", pixels.where, count)
    pixels.noise = replace(pixels.noise, origin=origin)
    pixels.note(variance=name)


def check_shape(values: NDArray, pixels: Pixels, name: str) -> None:
    """Refuse a plane that does not fit the image.

    Raises
    ------
    InputError
        If its shape differs.
    """
    if values.shape != pixels.image.shape:
        ours, theirs = (f"{shape[1]} x {shape[0]}" for shape in (pixels.image.shape, values.shape))
        raise InputError(f"{name} has {theirs} pixels, the image {ours}; they must be equal")
