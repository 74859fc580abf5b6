"""How much memory there is, and sizes of memory as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from psfmatch_cli.errors import UsageError

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
    """What the control group of a container leaves; the second pair of names is that of the older version."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _number(_CGROUP / limit), _number(_CGROUP / used)
        if most is not None and now is not None:
            return most - now
    return None


def _address_space() -> int | None:
    """What a limit on the address space (``ulimit -v``) leaves."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - (_field(_PROC / "self" / "status", "VmSize:") or 0)


def _field(path: Path, name: str) -> int | None:
    """Bytes of a line such as ``MemAvailable:  1234 kB``."""
    for line in _text(path).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
