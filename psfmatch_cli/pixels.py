"""From the planes that files hold to complete ones: mask and variance of an exposure being read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli import defects, noise
from psfmatch_cli.detector import detector_terms
from psfmatch_cli.errors import InputError
from psfmatch_cli.exposure import DEFAULT_PLANES, NoiseModel, free_bit
from psfmatch_cli.layouts import VarianceKind, as_variance, lsst_mask, mapped_mask, mask_planes_from_header
from psfmatch_cli.read_options import ReadOptions

log = logging.getLogger(__name__)


@dataclass
class Pixels:
    """Planes of an exposure while it is read; the functions here fill them in.

    Parameters
    ----------
    image : ndarray, (H, W), float32
        Counts.
    header : mapping
        Cards of the exposure.
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
    noise : NoiseModel
        Where the variance came from.
    """

    image: NDArray[np.float32]
    header: Mapping[str, Any]
    where: str
    mask: NDArray[np.int32]
    planes: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_PLANES))
    variance: NDArray[np.float32] | None = None
    complete_mask: bool = False
    knows_saturation: bool = False
    noise: NoiseModel = field(default_factory=NoiseModel)

    def flag(self, pixels: NDArray[np.bool_], plane: str) -> int:
        """Set a plane and return how many pixels got it."""
        if plane not in self.planes:
            self.planes[plane] = free_bit(self.planes)
        self.mask.view(np.uint32)[pixels] |= np.uint32(1 << self.planes[plane])
        return int(np.count_nonzero(pixels))

    def usable(self) -> NDArray[np.bool_]:
        """Finite pixels without BAD, SAT, CR or NO_DATA, (H, W)."""
        bits = sum(1 << self.planes[name] for name in ("BAD", "SAT", "CR", "NO_DATA") if name in self.planes)
        return np.isfinite(self.image) & ((self.mask.view(np.uint32) & np.uint32(bits)) == 0)


def take_mask(
    pixels: Pixels, values: NDArray, header: Mapping[str, Any], options: ReadOptions, lsst: bool, name: str
) -> None:
    """Use a plane of flags as the mask.

    ``MP_`` cards name its planes; so does the LSST layout, even without any. Else the mask map counts, and
    without one every value but 0 is BAD.

    Raises
    ------
    InputError
        If the plane has another shape, or values that are no flags.
    """
    check_shape(values, pixels, name)
    named = mask_planes_from_header(header, name)
    if named or lsst:
        pixels.mask, pixels.planes = lsst_mask(values, named, name)
        pixels.complete_mask = True
    else:
        pixels.mask, pixels.planes = mapped_mask(values, options.mask_map, name)
    pixels.knows_saturation = pixels.complete_mask or "SAT" in (options.mask_map or {}).values()


def take_variance(pixels: Pixels, values: NDArray, kind: VarianceKind, origin: str, name: str) -> None:
    """Use a plane of variance, noise or weight as the variance.

    Raises
    ------
    InputError
        If the plane has another shape.
    """
    check_shape(values, pixels, name)
    pixels.variance, no_data = as_variance(values, kind)
    count = pixels.flag(no_data, "NO_DATA")
    if count:
        log.info("%s: %d pixels without weight are NO_DATA", pixels.where, count)
    pixels.noise = NoiseModel(origin, sources={"variance": name})


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


def complete(pixels: Pixels, options: ReadOptions, relative_weight: bool = False) -> None:
    """Find what the mask does not say and make the variance that no file gave.

    Parameters
    ----------
    pixels : Pixels
        Filled in.
    options : ReadOptions
        Gain, saturation... where the user knows them.
    relative_weight : bool, optional
        Whether the variance comes from weights that may have any scale.

    Raises
    ------
    InputError
        If every pixel is masked, or there is nothing to make a variance of.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        _complete(pixels, options, relative_weight)


def _complete(pixels: Pixels, options: ReadOptions, relative_weight: bool) -> None:
    _refuse_empty_variance(pixels, options)
    if options.saturation is not None:
        _flag_saturation(pixels, defects.Saturation(options.saturation, "option"))
    if pixels.complete_mask and pixels.variance is not None:
        return
    if not pixels.complete_mask:
        count = pixels.flag(defects.blank_pixels(pixels.image) & pixels.usable(), "NO_DATA")
        if count:
            log.info("%s: %d blank pixels (exactly 0) are NO_DATA", pixels.where, count)
    if not pixels.usable().any():
        raise InputError(f"{pixels.where}: every pixel is masked or not finite")
    sky = noise.measure_sky(pixels.image, ~pixels.usable())
    if not pixels.complete_mask:
        _flag_defects(pixels, sky, options)
    if pixels.variance is None:
        _make_variance(pixels, sky, options)
    elif relative_weight:
        _scale_weights(pixels, sky)


def _useful(pixels: Pixels) -> NDArray[np.bool_]:
    """Finite pixels with a positive finite variance, (H, W)."""
    with np.errstate(invalid="ignore"):
        return (pixels.variance > 0) & (pixels.variance < np.inf) & np.isfinite(pixels.image)


def _refuse_empty_variance(pixels: Pixels, options: ReadOptions) -> None:
    """A variance without one usable value is dropped if the user gives a gain, else an error."""
    stated = options.gain is not None or options.read_noise is not None
    if pixels.variance is None:
        return
    if _useful(pixels).any():
        if stated:
            log.warning("%s: gain and read noise are not used, the variance is given", pixels.where)
        return
    if not stated:
        raise InputError(f"{pixels.where}: the given variance has no positive value; give gain and read noise")
    log.warning("%s: the given variance has no positive value; using gain and read noise", pixels.where)
    pixels.variance = None


def _flag_defects(pixels: Pixels, sky: noise.Sky, options: ReadOptions) -> None:
    usable = pixels.usable()
    if options.saturation is None and not pixels.knows_saturation:
        found = defects.find_saturation(pixels.image, usable, pixels.header, sky)
        if found is not None:
            _flag_saturation(pixels, found)
    count = pixels.flag(defects.dead_pixels(pixels.image, sky) & usable, "BAD")
    lines = pixels.flag(defects.dead_lines(pixels.image, ~usable, sky) & usable, "BAD")
    hot = pixels.flag(defects.hot_lines(pixels.image, ~usable, sky) & usable, "BAD")
    if count or lines or hot:
        log.info(
            "%s: %d pixels are BAD: more than %g sigma below the sky; %d and %d in low and high pieces of lines",
            pixels.where,
            count,
            defects.DEAD_SIGMAS,
            lines,
            hot,
        )


def _flag_saturation(pixels: Pixels, found: defects.Saturation) -> None:
    count = pixels.flag(defects.saturated_pixels(pixels.image, found.level), "SAT")
    log.info("%s: saturation at %.6g counts (%s): %d pixels are SAT", pixels.where, found.level, found.source, count)
    pixels.noise = replace(
        pixels.noise, saturation=found.level, sources={**pixels.noise.sources, "saturation": found.source}
    )


def _make_variance(pixels: Pixels, sky: noise.Sky, options: ReadOptions) -> None:
    terms = detector_terms(
        pixels.header,
        sky.level,
        gain=options.gain,
        read_noise=options.read_noise,
        sky_level=options.sky_level,
        pedestal=options.pedestal,
    )
    law = noise.choose_law(terms, sky, pixels.where)
    pixels.variance = noise.variance_plane(pixels.image, ~pixels.usable(), sky, law)
    if not _useful(pixels).any():
        raise InputError(
            f"{pixels.where}: no pixel has a positive finite variance; the counts are too small or too large "
            "for 32 bits: multiply the image by a constant"
        )
    made = noise.noise_model(law, terms, sky)
    pixels.noise = replace(made, saturation=pixels.noise.saturation, sources={**pixels.noise.sources, **made.sources})


def _scale_weights(pixels: Pixels, sky: noise.Sky) -> None:
    """Weights that do not predict the sky noise are relative (exposure times): scale them so that they do."""
    usable = pixels.usable() & np.isfinite(pixels.variance)
    predicted, measured = float(np.median(pixels.variance[usable])), sky.sigma**2
    if measured == 0 or noise.agree(predicted, measured):
        return
    log.warning(
        "%s: the weights predict a sky noise of %.4g counts, measured is %.4g; taken as relative weights and scaled",
        pixels.where,
        predicted**0.5,
        sky.sigma,
    )
    pixels.variance *= np.float32(measured / predicted)
    pixels.noise = replace(
        pixels.noise, sources={**pixels.noise.sources, "scale": "relative weights, scaled to the measured sky noise"}
    )
