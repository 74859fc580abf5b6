"""Exposure -> FITS file in the LSST layout."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from psfmatch_cli.errors import UsageError
from psfmatch_cli.exposure import Exposure
from psfmatch_cli.header_cards import COORDINATES, copy_cards, physical_offset
from psfmatch_cli.outputs import Card, atomic_path, card_value, creation_card, printable
from psfmatch_cli.overlap import beside
from psfmatch_cli.psf import VaryingPsf
from psfmatch_cli.psfex import COLUMN, PsfexModel, psfex_cards

log = logging.getLogger(__name__)

CARD_LENGTH = 80
#: Suffixes an exposure can be written with.
SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz", ".fit.fz")


def write_exposure(
    path: str | Path,
    exposure: Exposure,
    *,
    cards: Iterable[Card] = (),
    history: Iterable[str] = (),
    overwrite: bool = False,
) -> None:
    """Write image, mask and variance, and the PSF if there is one, in the LSST layout.

    The three planes come back bit for bit. The exposure's own header cards are kept, but for those of
    the old file's structure and coordinates. ``.gz`` compresses the file, ``.fz`` its tiles, losslessly.

    Parameters
    ----------
    path : str or Path
        File ending in one of `SUFFIXES`.
    exposure : Exposure
        What to write.
    cards : iterable of (keyword, value, comment), optional
        Cards for the primary header, such as `psfmatch_cli.outputs.provenance_cards`.
    history : iterable of str, optional
        HISTORY lines.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    UsageError
        If the suffix is not known.
    OutputError
        If the file cannot be written.
    """
    write_exposures([ExposureFile(path, exposure, cards, history)], overwrite=overwrite)


@dataclass(frozen=True)
class ExposureFile:
    """An exposure to write; the parameters are those of `write_exposure`."""

    path: str | Path
    exposure: Exposure
    cards: Iterable[Card] = ()
    history: Iterable[str] = ()


def write_exposures(files: Sequence[ExposureFile], *, overwrite: bool = False, threads: int = 1) -> None:
    """Write several exposures as `write_exposure`, whose errors are those of this one, too, in several threads."""
    for file in files:
        check_suffix(file.path)
    # Filters of warnings are the process's, not a thread's: all that touches them is done before and around.
    made = _unshared([_file_hdus(file) for file in files])
    with warnings.catch_warnings(), beside(threads) as start:
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        beside_first = [
            start(_write, file.path, hdus, overwrite) for file, hdus in zip(files[1:], made[1:], strict=True)
        ]
        for file, hdus in zip(files[:1], made[:1], strict=True):
            _write(file.path, hdus, overwrite)
        for ended in beside_first:
            ended()


def _unshared(files: list[fits.HDUList]) -> list[fits.HDUList]:
    """The HDUs of files no two of which share their pixels.

    Astropy swaps the bytes of an array in place while it writes it: another thread that writes the same array would
    write nonsense.
    """
    seen: set[int] = set()
    for hdus in files:
        planes = [hdu for hdu in hdus if type(hdu) is fits.ImageHDU and hdu.data is not None]
        starts = [hdu.data.__array_interface__["data"][0] for hdu in planes]
        for hdu, start in zip(planes, starts, strict=True):
            if start in seen:
                hdu.data = hdu.data.copy()
        seen.update(starts)
    return files


def _file_hdus(file: ExposureFile) -> fits.HDUList:
    """The HDUs of a file, compressed where its name says so."""
    hdus = exposure_hdus(file.exposure, file.cards, file.history)
    if not str(file.path).lower().endswith(".fz"):
        return hdus
    return fits.HDUList([hdus[0], *(compressed(hdu) for hdu in hdus[1:])])


def _write(path: str | Path, hdus: fits.HDUList, overwrite: bool) -> None:
    with atomic_path(path, overwrite) as temporary:
        hdus.writeto(temporary, checksum=True)


def check_suffix(path: str | Path) -> None:
    """Refuse a name that an exposure cannot be written with.

    Raises
    ------
    UsageError
        If the suffix is not one of `SUFFIXES`.
    """
    if not str(path).lower().endswith(SUFFIXES):
        raise UsageError(f"{path}: an exposure file must end in {', '.join(SUFFIXES)}")


def exposure_hdus(exposure: Exposure, cards: Iterable[Card] = (), history: Iterable[str] = ()) -> fits.HDUList:
    """The HDUs of an exposure file: primary, IMAGE, MASK, VARIANCE and perhaps PSF."""
    primary = fits.PrimaryHDU()
    append_cards(primary.header, [creation_card()])
    copy_cards(exposure.header, primary.header, exposure.shape)
    if exposure.fluxmag0 is not None:
        primary.header["FLUXMAG0"] = (exposure.fluxmag0, "counts of a magnitude 0 source")
    if exposure.filter is not None:
        primary.header["FILTER"] = (exposure.filter, "filter name")
    append_cards(primary.header, cards)
    for line in history:
        primary.header.add_history(printable(line))
    geometry = _geometry(exposure)
    unit = exposure.header.get("BUNIT") if exposure.header is not None else None
    unit = unit if isinstance(unit, str) else None
    units = {"IMAGE": unit, "MASK": None, "VARIANCE": _squared(unit) if unit else None}
    planes = {"IMAGE": exposure.image, "MASK": exposure.mask, "VARIANCE": exposure.variance}
    hdus = fits.HDUList([primary])
    for name, plane in planes.items():
        hdu = fits.ImageHDU(plane, name=name)
        hdu.header["EXTTYPE"] = name
        hdu.header["INHERIT"] = True
        if units[name]:
            append_cards(hdu.header, [("BUNIT", units[name], "")])
        if name == "MASK":
            append_cards(hdu.header, [(f"MP_{plane_name}", bit, "") for plane_name, bit in exposure.planes.items()])
        hdu.header.extend(geometry, unique=True)
        hdus.append(hdu)
    if exposure.psf is not None:
        # Two exposures may have one PSF: each file gets a copy, see `_unshared`.
        hdus.append(fits.ImageHDU(np.array(exposure.psf.image, np.float64), name="PSF"))
    if isinstance(exposure.psf, VaryingPsf):
        hdus.append(_psf_table(exposure.psf.model))
    for hdu in hdus:
        announce_long_strings(hdu.header)
    return hdus


def _psf_table(model: PsfexModel) -> fits.BinTableHDU:
    """The PSF at any place, as PSFEx writes it."""
    images = np.array(model.coefficients, np.float32)
    column = fits.Column(COLUMN, f"{images.size}E", dim=str(images.shape[::-1]), array=images[None])
    hdu = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    append_cards(hdu.header, psfex_cards(model))
    return hdu


def _squared(unit: str) -> str:
    """The square of a unit, as FITS spells it."""
    return f"{unit}**2" if str(unit).isalnum() else f"({unit})**2"


def announce_long_strings(header: fits.Header) -> None:
    """Name the convention for strings that go on in CONTINUE cards, where there is one."""
    if any(len(card.image) > CARD_LENGTH for card in header.cards if card.keyword not in ("COMMENT", "HISTORY", "")):
        header["LONGSTRN"] = ("OGIP 1.0", "long strings go on in CONTINUE cards")


def append_cards(header: fits.Header, cards: Iterable[Card]) -> None:
    """Set cards; names of more than 8 characters use the HIERARCH convention."""
    for keyword, value, comment in cards:
        long = len(keyword) > 8 or " " in keyword
        with warnings.catch_warnings():
            # A comment that does not fit is cut; the value is what counts.
            warnings.simplefilter("ignore", fits.verify.VerifyWarning)
            header[f"HIERARCH {keyword}" if long else keyword] = (card_value(value), comment)


def _geometry(exposure: Exposure) -> fits.Header:
    """Cards of the celestial WCS, of the origin (the WCS "A"), and of the offset that viewers know."""
    x0, y0 = exposure.xy0
    header = wcs_cards(exposure.wcs) if exposure.wcs is not None else fits.Header()
    for axis, start in ((1, x0), (2, y0)):
        header[f"CTYPE{axis}A"] = "LINEAR"
        header[f"CRPIX{axis}A"] = 1.0
        header[f"CRVAL{axis}A"] = float(start)
        header[f"CUNIT{axis}A"] = "PIXEL"
    for name, start in (("LTV1", x0), ("LTV2", y0)):
        header[name] = physical_offset(exposure.header, name) - start
    return header


def wcs_cards(wcs: Any) -> fits.Header:
    """Cards of a celestial WCS, numbers in full precision, the linear part as a CD matrix.

    SIP is defined with a CD matrix only, and many programs know no PC. Times are not among the cards: they are those
    of the exposure, which need not be the one that the WCS came from. A distortion kept in lookup tables has no cards;
    it is left out with a warning.
    """
    if wcs.cpdis1 or wcs.cpdis2 or wcs.det2im1 or wcs.det2im2:
        log.warning("the WCS has a distortion in lookup tables, which is not written; positions lose that correction")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = wcs.to_header(relax=True)
    header = fits.Header(card for card in written.cards if COORDINATES.fullmatch(card.keyword))
    for axis in (1, 2):
        header.remove(f"CDELT{axis}", ignore_missing=True)
        for other in (1, 2):
            header.remove(f"PC{axis}_{other}", ignore_missing=True)
    # astropy rounds to 12 digits: set the numbers again.
    linear = wcs.wcs
    matrix = linear.get_cdelt()[:, None] * linear.get_pc()
    for i in range(2):
        header[f"CRPIX{i + 1}"] = float(linear.crpix[i])
        header[f"CRVAL{i + 1}"] = float(linear.crval[i])
        for j in range(2):
            header[f"CD{i + 1}_{j + 1}"] = (float(matrix[i, j]), "[deg] world coordinate per pixel")
    return header


def compressed(hdu: fits.ImageHDU | fits.BinTableHDU) -> fits.CompImageHDU | fits.BinTableHDU:
    """The HDU of an image with losslessly compressed tiles; a table as it is."""
    if isinstance(hdu, fits.BinTableHDU):
        return hdu
    return fits.CompImageHDU(hdu.data, hdu.header, compression_type="GZIP_2", quantize_level=0.0)
