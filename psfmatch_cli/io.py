"""FITS files -> exposures.

Here, and in the modules this one calls, 1-based FITS pixels become 0-based array indices. What a file
lacks is made up for in the open: each fallback is logged and noted in `NoiseModel`.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from psfmatch_cli.archive import Archive, ArchiveTable, archived_filter, archived_fluxmag0, archived_psf
from psfmatch_cli.detector import card_number
from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import Exposure, MaskedImage
from psfmatch_cli.fitsfile import (
    FitsPath,
    find_hdu,
    list_hdus,
    open_fits,
    parse_hdu_key,
    parse_path,
    read_data,
    read_image,
    readable_cards,
)
from psfmatch_cli.fitswrite import write_exposure
from psfmatch_cli.layouts import PlaneMap, locate_planes, origin_from_header
from psfmatch_cli.pixels import Pixels, complete, take_mask, take_variance
from psfmatch_cli.psf import Psf, gaussian_psf
from psfmatch_cli.read_options import ReadOptions

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["ReadOptions", "read_exposure", "write_exposure"]

log = logging.getLogger(__name__)


def read_exposure(path: str | Path, options: ReadOptions | None = None, *, role: str = "exposure") -> Exposure:
    """Read an exposure from a FITS file.

    LSST files give all planes, and the PSF and the calibration where plain tables describe them. Other
    files give an image; noise and mask come from SCI/ERR/DQ companions, from the options, or are worked
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
        If a file is missing, not FITS or damaged; if there is no such HDU, no two-dimensional image or no
        finite pixel; if planes differ in shape; or if nothing gives a variance.
    UsageError
        If the image HDU is given twice.
    """
    options = options or ReadOptions()
    source = _source(path, options)
    where = f"{role} {source.name}"
    with open_fits(source.path) as hdus:
        chosen = None if source.hdu is None else find_hdu(hdus, source.hdu, source.path)
        found = locate_planes(list_hdus(hdus), str(source), chosen)
        pixels = _read_planes(hdus, found, source, options, where)
        archive = _read_archive(hdus, source.path) if found.layout == "lsst" else None
        psf = _read_psf(hdus, found, archive, options, source.path)
        wcs = _read_wcs(hdus, found.image, pixels.header, where)
        relative = found.variance is not None and hdus[found.variance].name == "WHT" and options.noise_file is None
    complete(pixels, options, relative_weight=relative)
    origin = origin_from_header(pixels.header) if found.layout == "lsst" else (0, 0)
    masked = MaskedImage.from_arrays(pixels.image, pixels.mask, pixels.variance, pixels.planes, origin)
    log.info("%s: %s", where, _summary(masked, pixels))
    fluxmag0, band = _fluxmag0(pixels.header, archive, options), _filter(pixels.header, archive, options)
    return Exposure(masked, wcs, psf, pixels.header, fluxmag0, band, pixels.noise, source.name)


def _source(path: str | Path, options: ReadOptions) -> FitsPath:
    """The file and the HDU that either the brackets or the option name."""
    source = parse_path(path)
    if options.image_hdu is None:
        return source
    if source.hdu is not None:
        raise UsageError(f"{source}: the image HDU is given both in brackets and as an option")
    return replace(source, hdu=parse_hdu_key(options.image_hdu))


def _read_planes(hdus: fits.HDUList, found: PlaneMap, source: FitsPath, options: ReadOptions, where: str) -> Pixels:
    """Image, and mask and variance as far as files hold them."""
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(read_image(hdus, found.image, source.path), np.float32)
    if not np.isfinite(image).any():
        raise InputError(f"{source}: no pixel of the image is finite")
    header = _merged_header(hdus[0].header, hdus[found.image].header)
    pixels = Pixels(image, header, where, np.zeros(image.shape, np.int32))
    lsst = found.layout == "lsst"
    if options.mask is not None:
        take_mask(pixels, *_read_file(options.mask), options, False, f"mask file {options.mask}")
    elif found.mask is not None:
        flags = read_image(hdus, found.mask, source.path)
        cards = readable_cards(hdus[found.mask].header)
        take_mask(pixels, flags, cards, options, lsst, f"{source}: HDU {found.mask}")
    elif lsst:
        log.warning("%s: no mask plane in the file; saturated and dead pixels are looked for", where)
    if options.noise_file is not None:
        kind, path = options.noise_file
        take_variance(pixels, _read_file(path)[0], kind, f"{kind} file", f"{kind} file {path}")
    elif found.variance is not None:
        values = read_image(hdus, found.variance, source.path)
        take_variance(pixels, values, found.variance_kind, "plane", f"{source.name}: HDU {found.variance}")
    elif lsst:
        log.warning("%s: no variance plane in the file; it is worked out from gain and sky", where)
    return pixels


def _read_file(path: str | Path) -> tuple[Any, fits.Header]:
    """Pixels and header of an image in a file of its own."""
    source = parse_path(path)
    with open_fits(source.path) as hdus:
        if source.hdu is not None:
            index = find_hdu(hdus, source.hdu, source.path)
        else:
            index = next((hdu.index for hdu in list_hdus(hdus) if hdu.is_image), 0)
        return read_image(hdus, index, source.path), readable_cards(hdus[index].header)


def _merged_header(primary: fits.Header, image: fits.Header) -> fits.Header:
    """The image's cards and those of the primary that the image does not repeat."""
    merged = readable_cards(image)
    if image is not primary:
        merged.extend(readable_cards(primary), unique=True)
    return merged


def _read_archive(hdus: fits.HDUList, path: Path) -> Archive | None:
    """The objects attached to an LSST exposure, or None."""
    kinds = [str(hdu.header.get("EXTTYPE", "")).strip() for hdu in hdus]
    by_card = int(hdus[0].header.get("AR_HDU", 0)) - 1  # the card counts from 1
    first = kinds.index("ARCHIVE_INDEX") if "ARCHIVE_INDEX" in kinds else by_card
    if not 0 < first < len(hdus):
        return None
    tables = [
        ArchiveTable(hdus[index].header, read_data(hdus, index, path))
        for index in range(first, len(hdus))
        if isinstance(hdus[index], fits.BinTableHDU)
    ]
    return Archive(tables[0], tables[1:]) if tables else None


def _read_psf(
    hdus: fits.HDUList, found: PlaneMap, archive: Archive | None, options: ReadOptions, path: Path
) -> Psf | None:
    """PSF from the options, else from a PSF image in the file, else from an attached object."""
    if options.fwhm is not None:
        return gaussian_psf(options.fwhm, "option fwhm")
    if options.psf is not None:
        return Psf.from_image(_read_file(options.psf)[0], f"file {options.psf}")
    if found.psf is not None:
        return _stored_psf(read_image(hdus, found.psf, path))
    stored = archive.attached(hdus[0].header, "PSF") if archive is not None else None
    return None if stored is None else archived_psf(archive, stored, str(path))


def _stored_psf(image: Any) -> Psf:
    """Psf of a PSF extension; one that is already centred and normalised is not touched."""
    image = image.astype(np.float64)
    if image.shape[0] == image.shape[1] and image.shape[0] % 2 == 1 and abs(image.sum() - 1.0) < 1e-6:
        return Psf(image, "PSF extension")
    return Psf.from_image(image, "PSF extension")


def _read_wcs(hdus: fits.HDUList, index: int, merged: fits.Header, where: str) -> WCS | None:
    """Celestial WCS of the image HDU, else of its header merged with the primary; None without one."""
    for header in (hdus[index].header, merged):
        if "CTYPE1" in header:
            return _celestial_wcs(header, hdus, where)
    return None


def _celestial_wcs(header: fits.Header, hdus: fits.HDUList, where: str) -> WCS | None:
    from astropy.wcs import WCS, WcsError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(header, fobj=hdus, naxis=2)
            if not wcs.has_celestial:
                return None
            sky = wcs.pixel_to_world_values((header["NAXIS1"] - 1) / 2, (header["NAXIS2"] - 1) / 2)
        except (WcsError, ValueError, KeyError, AssertionError) as error:
            log.warning("%s: the WCS in the header cannot be used (%s)", where, str(error).strip().split("\n")[0])
            return None
    if not np.isfinite(sky).all():
        log.warning("%s: the WCS in the header is singular and not used", where)
        return None
    return wcs


def _fluxmag0(header: fits.Header, archive: Archive | None, options: ReadOptions) -> float | None:
    """Counts of a magnitude 0 source from the option, the attached calibration, or the card FLUXMAG0."""
    if options.zero_point is not None:
        return 10.0 ** (0.4 * options.zero_point)
    stored = archive.attached(header, "PHOTOCALIB") if archive is not None else None
    return archived_fluxmag0(stored) if stored is not None else card_number(header, "FLUXMAG0")


def _filter(header: fits.Header, archive: Archive | None, options: ReadOptions) -> str | None:
    """Filter name from the option, the attached label, or the card FILTER."""
    if options.band is not None:
        return options.band
    stored = archive.attached(header, "FILTER") if archive is not None else None
    if stored is not None:
        return archived_filter(stored)
    return str(header.get("FILTER", "")).strip() or None


def _summary(masked: MaskedImage, pixels: Pixels) -> str:
    """Size, where the variance came from, and how many pixels are masked."""
    noise = pixels.noise
    height, width = masked.shape
    if noise.origin == "gain":
        variance = f"gain {noise.gain:.4g} e-/count ({noise.sources['gain']})"
    else:
        variance = noise.sources.get("variance", noise.origin)
    if "constant" in noise.sources:
        variance += f", constant term {noise.sources['constant']}"
    counts = ", ".join(f"{name} {int(masked.flagged([name]).sum())}" for name in ("BAD", "SAT", "NO_DATA"))
    return f"{width} x {height} pixels; variance: {variance}; {counts}"
