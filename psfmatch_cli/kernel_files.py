"""FITS files of kernel images: at one position, and on a grid."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from psfmatch_cli.fitswrite import announce_long_strings, append_cards
from psfmatch_cli.outputs import Card, atomic_path, creation_card
from psfmatch_cli.tables import table_hdu

if TYPE_CHECKING:
    from astropy.table import Table


def write_kernel_image(
    path: Path,
    image: NDArray[np.float64],
    error: NDArray[np.float64] | None,
    *,
    cards: Iterable[Card] = (),
    overwrite: bool = False,
) -> None:
    """Write a kernel image, and its errors in the HDU ERROR if they are known.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    hdus = [] if error is None else [fits.ImageHDU(error, name="ERROR")]
    _write(path, image, hdus, cards, overwrite)


def write_kernel_grid(
    path: Path,
    mosaic: NDArray[np.float64],
    cube: NDArray[np.float64],
    table: Table,
    *,
    cards: Iterable[Card] = (),
    overwrite: bool = False,
) -> None:
    """Write kernels of a grid: their mosaic, the HDU CUBE with an image a plane, and SHAPES with a row a plane.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _write(path, mosaic, [fits.ImageHDU(cube, name="CUBE"), table_hdu(table, "SHAPES")], cards, overwrite)


def _write(
    path: Path, image: NDArray[np.float64], further: list[fits.ImageHDU], cards: Iterable[Card], overwrite: bool
) -> None:
    primary = fits.PrimaryHDU(image)
    append_cards(primary.header, [creation_card(), *cards])
    announce_long_strings(primary.header)
    with atomic_path(path, overwrite) as temporary:
        fits.HDUList([primary, *further]).writeto(temporary, checksum=True)
