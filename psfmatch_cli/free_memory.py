"""Memory that is not needed any more."""

from __future__ import annotations

import functools
from collections.abc import Callable


def release_freed() -> None:
    """Give freed memory back to the system, where the C library (that of GNU) would keep it for later.

    It keeps pieces below 32 MiB, such as the planes of a 2048 x 2048 image. Between two stages that is 27 bytes a pixel
    there, on top of which the next stage has its own peak. A call takes a few milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of the C library; None where it has none."""
    import ctypes

    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library; Windows takes no None
        return None
