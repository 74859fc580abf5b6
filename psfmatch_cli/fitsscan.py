"""The structure of a FITS file, from its own bytes, before anything is allocated or parsed further.

Each header is read up to its END card, and only the cards that say where the next one is are looked at. What they
declare is compared with the file and with the memory of the machine. So a damaged or hostile file is refused for
what is wrong with it, in bounded time and memory.

References
----------
FITS standard 4.0, sections 3.1 to 3.4 (structure), 4.4.1 (mandatory keywords), 10.1 (tile compression).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

from psfmatch_cli.errors import InputError
from psfmatch_cli.memory import available_memory, describe_size

BLOCK, CARD = 2880, 80
#: Cards of one header and of one file, and HDUs; reading more takes minutes, and no instrument writes as many.
MAX_HEADER_CARDS, MAX_CARDS, MAX_HDUS = 30_000, 200_000, 10_000
BITPIX = (8, 16, 32, 64, -32, -64)
COMPRESSIONS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")


class Stream(Protocol):
    """What a file is read from, front to back."""

    def read(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""

    def skip(self, count: int) -> int:
        """Pass over bytes; how many there were."""


@dataclass(frozen=True)
class HduExtent:
    """Where an HDU lies in its file.

    Parameters
    ----------
    index : int
        Number in the file, from 0.
    start : int
        Of its data, bytes from the file's beginning.
    size : int
        Of its data as declared, bytes, without padding.
    shape : tuple of int
        Of its image, decompressed, slowest axis first; empty for a table or no data.
    datasum : int or None
        Checksum of the data that the header states.
    """

    index: int
    start: int
    size: int
    shape: tuple[int, ...]
    datasum: int | None

    @property
    def is_plane(self) -> bool:
        """Whether it holds one two-dimensional image that is not empty."""
        return len(self.shape) >= 2 and 0 not in self.shape and all(n == 1 for n in self.shape[:-2])


class Cards:
    """The cards of a header that matter here, as the text of their values; of repeated ones the first."""

    def __init__(self, header: bytes, where: str):
        self.where = where
        self._values: dict[str, str] = {}
        self._contradicted: set[str] = set()
        for start in range(0, len(header), CARD):
            card = header[start : start + CARD]
            if card[8:10] == b"= ":
                keyword = card[:8].rstrip().decode("latin-1")
                value = card[10:].decode("latin-1")
                if self._values.setdefault(keyword, value) != value:
                    self._contradicted.add(keyword)

    def text(self, name: str) -> str | None:
        """The value without quotes and comment; None without such a card."""
        value = self._values.get(name)
        if value is None:
            return None
        value = value.strip()
        return value[1:].partition("'")[0].strip() if value.startswith("'") else value.partition("/")[0].strip()

    def is_true(self, name: str) -> bool:
        return self.text(name) == "T"

    def whole(self, name: str, lowest: int = 0, default: int | None = None) -> int:
        """A whole number of at least `lowest`.

        Raises
        ------
        InputError
            If the card is missing and there is no default, has another value, or stands there again with another.
        """
        text = self.text(name)
        if name in self._contradicted:
            raise InputError(f"{self.where}: the card {name} stands there again with another value")
        if text is None and default is not None:
            return default
        try:
            number = int(text or "")
        except ValueError:
            number = None
        if number is None or number < lowest:
            said = "is missing" if text is None else f"is {text[:30]!r}"
            raise InputError(f"{self.where}: the card {name} {said}, expected a whole number of at least {lowest}")
        return number


def scan(stream: Stream, path: object) -> Iterator[HduExtent]:
    """The HDUs of a file, one after the other; the data of one are passed over when the next is asked for.

    Parameters
    ----------
    stream : Stream
    path : Path
        For messages.

    Raises
    ------
    InputError
        If a header is damaged, or declares what cannot be.
    """
    start, cards_left = 0, MAX_CARDS
    for index in range(MAX_HDUS + 1):
        header = _read_header(stream, path, index, min(cards_left, MAX_HEADER_CARDS))
        if header is None:
            return
        if index == MAX_HDUS:
            raise InputError(f"{path}: has more than {MAX_HDUS} HDUs, which is too many")
        cards = Cards(header, f"{path}: HDU {index}")
        size, shape = _data_size(cards), _image_shape(cards)
        start += len(header)
        cards_left -= len(header) // CARD
        padded = -(-size // BLOCK) * BLOCK
        yield HduExtent(index, start, size, shape, _datasum(cards))
        if stream.skip(padded) < padded:
            return
        start += padded


def _read_header(stream: Stream, path: object, index: int, most: int) -> bytes | None:
    """A whole header with its padding; None where the file's HDUs end.

    Raises
    ------
    InputError
        If the file is no FITS file, or the header does not end, not even after `most` cards.
    """
    block = stream.read(BLOCK)
    if index == 0:
        _check_beginning(block, path)
    elif not block.startswith(b"XTENSION"):
        return None  # the end, or what the standard calls special records
    blocks = [block]
    while not _has_end(blocks[-1]):
        if len(blocks[-1]) < BLOCK:
            raise InputError(f"{path}: the header of HDU {index} has no end; the file is truncated or damaged")
        if len(blocks) * (BLOCK // CARD) > most:
            raise InputError(
                f"{path}: has more than {MAX_HEADER_CARDS} header cards in HDU {index}, or {MAX_CARDS} in all, which "
                "is too many"
            )
        blocks.append(stream.read(BLOCK))
    if len(blocks[-1]) < BLOCK:
        raise InputError(f"{path}: ends within the header of HDU {index}; the file is truncated")
    return b"".join(blocks)


def _check_beginning(block: bytes, path: object) -> None:
    if not block:
        raise InputError(f"{path}: not a readable FITS file, it is empty")
    if not block.startswith(b"SIMPLE  ="):
        raise InputError(f"{path}: not a readable FITS file, it does not begin with the card SIMPLE")


def _has_end(block: bytes) -> bool:
    return any(block[start : start + 8] == b"END     " for start in range(0, len(block), CARD))


def _data_size(cards: Cards) -> int:
    """Bytes of the data that follow a header."""
    bitpix = cards.whole("BITPIX", lowest=-64)
    if bitpix not in BITPIX:
        raise InputError(f"{cards.where}: BITPIX is {bitpix}, allowed are {', '.join(map(str, BITPIX))}")
    axes = _axes(cards, "NAXIS")
    if cards.is_true("GROUPS") and axes and axes[0] == 0:
        axes = axes[1:]  # random groups: the first axis says only that
    groups, more = cards.whole("GCOUNT", default=1), cards.whole("PCOUNT", default=0)
    return abs(bitpix) // 8 * groups * (more + prod(axes)) if axes else 0


def _axes(cards: Cards, name: str) -> list[int]:
    """Lengths of the axes, the fastest first."""
    count = cards.whole(name)
    if count > 999:
        raise InputError(f"{cards.where}: the card {name} is {count}, allowed are 0 to 999")
    return [cards.whole(f"{name}{axis}") for axis in range(1, count + 1)]


def _image_shape(cards: Cards) -> tuple[int, ...]:
    """Shape of the image in an HDU, also of a compressed one.

    Raises
    ------
    InputError
        If the compression's cards contradict each other, or the pixels would not fit into memory.
    """
    if cards.is_true("ZIMAGE"):
        axes = _compressed_axes(cards)
        size = prod(axes) * abs(cards.whole("ZBITPIX", lowest=-64)) // 8 if axes else 0
        check_fits_memory(size, f"{cards.where}: the image of {_product(axes)} pixels")
        return tuple(reversed(axes))
    if (cards.text("XTENSION") or "IMAGE") == "IMAGE":
        axes = _axes(cards, "NAXIS")
        if axes and 0 not in axes:
            _check_scaling(cards)
        return tuple(reversed(axes))
    return ()


def _check_scaling(cards: Cards) -> None:
    """Refuse numbers that leave no pixel, or none that differs from another.

    Raises
    ------
    InputError
    """
    for name in ("BSCALE", "BZERO"):
        text = cards.text(name)
        try:
            value = 1.0 if text is None else float(text.upper().replace("D", "E"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (name == "BSCALE" and value == 0):
            raise InputError(
                f"{cards.where}: the card {name} is {text[:30]!r}, expected a finite number"
                + (" other than 0" if name == "BSCALE" else "")
            )


def check_fits_memory(size: int, what: str) -> None:
    """Refuse what is larger than the memory that is left.

    Raises
    ------
    InputError
    """
    left = available_memory()
    if left is not None and size > left:
        raise InputError(f"{what} is too large: {describe_size(size)}, and {describe_size(left)} of memory are left")


def _compressed_axes(cards: Cards) -> list[int]:
    """Lengths of the axes of a tile-compressed image.

    Raises
    ------
    InputError
        If the compression is not known, or the table does not have one row per tile.
    """
    kind = cards.text("ZCMPTYPE")
    if kind not in COMPRESSIONS:
        raise InputError(f"{cards.where}: the tile compression {kind!r} is not known; unpack the file (funpack)")
    if cards.whole("ZBITPIX", lowest=-64) not in BITPIX:
        raise InputError(f"{cards.where}: ZBITPIX is {cards.text('ZBITPIX')}, allowed are those of BITPIX")
    axes = _axes(cards, "ZNAXIS")
    # Without these cards a tile is a row.
    tiles = [cards.whole(f"ZTILE{n}", 1, default=1 if n > 1 else max(axes[0], 1)) for n in range(1, len(axes) + 1)]
    expected = prod(-(-axis // tile) for axis, tile in zip(axes, tiles, strict=True))
    rows = cards.whole("NAXIS2")
    if rows != expected:
        raise InputError(
            f"{cards.where}: the tile compression is damaged: {rows} rows for {expected} tiles of {_product(tiles)} "
            f"in {_product(axes)} pixels"
        )
    return axes


def _product(axes: list[int]) -> str:
    return " x ".join(map(str, axes)) or "0"


def _datasum(cards: Cards) -> int | None:
    text = cards.text("DATASUM") or ""
    return int(text) if text.isdecimal() and len(text) < 12 else None
