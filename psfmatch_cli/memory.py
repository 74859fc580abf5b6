"""How much memory there is, how much a run needs, and sizes of memory as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from psfmatch_cli.errors import UsageError

#: What a run takes at most, bytes: whatever the image, and for each pixel of the larger one. benchmarks/memory.py
#: measures it, and shows what is left of it.
RUN_BYTES, PIXEL_BYTES = 250 * 2**20, 128
#: Numbers of 8 bytes that are held at a time for each entry of each candidate's normal matrix.
MATRIX_COPIES = 6

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Bytes of a text such as "8 GB", "512MiB" or "1e9": K, M, G, T are powers of 1000, with an "i" of 1024.

    Raises
    ------
    UsageError
        If the text has another form, or the size is not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:[eE]\d{1,2})?)\s*([KMGT]?)(I?)B?\s*", text, re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise UsageError(f"a size of memory is given as 8GB, 512MiB or in bytes, got {text!r}")
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2].upper()])
    if size <= 0:
        raise UsageError(f"a size of memory must be positive, got {text!r}")
    return size


def describe_size(size: float) -> str:
    """A size in bytes with three digits: "3.21 GB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000.0
    return f"{size:.3g} {unit}"


def needed_memory(n_pixels: int, n_unknowns: int = 0, n_candidates: int = 0) -> int:
    """Bytes that a run takes at most.

    Parameters
    ----------
    n_pixels : int
        Of the larger image.
    n_unknowns : int, optional
        Of the fit of one candidate, if they are many (each pixel of a delta-function kernel is one).
    n_candidates : int, optional
        Most candidates that are fitted.
    """
    return RUN_BYTES + PIXEL_BYTES * n_pixels + 8 * MATRIX_COPIES * n_candidates * n_unknowns**2


def available_memory() -> int | None:
    """Bytes that this process may still take: what the machine, its control group and its own limits leave.

    None where the system does not say.
    """
    known = [found for found in (_machine(), _control_group(), _address_space()) if found is not None]
    return max(min(known), 0) if known else None


def _machine() -> int | None:
    """Memory of the machine that can be had without swapping; all there is where nothing else is known."""
    found = _field(_PROC / "meminfo", "MemAvailable:")
    if found is not None:
        return found
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _control_group() -> int | None:
    """What the control groups of this process leave; inside a container its own one stands at the top.

    Files that are kept in memory only because there is room count as free.
    """
    own = next((line[3:] for line in _text(_PROC / "self" / "cgroup").splitlines() if line.startswith("0::")), "/")
    folder = _CGROUP / own.strip().strip("/")
    newer = [_left(group, "memory.max", "memory.current", "inactive_file") for group in (folder, *folder.parents)]
    older = _left(_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return min((left for left in (*newer, older) if left is not None), default=None)


def _left(group: Path, limit: str, used: str, kept: str) -> int | None:
    most, now = _number(group / limit), _number(group / used)
    if most is None or now is None:
        return None
    return most - now + (_field(group / "memory.stat", kept) or 0)


def _address_space() -> int | None:
    """What a limit on the address space (``ulimit -v``) leaves."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - (_field(_PROC / "self" / "status", "VmSize:") or 0)


def _field(path: Path, name: str) -> int | None:
    """Bytes of a line such as ``MemAvailable:  1234 kB`` or ``inactive_file 1234``."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdecimal():
            return int(words[1]) * (1024 if words[-1] == "kB" else 1)
    return None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
