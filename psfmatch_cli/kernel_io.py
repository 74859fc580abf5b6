"""A matching kernel and its background in one FITS file, read back bit for bit.

===================  =======================================================================
HDU                  content
===================  =======================================================================
primary              how it was made, and for the eye: convolved image, orders, kernel sum
BASIS                basis images, float64 (n_basis, size, size)
KERNEL_COEFFICIENTS  float64 (n_basis, n_terms); spatial model in its header
BACKGROUND           coefficients, float64 (1, n_terms); spatial model in its header
KERNEL_COVARIANCE    of the coefficients, float64 (n, n) with n = n_basis * n_terms; if it was computed
BACKGROUND_COV       of the background's coefficients, float64 (n_terms, n_terms); if it was computed
SETTINGS, INFO       JSON, a line per row
CANDIDATES           the candidate table, if there is one
===================  =======================================================================

A file of the kernels of many chips (`psfmatch_cli.mosaic_file`) has these HDUs for each, its name before theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.exposure import Box
from psfmatch_cli.fitsfile import FitsPath, HduKey, ReadableHeader, find_hdu, open_fits, parse_path, read_data
from psfmatch_cli.fitswrite import announce_long_strings, append_cards
from psfmatch_cli.kernel import BackgroundModel, MatchingKernel, SpatialModel
from psfmatch_cli.outputs import Card, atomic_path, creation_card, printable, to_json
from psfmatch_cli.tables import table_hdu

if TYPE_CHECKING:
    from astropy.table import Table

FORMAT = "psfmatch-kernel"
#: Of a file with the kernels of many chips.
KERNELS_FORMAT = "psfmatch-kernels"
FORMAT_VERSION = 1
#: HDU of the covariance of each model.
_COVARIANCES = {"KERNEL_COVARIANCE": "kernel", "BACKGROUND_COV": "background"}
_NAMES = ("BASIS", "KERNEL_COEFFICIENTS", "BACKGROUND", *_COVARIANCES, "SETTINGS", "INFO", "CANDIDATES")


@dataclass(frozen=True)
class SavedKernel:
    """What a kernel file holds.

    Parameters
    ----------
    kernel : MatchingKernel
        The spatially varying kernel.
    background : BackgroundModel
        The differential background.
    candidates : Table or None
        One row per kernel candidate.
    settings : dict
        The settings of the fit.
    info : dict
        Further facts that JSON can hold; ``info["convolved"]`` is ``"template"`` or ``"science"``.
    """

    kernel: MatchingKernel
    background: BackgroundModel
    candidates: Table | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


def save_kernel(
    path: str | Path,
    saved: SavedKernel,
    *,
    cards: Iterable[Card] = (),
    history: Iterable[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a kernel file.

    Parameters
    ----------
    path : str or Path
        The file.
    saved : SavedKernel
        What to write.
    cards : iterable of (keyword, value, comment), optional
        Cards for the primary header.
    history : iterable of str, optional
        HISTORY lines.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    hdus = kernel_hdus(saved, cards, history)
    with atomic_path(path, overwrite) as temporary:
        hdus.writeto(temporary, checksum=True)


def kernel_hdus(saved: SavedKernel, cards: Iterable[Card] = (), history: Iterable[str] = ()) -> fits.HDUList:
    """The HDUs of a kernel file."""
    primary = fits.PrimaryHDU()
    append_cards(primary.header, [creation_card(), *_summary(saved), *cards])
    for line in history:
        primary.header.add_history(printable(line))
    hdus = fits.HDUList(
        [
            primary,
            _array_hdu("BASIS", saved.kernel.basis),
            _array_hdu("KERNEL_COEFFICIENTS", saved.kernel.coefficients, saved.kernel.spatial),
            _array_hdu("BACKGROUND", saved.background.coefficients[None], saved.background.spatial),
            _json_hdu("SETTINGS", saved.settings),
            _json_hdu("INFO", saved.info),
        ]
    )
    for name, model in _COVARIANCES.items():
        covariance = getattr(saved, model).covariance
        if covariance is not None:
            hdus.append(_array_hdu(name, covariance))
    if saved.candidates is not None:
        hdus.append(table_hdu(saved.candidates, "CANDIDATES"))
    announce_long_strings(primary.header)
    return hdus


def load_kernel(path: str | Path) -> SavedKernel:
    """Read a kernel file: ``kernel.fits``, or ``kernels.fits[N4]`` for one of the chips in a file of many.

    Raises
    ------
    InputError
        If it is not a kernel file, was made by a newer program, or is damaged; if it has no such chip.
    """
    from psfmatch_cli.tables import read_table

    where = parse_path(path)
    with open_fits(where.path) as hdus:
        _check_format(hdus, where)
        keys = _keys(hdus, where)
        has = {name: any(_is(hdu, key) for hdu in hdus) for name, key in keys.items()}
        try:
            basis, _ = _read_array(hdus, keys["BASIS"], where.path)
            coefficients, spatial = _read_array(hdus, keys["KERNEL_COEFFICIENTS"], where.path)
            background, background_spatial = _read_array(hdus, keys["BACKGROUND"], where.path)
            of_kernel, of_background = (
                _read_array(hdus, keys[n], where.path)[0] if has[n] else None for n in _COVARIANCES
            )
            kernel = MatchingKernel(basis, coefficients, _spatial_model(spatial), of_kernel)
            model = BackgroundModel(background[0], _spatial_model(background_spatial), of_background)
            settings, info = (_read_json(hdus, keys[name], where.path) for name in ("SETTINGS", "INFO"))
        except (KeyError, ValueError, UsageError, RecursionError) as error:
            raise InputError(f"{where}: damaged kernel file ({error})") from error
    table = FitsPath(where.path, keys["CANDIDATES"])
    return SavedKernel(kernel, model, read_table(str(table)) if has["CANDIDATES"] else None, settings, info)


def _check_format(hdus: fits.HDUList, where: FitsPath) -> None:
    header = ReadableHeader(hdus[0].header)
    if header.get("PMFORMAT") not in (FORMAT, KERNELS_FORMAT):
        raise InputError(f"{where.path}: not a kernel file of psfmatch (no card PMFORMAT = {FORMAT!r})")
    if header.get("PMFVERS") != FORMAT_VERSION:
        raise InputError(
            f"{where.path}: kernel file version {header.get('PMFVERS')}, this program reads version {FORMAT_VERSION}"
        )


def _keys(hdus: fits.HDUList, where: FitsPath) -> dict[str, tuple[str, int]]:
    """Name and version of each HDU of a kernel: in a file of many, those of the chip that was named."""
    prefix, version = "", 1
    if ReadableHeader(hdus[0].header)["PMFORMAT"] == KERNELS_FORMAT:
        chips = [(hdu.name.removesuffix("_BASIS"), hdu.ver) for hdu in hdus if hdu.name.endswith("_BASIS")]
        name, version = where.hdu if isinstance(where.hdu, tuple) else (where.hdu, 1)
        if (name, version) not in chips:
            labels = ", ".join(name if ver == 1 else f"{name},{ver}" for name, ver in chips)
            raise InputError(f"{where}: name one of the chips in brackets; the file has kernels of {labels}")
        prefix = f"{name}_"
    elif where.hdu is not None:
        raise InputError(f"{where}: this file holds one kernel; leave the brackets out")
    return {name: (prefix + name, version) for name in _NAMES}


def _is(hdu: Any, key: tuple[str, int]) -> bool:
    return (hdu.name, hdu.ver) == key


def _summary(saved: SavedKernel) -> list[Card]:
    kernel, background = saved.kernel, saved.background
    return [
        ("PMFORMAT", FORMAT, "kind of file"),
        ("PMFVERS", FORMAT_VERSION, "version of this kind of file"),
        ("PMCONV", saved.info.get("convolved"), "image that the kernel convolves"),
        ("PMKSIZE", kernel.size, "[pix] side of the kernel"),
        ("PMNBASIS", len(kernel.basis), "number of basis images"),
        ("PMMODEL", kernel.spatial.kind, "spatial functions"),
        ("PMKORDER", kernel.spatial.order, "spatial order of the kernel"),
        ("PMBORDER", background.spatial.order, "spatial order of the background"),
        ("PMKSUM", kernel.center_sum, "kernel sum at the centre of the region"),
    ]


def _array_hdu(name: str, values: NDArray[np.float64], spatial: SpatialModel | None = None) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.ascontiguousarray(values, np.float64), name=name)
    if spatial is not None:
        region = spatial.region
        append_cards(
            hdu.header,
            [
                ("SPMODEL", spatial.kind, "spatial functions"),
                ("SPORDER", spatial.order, "largest total degree"),
                ("SPXMIN", region.x_min, "[pix] parent pixels of the region,"),
                ("SPYMIN", region.y_min, "[pix] both ends included"),
                ("SPXMAX", region.x_max, ""),
                ("SPYMAX", region.y_max, ""),
            ],
        )
    return hdu


def _spatial_model(header: Mapping[str, Any]) -> SpatialModel:
    region = Box(*(int(header[f"SP{name}"]) for name in ("XMIN", "YMIN", "XMAX", "YMAX")))
    return SpatialModel(header["SPMODEL"], int(header["SPORDER"]), region)


def _read_array(hdus: fits.HDUList, key: HduKey, path: Path) -> tuple[NDArray[np.float64], Mapping[str, Any]]:
    index = find_hdu(hdus, key, path)
    return np.ascontiguousarray(read_data(hdus, index, path), np.float64), ReadableHeader(hdus[index].header)


def _json_hdu(name: str, value: Mapping[str, Any]) -> fits.BinTableHDU:
    lines = to_json(dict(value), indent=1).split("\n")
    width = max(len(line) for line in lines)
    column = fits.Column("JSON", f"{width}A", array=np.array(lines, dtype=f"S{width}"))
    return fits.BinTableHDU.from_columns([column], name=name)


def _read_json(hdus: fits.HDUList, key: HduKey, path: Path) -> dict[str, Any]:
    rows = read_data(hdus, find_hdu(hdus, key, path), path)
    return json.loads("\n".join(rows["JSON"]))
