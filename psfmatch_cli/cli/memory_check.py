"""Whether a run fits into memory, told from the structure of its files before any pixel is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from psfmatch_cli.errors import InputError
from psfmatch_cli.memory import available_memory, describe_size, needed_memory, parse_size

if TYPE_CHECKING:
    from psfmatch_cli.settings import Settings


def check_memory(exposures: Iterable[Path], limit: str | None, settings: Settings | None = None) -> None:
    """Refuse a run that needs more memory than it may take.

    Parameters
    ----------
    exposures : iterable of Path
    limit : str or None
        Of the option; without it, what the machine has left.
    settings : Settings, optional
        Of a run that fits kernels.

    Raises
    ------
    InputError
        If it needs more, or a file cannot be opened.
    UsageError
        If the limit is not a size.
    """
    most = available_memory() if limit is None else parse_size(limit)
    shape, path = max(((largest_plane(path), path) for path in exposures), key=lambda found: math.prod(found[0]))
    need = needed_memory(math.prod(shape), *_fits(settings))
    if most is None or need <= most:
        return
    left = "are available" if limit is None else "are allowed (--max-memory)"
    raise InputError(
        f"{path}: this run needs up to {describe_size(need)} of memory for {shape[1]} x {shape[0]} pixels, and "
        f"{describe_size(most)} {left}; cut smaller images out, take a smaller kernel, or allow more (--max-memory)"
    )


def _fits(settings: Settings | None) -> tuple[int, int]:
    """Unknowns of a candidate's fit, where they are many, and most candidates."""
    if settings is None or settings.kernel.kernel_basis_set != "delta-function" or settings.kernel.side is None:
        return 0, 0
    return settings.kernel.side**2, settings.kernel.candidate_limit


def largest_plane(path: Path) -> tuple[int, int]:
    """Shape of the largest image in a file; of a packed one the first, as finding the others means to unpack all.

    Raises
    ------
    InputError
        If the file cannot be opened, or its structure is damaged.
    """
    from psfmatch_cli.fitsfile import parse_path
    from psfmatch_cli.unpack import is_packed, scan_file

    file = parse_path(path).path
    packed, largest = is_packed(file), (0, 0)
    for extent in scan_file(file):
        if extent.is_plane:
            largest = max(largest, extent.shape[-2:], key=math.prod)
            if packed:
                break
    return largest
