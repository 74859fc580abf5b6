"""Work on parts of arrays in threads: the libraries below let go of the interpreter while they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_threads(function: Callable[[Item], Made], items: Iterable[Item], threads: int) -> list[Made]:
    """What a function makes of each item, in their order, computed by so many threads."""
    items = list(items)
    if threads < 2 or len(items) < 2:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(function, items))


def slices(n: int, step: int) -> list[slice]:
    """Consecutive parts of n items, each of at most `step`."""
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
