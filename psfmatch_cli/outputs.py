"""Writing files so that a reader never meets half of one, and saying in them how they were made."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from psfmatch_cli.errors import OutputError, UsageError
from psfmatch_cli.strict_json import to_json

Card = tuple[str, Any, str]


def run_card(run_id: str) -> Card:
    """The card of the run that a file comes from."""
    return "PMRUN", run_id, "identifier of the run, in all its files"


@contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the name `path` when the block ends well.

    The temporary file has the same suffixes. On any exception it is removed and `path` is untouched.

    Parameters
    ----------
    path : str or Path
        The file to make.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the file exists and must not be replaced, or cannot be written.
    """
    path = Path(path)
    check_output(path, overwrite)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        _publish(temporary, path, overwrite)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_reason(error, temporary)})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: OSError, temporary: Path) -> str:
    """Why a file could not be written; numpy says only how much of an array was, so the system is asked again."""
    if error.strerror:
        return error.strerror
    try:
        with open(temporary, "ab") as file:
            file.write(bytes(65536))
    except OSError as again:
        return again.strerror or str(again)
    return str(error)


def _publish(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give the temporary file its name; without overwrite a file that appeared meanwhile is kept."""
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise OutputError(_exists(path)) from None
    except OSError:
        # No hard links on this file system: the check and the renaming are two steps here.
        check_output(path, overwrite)
        os.replace(temporary, path)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a path that cannot be written to, before any work is done.

    Raises
    ------
    OutputError
        If it exists and must not be replaced or is no regular file, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, expected a file name")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a regular file, so it cannot be replaced; give a file name")
    if path.exists() and not overwrite:
        raise OutputError(_exists(path))
    real = real_path(path)
    if real.is_symlink():
        raise OutputError(f"{path}: is a link that leads back to itself")
    if not real.parent.is_dir():
        raise OutputError(f"{path}: the folder {real.parent if path.is_symlink() else path.parent} does not exist")
    if not os.access(real.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable")


def check_distinct(paths: Iterable[str | Path], inputs: Iterable[str | Path] = ()) -> None:
    """Refuse outputs that are equal, or that are inputs.

    Parameters
    ----------
    paths : iterable of str or Path
        The files that will be written.
    inputs : iterable of str or Path, optional
        The files that are read; an HDU in brackets does not matter.

    Raises
    ------
    UsageError
        If two outputs are one file, or an output is an input.
    """
    read = {real_path(_without_hdu(entry)) for entry in inputs}
    seen: dict[Path, Path] = {}
    for path in (Path(entry) for entry in paths):
        real = real_path(path)
        if real in seen:
            raise UsageError(f"two outputs have one name: {seen[real]} and {path}")
        if real in read:
            raise UsageError(f"the output {path} is also an input; an input is never overwritten")
        seen[real] = path


def real_path(path: Path) -> Path:
    """The path that links lead to; one that leads back to itself stays as it is."""
    return Path(os.path.realpath(path))


def _without_hdu(entry: str | Path) -> Path:
    path = Path(entry)
    if path.exists() or not path.name.endswith("]"):
        return path
    return Path(str(entry).rpartition("[")[0])


def _exists(path: Path) -> str:
    return f"{path}: already exists; use --overwrite to replace it"


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Short fingerprint of settings: the first 16 hexadecimal digits of the SHA-256 of their JSON."""
    return hashlib.sha256(to_json(settings, sort_keys=True).encode()).hexdigest()[:16]


def provenance_cards(
    version: str,
    inputs: Mapping[str, str | Path],
    settings: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> list[Card]:
    """Header cards that say how a file was made.

    Parameters
    ----------
    version : str
        Version of this program.
    inputs : mapping of str to str or Path
        File of each role; ``template`` and ``science`` become ``PMTMPL`` and ``PMSCI``, others ``PMIN1``...
        Only the file's name is written, not its folder.
    settings : mapping, optional
        All settings; their fingerprint becomes ``PMCONFIG``.
    values : mapping of str to value or (value, comment), optional
        Further cards. Numbers that are not finite become cards without a value, as FITS has none.

    Returns
    -------
    list of (keyword, value, comment)
    """
    cards: list[Card] = [("PROGRAM", "PSFMATCH", "program that made this file"), ("PMVERS", version, "its version")]
    keywords = {"template": "PMTMPL", "science": "PMSCI"}
    others = [role for role in inputs if role not in keywords]
    keywords |= {role: f"PMIN{n}" for n, role in enumerate(others, start=1)}
    cards += [(keywords[role], printable(Path(path).name), f"{role} file") for role, path in inputs.items()]
    if settings is not None:
        cards.append(("PMCONFIG", settings_digest(settings), "fingerprint of all settings"))
    for keyword, entry in (values or {}).items():
        value, comment = entry if isinstance(entry, tuple) else (entry, "")
        cards.append((keyword, card_value(value), comment))
    return cards


def creation_card() -> Card:
    """When a file was made."""
    now = datetime.now(UTC).replace(tzinfo=None)
    return "DATE", now.isoformat(timespec="seconds"), "UTC at which this file was made"


def card_value(value: Any) -> Any:
    """The value as a FITS card can hold it: plain numbers, None where not finite, printable ASCII text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value


def printable(text: str) -> str:
    """The text with everything but printable ASCII written as escapes, as FITS headers need it."""
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text)
