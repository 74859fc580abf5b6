"""The objects attached to an LSST exposure that plain tables describe: PSF, calibration, filter.

An index table lists, for each object id, rows of data tables; ``AR_HDU`` in the primary header is its
1-based number. Classes that only LSST's own software can read are reported, not guessed.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError
from psfmatch_cli.psf import Psf

log = logging.getLogger(__name__)

#: Columns of the index of attached objects.
INDEX_COLUMNS = ("id", "name", "cat.archive", "row0", "nrows")
#: Of a PSF image, pixels.
LARGEST_SIDE = 1001
#: Flux of AB magnitude 0, nJy.
ZERO_MAGNITUDE_FLUX = 3.6307805477e12


@dataclass(frozen=True)
class ArchiveTable:
    """One binary table: its header and its rows."""

    header: Mapping[str, Any]
    rows: Any


@dataclass(frozen=True)
class StoredObject:
    """One attached object: the name of its class, its rows, and the header that describes them."""

    name: str
    header: Mapping[str, Any]
    rows: Any

    def value(self, *names: str) -> Any:
        """Value of the first of these columns, in the first row.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        for name in names:
            if name in self.rows.dtype.names:
                return self.rows[name][0]
        raise KeyError(names[0])

    def flag(self, name: str) -> bool | None:
        """A bit of the column ``flags``, found by its ``TFLAGn`` card; None where there is none."""
        if "flags" not in (self.rows.dtype.names or ()):
            return None
        bits = np.atleast_1d(self.value("flags"))
        for position, bit in enumerate(bits, start=1):
            if str(self.header.get(f"TFLAG{position}", "")).strip() == name:
                return bool(bit)
        return None


class Archive:
    """Attached objects by id.

    Parameters
    ----------
    index : ArchiveTable
        The index.
    tables : sequence of ArchiveTable
        The data tables, each with the card ``AR_CATN``.
    """

    def __init__(self, index: ArchiveTable, tables: Sequence[ArchiveTable]):
        self._index = index.rows
        numbers = [table.header.get("AR_CATN") for table in tables]
        self._tables = {n: table for n, table in zip(numbers, tables, strict=True) if type(n) is int}

    def get(self, number: int) -> StoredObject | None:
        """The object with this id, or None."""
        for entry in self._index[self._index["id"] == number]:
            table = self._tables.get(int(entry["cat.archive"]))
            if table is None or entry["nrows"] == 0:
                continue
            first = int(entry["row0"])
            rows = table.rows[first : first + int(entry["nrows"])]
            if len(rows) == 0:
                continue
            return StoredObject(str(entry["name"]).strip(), table.header, rows)
        return None

    def named(self, name: str) -> StoredObject | None:
        """The first object of a class, or None."""
        for entry in self._index:
            if str(entry["name"]).strip() == name:
                return self.get(int(entry["id"]))
        return None

    def attached(self, header: Mapping[str, Any], kind: str) -> StoredObject | None:
        """The object of a kind (PSF, PHOTOCALIB, FILTER) that the primary header refers to, or None."""
        number = header.get(f"ARCHIVE_ID_{kind}", header.get(f"{kind}_ID"))
        return self.get(number) if type(number) is int and number else None


def archived_fluxmag0(stored: StoredObject) -> float | None:
    """Counts of a magnitude 0 source from a PhotoCalib; None where it has no mean, or one that is not positive."""
    try:
        mean = float(stored.value("calibrationMean"))
    except (KeyError, ValueError, TypeError):
        return None
    return ZERO_MAGNITUDE_FLUX / mean if mean > 0 else None


def archived_filter(stored: StoredObject) -> str | None:
    """Physical filter name, else the band, from a FilterLabel."""
    for column in ("physical", "band"):
        if stored.flag(f"{column}_exists") is False or column not in stored.rows.dtype.names:
            continue
        text = str(stored.value(column)).strip()
        if text:
            return text
    return None


def archived_psf_sigma(archive: Archive) -> float | None:
    """Determinant radius of the PSF, pixels, from the statistics that the pipeline attached; None without them.

    They are stored as a text of lines ``name: value``, which is read as such and not interpreted.
    """
    stored = archive.named("ExposureSummaryStats")
    if stored is None:
        return None
    for name in stored.rows.dtype.names:
        value = np.ravel(stored.rows[name][0])
        text = value.tobytes() if value.dtype in (np.uint8, np.int8) else _as_bytes(value[0])
        match = re.search(rb"^psfSigma: *([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?) *$", text, re.MULTILINE)
        if match is not None:
            sigma = float(match[1])
            return sigma if 0 < sigma < math.inf else None
    return None


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def archived_psf(archive: Archive, stored: StoredObject, where: str) -> Psf | None:
    """PSF image of an attached PSF, or None (logged) where its class cannot be read."""
    makers = {
        "KernelPsf": lambda: _fixed_kernel(archive, stored),
        "SingleGaussianPsf": lambda: _gaussian(stored),
        "GaussianPsf": lambda: _gaussian(stored),
        "DoubleGaussianPsf": lambda: _double_gaussian(stored),
    }
    try:
        image = makers[stored.name]() if stored.name in makers else None
        if image is not None:
            return Psf.from_image(image, f"attached {stored.name}")
    except (KeyError, ValueError, TypeError, OverflowError, InputError) as error:
        log.info("%s: the attached %s is not as expected (%s)", where, stored.name, error)
        return None
    log.info("%s: the attached PSF (%s) cannot be read; a FWHM or a PSF file can be given", where, stored.name)
    return None


def _dimensions(stored: StoredObject) -> tuple[int, int]:
    """Width and height, stored as one column of two numbers or as two columns.

    Raises
    ------
    ValueError
        If these are no sides of a PSF image.
    """
    names = stored.rows.dtype.names
    if "dimensions" in names:
        width, height = np.ravel(stored.value("dimensions"))
    else:
        width, height = (stored.value(f"dimensions.{axis}", f"dimensions_{axis}") for axis in "xy")
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise ValueError(f"{width} x {height} pixels")
    return int(width), int(height)


def _fixed_kernel(archive: Archive, stored: StoredObject) -> NDArray[np.float64] | None:
    kernel = archive.get(int(stored.value("kernel")))
    if kernel is None or kernel.name != "FixedKernel":
        return None
    width, height = _dimensions(kernel)
    return np.asarray(kernel.value("image"), np.float64).reshape(height, width)


def _radius_squared(stored: StoredObject) -> NDArray[np.float64]:
    width, height = _dimensions(stored)
    x, y = np.arange(width) - width // 2, np.arange(height) - height // 2
    return x[None, :] ** 2.0 + y[:, None] ** 2.0


def _gaussian(stored: StoredObject) -> NDArray[np.float64]:
    return np.exp(-0.5 * _radius_squared(stored) / float(stored.value("sigma")) ** 2)


def _double_gaussian(stored: StoredObject) -> NDArray[np.float64]:
    r2 = _radius_squared(stored)
    narrow, wide, weight = (float(stored.value(name)) for name in ("sigma1", "sigma2", "b"))
    return np.exp(-0.5 * r2 / narrow**2) + weight * np.exp(-0.5 * r2 / wide**2)
