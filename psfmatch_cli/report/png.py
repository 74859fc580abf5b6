"""PNG images of numbered colours, embedded in a page (PNG specification, ISO/IEC 15948)."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour type of pixels that are numbers of colours in a palette.
_INDEXED = 3
#: Of zlib: noise gets hardly smaller with a higher one, which takes twice the time or more.
_LEVEL = 4


def encode(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """A PNG file.

    Parameters
    ----------
    pixels : ndarray, (H, W), uint8
        Number of the colour of each pixel; the first row is the lowest, as in FITS.
    palette : ndarray, (n, 3), uint8
        Red, green, blue of each colour, n at most 256.
    """
    height, width = pixels.shape
    # Each row begins with its filter, 0 for none: filters help smooth pictures of true colours only.
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = pixels[::-1]
    header = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette.astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), _LEVEL)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def data_uri(png: bytes) -> str:
    """The file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
