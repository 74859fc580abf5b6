"""Opening FITS files: path forms, finding HDUs, one-line errors.

A path may name an HDU in brackets: ``file.fits[1]``, ``file.fits[SCI]``, ``file.fits[SCI,2]`` (EXTNAME and
EXTVER). A file whose own name has brackets is taken as it is. Tile-compressed HDUs look like images.
"""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.fitsscan import BLOCK, HduExtent
from psfmatch_cli.layouts import Hdu
from psfmatch_cli.unpack import Structure, read_structure

log = logging.getLogger(__name__)

HduKey = int | str | tuple[str, int]


@dataclass(frozen=True)
class FitsPath:
    """A file and, if named, one of its HDUs."""

    path: Path
    hdu: HduKey | None = None

    def __str__(self) -> str:
        return str(self.path) if self.hdu is None else f"{self.path}[{describe_key(self.hdu)}]"

    @property
    def name(self) -> str:
        """File name, with the HDU if one was named."""
        return FitsPath(Path(self.path.name), self.hdu).__str__()


def parse_path(text: str | Path) -> FitsPath:
    """File and HDU of ``file``, ``file[1]``, ``file[NAME]`` or ``file[NAME,VERSION]``.

    Raises
    ------
    UsageError
        If the brackets are empty or the version is not a number.
    """
    path = Path(text)
    match = re.fullmatch(r"(.+)\[([^\[\]]*)\]", str(text), re.DOTALL)
    if match is None or path.exists():
        return FitsPath(path)
    return FitsPath(Path(match[1]), parse_hdu_key(match[2]))


def parse_hdu_key(text: str | int) -> HduKey:
    """HDU number, EXTNAME, or (EXTNAME, EXTVER) of what stands between brackets.

    Raises
    ------
    UsageError
        If it is empty or the version is not a number.
    """
    name, comma, version = (part.strip() for part in str(text).partition(","))
    if not name or (comma and not version.isdecimal()):
        raise UsageError(f"an HDU is given as [1], [SCI] or [SCI,2], got [{text}]")
    if comma:
        return name.upper(), int(version)
    return int(name) if name.isdecimal() else name.upper()


def describe_key(key: HduKey) -> str:
    """The key as it is written between brackets."""
    return f"{key[0]},{key[1]}" if isinstance(key, tuple) else str(key)


class OpenedHdus(fits.HDUList):
    """The HDUs of an open file.

    Attributes
    ----------
    structure : Structure or None
        Where they lie in the file; None for HDUs that are not of a file.
    """

    structure: Structure | None = None


@contextmanager
def open_fits(path: Path) -> Iterator[OpenedHdus]:
    """The opened file with all headers read, not memory mapped.

    Raises
    ------
    InputError
        If the file is missing, unreadable, not FITS, or its structure is damaged.
    """
    structure = read_structure(path)
    _check_sizes(structure, path)
    # Astropy gets an open file and no name, in which it would look for the protocol of a network.
    with open(path, "rb") if structure.unpacked is None else structure.unpacked as source, ExitStack() as stack:
        with reading_fits(path, "not a readable FITS file"):
            hdus = OpenedHdus.fromfile(source, mode="readonly", memmap=False, lazy_load_hdus=False)
            stack.enter_context(hdus)
            list_hdus(hdus)  # headers of compressed images are made when they are asked for
        if len(hdus) < len(structure.extents):
            raise InputError(f"{path}: the header of HDU {len(hdus)} is damaged")
        hdus.structure = structure
        yield hdus


def _check_sizes(structure: Structure, path: Path) -> None:
    """Refuse sizes that no file has, which astropy cannot count; what is just missing is told when it is read."""
    for extent in structure.extents:
        if extent.size >= 2**62:
            raise InputError(
                f"{path}: HDU {extent.index} declares {extent.size:.3g} bytes of data, the file has {structure.length}"
            )


def read_data(hdus: fits.HDUList, index: int, path: Path) -> Any:
    """Data of one HDU.

    Raises
    ------
    InputError
        If the file ends before the data do, or they are damaged.
    """
    structure = getattr(hdus, "structure", None)
    if structure is not None and index < len(structure.extents):
        _check_data(structure.extents[index], structure.length, hdus, path)
    with reading_fits(path, f"HDU {index} cannot be read, the file seems damaged"):
        data = hdus[index].data
        for name in getattr(data, "names", None) or ():
            data[name]  # columns are converted, which may fail, when they are asked for first
        return data


def _check_data(extent: HduExtent, length: int, hdus: fits.HDUList, path: Path) -> None:
    """Refuse data that are not all there; tell of data that differ from their checksum."""
    missing = extent.start + extent.size - length
    if missing > 0:
        raise InputError(f"{path}: HDU {extent.index} is truncated, {missing} of its {extent.size} bytes are missing")
    if extent.datasum is not None and datasum(hdus, extent) != extent.datasum:
        log.warning(
            "%s: the data of HDU %d differ from the checksum in its header (DATASUM): the file is damaged, or was "
            "changed by a program that leaves checksums as they are",
            path,
            extent.index,
        )


def datasum(hdus: fits.HDUList, extent: HduExtent) -> int:
    """Sum of the data's 32-bit words in ones' complement, as the card DATASUM has it (FITS standard 4.0, 4.4.2.7)."""
    file = hdus.fileinfo(0)["file"]
    file.seek(extent.start)
    words = np.frombuffer(file.read(-(-extent.size // BLOCK) * BLOCK), ">u4")
    total = int(words.sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def column_names(hdus: fits.HDUList, index: int, path: Path) -> list[str]:
    """Names of the columns of a binary table; none for another HDU.

    Raises
    ------
    InputError
        If the cards that describe the columns are damaged.
    """
    hdu = hdus[index]
    if not isinstance(hdu, fits.BinTableHDU) or hdu.is_image:
        return []
    with reading_fits(path, f"HDU {index} cannot be read, the file seems damaged"):
        return [str(name) for name in hdu.columns.names or ()]


def read_image(hdus: fits.HDUList, index: int, path: Path) -> NDArray:
    """Two-dimensional pixels of one HDU in native byte order; leading axes of length 1 are dropped.

    Raises
    ------
    InputError
        If the HDU holds no two-dimensional image, or cannot be read.
    """
    blank = ReadableHeader(hdus[index].header).get("BLANK")
    data = _without_blank(read_data(hdus, index, path), blank)
    if data is None or data.dtype.names:
        raise InputError(f"{path}: HDU {index} holds no image; the file has {describe_hdus(hdus)}")
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 2 or data.size == 0:
        raise InputError(f"{path}: HDU {index} has shape {data.shape}, expected a two-dimensional image")
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))


def _without_blank(data: Any, blank: Any) -> Any:
    """Unsigned pixels as floats with NaN where their stored value is BLANK, if any is; astropy forgets these.

    Unsigned numbers are stored as signed ones, with half their range in BZERO.
    """
    if data is None or data.dtype.kind != "u" or data.dtype.itemsize == 1 or type(blank) is not int:
        return data
    undefined = data == blank + 2 ** (8 * data.dtype.itemsize - 1)
    if not undefined.any():
        return data
    return np.where(undefined, np.nan, data.astype(np.float64 if data.dtype.itemsize > 2 else np.float32))


def readable_cards(header: fits.Header) -> fits.Header:
    """Copy of a header without the cards that cannot be parsed."""
    copy = header.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in reversed(range(len(copy))):
            try:
                copy.cards[index].value  # noqa: B018 - parses the card
            except Exception as error:  # the parser's own errors differ, and a card that cannot be parsed is no loss
                log.debug("header card ignored: %s", error)
                del copy[index]
    return copy


class ReadableHeader(Mapping):
    """A header in which cards that cannot be parsed are missing; nothing is parsed before it is asked for.

    Parameters
    ----------
    header : Header
    """

    def __init__(self, header: fits.Header):
        self._header = header

    def __getitem__(self, name: str) -> Any:
        try:
            return self._header[name]
        except Exception as error:  # as in `readable_cards`
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def list_hdus(hdus: Sequence) -> list[Hdu]:
    """Number, header and image shape of every HDU (no shape: no image in it)."""
    return [
        Hdu(index, ReadableHeader(hdu.header), tuple(hdu.shape) if hdu.is_image and len(hdu.shape) >= 2 else None)
        for index, hdu in enumerate(hdus)
    ]


def find_hdu(hdus: Sequence, key: HduKey, path: Path) -> int:
    """Number of the HDU with this number or name.

    Raises
    ------
    InputError
        If there is none; the message lists what is there.
    """
    if isinstance(key, int):
        if key < len(hdus):
            return key
    else:
        name, version = key if isinstance(key, tuple) else (key, None)
        for hdu in list_hdus(hdus):
            if hdu.name == name and version in (None, hdu.version):
                return hdu.index
    raise InputError(f"{path}: no HDU {describe_key(key)}; the file has {describe_hdus(hdus)}")


def describe_hdus(hdus: Sequence) -> str:
    """One phrase that lists the HDUs, for messages."""
    return ", ".join(_describe(hdu) for hdu in list_hdus(hdus))


def _describe(hdu: Hdu) -> str:
    name = f"{hdu.name},{hdu.version}" if hdu.name and hdu.version != 1 else hdu.name or "unnamed"
    what = " x ".join(str(n) for n in reversed(hdu.shape)) if hdu.shape else "no image"
    return f"{hdu.index} {name} ({what})"


def file_digest(path: str | Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with open(parse_path(path).path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


@contextmanager
def reading_fits(path: Path, complaint: str) -> Iterator[None]:
    """What astropy says of a file becomes an error of one line, or log lines: damage as warnings, the rest to debug.

    Raises
    ------
    InputError
        On any exception. Damaged files make the parsers of astropy and cfitsio raise every kind there is.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except MemoryError as error:
        raise InputError(f"{path}: {complaint} (not enough memory)") from error
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {complaint} ({_first_line(error)})") from error
    for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        damaged = "truncated" in text or "corrupt" in text
        log.log(logging.WARNING if damaged else logging.DEBUG, "%s: %s", path, text)


def _first_line(error: BaseException) -> str:
    """The first sentence of a message; what astropy adds is advice on its own arguments."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.partition(". ")[0].rstrip(".")
