"""Files as streams of FITS bytes: as they are, or unpacked from gzip, bzip2, xz or zip once, into memory.

How a file is packed is told by its first bytes, not by its name. Unpacking goes no further than the headers found so
far say, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from psfmatch_cli.errors import InputError
from psfmatch_cli.fitsscan import HduExtent, check_fits_memory, scan
from psfmatch_cli.inputs import check_regular

_PIECE = 1 << 20
#: What the unpackers of the standard library raise on damaged input; RuntimeError: an encrypted zip member.
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class PlainStream:
    """A file that is not packed; what is skipped is not read."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.length = file.seek(0, io.SEEK_END)
        self._at = file.seek(0)

    def read(self, count: int) -> bytes:
        found = self._file.read(count)
        self._at += len(found)
        return found

    def skip(self, count: int) -> int:
        there = min(count, self.length - self._at)
        self._at = self._file.seek(self._at + there)
        return there


class PackedStream:
    """A packed file; with `keep`, all that was passed is kept in `unpacked`.

    Raises
    ------
    InputError
        If the packing is damaged, or what is to be skipped does not fit into memory.
    """

    def __init__(self, file: IO[bytes], path: Path, keep: bool):
        self._file = file
        self._path = path
        self._keep = keep
        self.unpacked = io.BytesIO()

    def read(self, count: int) -> bytes:
        try:
            found = self._file.read(count)
        except _DAMAGE as error:
            raise InputError(f"{self._path}: cannot be unpacked, it is damaged or truncated ({error})") from error
        if self._keep:
            self.unpacked.write(found)
        return found

    def skip(self, count: int) -> int:
        if self._keep:
            check_fits_memory(count, f"{self._path}: the unpacked data of an HDU")
        passed = 0
        while passed < count and (found := self.read(min(_PIECE, count - passed))):
            passed += len(found)
        return passed

    def finish(self) -> None:
        """Read up to the checksum at the end, which is compared there; not through data that no header declares."""
        self._keep = False
        self.read(_PIECE)


@dataclass(frozen=True)
class Structure:
    """The HDUs of a file.

    Parameters
    ----------
    extents : list of HduExtent
    length : int
        Of the file, unpacked, as far as it has HDUs, bytes.
    unpacked : BytesIO or None
        Its unpacked bytes; None for a file that is not packed.
    """

    extents: list[HduExtent]
    length: int
    unpacked: io.BytesIO | None


def scan_file(path: Path) -> Iterator[HduExtent]:
    """The HDUs of a file, packed or not, read and unpacked only as far as they are asked for.

    Raises
    ------
    InputError
        If the file cannot be opened, or is damaged.
    """
    with _opened(path) as file:
        opener = _unpacker(file, path)
        if opener is None:
            yield from scan(PlainStream(file), path)
        else:
            with opener(file) as inner:
                yield from scan(PackedStream(inner, path, keep=False), path)


def is_packed(path: Path) -> bool:
    """Whether a file has to be unpacked; headers and pixels of tile-compressed images are found without.

    Raises
    ------
    InputError
        If the file cannot be opened.
    """
    with _opened(path) as file:
        return _unpacker(file, path) is not None


def read_structure(path: Path) -> Structure:
    """All HDUs of a file, and its bytes if they had to be unpacked.

    Raises
    ------
    InputError
        If the file cannot be opened, or is damaged.
    """
    with _opened(path) as file:
        opener = _unpacker(file, path)
        if opener is None:
            plain = PlainStream(file)
            return Structure(list(scan(plain, path)), plain.length, None)
        with opener(file) as inner:
            packed = PackedStream(inner, path, keep=True)
            extents = list(scan(packed, path))
            packed.finish()
        length = packed.unpacked.tell()
        packed.unpacked.seek(0)
        return Structure(extents, length, packed.unpacked)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    check_regular(path, "a FITS file")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({(error.strerror or str(error)).lower()})") from error
    with file:
        yield file


def _unpacker(file: IO[bytes], path: Path) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """What unpacks the file; None if it is not packed."""
    beginning = file.read(6)
    file.seek(0)
    if beginning.startswith(b"\x1f\x9d"):
        raise InputError(f"{path}: is packed by the program compress; unpack it first (uncompress)")
    openers: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
        b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ\x00": lzma.LZMAFile,
        b"PK\x03\x04": lambda packed: _only_member(packed, path),
        b"PK\x05\x06": lambda packed: _only_member(packed, path),
    }
    return next((opener for magic, opener in openers.items() if beginning.startswith(magic)), None)


def _only_member(packed: IO[bytes], path: Path) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(packed)
        members = archive.infolist()
        if len(members) != 1:
            raise InputError(f"{path}: is a zip archive of {len(members)} files, expected one; unpack it first")
        return archive.open(members[0])
    except _DAMAGE as error:
        raise InputError(f"{path}: cannot be unpacked, it is damaged or truncated ({error})") from error
