"""Hidden folders beside the outputs, in which a run writes its files before they get their names.

====================  ==================================================================
In the folder         what it is
====================  ==================================================================
``lock``              name of the computer; locked by the run as long as it lives
``new/``              files that the run writes
``old/``              earlier files that are being replaced, to be put back if that fails
``journal.json``      there only while files are being replaced, see `psfmatch_cli.publish`
====================  ==================================================================

A folder whose lock is free was left by a run that was killed. The next run that writes beside it removes it.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from psfmatch_cli.folder_lock import close_file, try_lock

log = logging.getLogger(__name__)

PREFIX = ".psfmatch-"
#: Names that `tempfile.mkdtemp` makes of the prefix.
_NAME = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")
#: Where folders cannot be locked, one without a lock file may be in the making for so long, seconds.
YOUNG = 60.0
#: A file system may keep locks to one computer. A folder of another one counts as left behind after this time, seconds.
FOREIGN = 86400.0


@dataclass(frozen=True)
class Stage:
    """One such folder and the open file that holds its lock (-1 where there is none)."""

    path: Path
    descriptor: int

    @property
    def folder(self) -> Path:
        """The output folder in which it lies."""
        return self.path.parent

    @property
    def new(self) -> Path:
        return self.path / "new"

    @property
    def old(self) -> Path:
        return self.path / "old"

    @property
    def journal(self) -> Path:
        return self.path / "journal.json"


def make_stage(folder: Path) -> Stage:
    """A new, locked stage in a folder; to be called while the folder is locked, so that nobody takes it for abandoned.

    Raises
    ------
    OSError
        If the system refuses.
    """
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        made = Stage(path, descriptor)
        try:
            try_lock(descriptor)
            os.write(descriptor, platform.node().encode())
            made.new.mkdir()
            made.old.mkdir()
        except BaseException:
            close_file(descriptor)
            raise
    except BaseException:
        _remove_folder(path)
        raise
    return made


def release_stage(stage: Stage) -> None:
    """Give up the lock of a stage and leave its files: the next run looks after them."""
    if stage.descriptor >= 0:
        close_file(stage.descriptor)


def remove_stage(stage: Stage) -> None:
    """Remove a stage with all in it.

    The lock goes first: on NFS an open file cannot be removed for good. What cannot be removed now, a later run finds
    unlocked.
    """
    release_stage(stage)
    _remove_folder(stage.path)


def _remove_folder(path: Path) -> None:
    """Remove a folder as far as the system allows, with one open file at most: there may be no more.

    An empty one takes none. The folder is ours alone, so that names in it do not change meanwhile.
    """
    with suppress(OSError):
        os.rmdir(path)
        return
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(path)
    for entry in (path / name for name in names):
        if entry.is_dir() and not entry.is_symlink():
            _remove_folder(entry)
        else:
            with suppress(OSError):
                os.unlink(entry)
    with suppress(OSError):
        os.rmdir(path)


def abandoned_stages(folder: Path, certain: bool) -> Iterator[Stage]:
    """The stages in a folder that a killed run has left, locked by us; to be called while the folder is locked.

    Only those of the same user are looked at, so that nobody can make a run follow files of his.

    Parameters
    ----------
    folder : Path
    certain : bool
        Whether the folder can be locked: then none without a lock file is in the making.
    """
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if _NAME.fullmatch(entry.name) and _is_ours(entry)]
    for entry in found:
        stage = _taken(Path(folder, entry.name), certain)
        if stage is not None:
            yield stage


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    except OSError:  # it has just been removed by its run
        return False


def _taken(path: Path, certain: bool) -> Stage | None:
    """The stage with its lock, or None if its run lives, or may live."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return Stage(path, -1) if certain or _age(path) > YOUNG else None
    except OSError as error:
        log.debug("%s: not looked after: %s", path, error)
        return None
    if not _is_dead(descriptor, path):
        close_file(descriptor)
        return None
    return Stage(path, descriptor)


def _is_dead(descriptor: int, path: Path) -> bool:
    try:
        if not try_lock(descriptor):
            return False
        here = os.read(descriptor, 256) in (platform.node().encode(), b"")
    except OSError as error:
        log.debug("%s: not looked after: %s", path, error)
        return False
    return here or _age(path) > FOREIGN


def _age(path: Path) -> float:
    """Seconds since something was made or removed in a folder; 0 if it is gone."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0
