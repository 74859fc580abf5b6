"""A file opened as an exposure: its layout, its planes, what lies beside it, and where its pixels are on the sky."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from psfmatch_cli.archive import INDEX_COLUMNS, Archive, ArchiveTable
from psfmatch_cli.asinh import CARDS as ASINH_CARDS
from psfmatch_cli.asinh import scaling
from psfmatch_cli.companions import Companion, find_companions
from psfmatch_cli.detector import Claims
from psfmatch_cli.fitsfile import (
    FitsPath,
    ReadableHeader,
    column_names,
    find_hdu,
    list_hdus,
    open_fits,
    read_data,
    readable_cards,
)
from psfmatch_cli.instruments import LAYOUTS, Layout, locate_planes
from psfmatch_cli.keywords import Cards
from psfmatch_cli.layouts import Hdu, PlaneMap
from psfmatch_cli.read_options import ReadOptions
from psfmatch_cli.sdss import frame_claims
from psfmatch_cli.wcs_header import Geometry, geometry, projection_name, read_wcs, solved_beside

if TYPE_CHECKING:
    from astropy.wcs import WCS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """An open file and what its structure tells.

    Parameters
    ----------
    hdus : HDUList
    source : FitsPath
        The file, and the HDU that was asked for.
    options : ReadOptions
    where : str
        Name of the exposure, for messages.
    layout : Layout
    planes : PlaneMap
        HDUs of the file.
    companions : mapping of str to Companion
        HDUs of files beside it, by role.
    cards : Cards
        Of the image and the primary HDU.
    asinh : (float, float) or None
        Offset and softening, counts, of an image stored as inverse hyperbolic sines.
    shape : (int, int)
        Of the image.
    archive : Archive or None
        Objects attached to an LSST exposure.
    claims : mapping of str to (float, str)
        What the survey says about the noise.
    wcs : astropy.wcs.WCS or None
    geometry : Geometry or None
        What the WCS says about the pixels.
    """

    hdus: fits.HDUList
    source: FitsPath
    options: ReadOptions
    where: str
    layout: Layout
    planes: PlaneMap
    companions: Mapping[str, Companion]
    cards: Cards
    asinh: tuple[float, float] | None
    shape: tuple[int, int]
    archive: Archive | None
    claims: Claims
    wcs: WCS | None
    geometry: Geometry | None


def open_exposure(hdus: fits.HDUList, source: FitsPath, options: ReadOptions, where: str) -> Opened:
    """The file as the layout says that it is to be read.

    Parameters
    ----------
    hdus : HDUList
        The opened file.
    source : FitsPath
    options : ReadOptions
    where : str
        Name of the exposure, for messages.

    Raises
    ------
    InputError
        If there is no image, a card that was named is not there, or a companion cannot be used.
    """
    listed = list_hdus(hdus)
    chosen = None if source.hdu is None else find_hdu(hdus, source.hdu, source.path)
    planes = locate_planes(listed, str(source), chosen, options.layout)
    layout, image = LAYOUTS[planes.layout], listed[planes.image]
    own = readable_cards(hdus[planes.image].header)
    header = own.copy() if planes.image == 0 else _merged_header(own, hdus[0].header)
    asinh = scaling(header) if layout.name == "panstarrs" else None
    if asinh is not None:
        # The counts will be linear: what is written with these cards would be scaled once more when it is read.
        for name in ASINH_CARDS:
            del header[name]
    given = {} if options.exposure_time is None else {"exposure_time": options.exposure_time}
    cards = Cards(header, options.keywords or {}, given)
    cards.check_named(where)
    wcs, grid = _wcs(hdus, image, [own, header], source, where)
    return Opened(
        hdus=hdus,
        source=source,
        options=options,
        where=where,
        layout=layout,
        planes=planes,
        companions=_companions(layout, source, image, planes, options, where),
        cards=cards,
        asinh=asinh,
        shape=image.shape[-2:],
        archive=_archive(hdus, source) if layout.name == "lsst" else None,
        claims=_sdss_claims(hdus, cards, source) if layout.name == "sdss" else {},
        wcs=wcs,
        geometry=grid,
    )


def _merged_header(image: fits.Header, primary: fits.Header) -> fits.Header:
    """The image's cards and those of the primary that the image does not repeat."""
    merged = image.copy()
    merged.extend(readable_cards(primary), unique=True)
    return merged


def _companions(
    layout: Layout, source: FitsPath, image: Hdu, planes: PlaneMap, options: ReadOptions, where: str
) -> dict[str, Companion]:
    found = find_companions(layout, source.path, image, planes, options)
    for companion in found.values():
        log.info("%s: %s", where, companion.told)
    return dict(found)


def _wcs(
    hdus: fits.HDUList, image: Hdu, headers: list[fits.Header], source: FitsPath, where: str
) -> tuple[WCS | None, Geometry | None]:
    """Celestial WCS of the first of the image's headers that has one, else of a solution beside it."""
    wcs = read_wcs(hdus, headers, where)
    beside = solved_beside(source.path) if wcs is None else None
    if beside is not None:
        with open_fits(beside) as solution:
            headers = [readable_cards(solution[0].header)]
            headers[0]["NAXIS2"], headers[0]["NAXIS1"] = image.shape[-2:]
            wcs = read_wcs(solution, headers, where)
    if wcs is None:
        return None, None
    if beside is not None:
        log.info("%s: WCS from %s, found beside it", where, beside.name)
    return wcs, geometry(wcs, image.shape[-2:], projection_name(headers))


def _archive(hdus: fits.HDUList, source: FitsPath) -> Archive | None:
    """The objects attached to an LSST exposure, or None."""
    headers = [ReadableHeader(hdu.header) for hdu in hdus]
    kinds = [str(header.get("EXTTYPE", "")).strip() for header in headers]
    stated = headers[0].get("AR_HDU", 0)
    by_card = stated - 1 if type(stated) is int else 0  # the card counts from 1
    first = kinds.index("ARCHIVE_INDEX") if "ARCHIVE_INDEX" in kinds else by_card
    if not 0 < first < len(hdus):
        return None
    tables = [
        ArchiveTable(headers[index], read_data(hdus, index, source.path))
        for index in range(first, len(hdus))
        if isinstance(hdus[index], fits.BinTableHDU)
    ]
    if not tables:
        return None
    if not set(INDEX_COLUMNS) <= set(tables[0].rows.dtype.names or ()):
        log.warning(
            "%s: the index of the attached objects is not as expected; PSF and calibration are not read", source
        )
        return None
    return Archive(tables[0], tables[1:])


def _sdss_claims(hdus: fits.HDUList, cards: Cards, source: FitsPath) -> Claims:
    """Noise of a frame; of a calibrated one with the calibration and the sky in its further HDUs."""
    if not _is_calibrated_frame(hdus, source):
        return frame_claims(cards.header)
    calibration = np.asarray(read_data(hdus, 1, source.path))
    rows = read_data(hdus, 2, source.path)
    return frame_claims(cards.header, calibration, np.asarray(rows["ALLSKY"]) if len(rows) else None)


def _is_calibrated_frame(hdus: fits.HDUList, source: FitsPath) -> bool:
    """Whether the file has the calibration vector and the sky table of SDSS frames."""
    if len(hdus) < 3 or not hdus[1].is_image or len(hdus[1].shape) != 1:
        return False
    return "ALLSKY" in {name.upper() for name in column_names(hdus, 2, source.path)}
