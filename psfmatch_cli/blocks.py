"""Work on an image in blocks that fit into the processor's cache, on a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Block, Result = TypeVar("Block"), TypeVar("Result")

#: Pixels of a band of rows: with a handful of float32 planes some hundred kilobytes.
BAND_PIXELS = 1 << 16


def row_bands(shape: tuple[int, int], pixels: int = BAND_PIXELS) -> list[slice]:
    """Slices of whole rows, about so many pixels each, that make up an image of this shape."""
    height, width = shape
    step = max(1, pixels // width)
    return [slice(first, min(first + step, height)) for first in range(0, height, step)]


def each(work: Callable[[Block], Result], blocks: Iterable[Block], threads: int = 1) -> list[Result]:
    """Results of the work on each block, in order; an error in any of them comes out here."""
    if threads == 1:
        return [work(block) for block in blocks]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return list(pool.map(work, blocks))


def sample_step(shape: tuple[int, int], n: int) -> int:
    """Step along both axes with which about n pixels are taken of an image of this shape; 1 of a small one."""
    return max(1, round((shape[0] * shape[1] / n) ** 0.5))
