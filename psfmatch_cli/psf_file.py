"""PSFs from files: models of PSFEx and images, on the pixels of the exposure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from psfmatch_cli.companions import matching_hdu
from psfmatch_cli.errors import InputError
from psfmatch_cli.fitsfile import (
    FitsPath,
    ReadableHeader,
    column_names,
    find_hdu,
    list_hdus,
    open_fits,
    read_data,
    read_image,
    readable_cards,
)
from psfmatch_cli.keywords import card_number
from psfmatch_cli.layouts import Hdu
from psfmatch_cli.psf import Psf
from psfmatch_cli.psfex import COLUMN, PsfexModel, psfex_model, resampled
from psfmatch_cli.wcs_header import geometry, read_wcs

log = logging.getLogger(__name__)

#: Cards of the pixel scale of a PSF image, arcsec.
_SCALE_CARDS = ("PIXELSCL", "PIXSCALE", "PIXSCAL1")
#: Pixel scales that differ by less are the same.
_SAME_SCALE = 0.02


def read_psf_file(source: FitsPath, shape: tuple[int, int], pixel_scale: float | None, where: str) -> Psf:
    """PSF of a file at the middle of an image.

    A PSF image whose header tells another pixel scale than the exposure's is resampled.

    Parameters
    ----------
    source : FitsPath
    shape : (int, int)
        Of the image.
    pixel_scale : float or None
        Of the image, arcsec.
    where : str
        Name of the exposure, for messages.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no PSF.
    """
    with open_fits(source.path) as hdus:
        index = _table_of_model(hdus, source)
        if index is not None:
            model = read_psf_table(hdus, index, source)
            x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
            return Psf.from_image(model.image(x, y), f"PSFEx model {source} at the image centre")
        if source.hdu is not None:
            index = find_hdu(hdus, source.hdu, source.path)
        else:
            index = next((hdu.index for hdu in list_hdus(hdus) if hdu.is_image), 0)
        psf = Psf.from_image(read_image(hdus, index, source.path), f"file {source}")
        return _on_pixels(psf, _sampling(hdus, index, psf.image.shape, pixel_scale, where), where)


def matching_psf(file: Path, image: Hdu) -> int:
    """Number of the HDU with the PSF of one of several images: that of its name, or the only one there is.

    PSFEx calls the models of all images of a file alike, so that several of them cannot be told apart.

    Raises
    ------
    InputError
        If the file is not readable, or does not tell which PSF is meant.
    """
    with open_fits(file) as hdus:
        models = [index for index in range(len(hdus)) if COLUMN in column_names(hdus, index, file)]
        same = [index for index in models if image.name and hdus[index].name == image.name]
        if len(models) > 1 and len(same) != 1:
            raise InputError(
                f"{file}: nothing tells which of its {len(models)} PSF models is that of which image; "
                "give one model for all, or take the images one by one with file.psf[NUMBER]"
            )
    return (same or models)[0] if models else matching_hdu(file, image)


def _table_of_model(hdus: fits.HDUList, source: FitsPath) -> int | None:
    """Number of the HDU with a PSFEx model: the one that was named, else the first; None where there is none."""
    candidates: Sequence[int] = range(len(hdus))
    if source.hdu is not None:
        candidates = [find_hdu(hdus, source.hdu, source.path)]
    return next((index for index in candidates if COLUMN in column_names(hdus, index, source.path)), None)


def read_psf_table(hdus: fits.HDUList, index: int, source: FitsPath) -> PsfexModel:
    """The PSFEx model of a table.

    Raises
    ------
    InputError
        If it is none.
    """
    rows = read_data(hdus, index, source.path)
    if rows is None or COLUMN not in (rows.dtype.names or ()):
        raise InputError(f"{source}: the table of the PSF has no column {COLUMN}")
    masks = np.asarray(rows[COLUMN][0] if len(rows) else np.empty(0))
    return psfex_model(ReadableHeader(hdus[index].header), masks[None] if masks.ndim == 2 else masks, str(source))


def _sampling(
    hdus: fits.HDUList, index: int, shape: tuple[int, ...], pixel_scale: float | None, where: str
) -> float | None:
    """Image pixels per pixel of the PSF; None where nothing tells."""
    header = readable_cards(hdus[index].header)
    wcs = read_wcs(hdus, [header], where)
    grid = None if wcs is None else geometry(wcs, shape)
    cards = (card_number(header, name) for name in _SCALE_CARDS)
    scale = next((n for n in cards if n is not None), None) if grid is None else grid.pixel_scale
    if scale is not None and pixel_scale is not None:
        return scale / pixel_scale
    oversampling = card_number(header, "OVERSAMP")
    of_detector = str(header.get("EXTNAME", "")).upper().startswith("DET")
    return None if oversampling is None or of_detector else 1.0 / oversampling


def _on_pixels(psf: Psf, sampling: float | None, where: str) -> Psf:
    """The PSF on image pixels. Finer pixels are averaged, coarser ones interpolated."""
    if sampling is None or abs(sampling - 1.0) < _SAME_SCALE:
        return psf
    image: Any = resampled(psf.image, sampling, average=sampling < 1.0)
    log.info("%s: PSF resampled, one of its pixels is %.4g image pixels", where, sampling)
    return replace(Psf.from_image(image, psf.origin), origin=f"{psf.origin}, resampled by {sampling:.4g}")
