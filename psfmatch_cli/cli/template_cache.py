"""Templates that were read already, for a process that does many pairs with few of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psfmatch_cli.exposure import Exposure
    from psfmatch_cli.read_options import ReadOptions


@dataclass(frozen=True)
class _Kept:
    """An exposure, and the sizes and times of the files that it was read from."""

    exposure: Exposure
    files: dict[Path, tuple[int, int] | None]


class TemplateCache:
    """The exposures that were read last as templates; a file that has changed since is read anew.

    The stages leave their inputs unchanged, so all pairs can have the same object.

    Parameters
    ----------
    size : int
        Most exposures that are kept.
    """

    def __init__(self, size: int):
        self._size = size
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def read(self, path: Path, options: ReadOptions, *, role: str) -> Exposure:
        """An exposure; parameters and errors as `psfmatch_cli.io.read_exposure`."""
        from psfmatch_cli.io import read_exposure

        if role != "template":
            return read_exposure(path, options, role=role)
        key = str(path), repr(options)
        kept = self._kept.pop(key, None)
        if kept is None or any(_stamp(file) != stamp for file, stamp in kept.files.items()):
            before = {_file(path): _stamp(_file(path))}
            exposure = read_exposure(path, options, role=role)
            beside = (_file(file) for file in exposure.facts.files.values())
            kept = _Kept(exposure, {file: _stamp(file) for file in beside} | before)
        self._kept[key] = kept
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return kept.exposure


def _file(path: str | Path) -> Path:
    from psfmatch_cli.fitsfile import parse_path

    return parse_path(path).path


def _stamp(file: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
