"""FITS files -> exposures.

Here, and in the modules this one calls, 1-based FITS pixels become 0-based array indices. What a file
lacks is made up for in the open: each fallback is logged and noted in `NoiseModel`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from psfmatch_cli.asinh import linear_counts, scaling
from psfmatch_cli.companions import NOISE_ROLES, Companion
from psfmatch_cli.completion import complete
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.facts import FileFacts
from psfmatch_cli.fitsfile import (
    FitsPath,
    find_hdu,
    list_hdus,
    open_fits,
    parse_hdu_key,
    parse_path,
    read_image,
    readable_cards,
)
from psfmatch_cli.fitswrite import write_exposure
from psfmatch_cli.header_cards import exposure_cards
from psfmatch_cli.layouts import origin_from_header
from psfmatch_cli.opened import Opened, open_exposure
from psfmatch_cli.pixels import Pixels, check_shape, take_coverage, take_mask, take_variance
from psfmatch_cli.psf import Psf
from psfmatch_cli.read_options import ReadOptions
from psfmatch_cli.stated import file_facts, stated_fluxmag0, stated_psf, stated_quantities

__all__ = ["ReadOptions", "read_counts", "read_exposure", "read_facts", "write_exposure"]

log = logging.getLogger(__name__)


def read_exposure(path: str | Path, options: ReadOptions | None = None, *, role: str = "exposure") -> Exposure:
    """Read an exposure from a FITS file.

    The layout of the file is recognised by its content (`psfmatch_cli.instruments`). It says which HDUs, and which
    files beside it, hold noise and mask, and what the mask's values mean. What no file and no option gives is worked
    out as `psfmatch_cli.noise` and `psfmatch_cli.defects` describe.

    Parameters
    ----------
    path : str or Path
        ``file.fits``, ``file.fits[1]``, ``file.fits[SCI]`` or ``file.fits[SCI,2]``; ``.gz`` and
        tile-compressed ``.fz`` files too.
    options : ReadOptions, optional
        What the user says about the file.
    role : str, optional
        What the exposure is used as, for messages: "template", "science"...

    Returns
    -------
    Exposure
        Its name is the file's name.

    Raises
    ------
    InputError
        If a file is missing, not FITS or damaged; if there is no such HDU or card, no two-dimensional image or no
        finite pixel; if planes differ in shape; or if nothing gives a variance.
    UsageError
        If the image HDU is given twice.
    """
    options = options or ReadOptions()
    source = _source(path, options)
    where = f"{role} {source.name}"
    with open_fits(source.path) as hdus:
        opened = open_exposure(hdus, source, options, where)
        pixels = _read_planes(opened)
        quantities = stated_quantities(opened)
        psf = stated_psf(opened, quantities.get("fwhm"))
        facts = file_facts(opened, quantities, psf)
    complete(pixels, options)
    origin = origin_from_header(opened.cards.header, where) if opened.layout.ours else (0, 0)
    masked = MaskedImage.from_arrays(pixels.image, pixels.mask, pixels.variance, pixels.planes, origin)
    if log.isEnabledFor(logging.INFO):
        log.info("%s: %s", where, _summary(masked, pixels, facts))
    return Exposure(
        masked_image=masked,
        wcs=opened.wcs,
        psf=psf,
        header=exposure_cards(opened.cards.header, origin, options.zero_point is not None),
        fluxmag0=stated_fluxmag0(opened, quantities.get("zero_point")),
        filter=quantities["filter"].value if "filter" in quantities else None,
        noise=pixels.noise,
        name=source.name,
        facts=facts,
    )


def read_counts(path: str | Path, options: ReadOptions | None = None, *, role: str = "exposure") -> Exposure:
    """The counts that `read_exposure` would take, with the grid and the cards, but without mask, noise and PSF.

    For pictures: nothing is measured, so that a large file is read in the time that its pixels take. Every pixel that
    has counts has the variance 1. Parameters and errors are those of `read_exposure`.
    """
    options = options or ReadOptions()
    source = _source(path, options)
    with open_fits(source.path) as hdus:
        opened = open_exposure(hdus, source, options, f"{role} {source.name}")
        image = _counts(read_image(hdus, opened.planes.image, source.path), opened.asinh)
    origin = origin_from_header(opened.cards.header) if opened.layout.ours else (0, 0)
    masked = MaskedImage.from_arrays(image, variance=np.ones_like(image), xy0=origin)
    header = exposure_cards(opened.cards.header, origin, options.zero_point is not None)
    return Exposure(masked_image=masked, wcs=opened.wcs, header=header, name=source.name)


@dataclass(frozen=True)
class HeaderFacts:
    """What the headers of a file say.

    Parameters
    ----------
    name : str
        The file's name.
    shape : (int, int)
        Of the image.
    psf : Psf or None
    facts : FileFacts
    """

    name: str
    shape: tuple[int, int]
    psf: Psf | None
    facts: FileFacts


def read_facts(path: str | Path, options: ReadOptions | None = None, *, role: str = "exposure") -> HeaderFacts:
    """What `read_exposure` would take from the headers; no pixels are read but those of a PSF.

    Parameters and errors are those of `read_exposure`, but for what only the pixels tell.
    """
    options = options or ReadOptions()
    source = _source(path, options)
    with open_fits(source.path) as hdus:
        opened = open_exposure(hdus, source, options, f"{role} {source.name}")
        quantities = stated_quantities(opened)
        psf = stated_psf(opened, quantities.get("fwhm"))
        return HeaderFacts(source.name, opened.shape, psf, file_facts(opened, quantities, psf))


def _source(path: str | Path, options: ReadOptions) -> FitsPath:
    """The file and the HDU that either the brackets or the option name."""
    source = parse_path(path)
    if options.image_hdu is None:
        return source
    if source.hdu is not None:
        raise UsageError(f"{source}: the image HDU is given both in brackets and as an option")
    return replace(source, hdu=parse_hdu_key(options.image_hdu))


def _read_planes(opened: Opened) -> Pixels:
    """Image, and mask and variance as far as files hold them."""
    source = opened.source
    image = _counts(read_image(opened.hdus, opened.planes.image, source.path), opened.asinh)
    if not np.isfinite(image).any():
        raise InputError(f"{source}: no pixel of the image is finite")
    pixels = Pixels(image, opened.cards, opened.where, np.zeros(image.shape, np.int32), claims=opened.claims)
    _read_mask(pixels, opened)
    _read_coverage(pixels, opened)
    _read_variance(pixels, opened)
    return pixels


def _counts(values: NDArray, asinh: tuple[float, float] | None) -> NDArray[np.float32]:
    """Linear counts as 32-bit numbers."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values if asinh is None else linear_counts(values, *asinh), np.float32)


def _read_mask(pixels: Pixels, opened: Opened) -> None:
    source, layout, number = opened.source, opened.layout, opened.planes.mask
    table = None if layout.flags is None else layout.flags(opened.cards.header)
    if opened.options.mask is not None:
        file = parse_path(opened.options.mask)
        take_mask(pixels, *_read_file(file), opened.options, False, f"mask file {file}", table)
    elif number is not None:
        flags = read_image(opened.hdus, number, source.path)
        cards = readable_cards(opened.hdus[number].header)
        take_mask(pixels, flags, cards, opened.options, layout.ours, f"{source.name}: HDU {number}", table)
    elif "mask" in opened.companions:
        companion = opened.companions["mask"]
        take_mask(pixels, *_read_companion(companion, pixels), opened.options, False, str(companion), table)
    elif layout.ours:
        log.warning("%s: no mask plane in the file; saturated and dead pixels are looked for", opened.where)


def _read_coverage(pixels: Pixels, opened: Opened) -> None:
    number, companion = opened.planes.coverage, opened.companions.get("coverage")
    if number is not None:
        values = read_image(opened.hdus, number, opened.source.path)
        take_coverage(pixels, values, f"{opened.source.name}: HDU {number}")
    elif companion is not None:
        take_coverage(pixels, _read_companion(companion, pixels)[0], str(companion))


def _read_variance(pixels: Pixels, opened: Opened) -> None:
    source, found = opened.source, opened.planes
    companion = next((made for role, made in opened.companions.items() if role in NOISE_ROLES), None)
    relative = opened.layout.relative_weights
    if opened.options.noise_file is not None:
        kind, path = opened.options.noise_file
        take_variance(pixels, _read_file(parse_path(path))[0], kind, f"{kind} file", f"{kind} file {path}")
    elif found.variance is not None:
        values = read_image(opened.hdus, found.variance, source.path)
        name = f"{source.name}: HDU {found.variance}"
        take_variance(pixels, values, found.variance_kind, "plane", name, relative=relative)
    elif companion is not None:
        values, header = _read_companion(companion, pixels)
        asinh = scaling(header) if opened.layout.name == "panstarrs" else None
        values = values if asinh is None else linear_counts(values, *asinh)
        origin = f"{companion.role} file"
        take_variance(pixels, values, companion.role, origin, str(companion), relative=relative)
    elif opened.layout.ours:
        log.warning("%s: no variance plane in the file; it is worked out from gain and sky", opened.where)


def _read_companion(companion: Companion, pixels: Pixels) -> tuple[NDArray, fits.Header]:
    """Pixels and header of an image found beside the exposure.

    Raises
    ------
    InputError
        If it has another shape; the message says how to do without it.
    """
    values, header = _read_file(companion.file)
    check_shape(values, pixels, companion.told)
    return values, header


def _read_file(source: FitsPath) -> tuple[Any, fits.Header]:
    """Pixels and header of an image in a file of its own."""
    with open_fits(source.path) as hdus:
        if source.hdu is not None:
            index = find_hdu(hdus, source.hdu, source.path)
        else:
            index = next((hdu.index for hdu in list_hdus(hdus) if hdu.is_image), 0)
        return read_image(hdus, index, source.path), readable_cards(hdus[index].header)


def _summary(masked: MaskedImage, pixels: Pixels, facts: FileFacts) -> str:
    """Size, where the variance and the saturation came from, and how many pixels are masked."""
    noise = pixels.noise
    height, width = masked.shape
    if noise.origin == "gain":
        variance = f"gain {noise.gain:.4g} e-/count ({noise.sources['gain']})"
    else:
        variance = noise.sources.get("variance", noise.origin)
    if "constant" in noise.sources:
        variance += f", constant term {noise.sources['constant']}"
    level = "" if noise.saturation is None else f"{noise.saturation:.6g} counts, "
    saturation = f"{level}{noise.sources.get('saturation', 'not looked for')}"
    counts = ", ".join(f"{name} {int(masked.flagged([name]).sum())}" for name in ("BAD", "SAT", "NO_DATA"))
    return f"{width} x {height} pixels; variance: {variance}; saturation: {saturation}; layout {facts.layout}; {counts}"
