"""What must be true of any file before it is opened."""

from __future__ import annotations

from pathlib import Path

from psfmatch_cli.errors import InputError


def check_regular(path: Path, what: str) -> None:
    """Refuse what is no regular file: opening a pipe would wait for its other end, and some devices never end.

    Parameters
    ----------
    path : Path
    what : str
        What it should be, for the message: "a FITS file".

    Raises
    ------
    InputError
        If it does not exist, or is a folder, a pipe or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected {what}")
    if path.exists():
        raise InputError(f"{path}: is not a regular file, expected {what}")
    raise InputError(f"{path}: no such file")
