"""Work beside other work, in as many threads as there may be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Made = TypeVar("Made")

#: Takes a function and its arguments, and hands out what returns its result, or raises its error.
Starter = Callable[..., Callable[[], Any]]


@contextmanager
def beside(threads: int) -> Iterator[Starter]:
    """What starts work that goes on beside the block; with one thread it is done when its result is asked for.

    The block ends when all that was started has ended. An error of the block comes before those of the work, and of
    that what has not begun is not done.
    """
    if threads == 1:
        yield lambda work, *arguments, **options: functools.cache(lambda: work(*arguments, **options))
        return
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="psfmatch") as pool:
        try:
            yield lambda work, *arguments, **options: pool.submit(work, *arguments, **options).result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def both(threads: int, first: Callable[[], Made], second: Callable[[], Made]) -> tuple[Made, Made]:
    """Results of two functions; an error of the first comes before one of the second."""
    with beside(threads) as start:
        later = start(second)
        return first(), later()
