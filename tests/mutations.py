"""Damage for FITS files: functions that take the bytes of a valid one and a random generator, and return damaged ones.

The same generator gives the same damage. The files are parsed here on their own, with none of the program's code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

BLOCK, CARD = 2880, 80

#: Values that cards get: wrong types, numbers that are none, too large or contradict others, and plain garbage.
VALUES = (
    "0",
    "1",
    "-1",
    "2",
    "3",
    "17",
    "-32",
    "64",
    "999",
    "65536",
    "2147483648",
    "99999999999999999999",
    "-9223372036854775808",
    "1.5",
    "-0.0",
    "1E-300",
    "1E300",
    "1D400",
    "NaN",
    "INF",
    "-Infinity",
    "T",
    "F",
    "''",
    "'SCI     '",
    "'no end of it",
    "'RICE_1  '",
    "'GZIP_2  '",
    "'HCOMPRESS_1'",
    "'PLIO_1  '",
    "'1PB(7)  '",
    "'999999999E'",
    "'RA---TAB'",
    "'RA---TPV'",
    "'DEC--SIP'",
    "'adu     '",
    "'MJy/sr  '",
    "'2015-99-99T99:99:99'",
    "(1.0, 2.0)",
    "",
    "/ only a comment",
    "= = =",
    "0x10",
    "1 2 3",
    "nonsense",
)
#: Cards that decide what a reader does, whether the file has them or not.
NAMES = (
    *("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "EXTEND", "GROUPS", "XTENSION", "INHERIT"),
    *("BSCALE", "BZERO", "BLANK", "BUNIT", "EXTNAME", "EXTVER", "EXTTYPE", "CHECKSUM", "DATASUM", "CONTINUE"),
    *("ZIMAGE", "ZCMPTYPE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZVAL1", "ZNAME1", "ZVAL2"),
    *("ZQUANTIZ", "ZDITHER0", "ZBLANK", "ZSCALE", "ZZERO", "ZMASKCMP", "ZSIMPLE", "ZTENSION", "THEAP"),
    *("TFIELDS", "TTYPE1", "TFORM1", "TDIM1", "TSCAL1", "TZERO1", "TNULL1", "TTYPE2", "TFORM2"),
    *("WCSAXES", "CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CROTA2", "LONPOLE"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "CUNIT1", "CUNIT2", "RADESYS", "EQUINOX"),
    *("A_ORDER", "B_ORDER", "A_2_0", "AP_ORDER", "BP_ORDER", "PV1_1", "PV2_1", "PS1_0", "PS2_0", "PV1_3", "CPDIS1"),
    *("DP1", "D2IMDIS1", "D2IM1", "AXISCORR", "CRPIX1A", "CRPIX2A", "CRVAL1A", "CRVAL2A", "LTV1", "DATE-OBS"),
    *("GAIN", "EGAIN", "GAINA", "RDNOISE", "READNOI", "SATURATE", "SATURATA", "FWHM", "SEEING", "EXPTIME", "EFFEXPTM"),
    *("FILTER", "MAGZP", "MAGZERO", "PHOTFLAM", "PHOTPLAM", "PIXAR_SR", "PIXSCALE", "BOFFSET", "BSOFTEN", "FLUXMAG0"),
    *("TELESCOP", "INSTRUME", "DETECTOR", "PROCTYPE", "PRODTYPE", "ORIGIN", "RUN", "CAMCOL", "SOFTNAME", "COMBINET"),
    *("AR_HDU", "AR_CATN", "PSF_ID", "MP_BAD", "MP_SAT", "POLNAXIS", "POLDEG1", "PSF_SAMP", "POLSCAL1", "PLVER"),
)


@dataclass(frozen=True)
class Piece:
    """One HDU of a file: its header as cards of 80 bytes, END left out, and its data with the padding."""

    cards: tuple[bytes, ...]
    data: bytes


def split(data: bytes) -> list[Piece]:
    """The HDUs of a valid file."""
    pieces, start = [], 0
    while start < len(data):
        cards = []
        while data[start : start + 8] != b"END     ":
            cards.append(data[start : start + CARD])
            start += CARD
        start = -(-(start + CARD) // BLOCK) * BLOCK
        size = -(-_data_size(cards) // BLOCK) * BLOCK
        pieces.append(Piece(tuple(cards), data[start : start + size]))
        start += size
    return pieces


def _data_size(cards: list[bytes]) -> int:
    values = {card[:8].strip(): card[10:30].strip() for card in cards if card[8:10] == b"= "}
    axes = [int(values[b"NAXIS%d" % n]) for n in range(1, int(values[b"NAXIS"]) + 1)]
    size = (int(np.prod(axes)) if axes else 0) + int(values.get(b"PCOUNT", 0))
    return abs(int(values[b"BITPIX"])) // 8 * int(values.get(b"GCOUNT", 1)) * size


def joined(pieces: list[Piece]) -> bytes:
    """The bytes of a file of these HDUs."""
    return b"".join(_padded(b"".join(piece.cards) + b"END".ljust(CARD)) + piece.data for piece in pieces)


def _padded(header: bytes) -> bytes:
    return header.ljust(-(-len(header) // BLOCK) * BLOCK)


def card(name: str, value: str) -> bytes:
    """A card of a value written as given."""
    return f"{name:8}= {value}".encode()[:CARD].ljust(CARD)


def _in_a_header(data: bytes, rng: Generator, change: Callable[[list[bytes], int], None]) -> bytes:
    """The file with one to three changes of the cards of one HDU; `change` gets the cards and one place in them."""
    pieces = split(data)
    n = int(rng.integers(len(pieces)))
    cards = list(pieces[n].cards)
    for _ in range(int(rng.integers(1, 4))):
        change(cards, int(rng.integers(len(cards))))
    pieces[n] = Piece(tuple(cards), pieces[n].data)
    return joined(pieces)


def without_cards(data: bytes, rng: Generator) -> bytes:
    def change(cards: list[bytes], at: int) -> None:
        if len(cards) > 1:
            del cards[at]

    return _in_a_header(data, rng, change)


def repeated_cards(data: bytes, rng: Generator) -> bytes:
    return _in_a_header(data, rng, lambda cards, at: cards.insert(int(rng.integers(len(cards) + 1)), cards[at]))


def changed_values(data: bytes, rng: Generator) -> bytes:
    def change(cards: list[bytes], at: int) -> None:
        cards[at] = cards[at][:8] + b"= " + str(rng.choice(VALUES)).encode().rjust(20).ljust(70)

    return _in_a_header(data, rng, change)


def set_cards(data: bytes, rng: Generator) -> bytes:
    """A card that decides something gets another value, or is added."""

    def change(cards: list[bytes], at: int) -> None:
        name = str(rng.choice(NAMES))
        made = card(name, str(rng.choice(VALUES)).rjust(20))
        there = [n for n, old in enumerate(cards) if old.startswith(f"{name:8}=".encode())]
        if there:
            cards[there[0]] = made
        else:
            cards.append(made)

    return _in_a_header(data, rng, change)


def changed_keywords(data: bytes, rng: Generator) -> bytes:
    def change(cards: list[bytes], at: int) -> None:
        others = (*NAMES, "HIERARCH", "COMMENT", "HISTORY", "END", "", "lower", "A B", "\x00\x01\x02")
        cards[at] = str(rng.choice(others)).encode().ljust(8)[:8] + cards[at][8:]

    return _in_a_header(data, rng, change)


def swapped_cards(data: bytes, rng: Generator) -> bytes:
    def change(cards: list[bytes], at: int) -> None:
        other = int(rng.integers(len(cards)))
        cards[at], cards[other] = cards[other], cards[at]

    return _in_a_header(data, rng, change)


def garbage_cards(data: bytes, rng: Generator) -> bytes:
    """Cards of any bytes, of non-ASCII text, or of conventions that are not kept."""

    def change(cards: list[bytes], at: int) -> None:
        kinds = (
            rng.integers(0, 256, CARD, np.uint8).tobytes(),
            "OBJECT  = 'Z\u00fcrich \u03b1 Cen'".encode(),
            b"CONTINUE  'of nothing &'",
            b"OBJECT  = 'to be continued &'",
            b"HIERARCH ESO = = 'x",
            b"HIERARCH  a b c d e f g h i j k l m n o p q r s t u v w x y z = 1.0",
            b"SIMPLE  =                    F",
            b"\x00" * CARD,
        )
        cards.insert(at, kinds[int(rng.integers(len(kinds)))][:CARD].ljust(CARD))

    return _in_a_header(data, rng, change)


def truncated(data: bytes, rng: Generator) -> bytes:
    return data[: int(rng.integers(len(data)))]


def overwritten(data: bytes, rng: Generator) -> bytes:
    """Some bytes anywhere get any value."""
    made = bytearray(data)
    for place in rng.integers(len(made), size=int(rng.integers(1, 30))):
        made[place] = int(rng.integers(256))
    return bytes(made)


def overwritten_headers(data: bytes, rng: Generator) -> bytes:
    """Some bytes of the headers get any value, more often one that can be printed."""
    pieces = split(data)
    n = int(rng.integers(len(pieces)))
    header = bytearray(b"".join(pieces[n].cards))
    for place in rng.integers(len(header), size=int(rng.integers(1, 8))):
        header[place] = int(rng.integers(32, 127) if rng.random() < 0.8 else rng.integers(256))
    cards = [bytes(header[start : start + CARD]) for start in range(0, len(header), CARD)]
    pieces[n] = Piece(tuple(cards), pieces[n].data)
    return joined(pieces)


def overwritten_data(data: bytes, rng: Generator) -> bytes:
    """Some bytes, or a whole stretch, of the data of one HDU get any value."""
    pieces = split(data)
    with_data = [n for n, piece in enumerate(pieces) if piece.data]
    n = with_data[int(rng.integers(len(with_data)))]
    made = bytearray(pieces[n].data)
    if rng.random() < 0.5:
        for place in rng.integers(len(made), size=int(rng.integers(1, 30))):
            made[place] = int(rng.integers(256))
    else:
        start, length = int(rng.integers(len(made))), int(rng.integers(1, 4000))
        filler = (b"\x00", b"\xff", b"\x7f\xf8", rng.bytes(64))[int(rng.integers(4))]
        made[start : start + length] = (filler * length)[: len(made[start : start + length])]
    pieces[n] = Piece(pieces[n].cards, bytes(made))
    return joined(pieces)


def moved_hdus(data: bytes, rng: Generator) -> bytes:
    """HDUs change places, are left out or repeated; headers get the data of others."""
    pieces = split(data)
    first, second = (int(n) for n in rng.integers(len(pieces), size=2))
    kind = int(rng.integers(4))
    if kind == 0:
        pieces[first], pieces[second] = pieces[second], pieces[first]
    elif kind == 1:
        del pieces[first]
    elif kind == 2:
        pieces.insert(first, pieces[second])
    else:
        pieces[first] = Piece(pieces[first].cards, pieces[second].data)
    return joined(pieces)


def cut_out(data: bytes, rng: Generator) -> bytes:
    """A stretch of the file is missing, or stands there twice."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 6000))
    return data[:start] + data[start + length :] if rng.random() < 0.5 else data[: start + length] + data[start:]


#: Every kind of damage, by name.
KINDS: dict[str, Callable[[bytes, Generator], bytes]] = {
    kind.__name__: kind
    for kind in (
        without_cards,
        repeated_cards,
        changed_values,
        set_cards,
        changed_keywords,
        swapped_cards,
        garbage_cards,
        truncated,
        overwritten,
        overwritten_headers,
        overwritten_data,
        moved_hdus,
        cut_out,
    )
}
