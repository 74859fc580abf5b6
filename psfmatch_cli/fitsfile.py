"""Opening FITS files: path forms, finding HDUs, one-line errors.

A path may name an HDU in brackets: ``file.fits[1]``, ``file.fits[SCI]``, ``file.fits[SCI,2]`` (EXTNAME and
EXTVER). A file whose own name has brackets is taken as it is. Tile-compressed HDUs look like images.
"""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from psfmatch_cli.errors import InputError, UsageError
from psfmatch_cli.layouts import Hdu

log = logging.getLogger(__name__)

#: What astropy raises on files that are cut off or not FITS at all.
BROKEN_FILE_ERRORS = (OSError, EOFError, zlib.error, fits.VerifyError, ValueError, TypeError, IndexError)

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


@contextmanager
def open_fits(path: Path) -> Iterator[fits.HDUList]:
    """The opened file with all headers read, not memory mapped.

    Raises
    ------
    InputError
        If the file is missing, unreadable, or not FITS.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a FITS file")
    try:
        with _logged_warnings(path):
            hdus = fits.open(path, memmap=False, lazy_load_hdus=False)
    except PermissionError as error:
        raise InputError(f"{path}: permission denied") from error
    except BROKEN_FILE_ERRORS as error:
        raise InputError(f"{path}: not a readable FITS file ({_first_line(error)})") from error
    with hdus:
        yield hdus


def read_data(hdus: fits.HDUList, index: int, path: Path) -> Any:
    """Data of one HDU.

    Raises
    ------
    InputError
        If the file ends before the data do.
    """
    try:
        with _logged_warnings(path):
            return hdus[index].data
    except BROKEN_FILE_ERRORS as error:
        raise InputError(
            f"{path}: HDU {index} cannot be read, the file seems truncated or damaged ({_first_line(error)})"
        ) from error


def read_image(hdus: fits.HDUList, index: int, path: Path) -> NDArray:
    """Two-dimensional pixels of one HDU in native byte order; leading axes of length 1 are dropped.

    Raises
    ------
    InputError
        If the HDU holds no two-dimensional image, or cannot be read.
    """
    data = read_data(hdus, index, path)
    if data is None or data.dtype.names:
        raise InputError(f"{path}: HDU {index} holds no image; the file has {describe_hdus(hdus)}")
    while data.ndim > 2 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 2 or data.size == 0:
        raise InputError(f"{path}: HDU {index} has shape {data.shape}, expected a two-dimensional image")
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))


def readable_cards(header: fits.Header) -> fits.Header:
    """Copy of a header without the cards that cannot be parsed."""
    copy = header.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in reversed(range(len(copy))):
            try:
                copy.cards[index].value  # noqa: B018 - parses the card
            except fits.VerifyError as error:
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
        except fits.VerifyError as error:
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
def _logged_warnings(path: Path) -> Iterator[None]:
    """Astropy's remarks on a file go to the log: damage as a warning, the rest for debugging."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        damaged = "truncated" in text or "corrupt" in text
        log.log(logging.WARNING if damaged else logging.DEBUG, "%s: %s", path, text)


def _first_line(error: BaseException) -> str:
    """The first sentence of a message; what astropy adds is advice on its own arguments."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.partition(". ")[0].rstrip(".")
